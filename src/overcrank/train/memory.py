"""Training what does not fit: the inside of a network's stages is forgotten and computed again.

A network knows nothing of it. Its stages are the members of its lists of modules: the blocks of a
transformer, the stages of an encoder or decoder, one after another.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
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
