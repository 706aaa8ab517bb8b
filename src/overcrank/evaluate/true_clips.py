"""Clips that nobody has to judge, to send through an autoencoder: rendered ones, and real ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from overcrank.data.prepare.sources import VIDEOS
from overcrank.errors import MediaError
from overcrank.media import open_frames
from overcrank.shapes import FRAMES_PER_CELL, PIXELS_PER_CELL, ClipSize
from overcrank.toybox.bench import BenchItem
from overcrank.toybox.render import render
from overcrank.toybox.truth import actor_mask

MOST_FRAMES = 49
MOST_PIXELS = 256
"""Of each side of a real clip: what is larger is cut to its middle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueClip:
    """`frames` uint8 (F, H, W, 3); `actors_FHW` (bool) is where actors are seen, and `item` what
    the clip is of, where that is known."""

    name: str
    frames: Tensor
    frame_rate: float
    actors_FHW: Tensor | None = None
    item: BenchItem | None = None


class Source(Protocol):
    """A clip that is made or read when it is its turn."""

    @property
    def name(self) -> str:
        """What a report calls it."""

    def open(self) -> TrueClip:
        """Raises MediaError if it cannot be used."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """An item of the benchmark."""

    item: BenchItem
    size: ClipSize
    frame_rate: float

    @property
    def name(self) -> str:
        """Its number."""
        return f"item {self.item.index}"

    def open(self) -> TrueClip:
        """The scene itself."""
        scene = self.item.scene
        return TrueClip(
            name=self.name,
            frames=render(scene, self.size, self.frame_rate),
            frame_rate=self.frame_rate,
            actors_FHW=actor_mask(scene, self.size, self.frame_rate),
            item=self.item,
        )


@dataclass(frozen=True, slots=True)
class Filmed:
    """A video file."""

    path: Path
    name: str

    def open(self) -> TrueClip:
        """Its beginning, 8n + 1 frames, at most `MOST_FRAMES`; its middle, in multiples of 32
        pixels, at most `MOST_PIXELS` wide and high. Nothing is scaled."""
        with open_frames(self.path) as (pictures_HW3, rate, _):
            frames = [_middle(each) for each in islice(pictures_HW3, MOST_FRAMES)]
        height, width, _ = frames[0].shape
        count = (len(frames) - 1) // FRAMES_PER_CELL * FRAMES_PER_CELL + 1
        if min(height, width) < PIXELS_PER_CELL or count < 1 + FRAMES_PER_CELL:
            raise MediaError(
                f"a clip is too small, got {len(frames)} frames in {self.path}: give at least "
                f"{1 + FRAMES_PER_CELL} frames of {PIXELS_PER_CELL} x {PIXELS_PER_CELL} pixels"
            )
        return TrueClip(name=self.name, frames=torch.stack(frames[:count]), frame_rate=rate)


def find_clips(given: Sequence[Path]) -> list[Filmed]:
    """Video files, and those that folders hold, by name. Raises MediaError if there is none."""
    found: list[Filmed] = []
    for path in given:
        if not path.exists():
            raise MediaError(
                f"there is no such video, got {str(path)!r}: give a video file or a folder of some"
            )
        if path.is_dir():
            files = sorted(each for each in path.rglob("*") if each.suffix.lower() in VIDEOS)
            found += [Filmed(each, each.relative_to(path).as_posix()) for each in files]
        else:
            found.append(Filmed(path, path.name))
    if not found:
        names = ", ".join(str(path) for path in given) or "nothing"
        raise MediaError(
            f"real clips are video files, got {names} without any: give files, or a folder with "
            "some, such as mp4"
        )
    return found


def _middle(frame_HW3: Tensor) -> Tensor:
    """A copy of the middle: the rest of a large frame is let go."""
    for axis in (0, 1):
        side = frame_HW3.shape[axis]
        kept = min(side // PIXELS_PER_CELL * PIXELS_PER_CELL, MOST_PIXELS)
        frame_HW3 = frame_HW3.narrow(axis, (side - kept) // 2, kept)
    return frame_HW3.clone()
