"""Does a clip keep what it shows? The recogniser reads its beginning and its end."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from overcrank.evaluate.shown import Shown
from overcrank.metrics import Rate
from overcrank.shapes import ClipSize
from overcrank.toybox.recogniser import Reading, Recogniser
from overcrank.toybox.scene import Scene
from overcrank.toybox.truth import truth

FACTS = ("colour", "shape", "count")
WINDOW = 2.0
"""Seconds that are read at each end, or half of a clip that is shorter than twice that."""
SEEN = 0.7
"""Part of each actor that is to be seen in each window, or the scene does not count."""


@dataclass(slots=True)
class _Kept:
    """By fact: clips in which it is kept, those in which it is not, and those where the
    recogniser is not sure of one of the ends."""

    kept: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    unsure: Counter[str] = field(default_factory=Counter)

    def add(self, first: Reading, last: Reading) -> None:
        for name in FACTS:
            one, other = _told(first, name), _told(last, name)
            if one is None or other is None:
                self.unsure[name] += 1
            elif one == other:
                self.kept[name] += 1
            else:
                self.changed[name] += 1

    def result(self) -> dict[str, Any]:
        rates: dict[str, Any] = {}
        for name in FACTS:
            sure = self.kept[name] + self.changed[name]
            rates[name] = {
                "kept": Rate(self.kept[name], sure).to_dict() if sure else None,
                "unsure": Rate(self.unsure[name], sure + self.unsure[name]).to_dict(),
            }
        return rates


class Permanence:
    """Rates of clips that show the same colours, shapes and number of actors in their first and
    last window, of those that can be told; beside them the rates of the true clips.

    Scenes in which an actor is hardly to be seen at one of the ends are left out.
    """

    def __init__(self, recogniser: Recogniser) -> None:
        self.recogniser = recogniser
        self.left_out = 0
        self.total = 0
        self.clips, self.true_clips = _Kept(), _Kept()
        self._seen: set[object] = set()

    def see(self, shown: Shown) -> None:
        """Read both ends of a clip and, the first time, of the true one."""
        count = window(len(shown.frames), shown.frame_rate)
        if not stays(shown.question.item.scene, shown.size, shown.frame_rate, count):
            self.left_out += 1
            return
        self.total += 1
        self.clips.add(*self._ends(shown.frames, shown.frame_rate, count))
        if shown.scene_key not in self._seen:
            self._seen.add(shown.scene_key)
            self.true_clips.add(*self._ends(shown.true_frames, shown.frame_rate, count))

    def result(self) -> dict[str, Any]:
        """`clips` and `true_clips`: of each fact, how often it is `kept` where that can be told,
        and how often it is `unsure`; `n` scenes count, `left_out` do not."""
        found = {"n": self.total, "left_out": self.left_out}
        if not self.total:
            return found
        return {**found, "clips": self.clips.result(), "true_clips": self.true_clips.result()}

    def _ends(self, frames: Tensor, frame_rate: float, count: int) -> tuple[Reading, Reading]:
        first, last = frames[:count], frames[-count:]
        return self.recogniser.read(first, frame_rate), self.recogniser.read(last, frame_rate)


def window(frames: int, frame_rate: float) -> int:
    """Frames of `WINDOW` seconds, of half of the clip at most."""
    return max(1, min(round(WINDOW * frame_rate), frames // 2))


def stays(scene: Scene, size: ClipSize, frame_rate: float, count: int) -> bool:
    """Whether all actors can be seen in the first and in the last `count` frames."""
    visible_AF = truth(scene, size, frame_rate).visible
    ends = (visible_AF[:, :count], visible_AF[:, -count:])
    return all(bool((end.mean(1) >= SEEN).all()) for end in ends)


def _told(reading: Reading, name: str) -> tuple[str, ...] | None:
    """What is said of a fact, of all actors in the order of the alphabet; None for unsure."""
    if name == "count":
        answers = [reading.actors]
    else:
        answers = [getattr(solid, name) for solid in reading.solids]
    names = [answer.name for answer in answers if answer.name is not None]
    return tuple(sorted(names)) if len(names) == len(answers) else None
