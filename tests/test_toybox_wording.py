"""Captions that say a scene otherwise, and what they name."""

import re
from collections import Counter
from dataclasses import replace

import pytest

from overcrank.toybox.bench import bench
from overcrank.toybox.caption import caption
from overcrank.toybox.recogniser import NAMES
from overcrank.toybox.scene import sample_scene
from overcrank.toybox.wording import UNSEEN, WORDINGS, Fact, named, tell

GLUE = {"a", "at", "in", "to", "and", "while"}
"""Words that say nothing of a scene by themselves."""


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z'-]+", text.lower()))


@pytest.fixture(scope="module")
def training_words() -> set[str]:
    return set().union(*(words(caption(sample_scene(n), n % 7)) for n in range(4000)))


def test_unseen_words_are_in_no_training_caption(training_words: set[str]) -> None:
    for values in UNSEEN.values():
        for phrases in values.values():
            for phrase in phrases:
                assert not (words(phrase) - GLUE) & training_words, phrase
    assert {"bounces", "hops", "ring", "sphere"} <= training_words


def test_everything_that_can_be_asked_has_unseen_words() -> None:
    for name, values in UNSEEN.items():
        assert set(values) == set(NAMES[name]) - {"plain", "still"} | (
            {"still"} if name == "motion" else set()
        )


def test_no_word_stands_for_two_things() -> None:
    for values in UNSEEN.values():
        said = Counter(phrase for phrases in values.values() for phrase in phrases)
        assert set(said.values()) == {1}


def test_paraphrases_are_sentences_that_training_never_makes(training_words: set[str]) -> None:
    for item in bench()[::37]:
        told = tell(item.scene, "paraphrase")
        assert told.caption.endswith(".")
        assert told.caption[:-1] != item.caption
        for actor in item.scene.actors:
            assert words(actor.colour) <= words(told.caption) & training_words


def test_a_caption_names_what_it_says() -> None:
    scene = sample_scene(3, actors=2)
    left, right = (
        replace(actor, colour=colour, shape=shape, size="large", texture="striped", motion=motion)
        for actor, colour, shape, motion in zip(
            scene.actors, ("red", "blue"), ("ball", "torus"), ("bounce", "orbit"), strict=True
        )
    )
    scene = replace(scene, actors=(left, right), ground="sand", camera="pan", sky="night")
    text = "a big red ball bounces behind a striped blue ring that circles on sand at night"
    facts = named(scene, text)
    assert set(facts) == {
        Fact("actors", "2"),
        Fact("ground", "sand"),
        Fact("camera", "pan"),
        Fact("sky", "night"),
        *(Fact("colour", "red", 0), Fact("shape", "ball", 0), Fact("motion", "bounce", 0)),
        *(Fact("colour", "blue", 1), Fact("shape", "torus", 1), Fact("motion", "orbit", 1)),
        *(Fact("size", "large", 0), Fact("texture", "striped", 1)),
        *(Fact("depth", "back", 0), Fact("depth", "front", 1)),
    }
    with pytest.raises(ValueError, match="no blue actor"):
        named(scene, "a red ball bounces on sand")


@pytest.mark.parametrize("wording", WORDINGS)
def test_each_wording_names_what_is_true_of_the_scene(wording: str) -> None:
    seen = set()
    for item in bench()[::5]:
        told = tell(item.scene, wording)
        assert told == tell(item.scene, wording)
        for fact in told.facts:
            seen.add(fact.name)
            assert fact.value in NAMES[fact.name]
            if fact.name in ("actors", "depth"):
                continue
            holder = item.scene if fact.actor is None else item.scene.actors[fact.actor]
            assert getattr(holder, fact.name) == fact.value
        for i, actor in enumerate(item.scene.actors):
            assert Fact("depth", "back", i) not in told.facts or actor.z > min(
                other.z for other in item.scene.actors
            )
    assert seen == set(NAMES) - ({"depth"} if wording == "unseen words" else set())


def test_the_captions_of_the_benchmark_are_the_seen_wording() -> None:
    assert all(tell(item.scene, "seen").caption == item.caption for item in bench()[::50])
