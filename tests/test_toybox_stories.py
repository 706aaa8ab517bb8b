"""Stories in two steps: nothing jumps, the words say both, what is held out stays so."""

import json
import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from overcrank.shapes import ClipSize
from overcrank.toybox import Scene, caption, render, sample_scene, truth
from overcrank.toybox.figure_pack import PICTURE_SIDE, FigurePack
from overcrank.toybox.figures import FigureScene, caption_figures, held_out_motion, render_figures
from overcrank.toybox.motion import Pose, contacts, pose
from overcrank.toybox.rigs import AIRBORNE_KINDS, KINDS, Figure, rig, verb
from overcrank.toybox.scene import CHANGE_SECONDS, ENTRANCES, HELD_OUT, Actor
from overcrank.toybox.stories import (
    AIR_STEPS,
    GROUND_STEPS,
    SOLID_STEPS,
    sample_figure_story,
    sample_story,
)

SMALL = ClipSize(9, 64, 64)
PACK = FigurePack(
    names=tuple(f"a{kind}" for kind in KINDS),
    kinds=tuple(KINDS),
    pictures_NHWC=torch.full((len(KINDS), PICTURE_SIDE, PICTURE_SIDE, 4), 255, dtype=torch.uint8),
    source="drawn by a test",
    licence="none",
)


def solid(first: str, then: str, shape: str = "ball") -> Actor:
    actor = sample_scene(3, actors=1).actors[0]
    return replace(actor, shape=shape, motion=first, then=then, x=0.1, z=0.0, diameter=0.4)


def figure(kind: str, first: str, then: str) -> Figure:
    return Figure(
        name="yak", kind=kind, motion=first, then=then, x=0.1, z=0.0, diameter=0.4, phase=0.3,
        sense=1,
    )  # fmt: skip


def gap(one: Pose, other: Pose) -> float:
    """The largest difference of two poses; turns count by what they show."""
    turns = [getattr(one, name) - getattr(other, name) for name in ("yaw", "roll", "tilt")]
    names = ("x", "y", "z", "lift", "radius", "squash")
    moved = max(abs(getattr(one, name) - getattr(other, name)) for name in names)
    return max(moved, *(1 - math.cos(turn) for turn in turns))


ROUND_THE_CHANGE = [CHANGE_SECONDS + n / 480 for n in range(-100, 160)]


@pytest.mark.parametrize("shape", ["ball", "cube"])
def test_no_solid_jumps(shape: str) -> None:
    for step in SOLID_STEPS:
        poses = [pose(solid(*step, shape), time) for time in ROUND_THE_CHANGE]
        assert max(gap(*pair) for pair in pairwise(poses)) < 0.015, step
        assert min(each.lift for each in poses) > -1e-6
        assert max(pose(solid(*step), n / 8).radius for n in range(40)) == pytest.approx(0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_no_figure_jumps_or_sinks(kind: str) -> None:
    for step in AIR_STEPS if kind in AIRBORNE_KINDS else GROUND_STEPS:
        poses = [rig(figure(kind, *step), time) for time in ROUND_THE_CHANGE]
        assert max(gap(*pair) for pair in pairwise(poses)) < 0.015, step
        assert min(each.lift for each in poses) > -1e-6


SHOWS = {
    "left": "x",
    "right": "x",
    "spin": "yaw",
    "bounce": "lift",
    "rise": "lift",
    "grow": "radius",
}
SHOWS |= {"shrink": "radius", "orbit": "x", "fall": "lift", **dict.fromkeys(ENTRANCES, "x")}


def test_each_step_shows_its_motion() -> None:
    names = set(SHOWS.values())
    for steps in SOLID_STEPS:
        for motion, first in zip(steps, (0.1, CHANGE_SECONDS + 0.31), strict=True):
            poses = [pose(solid(*steps), first + n / 6) for n in range(6)]
            moved = {
                name
                for name in names
                if max(abs(getattr(each, name) - getattr(poses[0], name)) for each in poses) > 0.02
            }
            assert moved == set() if motion == "still" else SHOWS[motion] in moved, steps


def test_who_comes_in_is_outside_first() -> None:
    for entrance in ENTRANCES:
        for drawn in (
            pose(solid(entrance, "spin"), 0.0),
            rig(figure("walker", entrance, "hop"), 0.0),
        ):
            assert abs(drawn.x) - drawn.radius > 0.5
            assert (drawn.x > 0) == (entrance == "from right")


def test_one_that_bounces_hits_the_ground_in_both_steps() -> None:
    assert contacts(solid("bounce", "spin"), 5.0) == pytest.approx([1.1, 2.2])
    assert contacts(solid("spin", "bounce"), 5.0) == pytest.approx([3.3, 4.4])
    falls = contacts(solid("rise", "fall"), 5.0)
    assert len(falls) == 3
    assert all(pose(solid("rise", "fall"), time).lift < 1e-6 for time in falls)
    shown = truth(replace(sample_scene(3), actors=(solid("fall", "spin"),)), SMALL, 4.0)
    assert shown.contacts[0] == pytest.approx((1.1, 1.52, 1.76))
    assert shown.attributes["actors"][0]["then"] == "spin"


def test_training_stories_hold_nothing_back_that_is_held_out() -> None:
    stories = [sample_story(seed) for seed in range(1500)]
    assert not any(story.held_out for story in stories)
    tests = [sample_story(seed, "test") for seed in range(1500)]
    assert frozenset().union(*(story.held_out for story in tests)) == HELD_OUT
    shown = [sample_figure_story(seed, PACK) for seed in range(1000)]
    assert not any(story.held_out for story in shown)
    for story in shown:
        for each in story.figures:
            goes = {"from left": "right", "from right": "left"}
            motions = {goes.get(motion, motion) for motion in each.motions}
            assert held_out_motion(each.name, each.kind) not in motions
    assert any(sample_figure_story(seed, PACK, "test").held_out for seed in range(100))


def test_every_step_is_told_and_none_else() -> None:
    stories = [sample_story(seed, "test") for seed in range(3000)]
    told = {a.motions for story in stories for a in story.actors if a.then}
    assert told == set(SOLID_STEPS)
    assert {len(story.actors) for story in stories} == {1, 2}
    assert all(any(actor.then for actor in story.actors) for story in stories)
    shown = [sample_figure_story(seed, PACK, "test") for seed in range(3000)]
    told = {f.motions for story in shown for f in story.figures if f.then}
    assert told == {*GROUND_STEPS, *AIR_STEPS}


def test_a_story_survives_json_and_scenes_without_one_stay_as_they_were() -> None:
    for seed in range(20):
        story = sample_story(seed)
        assert Scene.from_dict(json.loads(json.dumps(story.to_dict()))) == story
        shown = sample_figure_story(seed, PACK)
        assert FigureScene.from_dict(json.loads(json.dumps(shown.to_dict()))) == shown
        assert all("then" not in actor for actor in sample_scene(seed).to_dict()["actors"])


def test_a_caption_says_both_steps_in_their_order() -> None:
    for seed in range(400):
        story, shown = sample_story(seed), sample_figure_story(seed, PACK)
        text, told = caption(story, seed), caption_figures(shown, seed)
        orders = (", then ", " and then ", " before it ", " and after that it ")
        assert any(order in text for order in orders), text
        assert any(order in told for order in orders), told
        for side in ENTRANCES:
            assert (f"in {side.replace(' ', ' the ')}" in text) == any(
                actor.motion == side for actor in story.actors
            )
        assert len(text.split()) <= 48
    said = {verb(figure("vehicle", "from left", "spin"), random.Random(n)) for n in range(200)}
    assert "drives in from the left, then spins" in said
    assert "comes in from the left and then spins around" in said


def test_frames_of_stories_are_drawn() -> None:
    story = replace(sample_story(0), actors=(solid("from left", "bounce"),), camera="still")
    frames = render(story, SMALL, 2.0).float()
    empty = render(replace(story, actors=()), SMALL, 2.0).float()
    seen = ((frames - empty).abs().amax(-1) > 60).float().mean((1, 2))
    assert seen[0] < 0.01
    assert seen[2:].min() > 0.05
    shown = sample_figure_story(0, PACK)
    assert render_figures(shown, PACK, SMALL, 2.0).float().std() > 10
