"""Drawing solids and their shadows.

Axes: P pictures, H W pixels of the picture.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from overcrank.toybox.backdrop import LIGHTS
from overcrank.toybox.motion import Pose
from overcrank.toybox.scene import Actor, Scene
from overcrank.toybox.solids import SOLIDS, gradient, trace
from overcrank.toybox.sprites import (
    Look,
    Sprites,
    chunks_of,
    collect,
    corners_of,
    look_of,
    offsets_of,
    places_of,
    squeezes_of,
    turns_of,
)
from overcrank.toybox.view import View

_PAINTS = {
    "red": (0.86, 0.09, 0.09),
    "orange": (0.97, 0.48, 0.04),
    "yellow": (0.98, 0.85, 0.10),
    "green": (0.09, 0.60, 0.19),
    "blue": (0.09, 0.24, 0.86),
    "purple": (0.50, 0.14, 0.70),
    "white": (0.95, 0.95, 0.94),
    "black": (0.07, 0.07, 0.08),
}
_TRIMS = {"white": (0.42, 0.44, 0.48), "yellow": (0.66, 0.40, 0.05)}
_WHITE_TRIM = (0.96, 0.94, 0.90)
_DOTS = {"torus": (2.2, 0.5)}
"""Dots to the unit and their shift in z, where the usual lattice misses the surface."""
_SQUASHED_STEPS = 6
"""A squashed solid needs more tracing steps, because its bound no longer fits."""
_SHADOW_STEPS = 8


def draw_solid(
    scene: Scene,
    actor: Actor,
    view: View,
    poses: Sequence[Pose],
    cameras: Sequence[tuple[float, float]],
) -> Sprites:
    """The pictures of `actor` for each frame."""
    places = places_of(view, [(p.x, p.y, p.z) for p in poses], cameras)
    looks, index = collect(
        [
            look_of(actor, pose, camera[1], 0.0, place)
            for pose, camera, place in zip(poses, cameras, places, strict=True)
        ]
    )
    reach = max(p.radius * c[1] / p.squash for p, c in zip(poses, cameras, strict=True))
    half = math.ceil(reach * SOLIDS[actor.shape].bound * view.unit) + 2
    parts = [
        _shade(scene, actor, view, chunk, (2 * half, 2 * half))
        for chunk in chunks_of(looks, 4 * half * half)
    ]
    keep, colour, near = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return Sprites(index, corners_of(places, (half, half)), keep[..., None], colour, near)


def _shade(
    scene: Scene, actor: Actor, view: View, looks: list[Look], shape: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Keep (P, H, W), premultiplied colour (P, H, W, 3) and nearness (P, H, W) of some looks."""
    solid = SOLIDS[actor.shape]
    turns = turns_of(view, looks)
    axes = (turns * squeezes_of(view, looks)) @ view.axes
    right, up = offsets_of(view, looks, shape)
    reach = view.tensor([solid.bound * look.radius / look.squash**0.5 for look in looks])
    front = (reach[:, None, None] ** 2 - right * right - up * up).clamp_(min=0.0).sqrt_()
    start = [
        (right * axes[:, i, 0, None, None] + up * axes[:, i, 1, None, None]).addcmul_(
            front, axes[:, i, 2, None, None]
        )
        for i in range(3)
    ]
    back = -axes[:, :, 2]
    length = back.norm(dim=1, keepdim=True)
    back = back / length
    way = [back[:, i, None, None] for i in range(3)]
    steps = solid.steps + (_SQUASHED_STEPS if "bounce" in actor.motions else 0)
    at, walked, nearest = trace(solid, start, way, steps)
    pixels = view.tensor([look.radius * look.zoom * view.unit for look in looks])[:, None, None]
    cover = (1.0 - nearest * pixels).clamp_(0, 1)
    colour = _light(scene, actor, view, turns, at, pixels)
    return 1 - cover, colour.mul_(cover[..., None] * 255), front - walked / length[:, :, None]


def _light(
    scene: Scene,
    actor: Actor,
    view: View,
    turns: Tensor,
    at: Sequence[Tensor],
    pixels: Tensor,
) -> Tensor:
    """The lit colour (P, H, W, 3) in [0, 1] at surface points of the solid."""
    slope = gradient(SOLIDS[actor.shape], at)
    inverse = _dot(slope, slope).clamp_(min=1e-12).rsqrt_()
    towards = view.axes[:, 2]
    light = view.tensor(view.light)
    half = light + towards
    directions = torch.stack([light, half / half.norm(), view.tensor((0.0, 1.0, 0.0))], dim=1)
    seen = turns @ directions
    lit, gloss, sky = (
        _dot(slope, [seen[:, i, j, None, None] for i in range(3)]).mul_(inverse) for j in range(3)
    )
    bright = lit.clamp_(min=0.0).mul_(0.58).add_(sky.mul_(0.19).add_(0.46))
    shine = gloss.clamp_(min=0.0)
    for _ in range(5):
        shine = shine.mul_(shine)
    paint = view.tensor(_PAINTS[actor.colour]) * view.tensor(LIGHTS[scene.sky])
    surface = paint * bright[..., None]
    if actor.texture != "plain":
        trim = view.tensor(_TRIMS.get(actor.colour, _WHITE_TRIM)) * view.tensor(LIGHTS[scene.sky])
        part = _pattern(actor, at, pixels)
        surface += (trim - paint) * (bright * part)[..., None]
    return surface.add_(shine[..., None], alpha=0.38).clamp_(0, 1)


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _pattern(actor: Actor, at: Sequence[Tensor], pixels: Tensor) -> Tensor:
    """How much of the trim colour shows, in [0, 1]: slabs, or balls on a lattice."""
    if actor.texture == "striped":
        wave = (at[0] * 1.7 + 0.25).frac().add_(1).frac_().sub_(0.5).abs_().sub_(0.33)
        return wave.mul_(pixels / 1.7).add_(0.5).clamp_(0, 1)
    rate, shift = _DOTS.get(actor.shape, (1.45, 0.0))
    places = [at[0] * rate, at[1] * rate, at[2] * rate + shift]
    away = [place - place.round() for place in places]
    nearest = _dot(away, away)
    return nearest.sqrt_().sub_(0.30).mul_(-pixels / rate).add_(0.5).clamp_(0, 1)


def draw_shadow(
    actor: Actor, view: View, poses: Sequence[Pose], cameras: Sequence[tuple[float, float]]
) -> Sprites:
    """The soft shadow of `actor` on the ground for each frame."""
    slope_x, slope_z = view.light[0] / view.light[1], view.light[2] / view.light[1]
    points = [(p.x - slope_x * p.y, 0.0, p.z - slope_z * p.y) for p in poses]
    places = places_of(view, points, cameras)
    looks, index = collect(
        [
            look_of(actor, pose, camera[1], pose.y, place)
            for pose, camera, place in zip(poses, cameras, places, strict=True)
        ]
    )
    bound = SOLIDS[actor.shape].bound
    reach = max(p.radius * c[1] * bound for p, c in zip(poses, cameras, strict=True))
    softest = max(_softness(look) for look in looks)
    wide = reach * (1.15 + 0.75 * abs(slope_x)) + softest
    deep = (reach * (1.15 + 0.75 * abs(slope_z)) + softest) * math.sin(view.pitch)
    # Even, so that the half-size grid lies the same in pictures of any size.
    half = (2 * math.ceil(deep * view.unit / 2) + 2, 2 * math.ceil(wide * view.unit / 2) + 2)
    parts = [
        _shadow(actor, view, chunk, (2 * half[0], 2 * half[1]))
        for chunk in chunks_of(looks, half[0] * half[1])
    ]
    return Sprites(index, corners_of(places, half), torch.cat(parts)[..., None])


def _softness(look: Look) -> float:
    return 0.03 + 0.16 * max(0.0, look.height - look.radius)


def _shadow(actor: Actor, view: View, looks: list[Look], shape: tuple[int, int]) -> Tensor:
    """What the ground keeps of its light, (P, H, W): traced at half size, then enlarged."""
    solid = SOLIDS[actor.shape]
    matrix = turns_of(view, looks) * squeezes_of(view, looks)
    right, up = offsets_of(view, looks, shape, pitch=2)
    up = up / math.sin(view.pitch)
    light = matrix @ view.tensor(view.light)
    climb = view.tensor([look.height / view.light[1] for look in looks])
    reach = view.tensor([solid.bound * look.radius for look in looks]).minimum(climb)
    ground = [
        right * matrix[:, i, 0, None, None] + up * matrix[:, i, 2, None, None] for i in range(3)
    ]
    foot = [ground[i] - (light[:, i] * climb)[:, None, None] for i in range(3)]
    start = [ground[i] - (light[:, i] * reach)[:, None, None] for i in range(3)]
    light = light / light.norm(dim=1, keepdim=True)
    way = [light[:, i, None, None] for i in range(3)]
    *_, nearest = trace(solid, start, way, _SHADOW_STEPS)
    radius = view.tensor([look.radius for look in looks])[:, None, None]
    soft = view.tensor([_softness(look) for look in looks])[:, None, None]
    strength = view.tensor([0.52 / (1 + max(0.0, look.height - look.radius)) for look in looks])
    dark = (1 - nearest * radius / soft).clamp_(0, 1)
    dark = dark * dark * (3 - 2 * dark) * strength[:, None, None]
    contact = (1 - solid.distance(*foot) / 0.35).clamp_(0, 1)
    keep = (1 - dark) * (1 - 0.45 * contact * contact)
    return interpolate(keep[:, None], scale_factor=2, mode="bilinear")[:, 0]
