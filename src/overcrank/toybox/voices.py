"""Captions of training in more words and more forms of sentences than `caption` and
`caption_figures` have.

None of the words of `wording.UNSEEN` and none of the sentences of its paraphrases are here: those
ask what a model makes of what it has never read.
"""

import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from overcrank.toybox.caption import NOUNS, SKY_WORDS, in_turn
from overcrank.toybox.figure_words import called, preposition, relation
from overcrank.toybox.figures import FigureScene
from overcrank.toybox.rigs import verb
from overcrank.toybox.scene import ENTRANCES, Actor, Scene

Words = Mapping[str, Sequence[str]]

COLOURS: Words = {
    "red": ("ruby", "cherry-red", "vivid red", "brick-red", "vermilion", "reddish"),
    "orange": ("pumpkin-coloured", "apricot", "carrot-coloured", "vivid orange"),
    "yellow": ("canary", "mustard", "vivid yellow", "sunflower-yellow", "yellowish"),
    "green": ("lime", "vivid green", "fern-green", "leaf-green", "olive", "greenish"),
    "blue": ("cobalt", "sapphire", "royal blue", "vivid blue", "indigo", "bluish"),
    "purple": ("plum", "mauve", "lavender", "aubergine-coloured", "magenta"),
    "white": ("milky", "pearly", "alabaster", "pure white", "whitish", "cream-white"),
    "black": ("jet-black", "inky", "pitch-black", "onyx", "raven-black", "coal-black"),
}
SHAPES: Words = {
    "ball": ("marble", "bead", "rubber ball", "ball-shaped toy", "bowling ball"),
    "cube": ("crate", "brick", "cubic block", "toy block", "cube-shaped toy"),
    "cone": ("party hat", "wizard hat", "spire", "toy cone", "cone-shaped toy"),
    "cylinder": ("can", "barrel", "canister", "pipe", "tin can", "column", "cylindrical toy"),
    "pyramid": ("teepee", "toy pyramid", "pyramid-shaped toy", "four-sided pyramid"),
    "torus": ("bagel", "tyre", "wreath", "life belt", "bracelet", "ring-shaped toy"),
}
SIZES: Words = {
    "small": ("compact", "mini", "petite", "wee", "miniature", "smallish"),
    "large": ("giant", "massive", "gigantic", "immense", "great big", "bulky"),
}
TEXTURES: Words = {
    "striped": ("lined", "streaked", "zebra-striped"),
    "dotted": ("polka-dot", "freckled", "dappled"),
}
MOTIONS: Words = {
    "still": ("stand still", "rest", "sit still", "keep still", "hold still", "wait", "stand idle"),
    "bounce": ("bounce", "hop", "spring up and down", "keep bouncing", "rebound", "boing about"),
    "fall": ("fall", "drop", "come down", "sink down", "descend", "crash down", "nosedive"),
    "rise": ("rise", "float up", "climb", "lift off", "soar", "go up", "take off"),
    "orbit": ("circle", "go in circles", "move in a circle", "run in circles", "do laps"),
    "swing": ("swing", "wag from side to side", "oscillate", "move like a pendulum", "seesaw"),
    "spin": ("spin", "turn", "whirl", "pirouette", "swivel", "gyrate", "turn on the spot"),
    "grow": ("grow", "get bigger", "inflate", "enlarge", "increase in size", "balloon", "widen"),
    "shrink": ("shrink", "get smaller", "deflate", "diminish", "decrease in size", "shrivel"),
}
"""The verb first, uninflected."""
GROUNDS: Words = {
    "blue floor": ("blue flooring", "a cobalt floor", "a floor painted blue", "a bluish floor"),
    "wooden floor": ("floorboards", "hardwood", "oak boards", "a wood floor", "wooden boards"),
    "grass": ("turf", "a green field", "a pasture", "a grassy field", "green grass"),
    "sand": ("a sandy shore", "sandy ground", "yellow sand", "a sandpit", "a sandy place"),
    "checkered floor": ("a checked floor", "black and white squares", "a draughts board"),
    "grey stone": (
        "pavement",
        "cobblestones",
        "concrete",
        "a stony floor",
        "granite",
        "grey stones",
    ),
    "snow": ("a snowy field", "fresh snow", "a snowfield", "wintry ground", "snowy ground"),
    "pink carpet": ("pink fabric", "a fuchsia carpet", "pink felt", "a coral carpet"),
}
SKIES: Words = {
    "blue": ("on a sunny day", "under a cloudless sky", "at noon", "on a clear day"),
    "sunset": ("at sundown", "as the sun sets", "at twilight", "at the end of the day"),
    "night": ("at nighttime", "under the stars", "by moonlight", "under a starry sky"),
    "grey": ("on a cloudy day", "on a dull day", "under grey clouds", "under a leaden sky"),
    "pink": ("under a pinkish sky", "under pink clouds", "under a fuchsia sky"),
}
CAMERAS: Words = {
    "pan": ("panning shot", "the camera sweeps across the scene", "the view slides to one side"),
    "zoom": ("the camera moves in", "the picture zooms in", "slow zoom in"),
    "above": ("looking down", "top view", "seen from the top", "from a high viewpoint"),
}
_MASS = ("grass", "sand", "snow", "grey stone")


def say(scene: Scene, voice: int) -> str:
    """The scene in other words than `caption`, naming what that names but who is behind whom; the
    same scene and voice give the same sentence."""
    rng = random.Random(f"overcrank voices {scene.seed} {voice}")
    actors = rng.sample(scene.actors, len(scene.actors))
    names = [_name(rng, actor, len(actors)) for actor in actors]
    plain = scene.ground if scene.ground in _MASS else f"a {scene.ground}"
    where = f"on {_pick(rng, GROUNDS[scene.ground], plain)}"
    if any(actor.then for actor in actors):
        does = [_in_turn(rng, actor) for actor in actors]
        return _set(rng, scene, rng.choice(_told(names, does, where)))
    verbs = [_verb(rng, actor, actor.motion) for actor in actors]
    return _set(rng, scene, rng.choice(_SENTENCES)(names, verbs, where))


def say_figures(scene: FigureScene, voice: int) -> str:
    """As `say`, for figures, with their everyday names and how one of two stands to the other;
    their verbs are those of `caption_figures`."""
    rng = random.Random(f"overcrank voices of figures {scene.stage.seed} {voice}")
    figures = rng.sample(scene.figures, len(scene.figures))
    names = [called(figure, rng) for figure in figures]
    does = [verb(figure, rng) for figure in figures]
    ground = _pick(rng, GROUNDS[scene.stage.ground], f"the {scene.stage.ground}")
    where = f"{preposition(scene.figures)} {ground}"
    forms = _told(names, does, where)
    if len(figures) == 2 and rng.random() < 0.5:
        stands = relation(figures[0], figures[1], rng)
        forms = [
            f"{_a(names[0])} {does[0]} {stands} {_a(names[1])} that {does[1]} {where}",
            f"{where}, {_a(names[0])} {stands} {_a(names[1])}; {_then(names, does)}",
            f"{_a(names[0])} {stands} {_a(names[1])} {where}: {_then(names, does)}",
        ]
    return _set(rng, scene.stage, rng.choice(forms))


def _told(names: list[str], does: list[str], where: str) -> list[str]:
    """Sentences that take verbs as they are, in the third person."""
    who = _all(map(_a, names))
    acts = _all(f"{_a(name)} {act}" for name, act in zip(names, does, strict=True))
    that = _all(f"{_a(name)} that {act}" for name, act in zip(names, does, strict=True))
    return [
        f"{where}, {acts}",
        f"{that}, {where}",
        f"there is {that} {where}",
        f"there is {who} {where}; {_then(names, does)}",
        f"{who} {where}: {_then(names, does)}",
        f"see how {acts} {where}",
    ]


def _then(names: list[str], does: list[str]) -> str:
    return _all(f"the {name} {act}" for name, act in zip(names, does, strict=True))


def third(phrase: str) -> str:
    """ "get bigger" -> "gets bigger"."""
    head, rest = _split(phrase)
    if re.search(r"[^aeiou]y$", head):
        return f"{head[:-1]}ies{rest}"
    return f"{head}{'es' if re.search(r'(s|sh|ch|x|o)$', head) else 's'}{rest}"


def participle(phrase: str) -> str:
    """ "get bigger" -> "getting bigger"."""
    head, rest = _split(phrase)
    if re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", head):
        return f"{head}{head[-1]}ing{rest}"
    stem = head[:-1] if re.search(r"[^eo]e$", head) else head
    return f"{stem}ing{rest}"


def _acts(names: list[str], verbs: list[str]) -> str:
    return _all(f"{_a(name)} {third(does)}" for name, does in zip(names, verbs, strict=True))


def _active(names: list[str], verbs: list[str], where: str) -> str:
    return f"{_acts(names, verbs)} {where}"


def _ground_first(names: list[str], verbs: list[str], where: str) -> str:
    return f"{where}, {_acts(names, verbs)}"


def _attribute(names: list[str], verbs: list[str], where: str) -> str:
    """ "a bouncing red ball"; what is more than a word comes behind."""
    doing = [participle(does) for does in verbs]
    phrases = (
        f"{_a(name)} {does}" if " " in does else _a(f"{does} {name}")
        for name, does in zip(names, doing, strict=True)
    )
    return f"{_all(phrases)} {where}"


def _doing(names: list[str], verbs: list[str], where: str) -> str:
    doing = (f"{_a(name)} {participle(does)}" for name, does in zip(names, verbs, strict=True))
    return f"{_all(doing)} {where}"


def _there_is(names: list[str], verbs: list[str], where: str) -> str:
    there = f"there is {_all(map(_a, names))} {where}"
    if len(names) == 1:
        return f"{there}; it {third(verbs[0])}"
    does = (f"the {name} {third(does)}" for name, does in zip(names, verbs, strict=True))
    return f"{there}; {_all(does)}"


def _that(names: list[str], verbs: list[str], where: str) -> str:
    does = (f"{_a(name)} that {third(does)}" for name, does in zip(names, verbs, strict=True))
    return f"there is {_all(does)} {where}"


def _watch(names: list[str], verbs: list[str], where: str) -> str:
    return f"watch {_all(f'{_a(n)} {does}' for n, does in zip(names, verbs, strict=True))} {where}"


def _will(names: list[str], verbs: list[str], where: str) -> str:
    will = (f"{_a(name)} will {does}" for name, does in zip(names, verbs, strict=True))
    return f"{_all(will)} {where}"


def _keywords(names: list[str], verbs: list[str], where: str) -> str:
    ground = re.sub(r"^on (an? |the )?", "", where)
    doing = (f"{name} {participle(does)}" for name, does in zip(names, verbs, strict=True))
    return f"{', '.join(doing)}, {ground}"


_SENTENCES: tuple[Callable[[list[str], list[str], str], str], ...] = (
    *(_active, _active, _ground_first, _attribute, _doing),
    *(_there_is, _that, _watch, _will, _keywords),
)


def _name(rng: random.Random, actor: Actor, crowd: int) -> str:
    words = [_pick(rng, COLOURS[actor.colour], actor.colour)]
    words.append(_pick(rng, SHAPES[actor.shape], rng.choice(NOUNS[actor.shape])))
    if actor.texture != "plain" and rng.random() < (0.8 if crowd < 3 else 0.3):
        words.insert(0, _pick(rng, TEXTURES[actor.texture], actor.texture))
    if rng.random() < (0.0, 0.6, 0.35, 0.15)[crowd]:
        words.insert(0, _pick(rng, SIZES[actor.size], actor.size))
    return " ".join(words)


def _in_turn(rng: random.Random, actor: Actor) -> str:
    """What it does, in the third person: "rolls in from the left, then springs up and down"."""
    verbs = [third(_verb(rng, actor, motion)) for motion in actor.motions]
    return verbs[0] if actor.then is None else in_turn(rng, *verbs)


def _verb(rng: random.Random, actor: Actor, motion: str) -> str:
    usual = "roll" if actor.shape in ("ball", "torus") else "slide"
    if motion in ENTRANCES:
        comes = rng.choice((usual, usual, "move", "glide", "come"))
        return f"{comes} {rng.choice(('in', 'in', 'into view'))} {motion.replace(' ', ' the ')}"
    if motion not in ("left", "right"):
        return rng.choice(MOTIONS[motion])
    goes = rng.choice((usual, usual, "move", "glide", "go", "shift", "pass", "wander"))
    other = "right" if motion == "left" else "left"
    ways = (f"to the {motion}", f"towards the {motion}", f"from {other} to {motion}")
    return f"{goes} {rng.choice((motion, *ways))}"


def _set(rng: random.Random, scene: Scene, sentence: str) -> str:
    """Add sky and camera."""
    if scene.camera != "above" and rng.random() < (0.7 if len(scene.actors) < 3 else 0.3):
        sky = _pick(rng, SKIES[scene.sky], rng.choice(SKY_WORDS[scene.sky]))
        sentence = f"{sky}, {sentence}" if rng.random() < 0.15 else f"{sentence}, {sky}"
    if scene.camera != "still":
        sentence = f"{sentence}, {rng.choice(CAMERAS[scene.camera])}"
    return sentence


def _pick(rng: random.Random, others: Sequence[str], usual: str) -> str:
    return rng.choice(others) if rng.random() < 0.6 else usual


def _all(phrases: Iterable[str]) -> str:
    """Joined as in speech: "this, that and those"."""
    *first, last = phrases
    return f"{', '.join(first)} and {last}" if first else last


def _a(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _split(phrase: str) -> tuple[str, str]:
    """A verb and what follows it, its space included."""
    head, space, rest = phrase.partition(" ")
    return head, space + rest
