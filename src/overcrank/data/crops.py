"""Pixels of the toybox for training an autoencoder: batch `step` is a function of the seed."""

import random
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.data import Dataset

from overcrank.shapes import ClipSize
from overcrank.toybox import render, sample_scene

CANVAS = 128
"""Clips are rendered at this height and width, then cropped."""


class ToyCrops(Dataset[Tensor]):
    """`self[step]` is uint8 (B, F, H, W, 3), with as many crops of a clip as its area has room for.

    shape_of(step) gives (batch, frames, size).
    """

    def __init__(self, seed: int, steps: int, shape_of: Callable[[int], tuple[int, int, int]]):
        self.seed, self.steps, self.shape_of = seed, steps, shape_of

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Tensor:
        batch, frames, size = self.shape_of(step)
        dice = random.Random(f"{self.seed}/{step}")
        canvas = max(size, CANVAS)
        per_clip = (canvas // size) ** 2
        crops: list[Tensor] = []
        while len(crops) < batch:
            scene = sample_scene(dice.randrange(2**40), split="train")
            start, rate = dice.uniform(0, 4), dice.choice([12.0, 24.0, 24.0, 30.0])
            clip = render(scene, ClipSize(frames, canvas, canvas), rate, start=start)
            for _ in range(per_clip):
                top, left = (dice.randint(0, canvas - size) for _ in range(2))
                crops.append(clip[:, top : top + size, left : left + size])
        return torch.stack(crops[:batch])
