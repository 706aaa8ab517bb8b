"""overcrank bench: clips timed in turns, operations counted, a peer beside us."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from nano_model import DEFAULTS, nano_model
from overcrank.bench import Record, Setting, Sweep, own, page, pictures
from overcrank.bench.clips import clip, settings, warm
from overcrank.bench.growth import exponent
from overcrank.bench.record import Task
from overcrank.bench.work import operations
from overcrank.cli import main
from overcrank.errors import MediaError
from overcrank.pipeline import Pipeline
from overcrank.text import SmallEncoder

FEW = {"threads": [{"threads": 1}], "frames": [{"frames": 9}, {"frames": 17}, {"frames": 25}]}
ABOUT = {"command": "overcrank bench nano", "overcrank": "0", "weights": "vae 123"}
MACHINE = {"processor": "Some", "threads": 2, "dtype": "float32", "torch": "2"}


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    defaults = replace(DEFAULTS, frames=17, height=64, width=64, steps=2)
    model = replace(nano_model(384), open_text_encoder=SmallEncoder, defaults=defaults)
    return Pipeline(model, device="cpu", dtype="float32")


def started(path: Path, base: Setting) -> Record:
    return Record(path, {**ABOUT, "machine": MACHINE, "base": asdict(base)})


def test_a_run_that_is_stopped_goes_on_until_every_setting_has_its_turns(
    pipe: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overcrank.bench.clips.AXES", FEW)
    base, done, calls = own(pipe), None, 0
    while done is None:
        record = started(tmp_path / "speed.json", base)
        sweep = Sweep(pipe, base, 2)
        done = record.take(sweep.tasks(record), sweep.total, 0.2 * calls, lambda *_: None)
        calls += 1
    assert calls > 2
    record.session(date="2026-11-23", load=[0.5, 1.5])
    counts = {name: len(taken) for name, taken in record.samples.items()}
    names = ("own", "threads=1", "frames=9", "frames=25")
    assert counts == {
        **dict.fromkeys(("operations", "kinds", *(f"memory {name}" for name in names)), 1),
        **dict.fromkeys((*names, "peak float32", "beside"), 2),
    }
    text = page(record.data, "pictures")
    for said in (
        "| realtime factor | **",
        "| 1 |",
        "| all |",
        "grow with the power",
        "| float32 |",
    ):
        assert said in text
    drawn = pictures(record.data)
    assert list(drawn) == ["speed-frames.svg"]
    assert "![seconds and memory over frames](pictures/speed-frames.svg)" in text
    ElementTree.fromstring(drawn["speed-frames.svg"])


def test_a_clip_is_timed_from_outside_of_its_stages(pipe: Pipeline) -> None:
    taken = clip(pipe, own(pipe), 1)
    stages = sum(value for name, value in taken.items() if name.startswith("stage_"))
    assert stages <= taken["seconds"] < 2 * stages + 0.5
    assert 0 < taken["first_frame"] < taken["first_frames"] < taken["seconds"]


def test_each_setting_has_a_text_that_no_cache_knows(pipe: Pipeline) -> None:
    encoder = pipe.model.text_encoder
    assert encoder is not None
    before = len(encoder)
    for setting in (own(pipe), replace(own(pipe), threads=1)):
        for turn in (11, 12):
            clip(pipe, setting, turn)
    assert len(encoder) == before + 4


def test_the_peak_of_memory_is_that_of_one_clip(pipe: Pipeline) -> None:
    large = warm(pipe, replace(own(pipe), height=512, width=512))
    small = warm(pipe, own(pipe))
    if large is None or small is None:
        pytest.skip("this system does not tell it")
    assert 1e8 < small < large


def test_operations_are_those_of_matrices_and_attention(pipe: Pipeline) -> None:
    setting = replace(own(pipe), frames=25, height=256, width=256, steps=3, guidance=1.0)
    found, network = operations(pipe, setting), pipe.transformer
    tokens, config = 4 * 8 * 8, network.config
    blocks = sum(
        parameter.numel()
        for name, parameter in network.transformer_blocks.named_parameters()
        if name.endswith("weight")
        and parameter.ndim == 2
        and ".attn2.to_k" not in name
        and ".attn2.to_v" not in name
    )
    at_least = 2 * tokens * blocks + config.layers * 4 * tokens**2 * config.width
    assert at_least < found["denoise"] / 3 < 1.3 * at_least
    assert found["clip"] == found["denoise"] + found["decode"]
    assert found["decode"] > 0


def test_a_setting_that_is_the_base_is_not_timed_twice() -> None:
    base = Setting(frames=121, height=256, width=256, steps=4)
    found = settings(base)
    assert [name for name, (_, setting) in found.items() if setting == base] == ["own"]
    assert {"steps=1", "steps=8", "frames=1001", "height=512 width=512"} <= found.keys()
    assert not {"steps=4", "frames=121", "height=256 width=256"} & found.keys()


def test_a_power_law_is_found_again() -> None:
    points = [(x, 3 * x**1.7) for x in (17.0, 49.0, 121.0, 1001.0)]
    assert exponent(points) == pytest.approx(1.7)
    assert exponent(points[:2]) is None


def test_measurements_of_something_else_are_refused(tmp_path: Path) -> None:
    path, base = tmp_path / "speed.json", Setting(frames=9, height=64, width=64, steps=2)

    def tasks() -> Iterator[Task]:
        yield Task("one", 0, lambda: 1)

    assert started(path, base).take(tasks(), 1, math.inf, lambda *_: None)
    assert started(path, base).samples == {"one": [1]}
    with pytest.raises(MediaError, match="something else"):
        started(path, replace(base, steps=3))
    path.write_text("[]")
    with pytest.raises(MediaError, match="no measurements"):
        started(path, base)


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
    monkeypatch.setattr("overcrank.bench.clips.AXES", {"steps": [{"steps": 2}]})
    words = ["--rounds", "1", "--steps", "1", "--guidance", "1", "--num-frames", "9", "--json"]
    with pytest.raises(SystemExit) as end:
        main(["bench", "-o", str(tmp_path / "speed.md"), *words])
    assert end.value.code == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert data["about"]["command"].endswith("--steps 1 --guidance 1")
    assert (tmp_path / "speed.md").read_text() == page(data, "pictures")
