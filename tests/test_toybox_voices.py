"""More ways to say a scene in training: true of it, and without the words that ask for more."""

import re

import pytest

from overcrank.toybox.caption import NOUNS, SKY_WORDS
from overcrank.toybox.scene import COLOURS as COLOUR_NAMES
from overcrank.toybox.scene import GROUNDS as GROUND_NAMES
from overcrank.toybox.scene import MOTIONS as MOTION_NAMES
from overcrank.toybox.scene import SHAPES as SHAPE_NAMES
from overcrank.toybox.scene import SIZES as SIZE_NAMES
from overcrank.toybox.scene import SKIES as SKY_NAMES
from overcrank.toybox.scene import TEXTURES as TEXTURE_NAMES
from overcrank.toybox.scene import sample_scene
from overcrank.toybox.voices import (
    CAMERAS,
    COLOURS,
    GROUNDS,
    MOTIONS,
    SHAPES,
    SIZES,
    SKIES,
    TEXTURES,
    Words,
    participle,
    say,
    third,
)
from overcrank.toybox.wording import UNSEEN, tell

GLUE = {"a", "at", "in", "to", "and", "while", "with"}
"""Words that say nothing of a scene by themselves."""
TABLES = (COLOURS, SHAPES, SIZES, TEXTURES, MOTIONS, GROUNDS, SKIES, CAMERAS)


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z'-]+", text.lower()))


def test_no_word_is_one_of_those_that_stay_unseen() -> None:
    unseen = {
        word
        for values in UNSEEN.values()
        for phrases in values.values()
        for phrase in phrases
        for word in words(phrase) - GLUE
    }
    said = set().union(*(words(say(sample_scene(n), n % 7)) for n in range(4000)))
    said |= {w for table in TABLES for v in table.values() for p in v for w in words(p)}
    assert not unseen & said
    assert not unseen & {part for word in said for part in word.split("-")}


def test_no_sentence_is_one_of_the_paraphrases() -> None:
    """These end in a full stop and say what an actor is doing."""
    for n in range(1000):
        scene = sample_scene(n)
        text = say(scene, n % 7)
        assert not re.search(r"\.|\bOn it\b|What is seen|: \w+ (is|are)\b|\bis \w+ing\b", text)
        assert text != tell(scene, "paraphrase").caption.lower()


def test_every_word_of_the_world_has_others() -> None:
    for table, names in (
        (COLOURS, COLOUR_NAMES),
        (SHAPES, SHAPE_NAMES),
        (SIZES, SIZE_NAMES),
        (TEXTURES, TEXTURE_NAMES[1:]),
        (MOTIONS, [name for name in MOTION_NAMES if name not in ("left", "right")]),
        (GROUNDS, GROUND_NAMES),
        (SKIES, SKY_NAMES),
    ):
        assert set(table) == set(names)


@pytest.mark.parametrize("table", TABLES, ids=range(len(TABLES)))
def test_no_words_stand_for_two_things(table: Words) -> None:
    said = [phrase for phrases in table.values() for phrase in phrases]
    assert len(said) == len(set(said))


def test_a_caption_names_what_every_caption_names() -> None:
    inflections = (str, third, participle)
    for n in range(500):
        scene = sample_scene(n)
        text = say(scene, n % 7)
        assert text == say(scene, n % 7)
        for actor in scene.actors:
            assert any(w in text for w in (actor.colour, *COLOURS[actor.colour]))
            assert any(w in text for w in (*NOUNS[actor.shape], *SHAPES[actor.shape]))
            verbs = MOTIONS.get(actor.motion, (actor.motion,))
            assert any(inflected(w) in text for w in verbs for inflected in inflections)
        ground = scene.ground
        assert any(re.sub("^an? ", "", w) in text for w in (ground, *GROUNDS[ground]))
        if scene.camera != "still":
            assert any(w in text for w in CAMERAS[scene.camera])
        others = [sky for sky in SKY_WORDS if sky != scene.sky]
        assert not any(w in text for sky in others for w in SKIES[sky])


@pytest.mark.parametrize(
    ("base", "he", "ing"),
    [
        ("spin", "spins", "spinning"),
        ("get bigger", "gets bigger", "getting bigger"),
        ("crash down", "crashes down", "crashing down"),
        ("go up", "goes up", "going up"),
        ("circle", "circles", "circling"),
        ("fly", "flies", "flying"),
        ("grow", "grows", "growing"),
        ("sit still", "sits still", "sitting still"),
    ],
)
def test_verbs_are_inflected(base: str, he: str, ing: str) -> None:
    assert (third(base), participle(base)) == (he, ing)
