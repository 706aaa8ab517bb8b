"""Two processes compute what one does, with all weights in each or spread over both (FSDP2)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nano_model import save_nano
from test_train_killed import RUN

CHANGES = ("steps=6", "log_every=1", "save_every=3")


def train(folder: Path, processes: int, *changes: str) -> None:
    """The run of `folder`'s parent; with `processes` parts of each batch, whoever computes them."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]
    launch = [*torchrun, "--nproc-per-node", str(processes)] if processes > 1 else []
    words = [*launch, str(Path(sys.executable).with_name("overcrank")), "train"]
    words += [str(folder.parent / "run.yaml"), "-o", str(folder), "--threads", "1"]
    for change in (*CHANGES, *changes, f"accumulate={2 // processes}"):
        words += ["--set", change]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=alone, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def log_of(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kept = ("step", "loss", "norm", "held_out_32_0.5")
    return [{name: line[name] for name in kept if name in line} for line in lines]


def assert_same_run(folder: Path, other: Path) -> None:
    """To the five digits that are logged, and the rounding of exported weights (float16)."""
    ours, right = log_of(folder), log_of(other)
    assert [line.keys() for line in ours] == [line.keys() for line in right]
    for mine, line in zip(ours, right, strict=True):
        assert mine == pytest.approx(line, rel=1e-5, abs=2e-5)
    exported = [load_file(path / "transformer.safetensors") for path in (folder, other)]
    assert exported[0].keys() == exported[1].keys()
    for name, tensor in exported[1].items():
        torch.testing.assert_close(exported[0][name], tensor, rtol=2e-3, atol=2e-4)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of one process, in two parts a step."""
    place = tmp_path_factory.mktemp("runs")
    model = save_nano(place / "model")
    (place / "run.yaml").write_text(RUN.format(model=model, cache=place / "cache"))
    train(place / "alone", 1)
    return place


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["shard=false", "shard=true"])
def test_two_processes_compute_what_one_does(place: Path, shard: str) -> None:
    train(place / shard, 2, shard, "recompute=true")
    assert_same_run(place / shard, place / "alone")


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_another_number_of_processes_goes_on(place: Path, first: int, then: int) -> None:
    folder = place / f"{first} then {then}"
    train(folder, first, "shard=true", "steps=3")
    train(folder, then, "shard=true")
    assert_same_run(folder, place / "alone")
    files = [path.name[:11] for path in (folder / "state" / "step-000006").glob("*.safetensors")]
    assert sorted(files) == [f"shard-{rank + 1:05d}" for rank in range(then)]
