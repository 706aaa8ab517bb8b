"""What a run shows of prepared clips, whose size, length and rate are their own.

A part of the shape that is wanted is taken from the frames and scaled smoothly; no clip is made
longer, and none is enlarged by more than a factor that is given.
"""

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from overcrank.data.prepared import Prepared, PreparedClip
from overcrank.data.scale import resized
from overcrank.errors import RequestError
from overcrank.shapes import ClipSize

CROPS_OF_ONE = 4
"""A stretch of a clip that was decoded is cropped so often at most: decoding takes its time."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What may be done to make a clip fit."""

    enlarge: float = 1.0
    """By this factor at most."""
    jitter: float = 0.0
    """Probability that every second frame is taken, where the clip is long enough."""

    def __call__(self, clip: PreparedClip, size: ClipSize, every: int = 1) -> bool:
        """Whether a clip fits a size if every `every`-th frame is taken, of more than one."""
        if size.frames == 1 and every > 1:
            return False
        length = len(range(0, clip.frames, every))
        return length >= size.frames and _scale(clip, size) * self.enlarge >= 1 - 1e-9

    def drawn_step(self, dice: random.Random, clip: PreparedClip, size: ClipSize) -> int:
        """Every how manieth frame is taken: 1, or by `jitter` 2."""
        return 2 if dice.random() < self.jitter and self(clip, size, every=2) else 1


def fitting(prepared: Prepared, size: ClipSize, fit: Fit) -> list[PreparedClip]:
    """The clips that a size can be taken from; at least one."""
    found = [clip for clip in prepared.clips if fit(clip, size)]
    if not found:
        raise nothing_fits(prepared, size, fit)
    return found


def nothing_fits(prepared: Prepared, size: ClipSize, fit: Fit) -> RequestError:
    """What is said of a size that no clip fits."""
    longest = max(prepared.clips, key=lambda clip: clip.frames)
    largest = max(prepared.clips, key=lambda clip: clip.height * clip.width)
    return RequestError(
        f"no clip fits {size.frames} frames of {size.width} x {size.height}: got "
        f"{len(prepared.clips)} in {prepared.folder}, the longest of {longest.frames} frames, the "
        f"largest {largest.width} x {largest.height}, enlarged by {fit.enlarge:g} at most: give "
        "stages or latents for what there is, or prepare longer or larger clips"
    )


def show(
    frames: Iterable[Tensor], size: ClipSize, zoom: float = 0.0, place: tuple[float, float] = (0, 0)
) -> Tensor:
    """A part of frames, uint8 (F, H, W, 3), in the size that is wanted.

    `zoom` 0 is the largest part that has the shape, 1 one of as many pixels; `place` says where
    it lies, from -1, the top or left edge, to 1; (0, 0) is the middle.
    """
    return torch.cat([_part(frame[None], size, zoom, place) for frame in frames])


def _part(frame: Tensor, size: ClipSize, zoom: float, place: tuple[float, float]) -> Tensor:
    height, width = frame.shape[1:3]
    scale = min(height / size.height, width / size.width)
    scale = math.exp((1 - zoom) * math.log(scale)) if scale > 1 else scale
    tall, wide = (round(side * scale) for side in (size.height, size.width))
    tall, wide = min(tall, height), min(wide, width)
    top, left = (
        round((1 + at) / 2 * room)
        for at, room in zip(place, (height - tall, width - wide), strict=True)
    )
    return resized(frame[:, top : top + tall, left : left + wide], size.height, size.width)


def _scale(clip: PreparedClip, size: ClipSize) -> float:
    return min(clip.height / size.height, clip.width / size.width)


class ClipCrops:
    """Crops of prepared clips, of those sizes, to train an autoencoder on, and their share."""

    def __init__(
        self,
        prepared: Prepared,
        sizes: Iterable[ClipSize],
        fit: Fit = Fit(),
        share: float = 1.0,
    ) -> None:
        self.prepared, self.fit, self.share = prepared, fit, share
        self._held_out: dict[ClipSize, list[PreparedClip]] = {}
        self._learnt: dict[ClipSize, list[PreparedClip]] = {}
        for size in sizes:
            found = fitting(prepared, size, fit)
            learnt = [clip for clip in found if clip.key not in prepared.held_out]
            self._learnt[size] = learnt or found
            self._held_out[size] = [clip for clip in found if clip.key in prepared.held_out]
            if not learnt:
                self._held_out[size] = []

    def crops(self, dice: random.Random, size: ClipSize) -> Iterator[Tensor]:
        """Without end, uint8 (F, H, W, 3): any clip, any beginning, any part of its frames.

        The part has at least as many pixels as the crop, if the clip has, and at most all that
        fit its shape.
        """
        while True:
            clip = dice.choice(self._learnt[size])
            step = self.fit.drawn_step(dice, clip, size)
            length = (size.frames - 1) * step + 1
            first = dice.randrange(clip.frames - length + 1)
            frames = list(self.prepared.frames(clip, range(first, first + length, step)))
            room = math.floor(clip.height / size.height) * math.floor(clip.width / size.width)
            for _ in range(max(1, min(CROPS_OF_ONE, room))):
                place = dice.uniform(-1, 1), dice.uniform(-1, 1)
                yield show(frames, size, zoom=dice.random(), place=place)

    def held_out(self, size: ClipSize, most: int) -> Iterator[Tensor]:
        """The beginnings of clips that `crops` never shows, up to so many, evenly chosen.

        As large a part of their frames as can be.
        """
        clips = self._held_out[size]
        count = min(most, len(clips))
        for clip in (clips[len(clips) * i // count] for i in range(count)):
            yield show(self.prepared.frames(clip, range(size.frames)), size)

    def typical(self, size: ClipSize, count: int) -> Iterator[Tensor]:
        """So many parts of clips that `crops` shows, always the same, as a transformer sees them.

        Clips are taken evenly, several times if there are few.
        """
        clips, dice = self._learnt[size], random.Random("overcrank typical clips")
        for number in range(count):
            clip = clips[len(clips) * number // count]
            first = dice.randrange(clip.frames - size.frames + 1)
            yield show(self.prepared.frames(clip, range(first, first + size.frames)), size)
