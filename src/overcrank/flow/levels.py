"""Noise levels for training."""

import math

import torch
from torch import Tensor

from overcrank.flow.schedules import shift

_LOW_QUANTILE = -2.5758  # standard normal at 0.5 %
_HIGH_QUANTILE = 3.0902  # and at 99.9 %


def shifted_logit_normal(
    shape: int | tuple[int, ...],
    *,
    tokens: float,
    generator: torch.Generator,
    std: float = 1.0,
    uniform_share: float = 0.1,
    more: float = 0.0,
) -> Tensor:
    """Levels in [0, 1], float32: logit-normal around `shift(tokens) + more`, stretched to the ends.

    The distribution between its 0.5 % and 99.9 % quantiles is stretched to [0, 1], what lies
    below is folded back, what lies above is clamped; a share of the levels is uniform instead,
    so that no level is starved. On the generator's device.
    Source: LTX-Video, arXiv:2501.00103, section 3.1; Esser et al., arXiv:2403.03206, section 3.1.
    """
    least = 1e-3
    size = (shape,) if isinstance(shape, int) else shape
    device = generator.device
    mean = shift(tokens) + more
    low, high = _sigmoid(mean + std * _LOW_QUANTILE), _sigmoid(mean + std * _HIGH_QUANTILE)
    drawn = torch.sigmoid(mean + std * torch.randn(size, generator=generator, device=device))
    levels = (drawn - low) / (high - low)
    levels = torch.where(levels < least, 2 * least - levels, levels).clamp(0, 1)
    even = least + (1 - least) * torch.rand(size, generator=generator, device=device)
    chosen = torch.rand(size, generator=generator, device=device) < uniform_share
    return torch.where(chosen, even, levels)


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))
