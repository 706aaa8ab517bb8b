"""`overcrank train` killed, terminated, or out of room, and then given again."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from nano_model import save_nano

RUN = """
kind: transformer
preset: nano
seed: 3
steps: 24
stages: [{{start: 0, frames: 9, size: 32, batch: 8}}]
vae: {model}/vae.safetensors
start_from: {model}/transformer.safetensors
latents: [{{clips: 128, frames: 9, size: 32, captions: 1, folder: {cache}}}]
conditions: {{first_frame: 0.3, own_levels: 0.3}}
optim: {{lr: 1.0e-2, warmup: 0}}
precision: float32
log_every: 1
save_every: 3
"""
STATE = "step-000024"


def start(folder: Path, change: str = "steps=24") -> subprocess.Popen[str]:
    """The command in a process group of its own."""
    script = str(Path(sys.executable).with_name("overcrank"))
    words = [script, "train", str(folder.parent / "run.yaml"), "-o", str(folder), "--set", change]
    return subprocess.Popen(
        [*words, "--threads", "1"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(run: subprocess.Popen[str], here: Callable[[], bool]) -> None:
    """Until it is so, or the run has ended."""
    while run.poll() is None and not here():
        time.sleep(0.001)


def kill(run: subprocess.Popen[str]) -> None:
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()


def lines(folder: Path) -> list[dict[str, float]]:
    log = folder / "metrics.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def tensors(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in (folder / "state" / STATE).glob("*.safetensors"):
        found |= load_file(path)
    return found


def assert_like_whole(folder: Path) -> None:
    whole = folder.parent / "whole"
    ours, right = tensors(folder), tensors(whole)
    assert ours.keys() == right.keys()
    assert [name for name in right if not torch.equal(ours[name], right[name])] == []
    logs = [
        [(x["step"], x.get("loss"), x.get("held_out_32_0.5")) for x in lines(f)]
        for f in (folder, whole)
    ]
    assert logs[0] == logs[1]
    left, there = (sorted(path.name for path in each.iterdir()) for each in (folder, whole))
    assert left == there, "nothing half-written stays"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that nothing happened to."""
    place = tmp_path_factory.mktemp("runs")
    model = save_nano(place / "model")
    (place / "run.yaml").write_text(RUN.format(model=model, cache=place / "cache"))
    run = start(place / "whole")
    _, said = run.communicate(timeout=300)
    assert run.returncode == 0, said
    return place


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_like_one_that_was_not(place: Path) -> None:
    folder, dice, kills = place / "killed", random.Random(time.time_ns()), []
    for during_saving in (False, True, True):
        done, wait = len(lines(folder)), dice.uniform(0, 0.5)
        run = start(folder)
        wait_for(run, lambda done=done: len(lines(folder)) > done + 1)
        if during_saving:
            wait_for(run, lambda: any(folder.glob("state/*.partial")))
            wait /= 50
        time.sleep(wait)
        assert run.poll() is None, "it was to be killed while it runs"
        kill(run)
        kills.append((round(wait, 3), [path.name for path in folder.glob("state/*")]))
    run = start(folder)
    _, said = run.communicate(timeout=300)
    assert run.returncode == 0, (said, kills)
    assert_like_whole(folder)


@pytest.mark.slow
def test_a_signal_to_all_of_its_processes_ends_a_run_after_a_step(place: Path) -> None:
    """As a cluster or `timeout` ends a job: those that prepare batches hear it too."""
    folder = place / "terminated"
    run = start(folder, "save_every=1000")
    wait_for(run, lambda: len(lines(folder)) > 4)
    os.killpg(run.pid, signal.SIGTERM)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 143, said
    step = int(lines(folder)[-1]["step"])
    assert f"stopped at step {step}" in said
    assert [path.name for path in folder.glob("state/*")] == [f"step-{step:06d}"]
    run = start(folder)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert torch.equal(
        *(tensors(place / name)["module.proj_out.weight"] for name in ("terminated", "whole"))
    )


@pytest.mark.slow
def test_a_full_disk_ends_a_run_in_words_and_it_goes_on_when_there_is_room(place: Path) -> None:
    folder = place / "full"
    run = start(folder)
    wait_for(run, lambda: any(folder.glob("state/step-000003/state.json")))
    # As a full disk: the system refuses this process files of more than 64 KiB.
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
    _, said = run.communicate(timeout=120)
    assert run.returncode == 1, said
    assert "got " in said
    assert "make room" in said
    assert "Traceback" not in said
    assert [path.suffix for path in folder.glob("state/*")] == [""]
    run = start(folder)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert_like_whole(folder)


@pytest.mark.slow
def test_a_signal_to_all_of_its_processes_ends_a_run_that_makes_its_latents(place: Path) -> None:
    cache = place / "other"
    latents = f"latents=[{{clips: 8192, frames: 9, size: 32, captions: 1, folder: {cache}}}]"
    run = start(place / "early", latents)
    wait_for(run, lambda: any(cache.glob("*.safetensors")))
    os.killpg(run.pid, signal.SIGTERM)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 143, said
    assert "Traceback" not in said
