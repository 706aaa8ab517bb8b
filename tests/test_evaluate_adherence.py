"""Adherence: it finds what is there, and what spoils a clip moves it the right way."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from overcrank.evaluate.adherence import Adherence, Ledger, match
from overcrank.evaluate.artefacts import Artefacts
from overcrank.evaluate.permanence import Permanence
from overcrank.evaluate.shown import Measure, Question, Shown, ask, questions
from overcrank.shapes import ClipSize
from overcrank.toybox.bench import bench
from overcrank.toybox.recogniser import Answer, Reading, Recogniser, Solid
from overcrank.toybox.render import render
from overcrank.toybox.truth import actor_mask
from overcrank.toybox.wording import Fact

QUICK = ClipSize(49, 128, 128)
UNSURE = Answer(None, 0.4)
WAYS = ("left", "right", "rise", "fall", "grow", "shrink")
"""Motions that end elsewhere than they began: what comes again can be read in any order."""
Rates = dict[str, dict[str, float]]


def yes(name: str) -> Answer:
    return Answer(name, 0.99)


def solid(colour: str, shape: str, motion: str = "still") -> Solid:
    return Solid(yes(colour), yes(shape), yes(motion))


def reading(*solids: Solid) -> Reading:
    return Reading(solids, yes("sand"), yes(str(len(solids))))


def pair_question(facts: Sequence[Fact]) -> Question:
    return Question(item=bench()[300], wording="seen", caption="", seed=0, facts=tuple(facts))


def test_actors_are_matched_with_what_finds_most_of_them() -> None:
    facts = [Fact("colour", "red", 0), Fact("shape", "cube", 0), Fact("colour", "blue", 1)]
    question = pair_question(facts)
    for solids in (
        (solid("red", "cube"), solid("blue", "ball")),
        (solid("blue", "ball"), solid("red", "cube")),
        (solid("green", "cone"), solid("blue", "ball"), solid("red", "cube")),
    ):
        found = match(question, reading(*solids))
        assert [answer and answer.name for answer in found.values()] == ["red", "cube", "blue"]


def test_all_facts_are_those_that_the_recogniser_can_be_relied_on_for() -> None:
    facts = [Fact("colour", "red", 0), Fact("sky", "blue"), Fact("texture", "dotted", 0)]
    question = Question(item=bench()[0], wording="seen", caption="", seed=0, facts=tuple(facts))
    ledger = Ledger()
    for sky in ("blue", "pink"):
        read = Reading((solid("red", "cube"),), yes("sand"), yes("1"), yes(sky), UNSURE)
        ledger.add(question, match(question, read))
    rows = ledger.table()
    assert rows["texture"]["rate"] == 0
    assert rows["all facts, one actor"]["rate"] == 0.5
    assert rows["all facts, one actor"]["unsure"] == 0


def test_nobody_is_found_where_nobody_is() -> None:
    facts = [Fact("colour", "red", 0), Fact("colour", "blue", 1), Fact("actors", "2")]
    found = match(pair_question(facts), reading(solid("blue", "ball")))
    assert [answer and answer.name for answer in found.values()] == [None, "blue", "1"]


def test_unsure_is_not_found_and_is_counted_by_itself() -> None:
    (question,) = questions(1)
    ledger = Ledger()
    read = Reading((Solid(UNSURE, UNSURE, UNSURE),), UNSURE, yes("1"))
    ledger.add(question, match(question, read))
    rows = ledger.table()
    assert (rows["colour"]["rate"], rows["colour"]["unsure"]) == (0, 1)
    assert (rows["count"]["rate"], rows["count"]["unsure"]) == (1, 0)
    assert rows["colour and shape"]["chance"] == pytest.approx(1 / 48)
    assert rows["all facts, one actor"]["hits"] == 0


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser.load()


def measured(recogniser: Recogniser, spoil: Callable[[Question, Tensor], Tensor]) -> Rates:
    """The rates on true clips of eight questions after `spoil`."""
    measure = Adherence(recogniser)
    for question in asked():
        frames = spoil(question, render(question.item.scene, QUICK))
        measure.see(Shown(question=question, frames=frames, frame_rate=24.0))
    rates: Rates = measure.result()["clips"]
    return rates


def asked() -> list[Question]:
    """Those in which every actor goes one of `WAYS`."""
    moving = [q for q in questions(64) if all(a.motion in WAYS for a in q.item.scene.actors)]
    return moving[:8]


@pytest.fixture(scope="module")
def true(recogniser: Recogniser) -> Rates:
    return measured(recogniser, lambda _, frames: frames)


def test_true_clips_obey(true: Rates) -> None:
    for name in ("colour", "shape", "motion", "count", "ground"):
        assert true[name]["rate"] >= 0.85, name


def test_a_wrong_colour_is_not_found_and_harms_nothing_else(
    recogniser: Recogniser, true: Rates
) -> None:
    def recoloured(question: Question, frames: Tensor) -> Tensor:
        mask = actor_mask(question.item.scene, QUICK)
        return torch.where(mask[..., None], 255 - frames, frames)

    spoilt = measured(recogniser, recoloured)
    assert spoilt["colour"]["rate"] <= 0.25
    assert spoilt["ground"]["rate"] == true["ground"]["rate"]


def test_a_clip_of_another_scene_obeys_hardly(recogniser: Recogniser) -> None:
    others = {q.seed: o for q, o in zip(asked(), [*asked()[3:], *asked()[:3]], strict=True)}
    spoilt = measured(recogniser, lambda q, _: render(others[q.seed].item.scene, QUICK))
    assert spoilt["colour"]["rate"] <= 0.6
    assert spoilt["ground"]["rate"] <= 0.6
    assert spoilt["colour and shape"]["rate"] <= 0.3


def test_shuffled_and_frozen_clips_do_not_move_as_asked(
    recogniser: Recogniser, true: Rates
) -> None:
    order = torch.randperm(QUICK.frames, generator=torch.Generator().manual_seed(0))
    shuffled = measured(recogniser, lambda _, frames: frames[order])
    frozen = measured(recogniser, lambda _, frames: frames[24:25].expand(49, -1, -1, -1))
    for spoilt in (shuffled, frozen):
        assert spoilt["motion"]["rate"] <= true["motion"]["rate"] - 0.4
        assert spoilt["ground"]["rate"] >= true["ground"]["rate"] - 0.15


def test_a_heavy_blur_makes_it_unsure(recogniser: Recogniser, true: Rates) -> None:
    def blurred(_: Question, frames: Tensor) -> Tensor:
        video = frames.float().movedim(-1, 1)
        small = F.interpolate(video, (7, 7), mode="bilinear", antialias=True)
        return F.interpolate(small, (128, 128), mode="bilinear").movedim(1, -1).byte()

    spoilt = measured(recogniser, blurred)
    assert spoilt["shape"]["unsure"] >= true["shape"]["unsure"] + 0.2
    assert spoilt["shape"]["rate"] <= true["shape"]["rate"] - 0.3


def test_what_nobody_would_notice_changes_nothing(recogniser: Recogniser, true: Rates) -> None:
    def lighter(_: Question, frames: Tensor) -> Tensor:
        return frames.clamp(max=254) + 1

    def larger(_: Question, frames: Tensor) -> Tensor:
        video = frames.float().movedim(-1, 1)
        return F.interpolate(video, (160, 160), mode="bilinear").movedim(1, -1).byte()

    for spoil in (lighter, larger):
        harmless = measured(recogniser, spoil)
        for name in ("colour", "shape", "motion", "count", "ground"):
            assert abs(harmless[name]["rate"] - true[name]["rate"]) <= 0.1, name


def test_a_report_has_groups_and_what_is_true_beside_them(recogniser: Recogniser) -> None:
    measure = Adherence(recogniser, round_trip=lambda frames: frames)
    for question in questions(6):
        frames = render(question.item.scene, ClipSize(9, 64, 64))
        measure.see(Shown(question=question, frames=frames, frame_rate=24.0))
    found = measure.result()
    assert set(found) == {"clips", "true_clips", "round_trips", "wordings", "scenes", "pairs"}
    assert set(found["wordings"]) == {"seen", "paraphrase"}
    assert found["clips"] == found["true_clips"] == found["round_trips"]
    assert found["clips"]["count"]["total"] == 6
    assert set(found["clips"]["colour"]) == {
        *("hits", "total", "rate", "low", "high", "unsure", "chance")
    }
    pairs = found["pairs"]["held out"].get("colour and shape", {"total": 0})["total"]
    pairs += found["pairs"]["not held out"]["colour and shape"]["total"]
    assert pairs == found["clips"]["colour and shape"]["total"] == 9


def test_a_true_clip_counts_once_however_often_it_is_asked_for(recogniser: Recogniser) -> None:
    size = ClipSize(9, 64, 64)
    measures: list[Measure] = [
        Adherence(recogniser, round_trip=lambda frames: frames),
        Permanence(recogniser),
        Artefacts(),
    ]
    asked = [ask(bench()[place], seed=seed) for seed in range(3) for place in (0, 256)]
    for question in asked:
        shown = Shown(question=question, frames=render(question.item.scene, size), frame_rate=24.0)
        for measure in measures:
            measure.see(shown)
    adherence, permanence, artefacts = (measure.result() for measure in measures)
    for name, count in (("clips", 6), ("true_clips", 2), ("round_trips", 2)):
        assert adherence[name]["count"]["total"] == count
    for name, count in (("clips", 6), ("true_clips", 2)):
        assert permanence[name]["colour"]["unsure"]["total"] == count
        assert artefacts[name]["frozen"]["total"] == count
