"""One run on several processes: each takes its part of every batch, and gradients are averaged.

On a CPU two processes of one thread each get more done than one of two threads:

    torchrun --nproc-per-node 2 --no-python overcrank train pocket-transformer --threads 1

With `shard: true` each process also keeps a part of the weights only (`memory.py`).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any, Generic, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from overcrank.errors import RequestError
from overcrank.train.memory import local

BatchT = TypeVar("BatchT")


@dataclass(frozen=True, slots=True)
class Part(Generic[BatchT]):
    """Some samples of a batch, which are computed at once."""

    number: int
    """Among the parts of all processes."""
    share: float
    """Of the batch's samples."""
    batch: BatchT


@dataclass(frozen=True, slots=True)
class Workers:
    """The processes of a run; this one is number `rank` of `count`."""

    rank: int = 0
    count: int = 1

    def parts(self, batch: BatchT, each: int = 1) -> Iterator[Part[BatchT]]:
        """The parts of a batch that are this process's, `each` for every process.

        The batch is a dataclass of tensors whose first axis counts samples; the n-th of N parts
        has every N-th sample, from the n-th on. Raises RequestError if there are too few.
        """
        given: Any = batch
        tensors = {field.name: getattr(given, field.name) for field in fields(given)}
        samples, of = len(next(iter(tensors.values()))), self.count * each
        if samples < of:
            raise RequestError(
                f"a batch cannot be divided: got {samples} samples for {of} parts "
                f"({self.count} processes, accumulate {each}): make batches larger, or have fewer"
            )
        for number in range(self.rank * each, (self.rank + 1) * each):
            mine = {name: tensor[number::of] for name, tensor in tensors.items()}
            share = len(range(number, samples, of)) / samples
            yield Part(number, share, replace(given, **mine))

    @torch.no_grad()
    def join(self, module: nn.Module) -> None:
        """Replace gradients by their sum over the processes, and buffers by their mean.

        A parameter that has a gradient in one process has one in all of them. Those of weights
        that are spread have been added up on the way.
        """
        if self.count == 1:
            return
        whole = [p for p in module.parameters() if p.requires_grad and local(p) is p]
        has_one = self.sum(torch.tensor([float(p.grad is not None) for p in whole])).tolist()
        used = [p for p, somewhere in zip(whole, has_one, strict=True) if somewhere]
        for parameter in used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        tensors = [*(p.grad for p in used if p.grad is not None), *buffers]
        if tensors:
            flat = self.sum(torch.cat([tensor.flatten().float() for tensor in tensors]))
            sums = flat.split([tensor.numel() for tensor in tensors])
            for tensor, total in zip(tensors, sums, strict=True):
                tensor.copy_(total.view_as(tensor))
        for buffer in buffers:
            buffer.div_(self.count)

    @torch.no_grad()
    def norm(self, module: nn.Module) -> Tensor:
        """Of the whole gradient, after `join`."""
        grads = [p.grad for p in module.parameters() if p.grad is not None]
        whole = nn.utils.get_total_norm([grad for grad in grads if local(grad) is grad])
        mine = nn.utils.get_total_norm([local(grad) for grad in grads if local(grad) is not grad])
        if len(grads) == 0 or all(local(grad) is grad for grad in grads):
            return whole
        return torch.sqrt(self.sum(mine.square()) + whole.square().to(mine.device))

    def sum(self, mine: Tensor) -> Tensor:
        """Over the processes, in place."""
        if self.count > 1:
            dist.all_reduce(mine)
        return mine

    def any(self, mine: bool) -> bool:
        """Whether it is so in any of the processes."""
        return bool(self.sum(torch.tensor(float(mine))))

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
    mine = int(os.environ["LOCAL_RANK"])
    each_has_a_gpu = torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"])
    if each_has_a_gpu:
        torch.cuda.set_device(mine)
    backend = "cpu:gloo,cuda:nccl" if each_has_a_gpu else "gloo"
    dist.init_process_group(backend, timeout=timedelta(hours=2))  # while the first one evaluates
    try:
        yield Workers(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
