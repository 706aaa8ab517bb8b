"""The six solids as signed distance functions, and drawing them by sphere tracing.

A solid has radius 1, y is its axis (z for the torus). Coordinates are tensors of one shape.
Source: Hart, "Sphere Tracing", The Visual Computer 12 (1996).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x, y, z) -> distance to the surface, negative inside; never more than the true distance."""


@dataclass(frozen=True, slots=True)
class Solid:
    """`bound` is the radius of a sphere around it, `steps` the tracing steps it needs."""

    distance: Distance
    bound: float
    steps: int


def _ball(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return (x * x).addcmul_(y, y).addcmul_(z, z).sqrt_().sub_(1.0)


def _hypot(x: Tensor, y: Tensor) -> Tensor:
    return (x * x).addcmul_(y, y).sqrt_()


def _cube(x: Tensor, y: Tensor, z: Tensor, half: float = 0.70, edge: float = 0.08) -> Tensor:
    a, b, c = (axis.abs().sub_(half - edge) for axis in (x, y, z))
    inside = torch.maximum(torch.maximum(a, b), c).clamp_(max=0.0)
    return inside.add_(_ball(a.clamp_(min=0.0), b.clamp_(min=0.0), c.clamp_(min=0.0))).add_(
        1.0 - edge
    )


def _cylinder(x: Tensor, y: Tensor, z: Tensor, edge: float = 0.07) -> Tensor:
    a = _hypot(x, z).sub_(0.82 - edge)
    b = y.abs().sub_(0.84 - edge)
    inside = torch.maximum(a, b).clamp_(max=0.0)
    return inside.add_(_hypot(a.clamp_(min=0.0), b.clamp_(min=0.0))).sub_(edge)


def _tapered(across: Tensor, y: Tensor, base: float, low: float, high: float) -> Tensor:
    """A flat bottom at -low and a slope from `base` there to a blunt tip at `high`."""
    slant = (base**2 + (high + low) ** 2) ** 0.5
    side = (across - base).mul_((high + low) / slant).add_(y + low, alpha=base / slant)
    bottom = (-low) - y
    edge = 0.08
    a, b = (side + edge), bottom.add_(edge)
    inside = torch.maximum(a, b).clamp_(max=0.0)
    return inside.add_(_hypot(a.clamp_(min=0.0), b.clamp_(min=0.0))).sub_(edge)


def _cone(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return _tapered(_hypot(x, z), y, 0.98, 0.85, 1.05)


def _pyramid(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    across = torch.maximum(x.abs(), z.abs())
    return _tapered(across, y, 0.82, 0.75, 0.85)


def _torus(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return _hypot(_hypot(x, y).sub_(0.71), z).sub_(0.29)


SOLIDS = {
    "ball": Solid(_ball, 1.0, 1),
    "cube": Solid(_cube, 1.16, 13),
    "cone": Solid(_cone, 1.30, 14),
    "cylinder": Solid(_cylinder, 1.14, 13),
    "pyramid": Solid(_pyramid, 1.38, 13),
    "torus": Solid(_torus, 1.0, 12),
}


def trace(
    solid: Solid, start: Sequence[Tensor], way: Sequence[Tensor], steps: int
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Walk from `start` along `way`, of length 1: the point nearest to the solid on each ray, how
    far along it lies, and its distance. For a ray that hits, that point is where it hits."""
    distance = nearest = solid.distance(*start)
    walked = best = torch.zeros_like(nearest)
    for _ in range(steps - 1):
        walked = walked + distance
        distance = solid.distance(*_along(start, way, walked))
        closer = distance < nearest
        nearest = torch.where(closer, distance, nearest)
        best = torch.where(closer, walked, best)
    return _along(start, way, best), best, nearest


def _along(start: Sequence[Tensor], way: Sequence[Tensor], walked: Tensor) -> list[Tensor]:
    return [torch.addcmul(p, walked, d) for p, d in zip(start, way, strict=True)]


def gradient(solid: Solid, at: Sequence[Tensor]) -> list[Tensor]:
    """The unnormalised outward normal: forward differences over a bevel of 1 % of the size."""
    bevel = 0.02
    here = solid.distance(*at)
    return [
        solid.distance(*(axis + bevel if i == j else axis for j, axis in enumerate(at))) - here
        for i in range(3)
    ]
