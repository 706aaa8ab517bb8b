"""What each channel of a latent holds.

Axes: B batch, C channels, T H W cells.
"""

from typing import Any

import torch
from torch import Tensor

DEAD = 0.01
"""Standard deviation of a dead channel, in parts of the median one's, at most."""


class Channels:
    """Moments of each channel, clip after clip."""

    def __init__(self) -> None:
        self.count = 0
        self.powers = torch.zeros(4, 0, dtype=torch.float64)

    def add(self, latent_BCTHW: Tensor) -> None:
        """Take in the latents of some clips; all have the same channels."""
        values_CN = latent_BCTHW.detach().cpu().double().movedim(1, 0).flatten(1)
        sums_4C = torch.stack([values_CN.pow(power).sum(1) for power in (1, 2, 3, 4)])
        self.powers = sums_4C if self.count == 0 else self.powers + sums_4C
        self.count += values_CN.shape[1]

    def result(self) -> dict[str, Any]:
        """By channel: mean, std, kurtosis (3 for a Gaussian), and its share of all variance;
        `dead` counts those that hardly vary."""
        first, second, third, fourth = self.powers / self.count
        variance = (second - first**2).clamp(min=0)
        around = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
        std = variance.sqrt()
        return {
            "mean": first.tolist(),
            "std": std.tolist(),
            "kurtosis": (around / variance.square().clamp(min=1e-24)).tolist(),
            "share": (variance / variance.sum().clamp(min=1e-24)).tolist(),
            "dead": int((std <= DEAD * std.median()).sum()),
        }
