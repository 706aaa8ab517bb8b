"""How the world meets the frame: an oblique camera without perspective."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from overcrank.shapes import ClipSize
from overcrank.toybox.scene import Scene

Vector = tuple[float, float, float]

_PIVOT = -0.12
"""The height on the screen, in units, that a zoom leaves in place."""


@dataclass(frozen=True, slots=True)
class View:
    """The camera of a scene. `unit` is the pixels of one unit; `foot` where the world's origin
    lies above the centre of the frame."""

    size: ClipSize
    unit: float
    pitch: float
    foot: float
    light: Vector
    device: torch.device

    @classmethod
    def of(cls, scene: Scene, size: ClipSize, device: torch.device) -> "View":
        """The view of a scene at a frame size; `light` points from the ground to the light."""
        steep = scene.camera == "above"
        slope = (scene.light, 1.0, -0.35)
        length = math.hypot(*slope)
        return cls(
            size=size,
            unit=float(min(size.height, size.width)),
            pitch=math.radians(58 if steep else 24),
            foot=-0.22 if steep else -0.38,
            light=(slope[0] / length, slope[1] / length, slope[2] / length),
            device=device,
        )

    @property
    def axes(self) -> Tensor:
        """Columns: right, up and towards the viewer, in the world. (3, 3) float32"""
        sin, cos = math.sin(self.pitch), math.cos(self.pitch)
        return self.tensor([[1.0, 0.0, 0.0], [0.0, cos, sin], [0.0, sin, -cos]])

    def pixel(self, x: float, y: float, z: float, camera: tuple[float, float]) -> Vector:
        """(column, row, nearness in units) of a world point seen with a (pan, zoom)."""
        pan, zoom = camera
        sin, cos = math.sin(self.pitch), math.cos(self.pitch)
        u = (x - pan) * zoom
        v = (y * cos + z * sin + self.foot - _PIVOT) * zoom + _PIVOT
        return (
            self.size.width / 2 + u * self.unit,
            self.size.height / 2 - v * self.unit,
            y * sin - z * cos,
        )

    def row(self, v: float, camera: tuple[float, float]) -> int:
        """The first whole pixel row below the height `v` of a resting view."""
        return round(self.size.height / 2 - ((v - _PIVOT) * camera[1] + _PIVOT) * self.unit)

    def tensor(self, values: object) -> Tensor:
        """Numbers as float32 where the frames are."""
        return torch.tensor(values, dtype=torch.float32, device=self.device)

    def axis(self, count: int, pitch: int = 1) -> Tensor:
        """Centres of `count` steps of `pitch` pixels, counted from the middle: (count,)."""
        steps = torch.arange(count, dtype=torch.float32, device=self.device)
        return (steps + 0.5 - count / 2) * pitch

    def grid(self, margin: int) -> tuple[Tensor, Tensor]:
        """Screen coordinates (u, v) in units of a resting view and a margin around it."""
        u = self.axis(self.size.width + 2 * margin) / self.unit
        v = self.axis(self.size.height + 2 * margin) / -self.unit
        v_grid, u_grid = torch.meshgrid(v, u, indexing="ij")
        return u_grid, v_grid

    def heights(self, camera: tuple[float, float]) -> Tensor:
        """The height v of a resting view that each pixel row shows: (H,)."""
        v = self.axis(self.size.height) / -self.unit
        return (v - _PIVOT) / camera[1] + _PIVOT

    def look(self, picture_HW3: Tensor, camera: tuple[float, float]) -> Tensor:
        """A picture drawn on a `grid`, as seen with a (pan, zoom): (H, W, 3)."""
        pan, zoom = camera
        high, wide = picture_HW3.shape[:2]
        x = (self.axis(self.size.width) / zoom + pan * self.unit) * (2 / wide)
        shift = -_PIVOT * self.unit
        y = ((self.axis(self.size.height) - shift) / zoom + shift) * (2 / high)
        where = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
        seen = grid_sample(picture_HW3.permute(2, 0, 1)[None], where[None], align_corners=False)
        return seen[0].permute(1, 2, 0)
