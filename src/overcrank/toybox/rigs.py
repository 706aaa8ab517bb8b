"""How figures move: each kind of figure has its motions, its gait and its verbs.

A figure is a flat picture that stands on the ground and faces the viewer. Unturned it looks to
the left; half a turn mirrors it. Units are those of `scene`.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from overcrank.toybox.caption import in_turn, turns_back
from overcrank.toybox.motion import RISE_SPEED, SPIN_PERIOD, WALK_SPEED, Pose, faded
from overcrank.toybox.scene import CHANGE_SECONDS, ENTRANCES

SIDES = {"left": -1, "right": 1}
HOP_PERIOD = 0.8
SWAY_PERIOD = 1.6
SQUASH_PERIOD = 1.1
HOVER_PERIOD = 2.0
LOOP_PERIOD = 2.6
_LOOP_RADIUS = 0.13
_AIRBORNE = 0.17
"""Height of the lowest point of a flying or swimming figure."""

_ON_GROUND = ("still", "hop", "sway", "spin", "squash", "left", "right")
_IN_AIR = ("hover", "loop", "rise", "spin", "left", "right")
KINDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("hopper", "walker", "vehicle", "roller", "thing"), _ON_GROUND),
    **dict.fromkeys(("flyer", "swimmer"), _IN_AIR),
}
"""Kind of figure -> its motions."""

AIRBORNE_KINDS = frozenset(kind for kind, motions in KINDS.items() if motions == _IN_AIR)

_GOES = {
    "hopper": ("hops", "hops", "jumps"),
    "walker": ("walks", "walks", "wanders"),
    "vehicle": ("drives", "drives", "moves"),
    "roller": ("rolls", "rolls", "moves"),
    "thing": ("slides", "glides", "moves"),
    "flyer": ("flies", "flies", "moves"),
    "swimmer": ("swims", "swims", "moves"),
}
_DOES = {
    "still": ("stands still", "does not move", "rests"),
    "hop": ("hops", "hops up and down", "jumps up and down"),
    "sway": ("sways", "sways from side to side", "rocks from side to side"),
    "spin": ("spins", "spins around", "turns around and around"),
    "squash": ("squashes and stretches", "wobbles like jelly"),
    "hover": ("hovers", "hovers in the air", "floats in place"),
    "rise": ("rises", "floats up", "rises into the air"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure. `diameter` is the side of its square picture; `sense` (+1 or -1) the side it
    looks to, unless it goes somewhere, and the direction of its turning.

    In a story it does `motion` until `CHANGE_SECONDS`, `then` another one; `x` is where it is at
    the change.
    """

    name: str
    kind: str
    motion: str
    x: float
    z: float
    diameter: float
    phase: float
    sense: int
    then: str | None = None

    @property
    def motions(self) -> tuple[str, ...]:
        """What it does, one after the other."""
        return (self.motion,) if self.then is None else (self.motion, self.then)

    @property
    def side(self) -> int:
        """-1 when it looks to the left, +1 to the right; at first, in a story."""
        return {**SIDES, **ENTRANCES}.get(self.motion, self.sense)


def verb(figure: Figure, rng: random.Random) -> str:
    """What the figure does, in words; one that goes somewhere also says to which side."""
    if figure.then is None:
        return _does(figure, figure.motion, rng)
    second = _does(figure, figure.then, rng)
    if figure.then == "still":
        second = rng.choice(("stops", "stops", "stands still", "rests"))
    elif turns_back(figure.motion, figure.then) and rng.random() < 0.7:
        second = f"{rng.choice(_GOES[figure.kind])} back"
    return in_turn(rng, _does(figure, figure.motion, rng), second)


def _does(figure: Figure, motion: str, rng: random.Random) -> str:
    goes = rng.choice(_GOES[figure.kind])
    if motion in SIDES:
        return f"{goes} {rng.choice(('', 'to the '))}{motion}"
    if motion in ENTRANCES:
        return f"{rng.choice((goes, goes, 'comes'))} in {motion.replace(' ', ' the ')}"
    if motion == "loop":
        return f"{_GOES[figure.kind][0]} {rng.choice(('in a circle', 'in a loop'))}"
    return rng.choice(_DOES[motion])


def rig(figure: Figure, seconds: float) -> Pose:
    """The pose of a figure at a time: `radius` is half the side of its picture, `yaw` 0 looks
    left, `tilt` is anticlockwise as the viewer sees it."""
    if figure.then is None:
        return _RIGS[figure.motion](figure, seconds)
    # Counted from the change, where a motion of phase 0 has its figure upright and on the ground.
    since = seconds - CHANGE_SECONDS
    first = replace(figure, then=None, phase=0.0)
    if since < 0:
        return _step(first, since)
    second = replace(first, motion=figure.then)
    return faded(_step(second, since), _step(first, 0.0), _step(second, 0.0), since)


def _step(figure: Figure, since: float) -> Pose:
    """A step of a story: the first before `since` 0, the second from then on."""
    if figure.motion in ENTRANCES:
        way = (figure.side * figure.x + 0.5 + 0.55 * figure.diameter) * (
            since / CHANGE_SECONDS
        ) ** 2
        return _GAITS[figure.kind](figure, since, -figure.side * way)
    if figure.motion == "rise":
        return _posed(figure, lift=_AIRBORNE * (1 + since / CHANGE_SECONDS))
    return _RIGS[figure.motion](figure, since)


def _posed(
    figure: Figure,
    *,
    lift: float = 0.0,
    way: float = 0.0,
    turn: float = 0.0,
    tilt: float = 0.0,
    squash: float = 1.0,
) -> Pose:
    """Standing on the lower edge of the picture, which stays in place when it tilts."""
    radius = figure.diameter / 2
    return Pose(
        x=figure.x + way - math.sin(tilt) * radius * squash,
        y=lift + math.cos(tilt) * radius * squash,
        z=figure.z,
        lift=lift,
        radius=radius,
        yaw=turn + (math.pi if figure.side > 0 else 0.0),
        tilt=tilt,
        squash=squash,
    )


def _about_centre(figure: Figure, lift: float, way: float, tilt: float, turn: float = 0.0) -> Pose:
    """Tilted about the middle of the picture: what rolls, flies or swims."""
    radius = figure.diameter / 2
    push = math.sin(tilt) * radius
    return _posed(
        figure, lift=lift + radius * (1 - math.cos(tilt)), way=way + push, tilt=tilt, turn=turn
    )


def _wave(figure: Figure, seconds: float, period: float) -> float:
    return math.sin(math.tau * (seconds / period + figure.phase))


def _still(figure: Figure, _: float) -> Pose:
    return _posed(figure)


def _hop(figure: Figure, seconds: float, way: float = 0.0) -> Pose:
    part = (seconds / HOP_PERIOD + figure.phase) % 1.0
    height = 0.06 + 0.22 * figure.diameter
    flight = 4 * part * (1 - part)
    landing = max(0.0, 1 - 3 * flight)
    return _posed(
        figure, lift=height * flight, way=way, squash=1.0 + 0.06 * flight - 0.20 * landing**2
    )


def _sway(figure: Figure, seconds: float) -> Pose:
    return _posed(figure, tilt=0.24 * _wave(figure, seconds, SWAY_PERIOD))


def _spin(figure: Figure, seconds: float) -> Pose:
    lift = _AIRBORNE if figure.kind in AIRBORNE_KINDS else 0.0
    return _posed(figure, lift=lift, turn=figure.sense * math.tau * seconds / SPIN_PERIOD)


def _squash(figure: Figure, seconds: float) -> Pose:
    return _posed(figure, squash=1.0 + 0.20 * _wave(figure, seconds, SQUASH_PERIOD))


def _hover(figure: Figure, seconds: float) -> Pose:
    return _posed(figure, lift=_AIRBORNE + 0.06 * _wave(figure, seconds, HOVER_PERIOD))


def _rise(figure: Figure, seconds: float) -> Pose:
    return _posed(figure, lift=RISE_SPEED * seconds, tilt=0.05 * _wave(figure, seconds, 1.5))


def _loop(figure: Figure, seconds: float) -> Pose:
    """Always forwards, so upside down at the top."""
    angle = figure.side * math.tau * (seconds / LOOP_PERIOD + figure.phase)
    lift = _LOOP_RADIUS * (1 - math.cos(angle)) + 0.06
    return _about_centre(figure, lift, _LOOP_RADIUS * math.sin(angle), angle)


def _go(figure: Figure, seconds: float) -> Pose:
    way = figure.side * WALK_SPEED * seconds
    return _GAITS[figure.kind](figure, seconds, way)


def _walk(figure: Figure, seconds: float, way: float) -> Pose:
    step = _wave(figure, seconds, 0.7)
    return _posed(figure, lift=0.02 * abs(step), way=way, tilt=0.07 * step)


def _drive(figure: Figure, seconds: float, way: float) -> Pose:
    return _posed(figure, way=way, squash=1.0 + 0.018 * _wave(figure, seconds, 0.3))


def _roll(figure: Figure, _: float, way: float) -> Pose:
    return _about_centre(figure, 0.0, way, -2 * way / figure.diameter)


def _glide(figure: Figure, _: float, way: float) -> Pose:
    return _posed(figure, way=way)


def _fly(figure: Figure, seconds: float, way: float) -> Pose:
    lift = _AIRBORNE + 0.04 * _wave(figure, seconds, 1.8)
    flap = 1.0 + 0.05 * _wave(figure, seconds, 0.45)
    return _posed(figure, lift=lift, way=way, squash=flap)


def _swim(figure: Figure, seconds: float, way: float) -> Pose:
    """Along a wave, head first, with a wagging tail."""
    angle = math.tau * (seconds / 1.7 + figure.phase)
    tilt = figure.side * 0.22 * math.cos(angle)
    wag = 0.5 * _wave(figure, seconds, 0.6)
    return _about_centre(figure, _AIRBORNE + 0.06 * math.sin(angle), way, tilt, turn=wag)


_GAITS: dict[str, Callable[[Figure, float, float], Pose]] = {
    "hopper": _hop,
    "walker": _walk,
    "vehicle": _drive,
    "roller": _roll,
    "thing": _glide,
    "flyer": _fly,
    "swimmer": _swim,
}
_RIGS: dict[str, Callable[[Figure, float], Pose]] = {
    "still": _still,
    "hop": _hop,
    "sway": _sway,
    "spin": _spin,
    "squash": _squash,
    "hover": _hover,
    "loop": _loop,
    "rise": _rise,
    "left": _go,
    "right": _go,
}
