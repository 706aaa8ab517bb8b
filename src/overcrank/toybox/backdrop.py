"""Grounds and skies: gentle, low in detail, each told from the others at a glance.

Colours are RGB in [0, 1]; `x` and `z` are ground coordinates, `u` and `v` screen coordinates.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

HORIZON = -0.05
"""Height of the horizon above the centre of the frame, in units."""

Rgb = tuple[float, float, float]


def _waves(x: Tensor, z: Tensor) -> Tensor:
    """Smooth noise in [-1, 1] of feature size about 1."""
    total = torch.zeros_like(x)
    for i in range(5):
        angle, rate = 2.4 * i, 3.1 + 1.7 * i
        across = math.cos(angle) * x + math.sin(angle) * z
        total += torch.sin(rate * across + 1.3 * torch.sin(1.9 * (x - z) + i)) / 5
    return total


def _mix(low: Rgb, high: Rgb, part: Tensor) -> Tensor:
    start, end = part.new_tensor(low), part.new_tensor(high)
    return start + (end - start) * part[..., None]


def _cells(x: Tensor, z: Tensor) -> Tensor:
    """A steady value in [0, 1) for each unit square."""
    return torch.frac(torch.sin(x.floor() * 12.9898 + z.floor() * 78.233) * 43.7585).abs()


def _grooves(x: Tensor, width: float) -> Tensor:
    """1 near whole numbers, 0 elsewhere."""
    return (1 - (x - x.round()).abs() / width).clamp_(0, 1)


def _wood(x: Tensor, z: Tensor) -> Tensor:
    board = z * 5
    tone = 0.55 + 0.45 * (_cells(torch.zeros_like(x), board) - 0.5)
    tone = tone + 0.10 * torch.sin(2.5 * x + 31 * z + 7 * tone) - 0.45 * _grooves(board, 0.06)
    return _mix((0.42, 0.26, 0.14), (0.80, 0.58, 0.36), tone.clamp_(0, 1))


def _stone(x: Tensor, z: Tensor) -> Tensor:
    tone = 0.5 + 0.5 * (_cells(x * 2.4, z * 2.4) - 0.5) + 0.12 * _waves(2 * x, 2 * z)
    lines = torch.maximum(_grooves(x * 2.4, 0.05), _grooves(z * 2.4, 0.05))
    return _mix((0.38, 0.39, 0.41), (0.66, 0.66, 0.67), (tone - 0.5 * lines).clamp_(0, 1))


def _checkers(x: Tensor, z: Tensor) -> Tensor:
    sharpness = 14.0
    product = torch.sin(math.pi * 2.8 * x) * torch.sin(math.pi * 2.8 * z)
    return _mix((0.47, 0.46, 0.50), (0.86, 0.84, 0.79), (0.5 + sharpness * product).clamp_(0, 1))


def _soft(low: Rgb, high: Rgb, rate: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, z: _mix(low, high, 0.5 + 0.5 * _waves(rate * x, rate * z))


def _sand(x: Tensor, z: Tensor) -> Tensor:
    ripples = torch.sin(16 * z + 2.2 * torch.sin(2.3 * x) + 1.5 * x)
    tone = 0.5 + 0.28 * ripples + 0.25 * _waves(x, z)
    return _mix((0.76, 0.63, 0.42), (0.92, 0.82, 0.61), tone.clamp_(0, 1))


def _carpet(x: Tensor, z: Tensor) -> Tensor:
    diamonds = (0.5 + 2.5 * torch.sin(9 * (x + z)) * torch.sin(9 * (x - z))).clamp_(0, 1)
    return _mix((0.80, 0.47, 0.60), (0.90, 0.62, 0.72), diamonds)


_GROUNDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "blue floor": _soft((0.34, 0.50, 0.74), (0.44, 0.61, 0.83), 0.8),
    "wooden floor": _wood,
    "grass": _soft((0.22, 0.44, 0.14), (0.47, 0.68, 0.29), 2.2),
    "sand": _sand,
    "checkered floor": _checkers,
    "grey stone": _stone,
    "snow": _soft((0.83, 0.88, 0.96), (0.97, 0.98, 1.0), 1.2),
    "pink carpet": _carpet,
}

_SKIES: dict[str, tuple[Rgb, Rgb]] = {
    "blue": ((0.80, 0.90, 0.97), (0.28, 0.55, 0.88)),
    "sunset": ((0.99, 0.74, 0.38), (0.62, 0.27, 0.45)),
    "night": ((0.17, 0.20, 0.36), (0.03, 0.04, 0.11)),
    "grey": ((0.80, 0.81, 0.82), (0.56, 0.58, 0.61)),
    "pink": ((0.99, 0.86, 0.84), (0.86, 0.58, 0.76)),
}
"""Colour at the horizon, colour at the top."""

LIGHTS: dict[str, Rgb] = {
    "blue": (1.0, 1.0, 0.98),
    "sunset": (1.0, 0.95, 0.87),
    "night": (0.82, 0.85, 0.95),
    "grey": (0.94, 0.95, 0.96),
    "pink": (1.0, 0.94, 0.96),
}
"""What each sky does to the colour of everything below it."""


def _sky(name: str, u: Tensor, v: Tensor, seed: int) -> Tensor:
    low, high = _SKIES[name]
    picture = _mix(low, high, ((v - HORIZON) / 0.62).clamp(0, 1))
    if name in ("blue", "grey", "pink"):
        clouds = (_waves(1.1 * u + 0.7 * seed, 3.2 * v + 0.3 * seed) * 1.5 - 0.25).clamp_(0, 0.55)
        return picture + (0.97 - picture) * clouds[..., None]
    at_u, at_v, radius = (0.7 * math.sin(seed), 0.36, 0.055)
    if name == "sunset":
        at_v, radius = 0.06, 0.13
    disc = ((radius - torch.hypot(u - at_u * 0.55, v - at_v)) * 40 + 0.5).clamp_(0, 1)
    return picture + (u.new_tensor((1.0, 0.95, 0.80)) - picture) * disc[..., None]


def backdrop(ground: str, sky: str, u: Tensor, v: Tensor, seed: int, steep: bool) -> Tensor:
    """The empty world at screen points (u, v): RGB (..., 3); `steep` looks down on the ground."""
    if steep:
        x, z = u * 1.25, v * 1.4
        nearness = torch.ones_like(u)
    else:
        below = (HORIZON - v).clamp(min=0.0)
        distance = 0.52 / (below + 0.20)
        x, z = u * distance * 1.25, 1.7 * distance
        nearness = (below / 0.30).clamp(0, 1).sqrt()
    light = u.new_tensor(LIGHTS[sky])
    floor = _GROUNDS[ground](x + 0.31 * (seed % 17), z + 0.17 * (seed % 13)) * light
    if steep:
        return floor
    above = _sky(sky, u, v, seed % 101)
    haze = 0.38 * (1 - nearness[..., None])
    floor = floor + (u.new_tensor(_SKIES[sky][0]) - floor) * haze
    return torch.where((v < HORIZON)[..., None], floor, above)
