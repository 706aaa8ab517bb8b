"""Samplers: from noise to data along a velocity field."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from overcrank.flow.path import data_from, mix

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
    before_step: Callable[[int, float, Tensor], Tensor] | None = None,
    fresh_noise: Callable[[int], Tensor] | None = None,
    on_step: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Walk x from sigmas[0] down to sigmas[-1]; levels descend.

    A token's clock is the smaller of the level and its cap (1 - strength of its condition):
    a token with cap 0 stays clean and never moves, one with cap 0.3 sets out when the level
    falls below 0.3. A cap broadcasts against x[..., 0]; with a number, or no cap, the velocity
    function is given one clock for each sample. `on_step(step, x, data)` is called after each
    step, with the data that its velocity pointed at, and may raise to cancel; `before_step(step,
    level, x)` gives the x that a step begins with, at the level of the schedule. Source:
    LTX-Video, arXiv:2501.00103, section 2.3 (per-token levels).

    With `fresh_noise(step)`, standard normal and shaped like x, a token that moves goes to the
    data that its velocity points at, and from there to the next level with that noise: the
    stochastic sampling of distilled models (Song et al., arXiv:2303.01469, algorithm 1).
    """
    one_clock = (x.shape[0],) + (1,) * (x.ndim - 2)
    caps = torch.as_tensor(cap, dtype=sigmas.dtype, device=x.device)
    caps = caps.expand(one_clock if caps.ndim == 0 else x.shape[:-1])
    clocks = [torch.minimum(level, caps) for level in sigmas.to(x.device)]
    for step, (now, after) in enumerate(pairwise(clocks)):
        if before_step is not None:
            x = before_step(step, float(sigmas[step]), x)
        v = velocity(x, now)
        data = data_from(x, v, now[..., None])
        if fresh_noise is None:
            x = x + (after - now)[..., None] * v
        else:
            moved = mix(data, fresh_noise(step).to(x), after[..., None])
            x = torch.where((after < now)[..., None], moved, x)
        if on_step is not None:
            on_step(step, x, data)
    return x
