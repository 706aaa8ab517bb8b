"""The model that ships is as good as its card says."""

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

import overcrank
from overcrank.evaluate import QUICK, evaluate
from overcrank.evaluate.compare import changes

JUDGED = {
    *(f"text.adherence.clips.{name}" for name in ("colour", "shape", "motion", "ground", "count")),
    *("vae.psnr", "vae.psnr_actors", "vae.ssim"),
}


@pytest.mark.slow
def test_the_shipped_model_has_not_fallen_by_more_than_chance(tmp_path: Path) -> None:
    stored = files("overcrank.presets").joinpath("pocket/measured.json").read_text()
    measured = json.loads(stored)
    suite = replace(QUICK, questions=48, random=1, round_trips=12)
    pipe = overcrank.load("pocket")
    assert measured["hashes"] == dict(pipe.model.hashes)
    report = evaluate(pipe, tmp_path, suite=suite, parts=("text", "vae"))
    found = {".".join(change.first.path): change for change in changes(measured, report)}
    assert found.keys() >= JUDGED
    assert {name: found[name].verdict for name in JUDGED if found[name].verdict == "worse"} == {}
