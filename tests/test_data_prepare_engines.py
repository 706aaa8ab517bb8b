"""Preparing with several processes and with Ray: the same comes out, and crashes are survived."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch import Tensor

from overcrank.data.prepare import prepare
from overcrank.errors import RequestError
from test_data_prepare import everything, manifest, pan, redness, video, write_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_source(tmp_path)


def crash(frames_FHW3: Tensor) -> float:
    """A scorer that ends its process at red clips, as a broken decoder would."""
    if redness(frames_FHW3) > 230:
        os.abort()
    return 0.0


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_what_comes_out_does_not_depend_on_the_engine_nor_on_a_crash(
    engine: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else the last to get a busy machine
    one, two = tmp_path / "one", tmp_path / "two"
    prepare(folder, one, scorer=crash)
    fatal = pan(6).clone()
    fatal[..., 0] = 250
    video(folder / "b.mp4", fatal)
    told: list[int] = []
    prepare(
        folder,
        two,
        scorer=crash,
        engine=engine,
        processes=2,
        on_file=lambda files, *_: told.append(files),
    )
    lines = manifest(two)
    assert lines.pop(2) == {
        "source": "b.mp4",
        "reason": "unreadable",
        "detail": "the decoder crashed",
    }
    assert lines == manifest(one)
    for name in ("clips-000000.tar", "contact-sheet.webp"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert (told[0], told[-1]) == (0, 4)


@pytest.mark.slow
def test_a_run_that_was_killed_ends_with_the_same_bytes(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    for seed in range(6):
        video(source / f"{seed}.mp4", pan(seed, frames=40))
    prepare(source, tmp_path / "whole")
    code = f"from overcrank.data.prepare import prepare\nprepare({str(source)!r}, {str(out)!r})"
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while len(list(out.glob(".parts/*/record.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "prepare.json").exists()
    first: list[int] = []
    prepare(source, out, on_file=lambda files, *_: first.append(files))
    assert 2 <= first[0] < 6
    assert everything(out) == everything(tmp_path / "whole")


def test_without_ray_the_refusal_says_how_to_get_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RequestError, match=r"not installed, got ray \(.*\): pip install"):
        prepare(folder, tmp_path / "out", engine="ray")
    assert not (tmp_path / "out").exists()
