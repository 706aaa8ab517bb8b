"""Pixels with captions, of the toybox or of prepared clips, for networks that learn together.

Axes: B batch, F H W frames, height, width, L text tokens, D text width, K single frames.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from overcrank.data.originals import FRAME_RATES, Originals, key_frames
from overcrank.data.world import SOLIDS, World
from overcrank.shapes import ClipSize
from overcrank.text import TextEncoder

_FIRST_UNSEEN = 2**41
"""Scenes that are learnt from have smaller numbers."""


@dataclass(frozen=True, slots=True)
class PixelBatch:
    """Clips before any network has seen them, and the embeddings of their captions."""

    frames: Tensor
    """uint8 (B, F, H, W, 3)"""
    actors: Tensor
    """bool (B, F, H, W): where an actor is seen."""
    frame_rate_B: Tensor
    text_BLD: Tensor
    keep_BL: Tensor
    key_frames_BK: Tensor
    """Places of frames that may be given as pictures."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One clip of a batch; nobody knows where the actors of a real one are: its mask is empty."""

    frames_FHW3: Tensor
    actors_FHW: Tensor
    frame_rate: float
    caption: str
    key_frames: list[int]


class Source(Protocol):
    """Where clips come from."""

    def draw(self, dice: random.Random, size: ClipSize) -> Shown:
        """A clip to learn from."""
        ...

    def unseen(self, number: int, size: ClipSize) -> Shown:
        """A clip that is never learnt from, if there is one."""
        ...


class ToySource:
    """Whole scenes of a world, at several rates."""

    def __init__(self, world: World = SOLIDS) -> None:
        self.world = world

    def draw(self, dice: random.Random, size: ClipSize) -> Shown:
        """Any scene, rate and way to say it."""
        number, rate, voice = dice.randrange(2**40), dice.choice(FRAME_RATES), dice.getrandbits(31)
        return self._show(number, size, rate, voice)

    def unseen(self, number: int, size: ClipSize) -> Shown:
        """At 24 frames a second."""
        return self._show(_FIRST_UNSEEN + number, size, 24.0, number)

    def _show(self, number: int, size: ClipSize, rate: float, voice: int) -> Shown:
        scene = self.world.scene(number, "train", size.frames / rate)
        return Shown(
            self.world.render(scene, size, rate),
            self.world.actors(scene, size, rate),
            rate,
            self.world.caption(scene, voice),
            key_frames(size.frames, number),
        )


class OriginalSource:
    """Prepared clips, sorted into the sizes of a run."""

    def __init__(self, originals: Mapping[ClipSize, Originals]) -> None:
        self.originals = originals

    def draw(self, dice: random.Random, size: ClipSize) -> Shown:
        """Any piece that is not held out."""
        clips = self.originals[size]
        return self._show(dice.randrange(clips.held_out, len(clips)), size)

    def unseen(self, number: int, size: ClipSize) -> Shown:
        """Those that are held out in turn."""
        clips = self.originals[size]
        return self._show(number % (clips.held_out or len(clips)), size)

    def _show(self, number: int, size: ClipSize) -> Shown:
        clip = self.originals[size][number]
        nowhere = torch.zeros(clip.frames_FHW3.shape[:3], dtype=torch.bool)
        return Shown(clip.frames_FHW3, nowhere, clip.frame_rate, clip.captions[0], clip.key_frames)


class Pixels(Dataset[PixelBatch]):
    """`self[step]` is a function of the seed and the step; `shape_of(step)` gives (batch, size).

    With probability `drop_text` a clip gets the empty prompt.
    """

    def __init__(
        self,
        source: Source,
        shape_of: Callable[[int], tuple[int, ClipSize]],
        text: TextEncoder,
        *,
        steps: int,
        seed: int,
        drop_text: float,
    ) -> None:
        self.source, self.shape_of, self.text = source, shape_of, text
        self.steps, self.seed, self.drop_text = steps, seed, drop_text

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> PixelBatch:
        batch, size = self.shape_of(step)
        dice = random.Random(f"overcrank pixels {self.seed}/{step}")
        dropped = [dice.random() < self.drop_text for _ in range(batch)]
        return gather([self.source.draw(dice, size) for _ in dropped], self.text, dropped)


def gather(clips: Sequence[Shown], text: TextEncoder, dropped: Sequence[bool] = ()) -> PixelBatch:
    """Clips of one size; the caption of those that are `dropped` is not told."""
    told = dropped or [False] * len(clips)
    captions = ["" if drop else clip.caption for clip, drop in zip(clips, told, strict=True)]
    embedding = text.encode(captions)
    return PixelBatch(
        torch.stack([clip.frames_FHW3 for clip in clips]),
        torch.stack([clip.actors_FHW for clip in clips]),
        torch.tensor([clip.frame_rate for clip in clips]),
        embedding.embeds_BLD.float(),
        embedding.keep_BL,
        torch.tensor([clip.key_frames for clip in clips]),
    )
