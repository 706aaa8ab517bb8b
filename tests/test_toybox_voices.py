"""More ways to say a scene in training: true of it, and without the words that ask for more."""

import random
import re

import pytest

from overcrank.data.world import World
from overcrank.toybox.caption import NOUNS, SKY_WORDS
from overcrank.toybox.figure_pack import shipped_pack
from overcrank.toybox.figure_words import EVERYDAY, relation
from overcrank.toybox.figures import sample_figure_scene
from overcrank.toybox.rigs import rig
from overcrank.toybox.scene import COLOURS as COLOUR_NAMES
from overcrank.toybox.scene import GROUNDS as GROUND_NAMES
from overcrank.toybox.scene import MOTIONS as MOTION_NAMES
from overcrank.toybox.scene import SHAPES as SHAPE_NAMES
from overcrank.toybox.scene import SIZES as SIZE_NAMES
from overcrank.toybox.scene import SKIES as SKY_NAMES
from overcrank.toybox.scene import TEXTURES as TEXTURE_NAMES
from overcrank.toybox.scene import sample_scene
from overcrank.toybox.stories import sample_figure_story, sample_story
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
    say_figures,
    third,
)
from overcrank.toybox.wording import UNSEEN, tell

GLUE = {"a", "after", "at", "in", "to", "and", "while", "with"}
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
    said = set().union(*(words(say(sample_scene(n), n % 7)) for n in range(3000)))
    world = World(shipped_pack(), 1.0, stories=0.5)
    said |= set().union(*(words(world.caption(world.scene(n), n % 7)) for n in range(800)))
    said |= set().union(*(words(say(sample_story(n), n % 7)) for n in range(500)))
    said |= {w for table in TABLES for v in table.values() for p in v for w in words(p)}
    # Captions of figures have these: one is a doughnut, some sway, hoppers jump.
    unseen -= {"doughnut", "sways", "jumps"}
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


def test_a_story_is_said_in_other_words_too() -> None:
    inflections = (third, str)
    for n in range(300):
        story = sample_story(n)
        text = say(story, n % 7)
        for actor in story.actors:
            assert any(w in text for w in (actor.colour, *COLOURS[actor.colour]))
            for motion in actor.motions:
                verbs = MOTIONS.get(motion, (motion.replace("from ", "from the "),))
                assert any(inflected(w) in text for w in verbs for inflected in inflections), text
        assert re.search(r", then | and then | before it | and after that it ", text)


def test_figures_are_called_what_people_call_them() -> None:
    pack = shipped_pack()
    assert set(EVERYDAY) <= set(pack.names)
    called = [name for names in EVERYDAY.values() for name in names]
    assert len(called) == len(set(called))
    assert not set(called) & set(pack.names)
    for n in range(300):
        scene = sample_figure_scene(n, pack)
        text = say_figures(scene, n % 7)
        for figure in scene.figures:
            names = (figure.name, *EVERYDAY.get(figure.name, ()))
            assert any(re.search(rf"\b(a|an) {name}\b", text) for name in names), text


def test_relations_of_figures_are_what_is_seen() -> None:
    pack, said = shipped_pack(), set()
    for n in range(600):
        scene = sample_figure_story(n, pack) if n % 2 else sample_figure_scene(n, pack, figures=2)
        if len(scene.figures) == 1:
            continue
        one, other = scene.figures
        stands = relation(one, other, random.Random(n))
        said.add(stands)
        late = [rig(figure, 4.0) for figure in (one, other)]
        if "left" in stands or "right" in stands:
            assert ("left" in stands) == (late[0].x < late[1].x)
        if stands in ("in front of", "behind"):
            assert (stands == "behind") == (late[0].z > late[1].z)
    assert {"next to", "in front of", "behind", "to the left of", "on the right of"} <= said
