"""Where an actor is, how it is turned and how large it is, as pure functions of time.

Everything is computed with python floats, so that a pose is the same on every device, and a
clip of any length or frame rate shows the same motion.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from overcrank.toybox.scene import CHANGE_SECONDS, ENTRANCES, Actor, Scene

WALK_SPEED = 0.13
RISE_SPEED = 0.10
BOUNCE_PERIOD = 1.1
ORBIT_PERIOD = 2.5
SWING_PERIOD = 1.7
SPIN_PERIOD = 2.0
FALL_SECONDS = 1.1
RESIZE_SECONDS = 4.0
STORY_RESIZE_SECONDS = 2.0
FALL_HEIGHT = 0.62
FADE_SECONDS = 0.3
"""How long what differs between the end of a step and the start of the next takes to go."""
SMALLEST = 0.45
CAMERA_SECONDS = 5.0
CAMERA_REACH = 0.12
_ORBIT_REACH = 0.36
_RISEN = RISE_SPEED * CHANGE_SECONDS
_REBOUNDS = ((0.42, 0.075), (0.24, 0.022))

BOTTOMS = {"ball": 1.0, "cube": 0.70, "cone": 0.85, "cylinder": 0.84, "pyramid": 0.75, "torus": 1.0}
"""How far a solid of radius 1 reaches below its centre."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """(x, y, z) is the solid's centre and `lift` the height of its lowest point.

    Turned by `roll` about z, then `yaw` about y, then `tilt` about z; then squashed: height
    times `squash`, width and depth divided by its square root.
    """

    x: float
    y: float
    z: float
    lift: float
    radius: float
    yaw: float
    roll: float = 0.0
    tilt: float = 0.0
    squash: float = 1.0
    pivot: tuple[float, float] | None = None


def pose(actor: Actor, seconds: float) -> Pose:
    """The pose of `actor` at a time; `pivot` (x, y) is where a swinging one hangs."""
    if actor.then is None:
        rest = _standing(actor, actor.diameter / 2)
        return _MOVES[actor.motion](actor, rest, seconds)
    if seconds < CHANGE_SECONDS:
        return _first(actor, seconds)
    since = seconds - CHANGE_SECONDS
    end, start = _first(actor, CHANGE_SECONDS), _step(actor, 1, 0.0)
    return faded(_step(actor, 1, since), end, start, since)


def faded(now: Pose, end: Pose, start: Pose, since: float) -> Pose:
    """The pose `now` of a second step, moved by what differed between the end of the first step
    and the `start` of this one; that goes within `FADE_SECONDS`."""
    part = max(0.0, 1 - since / FADE_SECONDS)
    part = part * part * (3 - 2 * part)
    moved = {
        name: getattr(now, name) + part * (getattr(end, name) - getattr(start, name))
        for name in ("x", "y", "z", "lift", "radius", "yaw", "roll", "tilt", "squash")
    }
    return replace(now, **moved)


def contacts(actor: Actor, until: float) -> list[float]:
    """The times in seconds, up to `until`, at which a falling or bouncing actor hits the ground."""
    if actor.then is None:
        return _hits(actor, until, FALL_HEIGHT)
    first = _hits(_alone(actor, actor.motion), min(until, CHANGE_SECONDS), FALL_HEIGHT)
    later = _hits(_alone(actor, actor.then), until - CHANGE_SECONDS, _RISEN)
    return [*first, *(CHANGE_SECONDS + time for time in later)]


def _hits(actor: Actor, until: float, height: float) -> list[float]:
    if actor.motion == "fall":
        slower = math.sqrt(height / FALL_HEIGHT)
        times = [slower * FALL_SECONDS]
        for duration, _ in _REBOUNDS:
            times.append(times[-1] + slower * duration)
        return [time for time in times if time <= until]
    if actor.motion == "bounce":
        first = (1 - actor.phase) * BOUNCE_PERIOD
        return [
            first + n * BOUNCE_PERIOD
            for n in range(math.floor((until - first) / BOUNCE_PERIOD) + 1)
        ]
    return []


def camera_view(scene: Scene, seconds: float) -> tuple[float, float]:
    """(pan, zoom) at a time: sideways shift of the view in units, and magnification."""
    part = min(1.0, seconds / CAMERA_SECONDS)
    if scene.camera == "pan":
        return scene.sense * CAMERA_REACH * (2 * part - 1), 1.0
    return 0.0, 1.0 + 0.35 * part if scene.camera == "zoom" else 1.0


def _standing(actor: Actor, radius: float, squash: float = 1.0) -> Pose:
    y = BOTTOMS[actor.shape] * radius * squash
    return Pose(x=actor.x, y=y, z=actor.z, lift=0.0, radius=radius, yaw=actor.yaw, squash=squash)


def _lifted(rest: Pose, lift: float) -> Pose:
    return replace(rest, y=rest.y + lift, lift=lift)


def _walk(actor: Actor, rest: Pose, seconds: float) -> Pose:
    way = WALK_SPEED * seconds * (1 if actor.motion == "right" else -1)
    roll = -way / rest.radius if actor.shape in ("ball", "torus") else 0.0
    return replace(rest, x=rest.x + way, roll=roll)


def _rise(_: Actor, rest: Pose, seconds: float) -> Pose:
    return _lifted(rest, RISE_SPEED * seconds)


def _bounce(actor: Actor, rest: Pose, seconds: float) -> Pose:
    part = (seconds / BOUNCE_PERIOD + actor.phase) % 1.0
    height = 0.16 + 0.26 * actor.diameter
    lift = 4 * height * part * (1 - part)
    nearness = max(0.0, 1 - lift / (0.25 * height))
    return _lifted(_standing(actor, rest.radius, 1 - 0.22 * nearness**2), lift)


def _fall(actor: Actor, rest: Pose, seconds: float, height: float = FALL_HEIGHT) -> Pose:
    slower = math.sqrt(height / FALL_HEIGHT)
    if seconds < slower * FALL_SECONDS:
        part = seconds / (slower * FALL_SECONDS)
        turn = actor.sense * math.pi * (1 - part) if actor.tumble else 0.0
        return replace(_lifted(rest, height * (1 - part**2)), tilt=turn)
    since = seconds - slower * FALL_SECONDS
    for duration, rebound in _REBOUNDS:
        if since < slower * duration:
            part = since / (slower * duration)
            return _lifted(rest, 4 * rebound * (height / FALL_HEIGHT) * part * (1 - part))
        since -= slower * duration
    return rest


def _orbit(actor: Actor, rest: Pose, seconds: float) -> Pose:
    angle = math.tau * (actor.phase + actor.sense * seconds / ORBIT_PERIOD)
    radius = _ORBIT_REACH * actor.diameter
    return replace(rest, x=rest.x + radius * math.cos(angle), z=rest.z + radius * math.sin(angle))


def _swing(actor: Actor, rest: Pose, seconds: float) -> Pose:
    length = 0.80 - rest.radius
    widest = math.asin(0.40 * actor.diameter / length)
    angle = widest * math.sin(math.tau * (seconds / SWING_PERIOD + actor.phase))
    pivot = (rest.x, rest.y + 0.14 + length)
    x, y = pivot[0] + length * math.sin(angle), pivot[1] - length * math.cos(angle)
    return replace(rest, x=x, y=y, lift=y - rest.y, tilt=angle, pivot=pivot)


def _spin(actor: Actor, rest: Pose, seconds: float) -> Pose:
    return replace(rest, yaw=rest.yaw + actor.sense * math.tau * seconds / SPIN_PERIOD)


def _resize(actor: Actor, rest: Pose, seconds: float) -> Pose:
    part = min(1.0, seconds / RESIZE_SECONDS)
    part = part if actor.motion == "grow" else 1.0 - part
    return _standing(actor, rest.radius * (SMALLEST + (1 - SMALLEST) * part))


_MOVES: dict[str, Callable[[Actor, Pose, float], Pose]] = {
    "still": lambda _actor, rest, _seconds: rest,
    "left": _walk,
    "right": _walk,
    "bounce": _bounce,
    "fall": _fall,
    "rise": _rise,
    "orbit": _orbit,
    "swing": _swing,
    "spin": _spin,
    "grow": _resize,
    "shrink": _resize,
}


def _first(actor: Actor, seconds: float) -> Pose:
    """The first step of a story. What moves without end is counted from the change on, so that
    there it is at `x`, unturned and on the ground."""
    if actor.motion in ("fall", "rise", "grow", "shrink"):
        return _step(actor, 0, seconds)
    return _step(actor, 0, seconds - CHANGE_SECONDS)


def _step(actor: Actor, number: int, seconds: float) -> Pose:
    """One step of a story; the first is counted backwards if it moves without end."""
    motion = actor.motions[number]
    alone = _alone(actor, motion, _sizes(actor)[number])
    rest = _standing(alone, alone.diameter / 2)
    if motion in ENTRANCES:
        return _enter(alone, rest, seconds)
    if motion in ("grow", "shrink"):
        return _resize(alone, rest, seconds * RESIZE_SECONDS / STORY_RESIZE_SECONDS)
    if motion == "orbit":
        # Through x, round a place that is nearer to the middle of the frame.
        alone = replace(alone, phase=0.5 if actor.x < 0 else 0.0)
        reach = _ORBIT_REACH * alone.diameter
        rest = replace(rest, x=rest.x + (reach if actor.x < 0 else -reach))
    if number and motion == "fall":
        return _fall(alone, rest, seconds, _RISEN)
    return _MOVES[motion](alone, rest, seconds)


def _alone(actor: Actor, motion: str, size: float = 1.0) -> Actor:
    diameter = size * actor.diameter
    return replace(actor, motion=motion, then=None, phase=0.0, diameter=diameter)


def _sizes(actor: Actor) -> tuple[float, float]:
    """How large it is in either step, in parts of its full size; 1 in the step that resizes it."""
    first, second = actor.motions
    after = SMALLEST if first == "shrink" and second != "grow" else 1.0
    return SMALLEST if second == "grow" and first != "shrink" else 1.0, after


def _enter(actor: Actor, rest: Pose, seconds: float) -> Pose:
    """From outside of a square frame to x, slower and slower."""
    side = ENTRANCES[actor.motion]
    way = -side * (side * actor.x + 0.5 + 1.2 * rest.radius) * (seconds / CHANGE_SECONDS) ** 2
    roll = -way / rest.radius if actor.shape in ("ball", "torus") else 0.0
    return replace(rest, x=rest.x + way, roll=roll)
