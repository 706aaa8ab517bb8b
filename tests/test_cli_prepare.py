"""overcrank prepare: flags, what it prints, exit codes."""

import json
from pathlib import Path

import pytest

from command_line import overcrank
from test_data_prepare import manifest, pan, video


def test_prepare_prints_what_it_kept_and_why_not(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    video(source / "a.mp4", pan(1), pan(2, frames=3))
    done = overcrank("prepare", source, out, "--min_seconds", "1")
    assert (done.code, done.err) == (0, "files 0 of 1\nfiles 1 of 1\n")
    assert done.out.splitlines() == [
        f"{out}: 1 clips, 1.2 seconds, from 1 files",
        "dropped: 1 too short",
        "note: 1 clips have no caption",
    ]
    again = overcrank("prepare", source, out, "--json")
    assert (again.code, json.loads(again.out)["kept"]) == (0, 1)


def test_every_flag_reaches_the_settings(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    video(source / "a.mp4", pan(1, frames=20), rate=20)
    flags = (
        "--min-seconds 0.1 --max-seconds 0.4 --min-side 8 --max-side 32 --min-fps 1 --max-fps 10"
    )
    more = "--min-motion 1 --scorer test_data_prepare:redness --min-score 2 --shard-mib 3"
    judge = ("--scorer", "test_data_prepare:redness")
    done = overcrank("prepare", source, out, *flags.split(), *more.split(), *judge, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["settings"] == {
        "min_seconds": 0.1,
        "max_seconds": 0.4,
        "min_side": 8,
        "max_side": 32,
        "min_fps": 1.0,
        "max_fps": 10.0,
        "min_motion": 1.0,
        "min_score": 2.0,
        "require_captions": False,
        "shard_mib": 3,
    }
    lines = manifest(out)
    assert [(line["frames"], line["height"]) for line in lines] == [(4, 32), (4, 32), (2, 32)]
    assert all(line["score"] > 2 for line in lines)


@pytest.mark.parametrize(
    "words",
    [
        ("missing", "out"),
        ("source", "source/out"),
        ("source", "out", "--min-side", "-1"),
        ("source", "out", "--min-side", "many"),
        ("source", "out", "--processes", "0"),
        ("source", "out", "--scorer", "nowhere:score"),
        ("source", "out", "--scorer", "math:pi"),
        ("source", "out", "--engine", "threads"),
    ],
)
def test_requests_that_cannot_be_end_with_2_and_write_nothing(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    video(tmp_path / "source" / "a.mp4", pan(1))
    done = overcrank("prepare", *words)
    assert done.code == 2, done
    assert "got" in done.err
    assert "Traceback" not in done.err
    assert [file.name for file in tmp_path.rglob("*")] == ["source", "a.mp4"]
