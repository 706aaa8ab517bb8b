"""Who watches a training sees where it stands; a log gets one line for each event."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from overcrank.cli import main
from overcrank.cli.train_view import BARS, TrainView, sparkline
from overcrank.errors import RequestError
from overcrank.train import train
from overcrank.train.board import FOLDER, Board
from test_train_loop import CPU, Line, vae_run

EVENTS: list[dict[str, Any]] = [
    {"latent_shards": 1, "of": 2},
    {
        "trains": "vae nano",
        "parameters": 97529,
        "device": "cpu",
        "steps": 4,
        "done": 0,
        "folder": "runs/x",
    },
    {"step": 1, "loss": 2.0, "norm": 1.0, "psnr": 12.5, "lr": 1e-3, "seconds": 0.5},
    {"step": 2, "loss": 1.0, "norm": 0.5, "psnr": 13.5, "lr": 1e-3, "seconds": 0.5},
    {"step": 2, "held_out_128_0.1": 0.7, "held_out_128_1.0": 1.5},
    {"step": 4, "held_out_128_0.1": 0.6, "held_out_128_1.0": 1.75},
]


def seen(*, terminal: bool, events: list[dict[str, Any]] = EVENTS) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=110, _environ={})
    with TrainView(vae_run(), console) as view:
        for event in events:
            view.show(event)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_log_has_a_line_for_each_event() -> None:
    lines = seen(terminal=False).splitlines()
    assert len(lines) == len(EVENTS)
    assert lines[1] == "training vae nano, 97,529 parameters, on cpu: 4 steps to do, in runs/x"
    assert lines[2] == "step 1  loss 2  norm 1  psnr 12.5  lr 0.001  seconds 0.5"


def test_a_terminal_shows_where_a_run_stands() -> None:
    text = seen(terminal=True, events=EVENTS[:4])
    last = text[text.rindex("step 2 of 4") :]
    assert "50.0 %" in last
    assert "1 s to go" in last  # two steps of half a second
    for number in ("loss", "1.9", "psnr", "13.5", "clips/s", "4"):  # two clips in half a second
        assert number in last


def test_held_out_numbers_stay_in_view_and_say_whether_they_got_better() -> None:
    text = seen(terminal=True)
    last = text[text.rindex("held out 128") :]
    green, yellow = "\x1b[32m", "\x1b[33m"
    assert f"{green}0.6" in last
    assert f"{yellow}1.75" in last
    assert "latent_shards 1  of 2" in text


def test_a_sparkline_goes_from_the_lowest_to_the_highest_bar() -> None:
    assert sparkline([0.0, 1.0]) == BARS[0] + BARS[-1]
    assert sparkline([]) == ""
    assert set(sparkline([3.0] * 5)) == {BARS[0]}
    rising = sparkline([float(n) for n in range(600)])
    assert len(rising) == 60
    assert list(rising) == sorted(rising, key=BARS.index)


def scalars(folder: Path) -> dict[str, list[int]]:
    """The steps of each scalar, as TensorBoard reads them."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / FOLDER)).Reload()
    return {tag: [event.step for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_has_each_step_once_also_after_a_crash(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with pytest.raises(KeyboardInterrupt), Board(tmp_path, 0) as board:
        train(vae_run(), Line(stop=3), tmp_path, board.show, CPU)  # saved at 2, stopped after 3
    with Board(tmp_path, 2) as board:
        train(vae_run(), Line(), tmp_path, board.show, CPU)
    assert scalars(tmp_path)["train/loss"] == [1, 2, 3, 4]
    assert "train/lr" in scalars(tmp_path)


def test_held_out_levels_are_groups_of_their_own(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with Board(tmp_path, 0) as board:
        for event in EVENTS:
            board.show(event)
    tags = set(scalars(tmp_path))
    assert {"held_out_128/0.1", "held_out_128/1.0", "train/psnr"} <= tags


def test_a_missing_tensorboard_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(RequestError, match=r"pip install 'overcrank\[tensorboard\]'"):
        Board(tmp_path, 0)


@pytest.mark.slow
def test_the_command_logs_for_both(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    words = ["train", "pocket-vae", "-o", str(tmp_path), "--log", "tensorboard"]
    changes = ["preset=nano", "steps=2", "stages=[{frames: 9, size: 32, batch: 1}]", "log_every=1"]
    with pytest.raises(SystemExit, match="0"):
        main([*words, *(word for change in changes for word in ("--set", change))])
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert scalars(tmp_path)["train/loss"] == [line["step"] for line in logged if "loss" in line]
