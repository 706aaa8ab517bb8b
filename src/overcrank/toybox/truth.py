"""What is true of a clip: who is where, what can be seen of it, how far away everything is.

Axes: A actors, F frames, H W pixels. Pixels are counted from the top left corner; the centre of
the first pixel is at (0.5, 0.5).
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from overcrank.shapes import ClipSize
from overcrank.toybox.backdrop import HORIZON
from overcrank.toybox.draw import draw_solid
from overcrank.toybox.motion import camera_view, contacts, pose
from overcrank.toybox.scene import Scene, plain
from overcrank.toybox.view import View


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """`tracks` (A, F, 2) are (column, row) of the centres and `sizes` (A, F) the diameters in
    pixels; `masks` (A, F, H, W; bool) where each actor is seen, `visible` (A, F) the seen part of
    its whole picture, in [0, 1].

    `depth` (F, H, W) is the distance in units behind the world's origin along the view, infinite
    in the sky; `contacts` the seconds of the scene at which each actor has hit the ground.
    """

    attributes: dict[str, Any]
    tracks: Tensor
    sizes: Tensor
    masks: Tensor
    visible: Tensor
    depth: Tensor
    contacts: tuple[tuple[float, ...], ...]


def attributes(scene: Scene) -> dict[str, Any]:
    """The names of everything in the scene, in words."""
    named = ("shape", "colour", "size", "texture", "motion", "then")
    return {
        "actors": [
            {name: value for name, value in plain(actor).items() if name in named}
            for actor in scene.actors
        ],
        "ground": scene.ground,
        "sky": scene.sky,
        "camera": scene.camera,
    }


def tracks(
    scene: Scene, size: ClipSize, frame_rate: float = 24.0, start: float = 0.0
) -> list[list[tuple[float, float]]]:
    """(column, row) of the centre of each actor in each frame, in python floats."""
    view = View.of(scene, size, torch.device("cpu"))
    found = []
    for actor in scene.actors:
        track = []
        for frame in range(size.frames):
            seconds = start + frame / frame_rate
            now = pose(actor, seconds)
            column, row, _ = view.pixel(now.x, now.y, now.z, camera_view(scene, seconds))
            track.append((column, row))
        found.append(track)
    return found


def truth(scene: Scene, size: ClipSize, frame_rate: float = 24.0, start: float = 0.0) -> Truth:
    """The truth about the clip that `render` makes of the same arguments."""
    view = View.of(scene, size, torch.device("cpu"))
    times = [start + frame / frame_rate for frame in range(size.frames)]
    cameras = [camera_view(scene, time) for time in times]
    poses = [[pose(actor, time) for time in times] for actor in scene.actors]
    solids = [
        draw_solid(scene, actor, view, track, cameras)
        for actor, track in zip(scene.actors, poses, strict=True)
    ]
    masks = torch.zeros(len(poses), size.frames, size.height, size.width, dtype=torch.bool)
    depth = torch.stack([_ground_depth(scene, view, camera) for camera in cameras])
    for i in range(size.frames):
        for k in sorted(range(len(poses)), key=lambda k: -poses[k][i].z):
            window = solids[k].window(i, size.height, size.width)
            near = solids[k].near_PHW
            if window is None or near is None:
                continue
            rows, columns, *inside = window
            picture = solids[k].index[i]
            solid = solids[k].keep_PHW1[picture, ..., 0][tuple(inside)] < 0.5
            now = poses[k][i]
            centre = view.pixel(now.x, now.y, now.z, cameras[i])[2]
            masks[:, i, rows, columns] &= ~solid
            masks[k, i, rows, columns] |= solid
            here = depth[i, rows, columns]
            here[solid] = (-centre - near[picture][tuple(inside)])[solid]
    whole = torch.tensor(
        [[float(n) for n in (s.keep_PHW1[s.index] < 0.5).sum(dim=(1, 2, 3))] for s in solids]
    )
    return Truth(
        attributes=attributes(scene),
        tracks=torch.tensor(tracks(scene, size, frame_rate, start)),
        sizes=torch.tensor(
            [
                [2 * p.radius * c[1] * view.unit for p, c in zip(track, cameras, strict=True)]
                for track in poses
            ]
        ),
        masks=masks,
        visible=masks.sum(dim=(2, 3)) / whole,
        depth=depth,
        contacts=tuple(tuple(contacts(actor, times[-1])) for actor in scene.actors),
    )


def actor_mask(
    scene: Scene, size: ClipSize, frame_rate: float = 24.0, start: float = 0.0
) -> Tensor:
    """Where any actor is seen, `truth(...).masks.any(0)` at a third of its price: (F, H, W)."""
    view = View.of(scene, size, torch.device("cpu"))
    times = [start + frame / frame_rate for frame in range(size.frames)]
    cameras = [camera_view(scene, time) for time in times]
    mask = torch.zeros(size.frames, size.height, size.width, dtype=torch.bool)
    for actor in scene.actors:
        solid = draw_solid(scene, actor, view, [pose(actor, time) for time in times], cameras)
        covered_PHW = solid.keep_PHW1[..., 0] < 0.5
        for i, picture in enumerate(solid.index):
            window = solid.window(i, size.height, size.width)
            if window is not None:
                rows, columns, *inside = window
                mask[i, rows, columns] |= covered_PHW[picture][tuple(inside)]
    return mask


def _ground_depth(scene: Scene, view: View, camera: tuple[float, float]) -> Tensor:
    """Depth of the empty world: (H, W)."""
    v = view.heights(camera)
    away = (v - view.foot) / math.tan(view.pitch)
    if scene.camera != "above":
        away = torch.where(v < HORIZON, away, math.inf)
    return away[:, None].expand(view.size.height, view.size.width)
