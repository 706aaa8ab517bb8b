"""Scenes and captions: what is drawn by chance, what is held out, what the words say."""

import json

import pytest

from overcrank.errors import RequestError
from overcrank.toybox import Scene, caption, sample_scene
from overcrank.toybox.scene import HELD_OUT, MOTIONS, SHAPES

_NOUNS = {"ball": "ball sphere", "cube": "cube block", "torus": "torus ring"}
_VERBS = {
    "still": "still rests move",
    "left": "left",
    "right": "right",
    "bounce": "bounces hops",
    "fall": "falls drops tumbles",
    "rise": "rises floats",
    "orbit": "circles circle",
    "swing": "swings",
    "spin": "spins turns",
    "grow": "grows bigger",
    "shrink": "shrinks smaller",
}


def test_a_seed_always_gives_the_same_scene_and_captions() -> None:
    assert sample_scene(7) == sample_scene(7)
    assert caption(sample_scene(7), 3) == caption(sample_scene(7), 3)


def test_a_scene_survives_json() -> None:
    scene = sample_scene(5, actors=3)
    assert Scene.from_dict(json.loads(json.dumps(scene.to_dict()))) == scene


def test_a_scene_with_other_fields_is_refused() -> None:
    with pytest.raises(RequestError, match="expected"):
        Scene.from_dict({"actors": []})


def test_training_never_shows_a_held_out_pair() -> None:
    assert not any(sample_scene(seed).held_out for seed in range(3000))


def test_test_scenes_show_every_held_out_pair() -> None:
    scenes = [sample_scene(seed, split="test") for seed in range(3000)]
    assert frozenset().union(*(scene.held_out for scene in scenes)) == HELD_OUT


def test_training_knows_every_shape_in_nearly_every_motion() -> None:
    seen = {(a.shape, a.motion) for seed in range(3000) for a in sample_scene(seed).actors}
    missing = {(shape, motion) for shape in SHAPES for motion in MOTIONS} - seen
    assert missing == {pair for pair in HELD_OUT if pair[0] in SHAPES}


def test_the_splits_share_no_scene() -> None:
    train = {sample_scene(seed).actors for seed in range(500)}
    assert not train & {sample_scene(seed, split="test").actors for seed in range(500)}


def test_an_unknown_split_is_refused_by_name() -> None:
    with pytest.raises(RequestError, match="got 'valid'"):
        sample_scene(0, split="valid")


@pytest.mark.parametrize("variant", range(3))
def test_a_caption_names_colour_shape_motion_and_ground(variant: int) -> None:
    for seed in range(400):
        scene = sample_scene(seed)
        text = caption(scene, variant)
        words = set(text.replace(",", "").split())
        assert scene.ground in text
        for actor in scene.actors:
            assert actor.colour in words
            assert words & set(_NOUNS.get(actor.shape, actor.shape).split()), text
            assert words & set(_VERBS[actor.motion].split()), text


def test_captions_are_short_and_varied() -> None:
    texts = [caption(sample_scene(9, actors=1), variant) for variant in range(30)]
    assert len(set(texts)) > 10
    assert max(len(caption(sample_scene(seed)).split()) for seed in range(1000)) <= 36


def test_a_spinning_round_solid_always_has_a_pattern() -> None:
    """Without one, nobody could see that it turns."""
    actors = [actor for seed in range(2000) for actor in sample_scene(seed).actors]
    spinning = [a for a in actors if a.motion == "spin" and a.shape in ("ball", "cone", "cylinder")]
    assert spinning
    assert all(actor.texture != "plain" for actor in spinning)
