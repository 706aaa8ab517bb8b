"""Clips before they are encoded, by their number: those of the toybox, which never end."""

import random
import sys
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from overcrank.data.world import World
from overcrank.shapes import FRAMES_PER_CELL, ClipSize

FRAME_RATES = (24.0, 12.0, 24.0, 16.0, 30.0)
"""Clips are made at these rates in turn, so that the network learns what a rate is."""


@dataclass(frozen=True, slots=True)
class Original:
    """A clip before it is encoded."""

    frames_FHW3: Tensor
    actors_THW: Tensor
    """The part of each token's pixels where an actor is seen, in 255ths."""
    frame_rate: float
    captions: list[str]
    key_frames: list[int]


class Originals(Dataset[Original]):
    """`self[index]` is a clip, always the same one; sets of one `name` have the same clips."""

    name: str
    held_out: int = 64
    """The first clips are never trained on: so many."""

    def __len__(self) -> int:
        raise NotImplementedError


class ToyOriginals(Originals):
    """Clips of the toybox from number `first` on, each with some captions."""

    def __init__(
        self, world: World, size: ClipSize, *, seed: int, first: int = 0, captions: int
    ) -> None:
        self.world, self.size, self.seed = world, size, seed
        self.first, self.captions = first, captions
        self.name = world.name

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: int) -> Original:
        size, seed = self.size, self.seed * 2**32 + self.first + index
        rate = FRAME_RATES[index % len(FRAME_RATES)]
        scene = self.world.scene(seed, "train", size.frames / rate)
        voices = range(index * self.captions, (index + 1) * self.captions)
        share_THW = share_of_tokens(self.world.actors(scene, size, rate), size)
        return Original(
            self.world.render(scene, size, rate),
            share_THW.mul(255).round().to(torch.uint8),
            rate,
            [self.world.caption(scene, voice) for voice in voices],
            key_frames(size.frames, seed),
        )


def key_frames(frames: int, seed: int) -> list[int]:
    """The last frame, and a multiple of 8 between the first and the last if there is one."""
    last = frames - 1
    between = range(FRAMES_PER_CELL, last, FRAMES_PER_CELL) or (last,)
    return [last, random.Random(f"overcrank key frame {seed}").choice(between)]


def share_of_tokens(mask_FHW: Tensor, size: ClipSize) -> Tensor:
    """The part of each token's pixels that a mask covers, (T, H, W); token 0 has one frame."""
    grid = size.latent
    first_HW, rest_FHW = mask_FHW[:1].float(), mask_FHW[1:].float()
    shares = [F.adaptive_avg_pool3d(first_HW[None], (1, grid.height, grid.width))[0]]
    if grid.frames > 1:
        whole = (grid.frames - 1, grid.height, grid.width)
        shares.append(F.adaptive_avg_pool3d(rest_FHW[None], whole)[0])
    return torch.cat(shares)
