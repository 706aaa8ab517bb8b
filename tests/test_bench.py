"""overcrank bench: clips timed in turns, operations counted, a peer beside us."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nano_model import DEFAULTS, nano_model
from overcrank.bench import AXES, beside_diffusers, page, shares, sweep
from overcrank.bench.clips import clip, own
from overcrank.cli import main
from overcrank.pipeline import Pipeline
from overcrank.text import MiniLMEncoder


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    defaults = replace(DEFAULTS, frames=17, height=64, width=64, steps=2)
    model = replace(nano_model(384), open_text_encoder=MiniLMEncoder, defaults=defaults)
    return Pipeline(model, device="cpu", dtype="float32")


def test_every_setting_is_timed_as_often_after_one_round_that_warms_up(
    pipe: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overcrank.bench.clips.AXES", {"steps": AXES["steps"][:2]})
    done: list[tuple[int, int]] = []
    rows = sweep(pipe, 2, lambda *n: done.append(n))
    assert done == [(n, 9) for n in range(1, 10)]
    assert [(row["axis"], row["steps"], row["clips"]) for row in rows] == [
        ("own", 2, 2),
        ("steps", 1, 2),
        ("steps", 2, 2),
    ]
    for row in rows:
        assert 0 < row["first_frames"] < row["seconds"]
        assert row["slowest"] <= row["realtime_factor"] <= row["fastest"]


def test_a_clip_is_timed_from_outside_of_its_stages(pipe: Pipeline) -> None:
    taken = clip(pipe, own(pipe), 1)
    stages = sum(value for name, value in taken.items() if name.startswith("stage_"))
    assert stages <= taken["seconds"] < 2 * stages + 0.5


def test_operations_of_denoising_are_those_of_its_steps(pipe: Pipeline) -> None:
    found = shares(pipe, 1)
    work = found["operations"]
    assert work["clip"] == work["denoise"] + work["decode"]
    # Guidance: two calls a step, each at least its matrices: 2 operations a weight and token.
    weights = sum(p.numel() for p in pipe.transformer.transformer_blocks.parameters() if p.ndim > 1)
    tokens = 3 * 2 * 2
    assert work["denoise"] >= 0.8 * 2 * 2 * 2 * weights * tokens * 0.5
    assert 0 < found["reached"]["clip"] < 1.5


def test_diffusers_computes_the_same_beside_us(pipe: Pipeline) -> None:
    found = beside_diffusers(pipe, 2)
    assert found["float32"]["apart"] < 1e-5
    assert found["float32"]["times_as_fast"] > 0


def test_the_page_says_what_was_measured(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overcrank.bench.clips.AXES", {"threads": [{"threads": 1}]})
    report: dict[str, Any] = {
        "model": "nano",
        "date": "2026-11-23",
        "load": [0.5, 1.5],
        "machine": {"processor": "Some", "threads": 2, "dtype": "float32", "torch": "2"},
        "clips": sweep(pipe, 1, lambda *_: None),
        "work": shares(pipe, 1),
        "beside": beside_diffusers(pipe, 1),
    }
    text = page(report)
    for said in ("`overcrank bench nano`, 2026-11-23", "| all (own) |", "| 1 |", "| float32 |"):
        assert said in text


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--rounds", "0"], "at least 1"), (["-o", "/nowhere/speed.md"], "cannot be written")],
)
def test_what_cannot_be_measured_or_written_is_refused_at_once(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["bench", *words])
    assert end.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_writes_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("overcrank.bench.clips.AXES", {"steps": [{"steps": 1}]})
    with pytest.raises(SystemExit) as end:
        main(["bench", "-o", str(tmp_path / "speed.md"), "--rounds", "1", "--json"])
    assert end.value.code == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["model"] == "pocket"
    assert (tmp_path / "speed.md").read_text() == page(report)
