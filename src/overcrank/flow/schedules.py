"""Noise schedules: the levels a sampler visits, from pure noise down.

Each schedule gives steps + 1 float32 levels, falling from 1 to `end`: a sampler walks along the
pairs. An `end` above 0 squeezes the whole schedule into [end, 1]; models whose decoder takes the
last denoising step stop there.
"""

import math

import torch
from torch import Tensor

_LEAST_TOKENS, _LEAST_SHIFT = 1024, 0.95
_MOST_TOKENS, _MOST_SHIFT = 4096, 2.05


def uniform(steps: int, *, end: float = 0.0) -> Tensor:
    """Levels at equal distances."""
    return with_end(_uniform(steps), end)


def linear_quadratic(steps: int, *, threshold: float = 0.025, end: float = 0.0) -> Tensor:
    """The first half of the steps walks `threshold` in equal strides, the rest quadratically.

    Source: Polyak et al., "Movie Gen", arXiv:2410.13720, section 3.4.2; constants of LTX-Video.
    """
    slow = steps // 2
    fast = steps - slow
    if slow == 0:
        return with_end(_uniform(steps), end)
    lack = slow - threshold * steps
    square = lack / (slow * fast**2)
    line = threshold / slow - 2 * lack / fast**2
    index = torch.arange(steps, dtype=torch.float64)
    walked = torch.where(
        index < slow,
        threshold * index / slow,
        square * (index**2 + slow**2) + line * index,
    )
    return with_end(1 - walked, end)


def shifted(
    steps: int, *, tokens: float, terminal: float | None = None, end: float = 0.0
) -> Tensor:
    """Uniform levels moved towards noise, the further the more tokens a clip has.

    With `terminal`, the last level before the end is stretched to that value.
    Source: Esser et al., "Stable Diffusion 3", arXiv:2403.03206, section 5.3.2.
    """
    levels = _uniform(steps)
    levels = 1 / (1 + math.exp(-shift(tokens)) * (1 / levels - 1))
    if terminal is not None and steps > 1:
        levels = 1 - (1 - levels) * ((1 - terminal) / (1 - levels[-1]))
    return with_end(levels, end)


def shift(tokens: float) -> float:
    """Mean of the noise level's logit for clips of that many tokens; not clamped.

    Source: LTX-Video, arXiv:2501.00103, section 3.1; through (1024, 0.95) and (4096, 2.05).
    """
    slope = (_MOST_SHIFT - _LEAST_SHIFT) / (_MOST_TOKENS - _LEAST_TOKENS)
    return _LEAST_SHIFT + slope * (tokens - _LEAST_TOKENS)


def with_end(levels: Tensor, end: float = 0.0) -> Tensor:
    """Append 0 to descending positive levels and squeeze them all into [end, 1]."""
    closed = torch.cat((levels, levels.new_zeros(1)))
    return (end + (1 - end) * closed).float()


def _uniform(steps: int) -> Tensor:
    return torch.linspace(1, 1 / steps, steps, dtype=torch.float64)
