"""One run on several processes: each takes its part of every batch, and gradients are averaged.

On a CPU two processes of one thread each get more done than one of two threads:

    torchrun --nproc-per-node 2 --no-python overcrank train pocket-transformer --threads 1
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

BatchT = TypeVar("BatchT")


@dataclass(frozen=True, slots=True)
class Workers:
    """The processes of a run; this one is number `rank` of `count`."""

    rank: int = 0
    count: int = 1

    def part(self, batch: BatchT) -> BatchT:
        """Every `count`-th sample of a dataclass of tensors whose first axis counts samples."""
        if self.count == 1:
            return batch
        given: Any = batch
        parts = {f.name: getattr(given, f.name)[self.rank :: self.count] for f in fields(given)}
        mine: BatchT = replace(given, **parts)
        return mine

    @torch.no_grad()
    def average(self, module: nn.Module) -> None:
        """Replace gradients and buffers by their mean over the processes."""
        if self.count == 1:
            return
        tensors: list[Tensor] = [p.grad for p in module.parameters() if p.grad is not None]
        tensors += [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        flat = torch.cat([tensor.flatten().float() for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.count
        sizes = [tensor.numel() for tensor in tensors]
        for tensor, mean in zip(tensors, flat.split(sizes), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def any(self, mine: bool) -> bool:
        """Whether it is so in any of the processes."""
        if self.count == 1:
            return mine
        flag = torch.tensor(float(mine))
        dist.all_reduce(flag)
        return bool(flag)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier()


ALONE = Workers()


@contextmanager
def join_workers() -> Iterator[Workers]:
    """The processes that `torchrun` started, or this one alone."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield ALONE
        return
    dist.init_process_group("gloo")
    try:
        yield Workers(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
