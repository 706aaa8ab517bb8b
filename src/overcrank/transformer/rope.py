"""Rotary embedding of space-time coordinates, and the embedding of the noise level.

Axes: B batch, N video tokens, P pairs (D / 2), X coordinate axes (3).
"""

import math

import torch
from torch import Tensor

SIGMA_SCALE = 1000.0
SIGMA_FEATURES = 256
_SIGMA_PERIOD = 10000.0


def rotation_table(
    positions_BNX: Tensor, width: int, theta: float, max_position: tuple[float, float, float]
) -> Tensor:
    """(cos, sin) for every pair of the width, float32 (B, N, P, 2).

    Pair 3i + axis turns by theta^(i / (n - 1)) * pi / 2 * (2 * position / max_position - 1),
    n = width // 6; the width that is left over stands in front and does not turn.
    Source: LTX-Video, arXiv:2501.00103, section 2.2 (fractional coordinates, exponential
    frequencies); Su et al., arXiv:2104.09864, for the rotation.
    """
    device = positions_BNX.device
    each_axis = width // 6
    # Angles reach thousands of turns: nothing below float32 will do.
    exponents = torch.linspace(0, 1, each_axis, dtype=torch.float32, device=device)
    frequencies = theta**exponents * (math.pi / 2)
    ends_X = torch.tensor(max_position, dtype=torch.float32, device=device)
    fraction_BNX = positions_BNX.float() / ends_X * 2 - 1
    angles_BNP = (frequencies[:, None] * fraction_BNX[..., None, :]).flatten(-2)
    angles_BNP = torch.nn.functional.pad(angles_BNP, (width // 2 - 3 * each_axis, 0))
    return torch.stack((angles_BNP.cos(), angles_BNP.sin()), dim=-1)


def sigma_features(sigma: Tensor) -> Tensor:
    """[cos, sin] of sigma at 128 frequencies, float32 (..., 256); sigma in [0, 1].

    Source: Vaswani et al., arXiv:1706.03762, section 3.5, with positions 1000 * sigma.
    """
    half = SIGMA_FEATURES // 2
    exponents = torch.arange(half, dtype=torch.float32, device=sigma.device) / half
    angles = (
        sigma.float()[..., None] * SIGMA_SCALE * torch.exp(-math.log(_SIGMA_PERIOD) * exponents)
    )
    return torch.cat((angles.cos(), angles.sin()), dim=-1)
