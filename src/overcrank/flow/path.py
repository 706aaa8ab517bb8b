"""The straight path from data to noise, and what the network predicts on it.

    x = (1 - s) * data + s * noise         s is sigma, in [0, 1]; 1 is pure noise
    v = dx / ds = noise - data             the velocity

Rank-agnostic: `sigma` must broadcast against the data.
Source: Liu et al., "Flow Straight and Fast", arXiv:2209.03003, equation 1.
"""

from torch import Tensor


def mix(data: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
    """The point at noise level sigma."""
    return (1 - sigma) * data + sigma * noise


def velocity(data: Tensor, noise: Tensor) -> Tensor:
    """The velocity, the same along the whole path."""
    return noise - data


def data_from(x: Tensor, v: Tensor, sigma: Tensor | float) -> Tensor:
    """The data that a point x at noise level sigma with velocity v comes from."""
    return x - sigma * v
