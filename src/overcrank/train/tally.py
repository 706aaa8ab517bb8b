"""What a step of a run takes: operations and memory counted, seconds measured on this machine.

Counted are tensors without numbers (torch's fake tensors), so that networks of any size take
seconds. For the time a small model takes a few real steps; for a large one matrices as wide as
its own are multiplied.
"""

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import flop_registry

from overcrank.runtime import Hardware
from overcrank.train.config import RunConfig, Stage
from overcrank.train.rehearse import Architecture, Loss, Rehearsal, rehearse

SMALL = 100_000_000
"""Parameters of a model that is timed by real steps."""
SHORT = 2e11
"""Operations of a step of one clip, at most, for real steps: a second or two of a slow core."""
ENOUGH = 2.0
"""Seconds of a step that is timed, at most about: small batches take longer than their share."""
FEW_LAYERS = (2, 3)
"""What more layers cost is known from these two."""


def _attention(query_BANK: Tensor, key_BANK: Tensor, *_: object) -> int:
    """Two products of every query with every key."""
    return 4 * query_BANK.numel() * key_BANK.shape[-2]


def _attention_backward(_slope: Tensor, query_BANK: Tensor, key_BANK: Tensor, *_: object) -> int:
    """Five such products."""
    return 10 * query_BANK.numel() * key_BANK.shape[-2]


_ON_CPU: dict[Any, Callable[..., int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""What torch does not count of its own."""


def cost(
    config: RunConfig, architecture: Architecture, stage: Stage, hardware: Hardware
) -> tuple[float, int]:
    """Operations of a step and bytes of its activations; each layer more adds the same.

    A batch may be computed in parts, of which one is held at a time.
    """
    part = stage.model_copy(update={"batch": -(-stage.batch // config.accumulate)})
    times, (few, more) = stage.batch / part.batch, FEW_LAYERS
    if architecture.layers <= more:
        ops, kept = _counted(config, architecture, part, hardware)
        return times * ops, kept
    (ops, kept), (ops_more, kept_more) = (
        _counted(config, architecture.with_layers(layers), part, hardware) for layers in FEW_LAYERS
    )
    rest = architecture.layers - few
    return times * (ops + rest * (ops_more - ops)), kept + rest * (kept_more - kept)


def _counted(
    config: RunConfig, architecture: Architecture, stage: Stage, hardware: Hardware
) -> tuple[float, int]:
    operations, peak = 0.0, 0
    rehearsal = rehearse(config, architecture, hardware)
    with FakeTensorMode():
        rehearsal.fill(hardware.device)
        for share, loss in rehearsal.steps:
            taken = Taken(rehearsal)
            with taken:
                _step(loss, stage, hardware)
            taken.forget()
            operations += share * taken.operations
            peak = max(peak, taken.peak)
    return operations, peak


def _step(loss: Loss, stage: Stage, hardware: Hardware) -> None:
    mixed = hardware.dtype != torch.float32
    with torch.autocast(hardware.device.type, hardware.dtype, enabled=mixed, cache_enabled=False):
        value = loss(stage)
    value.backward()


class Taken(TorchDispatchMode):
    """Operations inside, and the most bytes at once of tensors that came to be there.

    Gradients of weights are left out. (torch's own counter of operations keeps tensors alive.)
    """

    def __init__(self, rehearsal: Rehearsal) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = self.now = self.peak = 0
        self._weights = [
            p for net in rehearsal.networks for p in (*net.parameters(), *net.buffers())
        ]
        self._sizes = dict.fromkeys(map(_key, self._weights), 0)
        self._hooks = [
            weight.register_post_accumulate_grad_hook(self._is_gradient)
            for weight in self._weights
            if weight.requires_grad
        ]

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        tree_map_only(Tensor, self._note, made)
        kind = func._overloadpacket  # type: ignore[attr-defined]
        if kind in _ON_CPU:
            self.operations += _ON_CPU[kind](*args)
        elif kind in flop_registry:
            self.operations += flop_registry[kind](*args, **kwargs, out_val=made)
        return made

    def forget(self) -> None:
        """Leave the networks as they were."""
        for hook in self._hooks:
            hook.remove()
        for weight in self._weights:
            weight.grad = None

    def _note(self, tensor: Tensor) -> None:
        storage, key = tensor.untyped_storage(), _key(tensor)
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self.now -= self._sizes.pop(key, 0)

    def _is_gradient(self, weight: Tensor) -> None:
        assert weight.grad is not None
        key = _key(weight.grad)
        self.now -= self._sizes.get(key, 0)
        self._sizes[key] = 0


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def speed(config: RunConfig, architecture: Architecture, hardware: Hardware) -> tuple[float, str]:
    """Operations a second, and how that is known."""
    smallest = min(config.stages, key=lambda stage: stage.pixels)
    one = smallest.model_copy(update={"batch": 1})
    operations, _ = cost(config, architecture, one, hardware)
    rehearsal = rehearse(config, architecture, hardware)
    count = sum(weight.numel() for net in rehearsal.networks for weight in net.parameters())
    if count > SMALL or operations > SHORT:
        return _multiplying(architecture, hardware), "products of matrices as wide as the network"
    rehearsal.fill(hardware.device)
    for network in rehearsal.networks:
        hardware.place(network)
    alone = _stepping(rehearsal, one, hardware)
    batch = max(1, min(smallest.batch, int(ENOUGH / alone)))
    few = smallest.model_copy(update={"batch": batch})
    seconds = alone if batch == 1 else _stepping(rehearsal, few, hardware)
    return (
        batch * operations / seconds,
        f"steps of {batch} clips of {few.frames} frames of {few.size} pixels",
    )


def _stepping(rehearsal: Rehearsal, stage: Stage, hardware: Hardware) -> float:
    """Seconds of a step, by the share of its kinds."""
    return sum(
        share * _seconds(partial(_step, loss, stage, hardware), hardware)
        for share, loss in rehearsal.steps
    )


def _multiplying(architecture: Architecture, hardware: Hardware) -> float:
    width = 1024 if architecture.transformer is None else architecture.transformer.width
    left = torch.randn(1024, width, device=hardware.device, dtype=hardware.dtype)
    right = torch.randn(width, 4 * width, device=hardware.device, dtype=hardware.dtype)
    return 2 * left.numel() * right.shape[1] / _seconds(lambda: left @ right, hardware)


def _seconds(run: Callable[[], object], hardware: Hardware) -> float:
    """The shorter of two calls, after one to warm up."""
    taken = []
    for _ in range(3):
        start = perf_counter()
        run()
        if hardware.device.type == "cuda":
            torch.cuda.synchronize(hardware.device)
        taken.append(perf_counter() - start)
    return min(taken[1:])
