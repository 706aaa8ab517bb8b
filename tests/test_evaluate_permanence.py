"""Permanence: true clips keep what they show; what is swapped, lost or drowned is noticed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from overcrank.evaluate.permanence import Permanence, stays, window
from overcrank.evaluate.shown import Question, Shown
from overcrank.shapes import ClipSize
from overcrank.toybox import render, sample_scene
from overcrank.toybox.bench import BenchItem, bench
from overcrank.toybox.recogniser import Recogniser

SIZE = ClipSize(49, 64, 64)
RATE = 12.0


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser.load()


def items(count: int, actors: int) -> list[BenchItem]:
    return [item for item in bench() if len(item.scene.actors) == actors][:count]


def measured(
    recogniser: Recogniser,
    chosen: list[BenchItem],
    change: Callable[[BenchItem, Tensor], Tensor],
) -> dict[str, Any]:
    measure = Permanence(recogniser)
    for item in chosen:
        question = Question(item=item, wording="seen", caption=item.caption, seed=item.seed)
        frames = change(item, render(item.scene, SIZE, RATE))
        measure.see(Shown(question=question, frames=frames, frame_rate=RATE))
    return measure.result()


def kept(result: dict[str, Any], clips: str = "clips") -> dict[str, float]:
    return {name: fact["kept"]["rate"] for name, fact in result[clips].items()}


@pytest.mark.parametrize("actors", [1, 2])
def test_true_clips_keep_their_actors(recogniser: Recogniser, actors: int) -> None:
    result = measured(recogniser, items(12, actors), lambda _, frames: frames)
    assert result["n"] + result["left_out"] == 12
    assert result["n"] >= 8
    assert result["clips"] == result["true_clips"]
    assert min(kept(result).values()) >= 0.8
    assert max(fact["unsure"]["rate"] for fact in result["clips"].values()) <= 0.4


def test_a_brighter_clip_keeps_them_too(recogniser: Recogniser) -> None:
    plain = measured(recogniser, items(8, 1), lambda _, frames: frames)
    brighter = measured(
        recogniser, items(8, 1), lambda _, frames: (frames.float() + 4).clamp(0, 255).byte()
    )
    assert kept(brighter) == kept(plain)


def test_another_colour_in_the_second_half_is_a_changed_colour(recogniser: Recogniser) -> None:
    def repaint(item: BenchItem, frames: Tensor) -> Tensor:
        (actor,) = item.scene.actors
        other = "blue" if actor.colour != "blue" else "red"
        scene = replace(item.scene, actors=(replace(actor, colour=other),))
        return torch.cat([frames[:24], render(scene, SIZE, RATE)[24:]])

    result = measured(recogniser, items(10, 1), repaint)
    assert kept(result)["colour"] <= 0.1
    assert kept(result)["count"] >= 0.8
    assert kept(result, "true_clips")["colour"] >= 0.9


def test_an_actor_that_turns_into_another_is_a_changed_shape(recogniser: Recogniser) -> None:
    def turn(item: BenchItem, frames: Tensor) -> Tensor:
        (actor,) = item.scene.actors
        other = "ball" if actor.shape != "ball" else "cube"
        scene = replace(item.scene, actors=(replace(actor, shape=other),))
        return torch.cat([frames[:24], render(scene, SIZE, RATE)[24:]])

    assert kept(measured(recogniser, items(10, 1), turn))["shape"] <= 0.1


def test_an_actor_that_vanishes_is_a_changed_count(recogniser: Recogniser) -> None:
    def lose(item: BenchItem, frames: Tensor) -> Tensor:
        scene = replace(item.scene, actors=item.scene.actors[:1])
        return torch.cat([frames[:24], render(scene, SIZE, RATE)[24:]])

    result = measured(recogniser, items(10, 2), lose)
    assert kept(result)["count"] <= 0.3
    assert kept(result, "true_clips")["count"] >= 0.8


def test_what_nobody_can_read_is_unsure_not_kept(recogniser: Recogniser) -> None:
    dice = torch.Generator().manual_seed(0)

    def drown(_: BenchItem, frames: Tensor) -> Tensor:
        noise = torch.randint(0, 256, frames.shape, generator=dice).byte()
        return torch.cat([frames[:24], noise[24:]])

    result = measured(recogniser, items(6, 1), drown)
    assert result["clips"]["shape"]["unsure"]["rate"] == 1
    assert result["clips"]["shape"]["kept"] is None


def test_scenes_that_an_actor_leaves_do_not_count(recogniser: Recogniser) -> None:
    walking = next(
        scene
        for scene in (sample_scene(n, split="test", actors=1) for n in range(100))
        if scene.actors[0].motion == "left"
    )
    assert stays(walking, ClipSize(25, 64, 64), 24.0, 12)
    assert not stays(walking, ClipSize(97, 64, 64), 8.0, 12)
    item = replace(items(1, 1)[0], scene=walking)
    question = Question(item=item, wording="seen", caption="", seed=0)
    measure = Permanence(recogniser)
    measure.see(
        Shown(question=question, frames=render(walking, ClipSize(97, 64, 64), 8.0), frame_rate=8.0)
    )
    assert measure.result() == {"n": 0, "left_out": 1}


def test_windows_never_overlap() -> None:
    assert [window(frames, 24.0) for frames in (121, 97, 49, 9, 1)] == [48, 48, 24, 4, 1]
