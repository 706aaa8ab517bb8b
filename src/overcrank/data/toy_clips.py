"""Pixels with captions, of the toybox: batch `step` is a function of the seed and the step.

Axes: B batch, F H W frames, height, width, L text tokens, D text width, K single frames.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from overcrank.data.originals import FRAME_RATES, key_frames
from overcrank.data.world import SOLIDS, World
from overcrank.shapes import ClipSize
from overcrank.text import TextEncoder


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


class ToyClips(Dataset[PixelBatch]):
    """`self[step]` is one batch of whole scenes, `shape_of(step)` gives (batch, size).

    With probability `drop_text` a clip gets the empty prompt.
    """

    def __init__(
        self,
        shape_of: Callable[[int], tuple[int, ClipSize]],
        text: TextEncoder,
        *,
        steps: int,
        seed: int,
        drop_text: float = 0.0,
        world: World = SOLIDS,
    ) -> None:
        self.shape_of, self.text, self.steps, self.seed = shape_of, text, steps, seed
        self.drop_text, self.world = drop_text, world

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> PixelBatch:
        batch, size = self.shape_of(step)
        dice = random.Random(f"overcrank clips {self.seed}/{step}")
        seeds = [dice.randrange(2**40) for _ in range(batch)]
        rates = [dice.choice(FRAME_RATES) for _ in seeds]
        voices = [dice.randrange(2**31) for _ in seeds]
        dropped = [dice.random() < self.drop_text for _ in seeds]
        return draw_clips(self.world, self.text, size, seeds, rates, voices, dropped)


def draw_clips(
    world: World,
    text: TextEncoder,
    size: ClipSize,
    seeds: list[int],
    rates: list[float],
    voices: list[int],
    dropped: list[bool],
) -> PixelBatch:
    """The scenes of `seeds`, each at its frame rate, with caption number `voice` or none."""
    scenes = [world.scene(seed, "train") for seed in seeds]
    shown = list(zip(scenes, rates, strict=True))
    captions = [
        "" if drop else world.caption(scene, voice)
        for scene, voice, drop in zip(scenes, voices, dropped, strict=True)
    ]
    embedding = text.encode(captions)
    return PixelBatch(
        torch.stack([world.render(scene, size, rate) for scene, rate in shown]),
        torch.stack([world.actors(scene, size, rate) for scene, rate in shown]),
        torch.tensor(rates),
        embedding.embeds_BLD.float(),
        embedding.keep_BL,
        torch.tensor([key_frames(size.frames, seed) for seed in seeds]),
    )
