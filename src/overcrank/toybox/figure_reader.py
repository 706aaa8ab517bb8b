"""Which figure of a pack a clip shows, and what it does, without any learning.

The pictures are laid over small frames; the best one is followed through the clip, and of all
motions of its kind that one is answered whose rig follows the same track. One figure, a resting
camera.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overcrank.errors import RequestError
from overcrank.toybox.figure_pack import FigurePack
from overcrank.toybox.figure_templates import Found, Templates, Turn, small
from overcrank.toybox.motion import Pose
from overcrank.toybox.rigs import AIRBORNE_KINDS, KINDS, Figure, rig
from overcrank.toybox.stories import AIR_STEPS, GROUND_STEPS

LOOKS = (2.3, 3.1, 3.9, 4.7)
"""Seconds at which it is asked which figure it is: what comes in is there by then."""
RATE = 8.0
"""Frames a second in which it is followed."""
_SIZES = (0.46, 0.53, 0.60)
_UPRIGHT: tuple[Turn, ...] = ((1.0, 1.0, 0.0), (-1.0, 1.0, 0.0))
_PHASES = 12
_PITCH = math.cos(math.radians(24))
_CLEAR = 0.3
"""A likeness under which nothing is followed."""


def _turns() -> list[Turn]:
    tilts = [math.tau * n / 24 for n in range(24)]
    squashes = [0.8, 0.9, 1.1, 1.2]
    return [
        *((side, 1.0, tilt) for side in (1.0, -1.0) for tilt in (*tilts, 0.12, -0.12)),
        *((side / high**0.5, high, 0.0) for side in (1.0, -1.0) for high in squashes),
        *((wide, 1.0, 0.0) for wide in (0.7, 0.4, 0.15, -0.15, -0.4, -0.7)),
    ]


@dataclass(frozen=True, slots=True)
class FigureReading:
    """What is seen: a name of the pack and one motion, or two in turn. `likeness` in [0, 1] is
    that of the picture, `miss` how far the track is from that of the motion, 0 to 1."""

    name: str
    motions: tuple[str, ...]
    likeness: float
    miss: float


class FigureReader:
    """Reads clips of one figure of `pack`; the sizes are those of scenes with one figure."""

    def __init__(self, pack: FigurePack) -> None:
        self.pack = pack
        self._pictures = [pack.picture(name) for name in pack.names]
        self._upright = [Templates(self._pictures, size, _UPRIGHT) for size in _SIZES]

    def which(self, frames_FHWC: Tensor, frame_rate: float) -> tuple[str, float, float]:
        """Name, likeness and size of the figure in a clip that begins with its scene."""
        height, width = frames_FHWC.shape[1:3]
        if height != width:
            raise RequestError(
                f"figures are read in square frames: got {width} x {height}: right is, say, "
                f"{height} x {height}"
            )
        last = len(frames_FHWC) - 1
        looks = [min(last, round(seconds * frame_rate)) for seconds in LOOKS]
        seen = torch.stack([self._alike(frame) for frame in small(frames_FHWC[looks])])
        best = seen.sort(0, descending=True).values[:2].mean(0)
        size, number = divmod(int(best.argmax()), len(self.pack.names))
        return self.pack.names[number], float(best.max()), _SIZES[size]

    def _alike(self, frame_CHW: Tensor) -> Tensor:
        """The best likeness of each figure in each size: (sizes * figures,)."""
        found = [each.likeness(frame_CHW).amax((1, 2)) for each in self._upright]
        return torch.cat([each.view(-1, len(_UPRIGHT)).amax(1) for each in found])

    def read(self, frames_FHWC: Tensor, frame_rate: float, steps: int = 1) -> FigureReading:
        """What a clip from the beginning of its scene shows: uint8 (F, H, W, 3), square.

        `steps` 2 asks for a story: the answer is one of its pairs of motions.
        """
        name, likeness, size = self.which(frames_FHWC, frame_rate)
        number = self.pack.names.index(name)
        seconds = torch.arange(0, len(frames_FHWC) / frame_rate, 1 / RATE)
        picked = small(frames_FHWC[(seconds * frame_rate).long().clamp(max=len(frames_FHWC) - 1)])
        turns = _turns()
        found = Templates([self._pictures[number]], size, turns).find(picked)
        track = _Track.of(found, torch.tensor(turns))
        kind = self.pack.kinds[number]
        times = seconds.tolist()
        miss, motions = min(
            (track.miss([rig(figure, time) for time in times]), figure.motions)
            for figure in _guesses(name, kind, size, steps)
        )
        return FigureReading(name, motions, likeness, miss)


def _guesses(name: str, kind: str, size: float, steps: int) -> Iterator[Figure]:
    """All that a figure of a kind may do."""
    stories = AIR_STEPS if kind in AIRBORNE_KINDS else GROUND_STEPS
    asked: Sequence[tuple[str, ...]] = stories if steps == 2 else [(m,) for m in KINDS[kind]]
    for motions in asked:
        for phase in range(_PHASES if steps == 1 else 1):
            for sense in (-1, 1):
                yield Figure(
                    name=name,
                    kind=kind,
                    motion=motions[0],
                    then=motions[1] if steps == 2 else None,
                    x=0.0,
                    z=0.0,
                    diameter=size,
                    phase=phase / _PHASES,
                    sense=sense,
                )


@dataclass(frozen=True, slots=True)
class _Track:
    """Where the figure is and how it is turned, by frame; `sure` in [0, 1]."""

    right: Tensor
    up: Tensor
    wide: Tensor
    high: Tensor
    tilt: Tensor
    sure: Tensor

    @classmethod
    def of(cls, found: Found, turns: Tensor) -> "_Track":
        wide, high, tilt = turns[found.template_F].unbind(1)
        sure = ((found.likeness_F - _CLEAR) / _CLEAR).clamp(0, 1) + 1e-3
        return cls(found.place_F2[:, 0], -found.place_F2[:, 1], wide, high, tilt, sure / sure.sum())

    def miss(self, poses: Sequence[Pose]) -> float:
        """How far it is from the poses, wherever they stand: 0 to 1."""
        right = torch.tensor([pose.x for pose in poses])
        up = torch.tensor([pose.lift * _PITCH + pose.y - pose.lift for pose in poses])
        wide = torch.tensor([math.cos(pose.yaw) / pose.squash**0.5 for pose in poses])
        high = torch.tensor([pose.squash for pose in poses])
        tilt = torch.tensor([pose.tilt for pose in poses])
        away = self._apart(self.right, right) ** 2 + self._apart(self.up, up) ** 2
        parts = (
            2 * (away / 0.1**2).clamp(max=1),
            ((wide - self.wide) / 0.6).square().clamp(max=1),
            ((high - self.high) / 0.25).square().clamp(max=1),
            ((1 - (tilt - self.tilt).cos()) / 0.15).clamp(max=1),
        )
        return float((sum(parts, torch.zeros(())) * self.sure).sum() / 5)

    def _apart(self, seen: Tensor, meant: Tensor) -> Tensor:
        apart = seen - meant
        return apart - (apart * self.sure).sum()
