"""Training what does not fit: stages are computed again, or their weights spread over processes.

A network knows nothing of it. Its stages are the members of its lists of modules: the blocks of a
transformer, the stages of an encoder or decoder, one after another.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint


def stages(module: nn.Module) -> Iterator[nn.Module]:
    """What a network's computation is made of; stages inside of a stage are part of it."""
    for child in module.children():
        yield from child if isinstance(child, nn.ModuleList) else stages(child)


def recompute(module: nn.Module) -> None:
    """Keep only what goes into each stage for the backward pass, at the price of a third more time.

    Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174.
    """
    for stage in stages(module):
        plain: Callable[..., Any] = stage.forward
        stage.forward = partial(_recomputed, plain)


def _recomputed(plain: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`plain(*args, **kwargs)`; the second time it draws the same random numbers."""
    generator: torch.Generator | None = kwargs.get("generator")

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), nullcontext() if generator is None else _rewound(generator)

    return checkpoint(plain, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def _rewound(generator: torch.Generator) -> AbstractContextManager[None]:
    before = generator.get_state()

    @contextmanager
    def again() -> Iterator[None]:
        now = generator.get_state()
        generator.set_state(before)
        try:
            yield
        finally:
            generator.set_state(now)

    return again()


def spread(module: nn.Module, count: int) -> None:
    """Keep a `count`-th of all weights in each process (FSDP2); gradients are added up.

    A stage is put together when it computes. A module without a computation of its own is called
    through its parts, so that those are spread; numbers without axes stay whole.
    Source: Zhao et al., "PyTorch FSDP", arXiv:2304.11277.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(next(module.parameters()).device.type, (count,))
    for parameter in module.parameters():
        parameter.data = parameter.data.contiguous()
    for network in _called(module):
        whole = {parameter for parameter in network.parameters() if parameter.ndim == 0}
        for part in (*stages(network), network):
            if any(parameter not in whole for parameter in part.parameters()):
                sharded = fully_shard(part, mesh=mesh, ignored_params=whole)
                sharded.set_gradient_divide_factor(1.0)
                sharded.set_force_sum_reduction_for_comms(True)


def _called(module: nn.Module) -> Iterator[nn.Module]:
    if type(module).forward is not nn.Module.forward:
        yield module
    else:
        for child in module.children():
            yield from _called(child)


def local(tensor: Tensor) -> Tensor:
    """What this process has of a tensor, not a copy; all of it if it is not spread."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gathered(tensor: Tensor) -> Tensor:
    """A copy of all of a tensor; of one that is spread, all processes take part."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.clone()
