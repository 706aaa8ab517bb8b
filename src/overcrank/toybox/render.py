"""Scenes to frames: a background, shadows, solids, painter's order."""

import math

import torch
from torch import Tensor

from overcrank.errors import RequestError
from overcrank.shapes import ClipSize
from overcrank.toybox.backdrop import HORIZON, backdrop
from overcrank.toybox.draw import draw_shadow, draw_solid
from overcrank.toybox.motion import CAMERA_REACH, Pose, camera_view, pose
from overcrank.toybox.scene import Scene
from overcrank.toybox.sprites import Sprites
from overcrank.toybox.view import View

_STRING = 0.006
_KNOT = 0.68
"""Where the string ends, in radii from the centre: inside every solid, also the torus."""


def render(
    scene: Scene,
    size: ClipSize,
    frame_rate: float = 24.0,
    *,
    start: float = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The clip that begins `start` seconds into the scene: uint8 (F, H, W, 3) on `device`."""
    if not (math.isfinite(frame_rate) and frame_rate > 0):
        raise RequestError(f"the frame rate must be above 0, got {frame_rate}: try 24")
    view = View.of(scene, size, torch.device(device))
    times = [start + frame / frame_rate for frame in range(size.frames)]
    cameras = [camera_view(scene, time) for time in times]
    poses = [[pose(actor, time) for time in times] for actor in scene.actors]
    frames = torch.empty(
        (size.frames, size.height, size.width, 3), dtype=torch.uint8, device=view.device
    )
    with torch.no_grad():
        _draw(frames, scene, view, poses, cameras)
    return frames


def _draw(
    frames: Tensor,
    scene: Scene,
    view: View,
    poses: list[list[Pose]],
    cameras: list[tuple[float, float]],
) -> None:
    shadows = [
        draw_shadow(actor, view, track, cameras)
        for actor, track in zip(scene.actors, poses, strict=True)
    ]
    solids = [
        draw_solid(scene, actor, view, track, cameras)
        for actor, track in zip(scene.actors, poses, strict=True)
    ]
    moving = scene.camera in ("pan", "zoom")
    margin = math.ceil(CAMERA_REACH * view.unit) + 1 if scene.camera == "pan" else 0
    empty = _empty(scene, view, margin)
    canvas = torch.empty_like(frames[0], dtype=torch.float32)
    for i, camera in enumerate(cameras):
        canvas.copy_(view.look(empty, camera) if moving else empty)
        horizon = 0 if scene.camera == "above" else view.row(HORIZON, camera)
        for shadow in shadows:
            _dim(canvas, shadow, i, horizon)
        now = [track[i] for track in poses]
        for k in sorted(range(len(now)), key=lambda k: -now[k].z):
            _hang(canvas, view, now[k], camera)
            _paint(canvas, solids[k], i)
        frames[i].copy_(canvas)


def _empty(scene: Scene, view: View, margin: int) -> Tensor:
    """The background in [0.5, 255.5], so that cutting off the fraction rounds: (H, W, 3)."""
    u, v = view.grid(margin)
    picture = backdrop(scene.ground, scene.sky, u, v, scene.seed, scene.camera == "above")
    return picture.clamp_(0, 1).mul_(255).add_(0.5)


def _dim(canvas: Tensor, sprites: Sprites, frame: int, top: int) -> None:
    window = sprites.window(frame, canvas.shape[0], canvas.shape[1], top)
    if window is not None:
        rows, columns, from_rows, from_columns = window
        picture = sprites.keep_PHW1[sprites.index[frame]]
        canvas[rows, columns].mul_(picture[from_rows, from_columns])


def _paint(canvas: Tensor, sprites: Sprites, frame: int) -> None:
    window = sprites.window(frame, canvas.shape[0], canvas.shape[1])
    if window is not None and sprites.colour_PHW3 is not None:
        rows, columns, from_rows, from_columns = window
        picture = sprites.index[frame]
        region = canvas[rows, columns]
        region.mul_(sprites.keep_PHW1[picture][from_rows, from_columns])
        region.add_(sprites.colour_PHW3[picture][from_rows, from_columns])


def _hang(canvas: Tensor, view: View, now: Pose, camera: tuple[float, float]) -> None:
    """Draw the string of a swinging actor."""
    if now.pivot is None:
        return
    column, row, _ = view.pixel(now.x, now.y, now.z, camera)
    to_column, to_row, _ = view.pixel(*now.pivot, now.z, camera)
    x = view.axis(canvas.shape[1]) + (canvas.shape[1] / 2 - column)
    y = (view.axis(canvas.shape[0]) + (canvas.shape[0] / 2 - row))[:, None]
    length = math.hypot(to_column - column, to_row - row)
    a, b = (to_column - column) / length, (to_row - row) / length
    knot = length * _KNOT * now.radius / math.dist((now.x, now.y), now.pivot)
    along = (x * a + y * b).clamp_(knot, length)
    away = torch.hypot(x - along * a, y - along * b)
    cover = (max(0.9, _STRING * view.unit) + 0.5 - away).clamp_(0, 1)[..., None]
    canvas += (60.0 - canvas) * cover
