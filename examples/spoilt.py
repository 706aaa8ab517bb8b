"""Clips that are spoilt on purpose, and how much further that takes them from true ones.

Axes: B clips, F frames, H W pixels, C colours, N features.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from overcrank.evaluate.spaces import Space
from overcrank.metrics.frechet import frechet, moments
from overcrank.shapes import ClipSize
from overcrank.toybox import render, sample_scene

REFERENCE, OTHERS = 2**40, 2**41
"""First seeds of scenes: those that are compared with, and those that are spoilt."""

Spoil = Callable[[Tensor, float, torch.Generator], Tensor]
"""uint8 (F, H, W, 3), how much, dice -> the same, spoilt."""


def blurred(frames: Tensor, by: float, _dice: torch.Generator) -> Tensor:
    """Through a bell of `by` pixels."""
    away = torch.arange(-4, 5)
    bell = torch.exp(-away.square() / (2 * by * by))
    kernel = (bell[:, None] * bell / bell.sum() ** 2).expand(3, 1, 9, 9)
    pixels = pad(frames.movedim(-1, 1).float(), (4,) * 4, "replicate")
    return conv2d(pixels, kernel, groups=3).movedim(1, -1).round().byte()


def noisy(frames: Tensor, by: float, dice: torch.Generator) -> Tensor:
    """Normal noise of `by` grey levels."""
    noise = by * torch.randn(frames.shape, generator=dice)
    return (frames + noise).round().clamp(0, 255).byte()


def shuffled(frames: Tensor, by: float, dice: torch.Generator) -> Tensor:
    """This part of the frames in each other's places."""
    picks = torch.randperm(len(frames), generator=dice)[: round(by * len(frames))]
    found = frames.clone()
    found[picks] = frames[picks.roll(1)]
    return found


def frozen(frames: Tensor, by: float, _dice: torch.Generator) -> Tensor:
    """This last part of the clip stands still."""
    last = len(frames) - round(by * len(frames))
    return frames[torch.arange(len(frames)).clamp(max=last)]


def recoloured(frames: Tensor, by: float, _dice: torch.Generator) -> Tensor:
    """This part of the way to a clip with red and blue exchanged."""
    return torch.lerp(frames.float(), frames.flip(-1).float(), by).round().byte()


def brighter(frames: Tensor, by: float, _dice: torch.Generator) -> Tensor:
    """By so many grey levels; 0 leaves it as it is."""
    return (frames.float() + by).clamp(0, 255).byte()


class Scale:
    """Features of true and of spoilt clips of one size, and distances as multiples of the floor:
    the distance of two sets of true clips. Sets may be too small for a distance that is told."""

    def __init__(self, space: Space, size: ClipSize, rate: float, count: int) -> None:
        self.space, self.size, self.rate, self.count = space, size, rate, count
        self.reference_BN = self.features(brighter, 0, REFERENCE)
        self.true_BN = self.features(brighter, 0)
        self.floor = frechet(moments(self.reference_BN), moments(self.true_BN))

    def times(self, spoilt_BN: Tensor) -> float:
        """The distance of some features from the reference, in floors."""
        return frechet(moments(self.reference_BN), moments(spoilt_BN)) / self.floor

    def features(self, spoil: Spoil, by: float, first: int = OTHERS) -> Tensor:
        """Of spoilt clips, (B, N)."""
        dice = torch.Generator().manual_seed(0)
        clips = [spoil(self.clip(first + n), by, dice) for n in range(self.count)]
        return torch.stack([self.space.features(clip, self.rate) for clip in clips])

    def clip(self, seed: int) -> Tensor:
        """One true clip with one actor."""
        return render(sample_scene(seed, split="test", actors=1), self.size, self.rate)
