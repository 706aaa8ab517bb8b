"""Other ways to ask for a scene than those a model has learnt from, and what each names.

"seen" is the grammar of `caption`. "paraphrase" has its words, some inflected, in sentences that it
never makes. "unseen words" keeps the sentence and takes words no training caption has.
"""

import random
import re
from dataclasses import dataclass

from overcrank.toybox.caption import NOUNS, SKY_WORDS, caption
from overcrank.toybox.scene import Actor, Scene

WORDINGS = ("seen", "paraphrase", "unseen words")

UNSEEN: dict[str, dict[str, tuple[str, ...]]] = {
    "colour": {
        "red": ("crimson", "scarlet"),
        "orange": ("tangerine", "amber"),
        "yellow": ("golden", "lemon"),
        "green": ("emerald", "jade"),
        "blue": ("navy", "azure"),
        "purple": ("violet", "lilac"),
        "white": ("ivory", "chalky"),
        "black": ("ebony", "charcoal"),
    },
    "shape": {
        "ball": ("globe", "orb"),
        "cube": ("box", "die"),
        "cone": ("funnel", "traffic pylon"),
        "cylinder": ("tube", "drum"),
        "pyramid": ("tent", "tetrahedron"),
        "torus": ("doughnut", "hoop"),
    },
    "size": {"small": ("tiny", "little"), "large": ("huge", "enormous")},
    "texture": {"striped": ("stripy", "banded"), "dotted": ("spotted", "speckled")},
    "motion": {
        "still": ("stays put", "remains motionless"),
        "left": ("travels leftwards", "heads leftward"),
        "right": ("travels rightwards", "heads rightward"),
        "bounce": ("jumps repeatedly", "leaps again and again"),
        "fall": ("plummets", "plunges"),
        "rise": ("ascends", "levitates"),
        "orbit": ("revolves", "loops round and round"),
        "swing": ("sways", "dangles to and fro"),
        "spin": ("rotates", "twirls"),
        "grow": ("expands", "swells"),
        "shrink": ("contracts", "dwindles"),
    },
    "ground": {
        "blue floor": ("azure tiles", "navy linoleum"),
        "wooden floor": ("timber planks", "parquet"),
        "grass": ("lawn", "a meadow"),
        "sand": ("a beach", "desert dunes"),
        "checkered floor": ("a chessboard", "chequerboard tiles"),
        "grey stone": ("slate", "rock slabs"),
        "snow": ("ice", "frosty powder"),
        "pink carpet": ("a rosy rug", "a salmon mat"),
    },
    "sky": {
        "blue": ("in bright daylight", "beneath azure heavens"),
        "sunset": ("at dusk", "during evening glow"),
        "night": ("after dark", "at midnight"),
        "grey": ("beneath overcast heavens", "in gloomy weather"),
        "pink": ("beneath rosy heavens", "beneath salmon heavens"),
    },
    "camera": {
        "pan": ("filmed while drifting sideways",),
        "zoom": ("filmed while approaching", "filmed closer with each moment"),
        "above": ("filmed overhead", "in bird's-eye perspective"),
    },
}
"""What is asked -> its value -> words for it that no training caption has."""

_DOING = {
    "still": "standing still",
    "left": "moving to the left",
    "right": "moving to the right",
    "bounce": "bouncing up and down",
    "fall": "falling down",
    "rise": "rising into the air",
    "orbit": "moving in a circle",
    "swing": "swinging from side to side",
    "spin": "spinning around",
    "grow": "getting bigger",
    "shrink": "getting smaller",
}
_CAMERA = {
    "pan": "The camera is panning slowly.",
    "zoom": "The camera is zooming in.",
    "above": "All of it is seen from above.",
}
_MASS = ("grass", "sand", "snow", "grey stone")


@dataclass(frozen=True, slots=True)
class Fact:
    """What a caption names: `name` is one that the recogniser answers, `actor` the number of the
    actor in the scene, None for the world."""

    name: str
    value: str
    actor: int | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """A caption and what it names."""

    caption: str
    facts: tuple[Fact, ...]


def tell(scene: Scene, wording: str, variant: int = 0) -> Told:
    """The scene in one of `WORDINGS`; the same arguments give the same caption."""
    if wording == "seen":
        text = caption(scene, variant)
        return Told(text, named(scene, text))
    rng = random.Random(f"overcrank {wording} {scene.seed} {variant}")
    return (_paraphrase if wording == "paraphrase" else _unseen)(rng, scene)


def named(scene: Scene, text: str) -> tuple[Fact, ...]:
    """What a caption of the training grammar names of the scene that it was made for.

    Raises ValueError for a caption of another scene.
    """
    facts = _always(scene)
    order = []
    for i, actor in enumerate(scene.actors):
        nouns = "|".join(sorted(set(NOUNS[actor.shape])))
        found = re.search(
            rf"\b((?:small |large |big )?)((?:striped |dotted )?){actor.colour} (?:{nouns})\b", text
        )
        if found is None:
            raise ValueError(f"no caption of this scene: {text!r} has no {actor.colour} actor")
        order.append((found.start(), i))
        facts += [Fact("size", actor.size, i)] if found[1] else []
        facts += [Fact("texture", actor.texture, i)] if found[2] else []
    if " in front of " in text or " behind " in text:
        first, second = (i for _, i in sorted(order))
        near, far = (first, second) if " in front of " in text else (second, first)
        facts += [Fact("depth", "front", near), Fact("depth", "back", far)]
    if any(words in text for words in SKY_WORDS[scene.sky]):
        facts.append(Fact("sky", scene.sky))
    return tuple(facts)


def _always(scene: Scene) -> list[Fact]:
    """What every caption names."""
    facts = [Fact("actors", str(len(scene.actors))), Fact("ground", scene.ground)]
    for i, actor in enumerate(scene.actors):
        facts += [Fact(name, getattr(actor, name), i) for name in ("colour", "shape", "motion")]
    if scene.camera != "still":
        facts.append(Fact("camera", scene.camera))
    return facts


def _extras(rng: random.Random, scene: Scene) -> list[Fact]:
    """What some captions name besides: sizes in half of them, textures and skies in most."""
    facts = []
    for i, actor in enumerate(scene.actors):
        facts += [Fact("size", actor.size, i)] if rng.random() < 0.5 else []
        if actor.texture != "plain" and rng.random() < 0.7:
            facts.append(Fact("texture", actor.texture, i))
    if scene.camera != "above" and rng.random() < 0.6:
        facts.append(Fact("sky", scene.sky))
    return facts


def _paraphrase(rng: random.Random, scene: Scene) -> Told:
    """Two or more sentences: where it is, who does what, the sky, the camera."""
    facts = _extras(rng, scene)
    ground = scene.ground if scene.ground in _MASS else f"{_a(scene.ground)}"
    actors = [_noun_phrase(i, actor, facts) for i, actor in enumerate(scene.actors)]
    doing = [f"{each} is {_DOING[a.motion]}" for each, a in zip(actors, scene.actors, strict=True)]
    openings = (
        f"There is {ground}. On it {' and '.join(doing)}.",
        f"On {ground}: {' and '.join(doing)}.",
        f"What is seen: {', '.join(doing)}, and all of it on {ground}.",
    )
    sentences = [rng.choice(openings)]
    if len(scene.actors) == 2 and rng.random() < 0.4:
        near = min(range(2), key=lambda i: scene.actors[i].z)
        words = [f"the {a.colour} {a.shape}" for a in scene.actors]
        sentences.append(f"In front is {words[near]}, {words[1 - near]} is behind it.")
        facts += [Fact("depth", "front", near), Fact("depth", "back", 1 - near)]
    if Fact("sky", scene.sky) in facts:
        sky = {"night": "It is night.", "sunset": "It is sunset."}
        sentences.append(sky.get(scene.sky, f"The sky is {scene.sky}."))
    if scene.camera != "still":
        sentences.append(_CAMERA[scene.camera])
    return Told(" ".join(sentences), (*_always(scene), *facts))


def _unseen(rng: random.Random, scene: Scene) -> Told:
    """The sentence of the training grammar; everything that is asked in words it does not have."""
    facts = _extras(rng, scene)

    def other(name: str, value: str) -> str:
        return rng.choice(UNSEEN[name][value])

    clauses = []
    for i, actor in enumerate(scene.actors):
        words = [other(f.name, f.value) for f in facts if f.actor == i]
        words += [other("colour", actor.colour), other("shape", actor.shape)]
        clauses.append(f"{_a(' '.join(words))} {other('motion', actor.motion)}")
    text = f"{' while '.join(clauses)} on {other('ground', scene.ground)}"
    if Fact("sky", scene.sky) in facts:
        text = f"{text} {other('sky', scene.sky)}"
    if scene.camera != "still":
        text = f"{text}, {other('camera', scene.camera)}"
    return Told(text, (*_always(scene), *facts))


def _noun_phrase(i: int, actor: Actor, facts: list[Fact]) -> str:
    words = [fact.value for fact in facts if fact.actor == i]
    return _a(" ".join([*words, actor.colour, actor.shape]))


def _a(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
