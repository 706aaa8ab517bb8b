"""Scenes in two steps: "a red ball rolls in from the left, then bounces".

The looks, the ground, the sky and the light are those of the scene of the same seed. Of two actors
one has a story, sometimes both.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from overcrank.toybox.figure_pack import FigurePack
from overcrank.toybox.figures import FigureScene, may_train, sample_figure_scene
from overcrank.toybox.motion import WALK_SPEED
from overcrank.toybox.rigs import AIRBORNE_KINDS, SIDES, Figure
from overcrank.toybox.scene import (
    CHANGE_SECONDS,
    ENTRANCES,
    HELD_OUT,
    ROUND,
    TEXTURES,
    Actor,
    Scene,
    sample_scene,
)

Mover = TypeVar("Mover", Actor, Figure)
Step = tuple[str, str]
"""What an actor does first, and what then."""

_WAYS = {**SIDES, **ENTRANCES}


def _steps(firsts: Sequence[str], seconds: Sequence[str]) -> tuple[Step, ...]:
    """All that change something; nothing that goes one way goes on the same way."""
    return tuple(
        (first, then)
        for first in firsts
        for then in seconds
        if first != then and (first not in _WAYS or _WAYS[first] != _WAYS.get(then))
    )


_RESTING = ("still", "spin", "grow", "shrink", *SIDES)
SOLID_STEPS = (
    *_steps(tuple(ENTRANCES), (*_RESTING, "bounce", "rise", "orbit")),
    *_steps((*_RESTING, "bounce"), (*_RESTING, "bounce", "rise")),
    *_steps(("fall",), ("spin", "grow", "shrink", *SIDES, "rise", "orbit")),
    ("rise", "fall"),
)
GROUND_STEPS = _steps(
    (*ENTRANCES, *SIDES, "still", "hop", "sway", "spin", "squash"),
    (*SIDES, "still", "hop", "sway", "spin", "squash"),
)
AIR_STEPS = _steps(
    (*ENTRANCES, *SIDES, "hover", "loop", "rise", "spin"), (*SIDES, "hover", "loop", "rise", "spin")
)
"""What solids, figures on the ground and those in the air may do."""

_ONE = 0.65
_BOTH = 0.3
_ENTERING = 3.0
"""How often there is one actor, how often both of two have a story, and how much likelier each
step is that begins outside."""
_SPOT = 0.26
_SECONDS = 5.0


def sample_story(seed: int, split: str = "train") -> Scene:
    """The story of a seed: one or two solids. A training story has no pair of `HELD_OUT`."""
    rng = random.Random(f"overcrank stories {split} {seed}")
    told = _who(rng)
    scene = sample_scene(seed, split=split, actors=len(told))

    def may(actor: Actor) -> bool:
        return split == "test" or not actor.pairs & HELD_OUT

    actors = list(scene.actors)
    for i, tells in enumerate(told):
        if tells:
            tellings = [replace(actors[i], motion=a, then=b) for a, b in SOLID_STEPS]
            others = [other for j, other in enumerate(actors) if j < i or not told[j]]
            story = _choose(rng, [each for each in tellings if may(each)], others)
            actors[i] = _dressed(rng, story)
    enters = any(actor.motion in ENTRANCES for actor in actors)
    camera = "still" if enters and scene.camera == "pan" else scene.camera
    return replace(scene, actors=tuple(_place(rng, actors)), camera=camera)


def sample_figure_story(seed: int, pack: FigurePack, split: str = "train") -> FigureScene:
    """The story of a seed: one or two figures, in training none in its `held_out_motion`."""
    rng = random.Random(f"overcrank figure stories {split} {seed}")
    told = _who(rng)[: len(pack.names)]
    scene = sample_figure_scene(seed, pack, split, figures=len(told))

    def may(figure: Figure) -> bool:
        return split == "test" or may_train(figure.name, figure.kind, figure.motions)

    figures = list(scene.figures)
    for i, tells in enumerate(told):
        if tells:
            steps = AIR_STEPS if figures[i].kind in AIRBORNE_KINDS else GROUND_STEPS
            tellings = [replace(figures[i], motion=a, then=b) for a, b in steps]
            others = [other for j, other in enumerate(figures) if j < i or not told[j]]
            story = _choose(rng, [each for each in tellings if may(each)], others)
            figures[i] = replace(story, sense=next(iter(_ways(story)), story.sense))
    enters = any(figure.motion in ENTRANCES for figure in figures)
    camera = "still" if enters and scene.stage.camera == "pan" else scene.stage.camera
    stage = replace(scene.stage, camera=camera)
    return FigureScene(figures=tuple(_place(rng, figures)), stage=stage)


def _who(rng: random.Random) -> list[bool]:
    """For each actor whether it has a story."""
    if rng.random() < _ONE:
        return [True]
    told = [True, rng.random() < _BOTH]
    rng.shuffle(told)
    return told


def _ways(mover: Actor | Figure) -> list[int]:
    """To which sides it goes, in turn."""
    return [_WAYS[motion] for motion in mover.motions if motion in _WAYS]


def _choose(rng: random.Random, tellings: list[Mover], others: list[Mover]) -> Mover:
    """A story that leaves the others room: of two, one goes somewhere, or both come in."""
    if any(_ways(other) for other in others):
        met = {other.motion for other in others if len(_ways(other)) == 1} & set(ENTRANCES)
        tellings = [
            each
            for each in tellings
            if not _ways(each) or (met and each.motion in set(ENTRANCES) - met)
        ]
    weights = [_ENTERING if each.motion in ENTRANCES else 1.0 for each in tellings]
    return rng.choices(tellings, weights)[0]


def _dressed(rng: random.Random, actor: Actor) -> Actor:
    """With what shows its motion: a texture that turns, a tumble."""
    texture = actor.texture
    if "spin" in actor.motions and actor.shape in ROUND and texture == "plain":
        texture = rng.choice(TEXTURES[1:])
    tumble = actor.motion == "fall" and actor.shape != "torus" and rng.random() < 0.4
    return replace(actor, texture=texture, tumble=tumble)


def _place(rng: random.Random, movers: list[Mover]) -> list[Mover]:
    """Alone in the middle of its way; of two in front who goes, beside it who stays."""
    if len(movers) == 1:
        x = _middle(movers[0]) + rng.uniform(-0.06, 0.06)
        return [replace(movers[0], x=round(x, 3))]
    goers = [mover for mover in movers if mover.then and _ways(mover)]
    if not goers:
        return movers
    first = goers[0]
    enters = first.motion in ENTRANCES
    x = -_ways(first)[0] * _SPOT if enters else _middle(first)
    free = -math.copysign(_SPOT, x)
    if enters and first.then in SIDES:
        x = 0.0
    depths = sorted(mover.z for mover in movers)
    return [
        replace(
            mover,
            x=round((x if mover is first else free) + rng.uniform(-0.02, 0.02), 3),
            z=depths[0 if mover is first else 1],
        )
        for mover in movers
    ]


def _middle(mover: Actor | Figure) -> float:
    """Where it is at the change if its way, as far as it is in the frame, lies in the middle."""
    first, then = mover.motions
    before = -SIDES.get(first, 0) * WALK_SPEED * CHANGE_SECONDS
    after = SIDES.get(then, 0) * WALK_SPEED * (_SECONDS - CHANGE_SECONDS)
    return -(min(before, after, 0.0) + max(before, after, 0.0)) / 2
