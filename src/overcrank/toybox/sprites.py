"""Pictures of one actor, each pose that looks different drawn once.

Without perspective a solid looks the same wherever it stands, so a clip needs one picture for
each turn, size and sub-pixel place, not one for each frame. Places are rounded to 1/4 pixel.

Axes: P pictures, H W pixels of the picture.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from overcrank.toybox.motion import Pose
from overcrank.toybox.scene import Actor
from overcrank.toybox.view import View

_PLACES = 4
_CHUNK = 1 << 16
"""Pixels drawn at a time: the temporaries stay in the cache."""


@dataclass(frozen=True, slots=True)
class Sprites:
    """`index[f]` is the picture of frame f and `corners[f]` its (row, column) in the frame.

    `colour_PHW3` is in [0, 255] and already multiplied by the coverage, `keep_PHW1` is the part
    of the background that shows through, `near_PHW` the height over the centre towards the
    viewer in units. A shadow has no colour and no nearness.
    """

    index: list[int]
    corners: list[tuple[int, int]]
    keep_PHW1: Tensor
    colour_PHW3: Tensor | None = None
    near_PHW: Tensor | None = None

    def window(
        self, frame: int, height: int, width: int, top: int = 0
    ) -> tuple[slice, slice, slice, slice] | None:
        """Where a frame's picture meets the frame below row `top`: rows and columns of the frame,
        then of the picture; None where it does not."""
        row, column = self.corners[frame]
        high, wide = self.keep_PHW1.shape[1:3]
        first, last = max(top, row), min(height, row + high)
        left, right = max(0, column), min(width, column + wide)
        if first >= last or left >= right:
            return None
        return (
            slice(first, last),
            slice(left, right),
            slice(first - row, last - row),
            slice(left - column, right - column),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """All that decides how a picture looks; equal looks share one."""

    radius: float
    yaw: float
    roll: float
    tilt: float
    squash: float
    height: float
    zoom: float
    right: float
    down: float


def look_of(actor: Actor, pose: Pose, zoom: float, height: float, place: tuple[int, int]) -> Look:
    yaw, roll, tilt = (round(turn % math.tau, 4) for turn in (pose.yaw, pose.roll, pose.tilt))
    if actor.texture == "plain" and actor.shape == "ball":
        yaw = roll = tilt = 0.0
    if actor.texture == "plain" and actor.shape == "torus":
        roll = 0.0
    return Look(
        radius=round(pose.radius, 5),
        yaw=yaw,
        roll=roll,
        tilt=tilt,
        squash=round(pose.squash, 4),
        height=round(height, 4),
        zoom=round(zoom, 5),
        right=place[1] % _PLACES / _PLACES,
        down=place[0] % _PLACES / _PLACES,
    )


def collect(looks: Sequence[Look]) -> tuple[list[Look], list[int]]:
    numbers: dict[Look, int] = {}
    index = [numbers.setdefault(look, len(numbers)) for look in looks]
    return list(numbers), index


def turns_of(view: View, looks: Sequence[Look]) -> Tensor:
    """World to solid rotations (P, 3, 3)."""
    rows = []
    for look in looks:
        (cy, sy), (cr, sr), (ct, st) = (
            (math.cos(angle), math.sin(angle)) for angle in (look.yaw, look.roll, look.tilt)
        )
        rows.append(
            [
                [ct * cy * cr - st * sr, st * cy * cr + ct * sr, -sy * cr],
                [-ct * cy * sr - st * cr, -st * cy * sr + ct * cr, sy * sr],
                [ct * sy, st * sy, cy],
            ]
        )
    return view.tensor(rows)


def squeezes_of(view: View, looks: Sequence[Look]) -> Tensor:
    """World lengths to solid lengths, per world axis: (P, 1, 3)."""
    rows = [[look.squash**0.5 / look.radius, 1 / (look.squash * look.radius)] for look in looks]
    return view.tensor([[[wide, high, wide]] for wide, high in rows])


def offsets_of(
    view: View, looks: Sequence[Look], shape: tuple[int, int], pitch: int = 1
) -> tuple[Tensor, Tensor]:
    """Right (P, 1, W) and up (P, H, 1) of the pixel centres from the picture's centre in units."""
    scale = view.tensor([view.unit * look.zoom for look in looks])[:, None, None]
    right = view.tensor([look.right for look in looks])[:, None, None]
    down = view.tensor([look.down for look in looks])[:, None, None]
    columns, rows = view.axis(shape[1] // pitch, pitch), view.axis(shape[0] // pitch, pitch)
    return (columns - right) / scale, (down - rows[:, None]) / scale


def chunks_of(looks: list[Look], pixels: int) -> Iterator[list[Look]]:
    step = max(1, _CHUNK // pixels)
    for first in range(0, len(looks), step):
        yield looks[first : first + step]


def places_of(
    view: View, points: Sequence[tuple[float, float, float]], cameras: Sequence[tuple[float, float]]
) -> list[tuple[int, int]]:
    """(row, column) of points in steps of 1/4 pixel."""
    seen = [view.pixel(*point, camera) for point, camera in zip(points, cameras, strict=True)]
    return [(round(row * _PLACES), round(column * _PLACES)) for column, row, _ in seen]


def corners_of(places: Sequence[tuple[int, int]], half: tuple[int, int]) -> list[tuple[int, int]]:
    return [(row // _PLACES - half[0], column // _PLACES - half[1]) for row, column in places]
