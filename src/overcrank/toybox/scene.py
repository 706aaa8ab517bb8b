"""What a toybox clip shows, as plain data: who moves how, on which ground, under which sky.

Lengths are in units of the shorter side of the frame, times in seconds, angles in radians.
x points right, y up, z away from the viewer; the ground is y = 0.
"""

import random
from dataclasses import asdict, dataclass, fields
from typing import Any

from overcrank.errors import RequestError

SHAPES = ("ball", "cube", "cone", "cylinder", "pyramid", "torus")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
SIZES = ("small", "large")
TEXTURES = ("plain", "striped", "dotted")
MOTIONS = (
    *("still", "left", "right", "bounce", "fall", "rise"),
    *("orbit", "swing", "spin", "grow", "shrink"),
)
ENTRANCES = {"from left": 1, "from right": -1}
"""Coming in from outside of a square frame -> the way it goes. The first step of stories only."""
CHANGE_SECONDS = 2.2
"""When the second step of a story begins."""
GROUNDS = (
    *("blue floor", "wooden floor", "grass", "sand"),
    *("checkered floor", "grey stone", "snow", "pink carpet"),
)
SKIES = ("blue", "sunset", "night", "grey", "pink")
CAMERAS = ("still", "pan", "zoom", "above")
SPLITS = ("train", "test")

HELD_OUT = frozenset(
    {
        # colour and shape
        *(("red", "torus"), ("green", "pyramid"), ("purple", "cube")),
        *(("yellow", "cylinder"), ("blue", "cone")),
        # shape and motion
        *(("torus", "bounce"), ("cone", "orbit"), ("cube", "swing"), ("pyramid", "rise")),
        # colour and motion
        *(("orange", "spin"), ("white", "fall"), ("black", "grow")),
    }
)
"""Pairs that no training scene contains: what a model makes of them is generalisation."""

_DIAMETERS = {
    1: {"small": 0.40, "large": 0.56},
    2: {"small": 0.33, "large": 0.43},
    3: {"small": 0.26, "large": 0.33},
}
_LANES = {1: (0.05,), 2: (-0.06, 0.30), 3: (-0.10, 0.14, 0.38)}
_SPOTS = {1: (0.0,), 2: (-0.26, 0.26), 3: (-0.32, 0.0, 0.32)}
ROUND = ("ball", "cone", "cylinder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """One solid. `diameter` is its full size; `sense` (+1 or -1) the direction of its turning.

    In a story it does `motion` until `CHANGE_SECONDS`, `then` another one; `x` is where it is at
    the change.
    """

    shape: str
    colour: str
    size: str
    texture: str
    motion: str
    x: float
    z: float
    diameter: float
    yaw: float
    phase: float
    sense: int
    tumble: bool
    then: str | None = None

    @property
    def motions(self) -> tuple[str, ...]:
        """What it does, one after the other."""
        return (self.motion,) if self.then is None else (self.motion, self.then)

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """The attribute pairs that `HELD_OUT` speaks of."""
        return frozenset(
            {
                (self.colour, self.shape),
                *((self.shape, motion) for motion in self.motions),
                *((self.colour, motion) for motion in self.motions),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A whole clip of any length. `light` is the sideways slope of the light, positive = from
    the right; `sense` the direction of a pan."""

    actors: tuple[Actor, ...]
    ground: str
    sky: str
    camera: str
    light: float
    sense: int
    seed: int

    @property
    def held_out(self) -> frozenset[tuple[str, str]]:
        """The pairs of this scene that training never shows."""
        return frozenset().union(*(actor.pairs for actor in self.actors)) & HELD_OUT

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can carry."""
        return {**asdict(self), "actors": [plain(actor) for actor in self.actors]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Scene":
        """The inverse of `to_dict`; unknown or missing fields are refused."""
        expected = {field.name for field in fields(cls)}
        if set(data) != expected:
            raise RequestError(
                f"a scene has other fields: got {sorted(data)}, expected {sorted(expected)}"
            )
        return cls(**{**data, "actors": tuple(Actor(**actor) for actor in data["actors"])})


def plain(actor: Any) -> dict[str, Any]:
    """The fields of an actor or a figure; `then` only of one that has a story."""
    return {name: value for name, value in asdict(actor).items() if value is not None}


def sample_scene(seed: int, *, split: str = "train", actors: int | None = None) -> Scene:
    """The scene of a seed; `actors` None draws one (60 %), two (30 %) or three (10 %).

    Training scenes never hold a pair of `HELD_OUT`; test seeds never give a training scene.
    """
    if split not in SPLITS:
        raise RequestError(f"unknown split: got {split!r}, try one of {SPLITS}")
    if actors is not None and actors not in _SPOTS:
        raise RequestError(f"a scene has 1, 2 or 3 actors, got {actors}")
    rng = random.Random(f"overcrank toybox {split} {seed}")
    count = actors or rng.choices((1, 2, 3), (60, 30, 10))[0]
    looks = _sample_looks(rng, count, allow_held_out=split == "test")
    return Scene(
        actors=_place(rng, looks),
        ground=rng.choice(GROUNDS),
        sky=rng.choice(SKIES),
        camera=rng.choices(CAMERAS, (76, 8, 8, 8))[0],
        light=round(rng.choice((-1, 1)) * rng.uniform(0.35, 0.75), 3),
        sense=rng.choice((-1, 1)),
        seed=seed,
    )


def _sample_looks(
    rng: random.Random, count: int, *, allow_held_out: bool
) -> list[tuple[str, str, str]]:
    """(shape, colour, motion) of each actor: no two look alike, no two walk the same way."""
    looks: list[tuple[str, str, str]] = []
    while len(looks) < count:
        shape, colour, motion = rng.choice(SHAPES), rng.choice(COLOURS), rng.choice(MOTIONS)
        pairs = {(colour, shape), (shape, motion), (colour, motion)}
        if pairs & HELD_OUT and not allow_held_out:
            continue
        if any(shape == other[0] and colour == other[1] for other in looks):
            continue
        if motion in ("left", "right") and any(motion == other[2] for other in looks):
            continue
        looks.append((shape, colour, motion))
    return looks


def _place(rng: random.Random, looks: list[tuple[str, str, str]]) -> tuple[Actor, ...]:
    """Side by side in separate lanes; one that walks starts on the far side, in front."""
    count = len(looks)
    walking = [look[2] in ("left", "right") for look in looks]
    lanes = list(_LANES[count])
    rng.shuffle(lanes)
    if any(walking):
        lanes.sort()
    order = sorted(range(count), key=lambda i: not walking[i])
    lane_of = dict(zip(order, lanes, strict=True))
    spots = list(_SPOTS[count])
    rng.shuffle(spots)
    spots_of = _assign_spots([look[2] for look in looks], spots)
    return tuple(_actor(rng, look, count, spots_of[i], lane_of[i]) for i, look in enumerate(looks))


def _assign_spots(motions: list[str], spots: list[float]) -> list[float]:
    """A left-goer gets the rightmost spot and the other way round; the rest as they come."""
    free = list(spots)
    given: dict[int, float] = {}
    for i, motion in enumerate(motions):
        if motion in ("left", "right"):
            given[i] = max(free) if motion == "left" else min(free)
            free.remove(given[i])
    return [given[i] if i in given else free.pop() for i in range(len(motions))]


def _actor(
    rng: random.Random, look: tuple[str, str, str], count: int, spot: float, lane: float
) -> Actor:
    shape, colour, motion = look
    size = rng.choice(SIZES)
    texture = rng.choices(TEXTURES, (50, 25, 25))[0]
    if motion == "spin" and shape in ROUND and texture == "plain":
        texture = rng.choice(TEXTURES[1:])
    diameter = _DIAMETERS[count][size] * rng.uniform(0.96, 1.04)
    spot += rng.uniform(-0.02, 0.02) if count > 1 else rng.uniform(-0.08, 0.08)
    if motion in ("left", "right"):
        spot = min(0.30, 0.52 - diameter / 2) * (1 if motion == "left" else -1)
    if motion in ("swing", "orbit"):
        spot *= 0.7
    yaw = {"torus": rng.uniform(-0.5, 0.5)}.get(shape, rng.uniform(0.35, 0.95))
    return Actor(
        shape=shape,
        colour=colour,
        size=size,
        texture=texture,
        motion=motion,
        x=round(spot, 3),
        z=round(lane + rng.uniform(-0.02, 0.02), 3),
        diameter=round(diameter, 3),
        yaw=round(yaw, 3),
        phase=round(rng.random(), 3),
        sense=rng.choice((-1, 1)),
        tumble=motion == "fall" and shape != "torus" and rng.random() < 0.4,
    )
