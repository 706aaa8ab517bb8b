"""Pixels of the toybox for training an autoencoder: batch `step` is a function of the seed."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from overcrank.shapes import ClipSize
from overcrank.toybox import render, sample_scene, truth

CANVAS = 128
"""Clips are rendered at this height and width, then cropped."""


@dataclass(frozen=True, slots=True)
class Crops:
    """`frames` uint8 (B, F, H, W, 3), `actors` bool (B, F, H, W): where an actor is seen."""

    frames: Tensor
    actors: Tensor


class ToyCrops(Dataset[Crops]):
    """`self[step]` is one batch, with as many crops of a clip as its area has room for.

    shape_of(step) gives (batch, frames, size).
    """

    def __init__(self, seed: int, steps: int, shape_of: Callable[[int], tuple[int, int, int]]):
        self.seed, self.steps, self.shape_of = seed, steps, shape_of

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Crops:
        batch, frames, size = self.shape_of(step)
        dice = random.Random(f"{self.seed}/{step}")
        canvas = max(size, CANVAS)
        clip_size = ClipSize(frames, canvas, canvas)
        clips: list[Tensor] = []
        masks: list[Tensor] = []
        while len(clips) < batch:
            scene = sample_scene(dice.randrange(2**40), split="train")
            start, rate = dice.uniform(0, 4), dice.choice([12.0, 24.0, 24.0, 30.0])
            clip = render(scene, clip_size, rate, start=start)
            mask = truth(scene, clip_size, rate, start).masks.any(0)
            for _ in range((canvas // size) ** 2):
                top, left = (dice.randint(0, canvas - size) for _ in range(2))
                clips.append(clip[:, top : top + size, left : left + size])
                masks.append(mask[:, top : top + size, left : left + size])
        return Crops(torch.stack(clips[:batch]), torch.stack(masks[:batch]))
