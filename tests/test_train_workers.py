"""Training on several processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from overcrank.data.crops import Crops
from overcrank.train.workers import Workers

AVERAGE = """
import torch
from overcrank.train import join_workers

with join_workers() as workers:
    module = torch.nn.BatchNorm1d(3)
    module.weight.grad = torch.arange(3.0) + workers.rank
    module.running_mean.fill_(4.0 * workers.rank)
    workers.average(module)
    assert module.bias.grad is None
    assert module.weight.grad.tolist() == [0.5, 1.5, 2.5], module.weight.grad
    assert module.running_mean.tolist() == [2.0] * 3
    assert workers.any(workers.rank == 1)
    assert not workers.any(False)
"""
RUN = """
kind: vae
preset: nano
steps: 3
stages: [{start: 0, frames: 9, size: 32, batch: 4}]
optim: {lr: 1.0e-3, warmup: 0}
precision: float32
log_every: 1
save_every: 3
"""


def torchrun(*command: str) -> None:
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, *command], check=False, capture_output=True, text=True, env=alone
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_two_workers_share_the_samples_of_a_batch() -> None:
    batch = Crops(torch.arange(5), torch.arange(5) > 2)
    parts = [Workers(rank, 2).part(batch) for rank in range(2)]
    assert [part.frames.tolist() for part in parts] == [[0, 2, 4], [1, 3]]
    assert parts[1].actors.tolist() == [False, True]
    assert Workers().part(batch) is batch


@pytest.mark.slow
def test_workers_average_gradients_and_buffers(tmp_path: Path) -> None:
    (tmp_path / "average.py").write_text(AVERAGE)
    torchrun(str(tmp_path / "average.py"))


@pytest.mark.slow
def test_two_workers_leave_one_run(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RUN)
    script = str(Path(sys.executable).with_name("overcrank"))
    where = ("-o", str(tmp_path / "run"), "--threads", "1")
    torchrun("--no-python", script, "train", str(tmp_path / "run.yaml"), *where)
    log = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2, 3, 3]
    assert (tmp_path / "run" / "vae.safetensors").exists()
