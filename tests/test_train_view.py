"""Who watches a training sees where it stands; a log gets one line for each event."""

import io
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from overcrank.cli import main
from overcrank.cli.train_view import BARS, TrainView, line, sparkline
from overcrank.errors import RequestError
from overcrank.train import train
from overcrank.train.board import FOLDER, Board
from overcrank.train.config.run import title
from overcrank.train.pace import Pace
from test_train_loop import CPU, Line, vae_run

EVENTS: list[dict[str, Any]] = [
    {"doing": "latents of 9 frames of 32 x 32", "done": 0, "of": 2, "elapsed": 0.0},
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
    with closing(TrainView(vae_run(), console)) as view:
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


MAKING = {"doing": "latents of 9 frames of 32 x 32", "of": 100}


def test_a_log_says_at_once_what_is_made_and_then_now_and_then() -> None:
    events = [{**MAKING, "done": 0, "elapsed": 0.0}]
    events += [
        {**MAKING, "done": n, "elapsed": float(n), "rate": 1.0, "left": 100.0 - n}
        for n in range(1, 101)
    ]
    lines = seen(terminal=False, events=events).splitlines()
    assert lines[0] == "latents of 9 frames of 32 x 32: 0 of 100"
    assert lines[1] == "latents of 9 frames of 32 x 32: 5 of 100, 1 a second, 1 min 35 s to go"
    assert lines[-1] == "latents of 9 frames of 32 x 32: 100 of 100, 1 a second, done"
    assert len(lines) < 20


def test_a_terminal_shows_what_is_made_beside_the_steps() -> None:
    event = {**MAKING, "done": 25, "elapsed": 5.0, "rate": 5.0, "left": 15.0}
    text = seen(terminal=True, events=[*EVENTS[1:3], event])
    last = text[text.rindex("step 1 of 4") :]
    assert "25 of 100, 5 a second, 15 s to go" in last
    ended = seen(terminal=True, events=[event, {**event, "done": 100, "left": 0.0}])
    assert "100 of 100, 5 a second, done" in ended


def test_the_pace_is_told_at_once_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is made now: ten clips that were there already are not counted."""
    clock = iter([0.0, 0.5, 4.0, 4.5])
    monkeypatch.setattr("overcrank.train.pace.time.perf_counter", lambda: next(clock))
    events: list[dict[str, Any]] = []
    pace = Pace(events.append, "latents")
    for done in (10, 11, 18, 19):
        pace(done, 19)
    assert [event["done"] for event in events] == [10, 18, 19]
    assert "rate" not in events[0]
    assert (events[1]["rate"], events[1]["left"]) == (2.0, 0.5)


def test_one_step_is_one_step() -> None:
    assert "on cpu: 1 step to do" in line({**EVENTS[1], "done": 3})
    lost = line({"step": 3, "lost": 1})
    assert lost.startswith("stopped at step 3: 1 step since the last save lost;")


def test_a_lora_says_that_it_is_one() -> None:
    values = {"kind": "transformer", "preset": None, "start_from": "models/ltxv.safetensors"}
    assert title(values) == "transformer ltxv.safetensors"
    lora = title({**values, "lora": {"rank": 64}})
    assert lora == "LoRA of rank 64 for the transformer ltxv.safetensors"


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
    with pytest.raises(KeyboardInterrupt), closing(Board(tmp_path, 0)) as board:
        train(vae_run(), Line(stop=3), tmp_path, board.show, CPU)  # saved at 2, stopped after 3
    with closing(Board(tmp_path, 2)) as board:
        train(vae_run(), Line(), tmp_path, board.show, CPU)
    assert scalars(tmp_path)["train/loss"] == [1, 2, 3, 4]
    assert "train/lr" in scalars(tmp_path)


def test_held_out_levels_are_groups_of_their_own(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with closing(Board(tmp_path, 0)) as board:
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
