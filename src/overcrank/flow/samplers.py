"""Samplers: from noise to data along a velocity field."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

VelocityFn = Callable[[Tensor, Tensor], Tensor]
"""(x, sigma) -> v, all a sampler knows of a network.

sigma broadcasts against x[..., 0]: one clock for each token.
"""


def euler(
    velocity: VelocityFn,
    x: Tensor,
    sigmas: Tensor,
    *,
    cap: Tensor | float = 1.0,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Walk x from sigmas[0] down to sigmas[-1]; levels descend.

    A token's clock is the smaller of the level and its cap (1 - strength of its condition):
    a token with cap 0 stays clean and never moves, one with cap 0.3 sets out when the level
    falls below 0.3. A cap broadcasts against x[..., 0]; with a number, or no cap, the velocity
    function is given one clock for each sample. `on_step(step, x)` is called after each step and
    may raise to cancel. Source: LTX-Video, arXiv:2501.00103, section 2.3 (per-token levels).
    """
    one_clock = (x.shape[0],) + (1,) * (x.ndim - 2)
    caps = torch.as_tensor(cap, dtype=sigmas.dtype, device=x.device)
    caps = caps.expand(one_clock if caps.ndim == 0 else x.shape[:-1])
    clocks = [torch.minimum(level, caps) for level in sigmas.to(x.device)]
    for step, (now, after) in enumerate(pairwise(clocks)):
        x = x + (after - now)[..., None] * velocity(x, now)
        if on_step is not None:
            on_step(step, x)
    return x
