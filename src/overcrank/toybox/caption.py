"""Sentences that say what a scene shows: many ways to say it, chosen by the variant."""

import random

from overcrank.toybox.scene import ENTRANCES, Actor, Scene

NOUNS = {
    "ball": ("ball", "ball", "ball", "sphere"),
    "cube": ("cube", "cube", "block"),
    "cone": ("cone",),
    "cylinder": ("cylinder",),
    "pyramid": ("pyramid",),
    "torus": ("torus", "ring"),
}
_MOTIONS = {
    "still": ("stands still", "rests", "sits still", "does not move"),
    "bounce": ("bounces", "bounces", "hops", "bounces up and down"),
    "fall": ("falls", "drops", "falls down"),
    "rise": ("rises", "floats up", "rises into the air"),
    "orbit": ("circles", "moves in a circle", "orbits in a circle"),
    "swing": ("swings", "swings from side to side", "swings back and forth"),
    "spin": ("spins", "turns", "spins around"),
    "grow": ("grows", "gets bigger", "grows larger"),
    "shrink": ("shrinks", "gets smaller"),
}
_STOPS = ("stops", "stops", "comes to rest", "stands still")
_ORDERS = (
    *("{}, then {}", "{}, then {}", "{}, then {}", "{} and then {}", "{} and then {}"),
    *("{} before it {}", "first {} and then {}", "{}, and after that it {}"),
)
_LARGE = ("large", "big")
SKY_WORDS = {
    "blue": ("under a blue sky", "under a clear blue sky"),
    "sunset": ("at sunset", "under a sunset sky"),
    "night": ("at night", "under a night sky"),
    "grey": ("under a grey sky", "under a cloudy grey sky"),
    "pink": ("under a pink sky",),
}
_CAMERAS = {
    "pan": ("the camera pans slowly", "the view pans to the side"),
    "zoom": ("the camera zooms in", "the view slowly zooms in"),
    "above": ("seen from above", "viewed from above"),
}
_MASS = ("grass", "sand", "snow", "grey stone")


def caption(scene: Scene, variant: int = 0) -> str:
    """One sentence of at most about 30 words; the same scene and variant give the same one.

    Colour, shape and motion of each actor, the ground and a camera that is not still are always
    named; size, texture and sky in most variants.
    """
    rng = random.Random(f"overcrank caption {scene.seed} {variant}")
    crowd = len(scene.actors)
    actors = sorted(scene.actors, key=lambda actor: actor.z)
    if crowd > 1 and rng.random() < 0.5:
        actors.reverse()
    clauses = [f"{_name(rng, actor, crowd)} {_moves(rng, actor)}" for actor in actors]
    ground = f"{_preposition(scene)} {_ground(scene.ground)}"
    if crowd == 2 and rng.random() < 0.4:
        joint = _relation(scene.actors, actors)
        sentence = f"{clauses[0]} {joint} {_name(rng, actors[1], crowd)} that"
        sentence = f"{sentence} {_moves(rng, actors[1])} {ground}"
    elif crowd == 1:
        sentence = f"{clauses[0]} {ground}"
    else:
        joint = rng.choice((", and ", " while ")) if crowd == 2 else ", and "
        sentence = f"{', '.join(clauses[:-1])}{joint}{clauses[-1]} {ground}"
    return finish(rng, scene, sentence)


def finish(rng: random.Random, scene: Scene, sentence: str) -> str:
    """Add sky and camera, before or after."""
    if scene.camera != "above" and rng.random() < (0.7 if len(scene.actors) < 3 else 0.3):
        sky = rng.choice(SKY_WORDS[scene.sky])
        sentence = f"{sky}, {sentence}" if rng.random() < 0.15 else f"{sentence} {sky}"
    if scene.camera != "still":
        camera = rng.choice(_CAMERAS[scene.camera])
        sentence = f"{sentence}, {camera}"
    return sentence


def _name(rng: random.Random, actor: Actor, crowd: int) -> str:
    """The actor with its article: "a small striped red ball"."""
    words = [actor.colour, rng.choice(NOUNS[actor.shape])]
    if actor.texture != "plain" and rng.random() < (0.8 if crowd < 3 else 0.3):
        words.insert(0, actor.texture)
    if rng.random() < (0.0, 0.6, 0.35, 0.15)[crowd]:
        words.insert(0, rng.choice(_LARGE) if actor.size == "large" else "small")
    return f"{'an' if words[0] == 'orange' else 'a'} {' '.join(words)}"


def in_turn(rng: random.Random, first: str, second: str) -> str:
    """Two verbs as one: "hops, then spins"."""
    return rng.choice(_ORDERS).format(first, second)


def _moves(rng: random.Random, actor: Actor) -> str:
    if actor.then is None:
        return _does(rng, actor, actor.motion)
    if actor.then == "still":
        return in_turn(rng, _does(rng, actor, actor.motion), rng.choice(_STOPS))
    second = _does(rng, actor, actor.then)
    if turns_back(actor.motion, actor.then) and rng.random() < 0.7:
        second = f"{_goes(rng, actor)} back"
    return in_turn(rng, _does(rng, actor, actor.motion), second)


def turns_back(first: str, second: str) -> bool:
    """Whether what goes one way then goes the other."""
    ways = {"left": -1, "right": 1, **ENTRANCES}
    return first in ways and ways.get(second) == -ways[first]


def _does(rng: random.Random, actor: Actor, motion: str) -> str:
    if motion in ENTRANCES:
        return f"{rng.choice((_goes(rng, actor), 'comes'))} in {motion.replace(' ', ' the ')}"
    if motion in ("left", "right"):
        return f"{_goes(rng, actor)} {rng.choice(('', 'to the '))}{motion}"
    if motion == "fall" and actor.tumble and rng.random() < 0.6:
        return "tumbles down"
    return rng.choice(_MOTIONS[motion])


def _goes(rng: random.Random, actor: Actor) -> str:
    verb = "rolls" if actor.shape in ("ball", "torus") else "slides"
    return rng.choice((verb, verb, "moves", verb if verb == "rolls" else "glides"))


def _preposition(scene: Scene) -> str:
    if len(scene.actors) > 1:
        return "on"
    motion = scene.actors[0].motions[-1]
    return {"rise": "above", "swing": "above", "fall": "onto"}.get(motion, "on")


def _ground(ground: str) -> str:
    return ground if ground in _MASS else f"a {ground}"


def _relation(placed: tuple[Actor, ...], told: list[Actor]) -> str:
    """How the first told actor stands to the second."""
    passing = {"left", "right", "orbit", "swing", *ENTRANCES}
    if any(passing & set(actor.motions) for actor in placed):
        return "in front of" if told[0].z < told[1].z else "behind"
    return "next to"
