"""Training on several processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from overcrank.data.crops import Crops
from overcrank.errors import RequestError
from overcrank.train.workers import Workers

AVERAGE = """
import torch
from overcrank.train import join_workers

with join_workers() as workers:
    module = torch.nn.BatchNorm1d(3)
    module.weight.grad = torch.arange(3.0) + workers.rank
    module.running_mean.fill_(4.0 * workers.rank)
    if workers.rank == 1:
        module.bias.grad = torch.ones(3)
    workers.join(module)
    assert module.bias.grad.tolist() == [1.0] * 3, "one process had none"
    assert module.weight.grad.tolist() == [1.0, 3.0, 5.0], module.weight.grad
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


def test_a_batch_is_divided_among_processes_and_their_parts() -> None:
    batch = Crops(torch.arange(7), torch.arange(7) > 2)
    one, two = (list(Workers(rank, 2).parts(batch)) for rank in range(2))
    assert [part.batch.frames.tolist() for part in one + two] == [[0, 2, 4, 6], [1, 3, 5]]
    assert two[0].batch.actors.tolist() == [False, True, True]
    assert [part.share for part in one + two] == [4 / 7, 3 / 7]
    alone = list(Workers().parts(batch, 2))
    assert [part.batch.frames.tolist() for part in alone] == [[0, 2, 4, 6], [1, 3, 5]]
    assert [part.number for part in alone] == [0, 1]
    three = [part for rank in range(3) for part in Workers(rank, 3).parts(batch, 2)]
    assert [part.number for part in three] == list(range(6))
    assert sum(part.share for part in three) == pytest.approx(1)
    with pytest.raises(RequestError, match="got 7 samples for 8 parts .4 processes, accumulate 2"):
        list(Workers(0, 4).parts(batch, 2))


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
