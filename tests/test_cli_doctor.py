"""overcrank doctor: what this machine can do, and what is missing."""

import json

import pytest

from overcrank.cli import doctor, main


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(["doctor", *words])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_it_says_what_clips_are_computed_with(capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads(told(capsys, "--json"))
    assert report["dtype"] in report["gigaflops"]
    assert all(speed > 1 for speed in report["gigaflops"].values())
    assert all(speed > 1 for speed in report.get("convolutions", {}).values())
    assert report["model"] == "pocket, ready"
    assert report["threads"] >= 1


def test_it_names_what_is_not_installed_and_what_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = doctor._installed
    monkeypatch.setattr(doctor, "_installed", lambda name: name != "gguf" and there(name))
    text = told(capsys)
    assert "not installed, for GGUF files: pip install 'gguf>=0.17'" in " ".join(text.split())
    assert "computes in" in text
