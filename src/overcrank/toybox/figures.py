"""The toybox's second cast: pictures with alpha from a pack, moved by `rigs`.

A figure scene is an empty toybox scene, its stage, with figures on it. `docs/figures.md` says how a
pack is built.

Axes: N figures, F frames, H W pixels, C channels of a picture.
"""

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, pad

from overcrank.errors import RequestError
from overcrank.shapes import ClipSize
from overcrank.toybox.backdrop import LIGHTS
from overcrank.toybox.caption import finish
from overcrank.toybox.figure_pack import PICTURE_SIDE, FigurePack
from overcrank.toybox.motion import Pose, camera_view
from overcrank.toybox.render import render
from overcrank.toybox.rigs import AIRBORNE_KINDS, KINDS, SIDES, Figure, rig, verb
from overcrank.toybox.scene import ENTRANCES, Scene, plain, sample_scene
from overcrank.toybox.view import View

Window = tuple[slice, slice, slice]
"""Frames, rows and columns."""

_DIAMETERS = {1: (0.46, 0.60), 2: (0.36, 0.46), 3: (0.28, 0.35)}
_THINNEST = 0.12
"""A figure seen from its edge is a thin card, not nothing."""
_FINER = 2
"""Figures are sampled this many times finer than the frame, so that edges are smooth."""
_FRAMES_AT_ONCE = 8
_SHADOW_MARGIN = PICTURE_SIDE // 4
_SHADOW_GRAIN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureScene:
    """A clip of any length: `figures` on a `stage`, which is a scene without actors."""

    figures: tuple[Figure, ...]
    stage: Scene

    @property
    def held_out(self) -> frozenset[tuple[str, str]]:
        """The (figure, motion) pairs of this scene that training never shows."""
        return frozenset(
            (figure.name, held_out_motion(figure.name, figure.kind))
            for figure in self.figures
            if not may_train(figure.name, figure.kind, figure.motions)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can carry."""
        return {
            "figures": [plain(figure) for figure in self.figures],
            "stage": self.stage.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "FigureScene":
        """The inverse of `to_dict`; unknown or missing fields are refused."""
        expected = {field.name for field in fields(cls)}
        if set(data) != expected:
            raise RequestError(
                f"a figure scene has other fields: got {sorted(data)}, expected {sorted(expected)}"
            )
        figures = tuple(Figure(**figure) for figure in data["figures"])
        return cls(figures=figures, stage=Scene.from_dict(data["stage"]))


def held_out_motion(name: str, kind: str) -> str:
    """The one motion in which training never shows a figure, the same in every pack."""
    number = int.from_bytes(hashlib.sha256(f"overcrank figures {name}".encode()).digest()[:8])
    return KINDS[kind][number % len(KINDS[kind])]


def may_train(name: str, kind: str, motions: Sequence[str]) -> bool:
    """Whether none of the motions is the held-out one; one that comes in goes left or right."""
    goes = {
        entrance: side
        for entrance, way in ENTRANCES.items()
        for side in SIDES
        if SIDES[side] == way
    }
    return held_out_motion(name, kind) not in {goes.get(motion, motion) for motion in motions}


def sample_figure_scene(
    seed: int, pack: FigurePack, split: str = "train", *, figures: int | None = None
) -> FigureScene:
    """The scene of a seed; `figures` None draws one (60 %), two (30 %) or three (10 %), or as
    many as the pack has. Training scenes hold no figure in its `held_out_motion`."""
    if figures is not None and figures not in _DIAMETERS:
        raise RequestError(f"a figure scene has 1, 2 or 3 figures, got {figures}")
    stage = replace(sample_scene(seed, split=split), actors=())
    if stage.camera == "above":
        # A flat figure has no upper side to show.
        stage = replace(stage, camera="still")
    rng = random.Random(f"overcrank figures {split} {seed}")
    count = min(figures or rng.choices((1, 2, 3), (60, 30, 10))[0], len(pack.names))
    roles = _sample_roles(rng, pack, count, allow_held_out=split == "test")
    return FigureScene(figures=_place(rng, roles), stage=stage)


def _sample_roles(
    rng: random.Random, pack: FigurePack, count: int, *, allow_held_out: bool
) -> list[tuple[str, str, str]]:
    """(name, kind, motion) of each figure: no name twice, at most one that goes somewhere."""
    roles: list[tuple[str, str, str]] = []
    for name, kind in rng.sample(list(zip(pack.names, pack.kinds, strict=True)), count):
        going = any(motion in SIDES for *_, motion in roles)
        motions = [
            motion
            for motion in KINDS[kind]
            if (allow_held_out or motion != held_out_motion(name, kind))
            and not (going and motion in SIDES)
        ]
        roles.append((name, kind, rng.choice(motions)))
    return roles


def _place(rng: random.Random, roles: list[tuple[str, str, str]]) -> tuple[Figure, ...]:
    """Side by side, one behind the other; one that goes somewhere has the front to itself and
    starts on the far side."""
    count = len(roles)
    spots = [0.84 * ((i + 0.5) / count - 0.5) for i in range(count)]
    rng.shuffle(spots)
    depths = list(range(count))
    rng.shuffle(depths)
    going = [motion in SIDES for *_, motion in roles]
    if any(going):
        first = going.index(True)
        far = min(spots) if roles[first][2] == "right" else max(spots)
        _swap(spots, first, spots.index(far))
        _swap(depths, first, depths.index(0))
    placed = []
    for (name, kind, motion), spot, depth in zip(roles, spots, depths, strict=True):
        diameter = rng.uniform(*_DIAMETERS[count])
        x = spot + rng.uniform(-0.03, 0.03)
        if motion in SIDES:
            x = -SIDES[motion] * min(0.30, 0.48 - diameter / 2)
        figure = Figure(
            name=name,
            kind=kind,
            motion=motion,
            x=round(x, 3),
            z=round(0.22 * depth + rng.uniform(-0.05, 0.03), 3),
            diameter=round(diameter, 3),
            phase=round(rng.random(), 3),
            sense=rng.choice((-1, 1)),
        )
        placed.append(figure)
    return tuple(placed)


def _swap(items: list[Any], one: int, other: int) -> None:
    items[one], items[other] = items[other], items[one]


def caption_figures(scene: FigureScene, variant: int = 0) -> str:
    """One sentence that names each figure, its motion and the ground, often the sky too; the same
    scene and variant give the same one."""
    rng = random.Random(f"overcrank figures caption {scene.stage.seed} {variant}")
    # Those in the air first, so that the ground is told of one that stands on it.
    figures = rng.sample(scene.figures, len(scene.figures))
    figures.sort(key=lambda figure: figure.kind not in AIRBORNE_KINDS)
    clauses = [f"{_article(figure.name)} {verb(figure, rng)}" for figure in figures]
    where = "on"
    if all(figure.kind in AIRBORNE_KINDS for figure in figures):
        where = rng.choice(("above", "over"))
    elif len(figures) == 1 and figures[0].motion in SIDES:
        where = rng.choice(("across", "across", "on"))
    joint = rng.choice((" and ", " while ")) if len(clauses) == 2 else ", and "
    told = joint.join(filter(None, (", ".join(clauses[:-1]), clauses[-1])))
    return finish(rng, scene.stage, f"{told} {where} the {scene.stage.ground}")


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def render_figures(
    scene: FigureScene,
    pack: FigurePack,
    size: ClipSize,
    frame_rate: float = 24.0,
    *,
    start: float = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The clip that begins `start` seconds into the scene: uint8 (F, H, W, 3) on `device`."""
    frames = render(scene.stage, size, frame_rate, start=start, device=device)
    view = View.of(scene.stage, size, frames.device)
    times = [start + frame / frame_rate for frame in range(size.frames)]
    figures = sorted(scene.figures, key=lambda figure: -figure.z)
    pictures = [pack.picture(figure.name).to(frames.device) for figure in figures]
    shadows = [_blurred(picture[:, 3:]) for picture in pictures]
    pictures = [_shrunk(p, f.diameter * view.unit) for p, f in zip(pictures, figures, strict=True)]
    light = view.tensor(LIGHTS[scene.stage.sky]) * 255
    for first in range(0, size.frames, _FRAMES_AT_ONCE):
        part = slice(first, first + _FRAMES_AT_ONCE)
        cameras = [camera_view(scene.stage, time) for time in times[part]]
        poses = [[rig(figure, time) for time in times[part]] for figure in figures]
        canvas = frames[part].float()
        for track, shadow in zip(poses, shadows, strict=True):
            window, keep = _shade(view, shadow, track, cameras)
            canvas[window] *= keep
        for track, picture in zip(poses, pictures, strict=True):
            window, layer = _paint(view, picture, track, cameras)
            canvas[window] = canvas[window] * (1 - layer[..., 3:]) + layer[..., :3] * light
        frames[part] = canvas.add_(0.5).clamp_(0, 255).to(torch.uint8)
    return frames


def figure_tracks(
    scene: FigureScene, size: ClipSize, frame_rate: float = 24.0, *, start: float = 0.0
) -> list[list[tuple[float, float]]]:
    """(column, row) in pixels of the middle of each figure's picture in each frame."""
    view = View.of(scene.stage, size, torch.device("cpu"))
    times = [start + frame / frame_rate for frame in range(size.frames)]
    return [
        [_middle(view, rig(figure, time), camera_view(scene.stage, time)) for time in times]
        for figure in scene.figures
    ]


def figure_masks(
    scene: FigureScene,
    pack: FigurePack,
    size: ClipSize,
    frame_rate: float = 24.0,
    *,
    start: float = 0.0,
) -> Tensor:
    """Where each figure is seen, not hidden by one before it: bool (N, F, H, W)."""
    view = View.of(scene.stage, size, torch.device("cpu"))
    times = [start + frame / frame_rate for frame in range(size.frames)]
    masks = torch.zeros(len(scene.figures), size.frames, size.height, size.width, dtype=torch.bool)
    for k in sorted(range(len(scene.figures)), key=lambda k: -scene.figures[k].z):
        figure = scene.figures[k]
        alpha = _shrunk(pack.picture(figure.name)[:, 3:], figure.diameter * view.unit)
        for first in range(0, size.frames, _FRAMES_AT_ONCE):
            part = slice(first, first + _FRAMES_AT_ONCE)
            cameras = [camera_view(scene.stage, time) for time in times[part]]
            poses = [rig(figure, time) for time in times[part]]
            window, cover = _paint(view, alpha, poses, cameras)
            solid = cover[..., 0] > 0.5
            masks[:, part][:, *window] &= ~solid
            masks[k, part][window] |= solid
    return masks


def _middle(view: View, pose: Pose, camera: tuple[float, float]) -> tuple[float, float]:
    """(column, row) of a picture's middle. The picture leans back to face the viewer, so what
    lies on it is not foreshortened; what lifts it off the ground is."""
    column, row, _ = view.pixel(pose.x, pose.lift, pose.z, camera)
    return column, row - (pose.y - pose.lift) * camera[1] * view.unit


def _blurred(alpha: Tensor) -> Tensor:
    """A silhouette with a margin, soft and softer: (1, 2, H, W)."""
    coarse = avg_pool2d(pad(alpha, [_SHADOW_MARGIN] * 4), _SHADOW_GRAIN)
    soft = [coarse]
    for width in (3, 7):
        blurred = soft[-1]
        for _ in range(2):
            blurred = avg_pool2d(blurred, width, stride=1, padding=width // 2)
        soft.append(blurred)
    return torch.cat(soft[1:], dim=1)


def _shrunk(picture: Tensor, pixels: float) -> Tensor:
    """The picture at a size at which sampling it for `pixels` pixels skips none of it."""
    factor = int(PICTURE_SIDE // (pixels * _FINER))
    return avg_pool2d(picture, factor) if factor > 1 else picture


def _paint(
    view: View, picture: Tensor, poses: Sequence[Pose], cameras: Sequence[tuple[float, float]]
) -> tuple[Window, Tensor]:
    """A figure alone on each frame, all channels of its picture, (F, h, w, C) of a window."""
    rows = []
    for pose, camera in zip(poses, cameras, strict=True):
        middle = _middle(view, pose, camera)
        rows.append((*_inverse(_shape(pose), camera[1] * view.unit), *middle))
    return _sample(view, picture, rows, finer=_FINER)


def _shade(
    view: View, shadow: Tensor, poses: Sequence[Pose], cameras: Sequence[tuple[float, float]]
) -> tuple[Window, Tensor]:
    """What the ground keeps of its light, (F, h, w, 1) of a window. The shadow is the picture,
    skewed; it is softer and paler the higher the figure is."""
    slope_x, slope_z = view.light[0] / view.light[1], view.light[2] / view.light[1]
    deep = -slope_z * math.sin(view.pitch)
    wider = 1 + 2 * _SHADOW_MARGIN / PICTURE_SIDE
    rows = []
    for pose, camera in zip(poses, cameras, strict=True):
        a, b, c, d = (wider * entry for entry in _shape(pose))
        skewed = (a - slope_x * c, b - slope_x * d, deep * c, deep * d)
        column, row, _ = view.pixel(
            pose.x - slope_x * pose.y, 0.0, pose.z - slope_z * pose.y, camera
        )
        rows.append((*_inverse(skewed, camera[1] * view.unit), column, row))
    window, seen = _sample(view, shadow, rows, finer=1)
    soft, softer = seen.split(1, dim=-1)
    lift = view.tensor([pose.lift for pose in poses])[:, None, None, None]
    part = (lift * 4).clamp(0, 1)
    return window, 1 - (soft + (softer - soft) * part) * (0.55 / (1 + 1.5 * lift))


def _shape(pose: Pose) -> tuple[float, float, float, float]:
    """The matrix, by rows, from a place on the picture in [-1, 1] (right, up) to units."""
    wide = math.cos(pose.yaw)
    wide = math.copysign(max(abs(wide), _THINNEST), wide) * pose.radius / pose.squash**0.5
    high = pose.radius * pose.squash
    cos, sin = math.cos(pose.tilt), math.sin(pose.tilt)
    return cos * wide, -sin * high, sin * wide, cos * high


def _inverse(
    matrix: tuple[float, float, float, float], scale: float
) -> tuple[float, float, float, float]:
    """From pixels (right, up) to a place on the picture."""
    a, b, c, d = matrix
    over = 1 / (scale * (a * d - b * c))
    return d * over, -b * over, -c * over, a * over


def _sample(
    view: View, picture: Tensor, rows: Sequence[tuple[float, ...]], *, finer: int
) -> tuple[Window, Tensor]:
    """The picture seen on each frame, given (matrix by rows, column, row): (F, h, w, C) of the
    window outside which it is nowhere."""
    down, across = _span(rows, picture, view.size, finer)
    a, b, c, d, column, row = view.tensor(rows)[:, :, None, None].unbind(1)
    high, wide = view.size.height, view.size.width
    right = view.axis(wide * finer)[across] / finer + wide / 2 - column
    up = row - high / 2 - (view.axis(high * finer)[down] / finer)[:, None]
    where = torch.stack([a * right + b * up, -(c * right + d * up)], dim=-1)
    seen = grid_sample(picture.expand(len(rows), -1, -1, -1), where, align_corners=False)
    seen = avg_pool2d(seen, finer) if finer > 1 else seen
    first, last = (slice(span.start // finer, span.stop // finer) for span in (down, across))
    return (slice(None), first, last), seen.permute(0, 2, 3, 1)


def _span(
    rows: Sequence[tuple[float, ...]], picture: Tensor, size: ClipSize, finer: int
) -> tuple[slice, slice]:
    """The rows and columns, counted `finer`, that hold the picture in every frame."""
    edge = 1 + 1 / min(picture.shape[2:])  # half a pixel more, where it fades
    edges: list[tuple[float, float, float, float]] = []
    for a, b, c, d, column, row in rows:
        over = edge / abs(a * d - b * c)
        wide, high = (abs(b) + abs(d)) * over, (abs(a) + abs(c)) * over
        edges.append((row - high, row + high, column - wide, column + wide))
    top, bottom, left, right = zip(*edges, strict=True)

    def span(low: float, high: float, count: int) -> slice:
        """Never empty: one that is not in the frame has the nearest pixel of it."""
        first = min(max(0, math.floor(low)), count - 1)
        return slice(first * finer, max(first + 1, min(math.ceil(high), count)) * finer)

    return (
        span(min(top), max(bottom), size.height),
        span(min(left), max(right), size.width),
    )
