"""A server that is killed at any moment finishes what it was asked for, to the same bytes."""

import os
import random
import signal
from pathlib import Path
from time import sleep

import pytest

from nano_model import save_nano
from serving import serving

pytestmark = pytest.mark.slow

JOBS = [{"seed": seed, "num_frames": 8 * 80 + 1, "steps": 150} for seed in range(5)]
KILLS = 20


def test_a_server_killed_twenty_times_makes_the_same_files(tmp_path: Path) -> None:
    nano = save_nano(tmp_path / "nano")
    with serving(nano, tmp_path / "calm") as server:
        names = [server.post(**job)["id"] for job in JOBS]
        assert [server.wait(name)["status"] for name in names] == ["completed"] * len(names)
        spent = max(server.get(name)["report"]["seconds"]["total"] for name in names)
    clips = tmp_path / "calm" / "clips"
    wanted = [(clips / name / "clip.mp4").read_bytes() for name in names]

    dice, folder, names, stages = random.Random(0), tmp_path / "wild", [], []
    for kill in range(KILLS + 1):
        with serving(nano, folder) as server:
            if kill % (KILLS // len(JOBS)) == 0 and len(names) < len(JOBS):
                names.append(server.post(**JOBS[len(names)])["id"])
            if kill == KILLS:
                last = [server.wait(name) for name in names]
                break
            sleep(dice.uniform(0, spent / 2))
            stages.append([server.get(name)["stage"] for name in names])
            os.killpg(server.process.pid, signal.SIGKILL)
    assert [job["status"] for job in last] == ["completed"] * len(JOBS)
    got = [(folder / "clips" / name / "clip.mp4").read_bytes() for name in names]
    assert got == wanted
    kept = {"clip.mp4", "thumbnail.webp", "spritesheet.webp", "preview.webp"}
    for name in names:
        assert {file.name for file in (folder / "clips" / name).iterdir()} <= kept
    assert {"denoising", "decoding"} <= {stage for each in stages for stage in each}
