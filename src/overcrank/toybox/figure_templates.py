"""Pictures of figures laid over small frames, at every place at once.

Axes: T templates, F frames, C channels, H W pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, max_pool2d, pad

from overcrank.toybox.figure_pack import PICTURE_SIDE

SIDE = 32
"""Pixels on a side of the frames that are looked at."""
_FIELD = 64
"""Side of the Fourier transforms: frames with a margin of half a template."""
_EDGE = 0.25
"""A step between neighbouring pixels that is an edge in full."""
_FLAT = 1e-4
Turn = tuple[float, float, float]
"""Width (negative: mirrored) and height in parts of the picture's own, tilt as in `Pose`."""


@dataclass(frozen=True, slots=True)
class Found:
    """The best template by frame: likeness in [0, 1], number, (column, row) in sides of it."""

    likeness_F: Tensor
    template_F: Tensor
    place_F2: Tensor


class Templates:
    """Some pictures (1, 4, H, W; premultiplied RGB and alpha) of one size, each in all turns."""

    def __init__(self, pictures: Sequence[Tensor], size: float, turns: Sequence[Turn]) -> None:
        drawn = _drawn(pictures, size * SIDE, turns)
        colour, alpha = drawn[:, :3], drawn[:, 3:]
        rim = max_pool2d(alpha, 3, 1, 1) + max_pool2d(-alpha, 3, 1, 1)
        rim = rim / rim.sum((2, 3), keepdim=True)
        self.half = drawn.shape[-1] // 2
        self.count_T = 3 * alpha.sum((1, 2, 3))
        self.mean_T = colour.sum((1, 2, 3)) / self.count_T
        squares_T = (colour * colour / alpha.clamp(min=1e-3)).sum((1, 2, 3)) / self.count_T
        self.variance_T = squares_T - self.mean_T**2
        self.colour, self.alpha, self.rim = (_spectrum(x).conj() for x in (colour, alpha, rim))

    def likeness(self, frame_CHW: Tensor) -> Tensor:
        """(T, H, W) in [0, 1]: agreement of colours inside (Lin's concordance), times the root of
        the part of the outline that lies on edges."""
        frame = pad(frame_CHW[None], [self.half] * 4, mode="replicate")
        edges = pad(_edges(frame_CHW[None]), [self.half] * 4)
        summed, squared = frame.sum(1, keepdim=True), (frame * frame).sum(1, keepdim=True)
        count, mean, variance = (
            x[:, None, None] for x in (self.count_T, self.mean_T, self.variance_T)
        )
        seen = _laid(summed, self.alpha) / count
        spread = (_laid(squared, self.alpha) / count - seen**2).clamp(min=0)
        both = _laid(frame, self.colour) / count - seen * mean
        agree = 2 * both / (spread + variance + (seen - mean) ** 2 + _FLAT)
        return agree.clamp(min=0) * _laid(edges, self.rim).clamp(0, 1).sqrt()

    def find(self, frames_FCHW: Tensor) -> Found:
        """The best template and place in each frame."""
        found = [self.likeness(frame).flatten().max(0) for frame in frames_FCHW]
        index = torch.stack([each.indices for each in found])
        place = torch.stack([index % SIDE, index // SIDE % SIDE], dim=-1)
        values = torch.stack([each.values for each in found])
        return Found(values, index // SIDE**2, (place + 0.5) / SIDE)


def small(frames_FHWC: Tensor) -> Tensor:
    """uint8 frames (F, H, W, 3) of any square size to float (F, 3, 32, 32) in [0, 1]."""
    frames = frames_FHWC.permute(0, 3, 1, 2).float() / 255
    return torch.nn.functional.interpolate(frames, (SIDE, SIDE), mode="area")


def _drawn(pictures: Sequence[Tensor], pixels: float, turns: Sequence[Turn]) -> Tensor:
    """(T, 4, n, n), the turns of the first picture first."""
    axis = torch.arange(math.ceil(1.2 * pixels) + 3 | 1, dtype=torch.float32)
    axis = (axis - axis.mean()) * 2 / pixels
    up, right = torch.meshgrid(-axis, axis, indexing="ij")
    drawn = []
    for picture in pictures:
        shrunk = avg_pool2d(picture, max(1, int(PICTURE_SIDE // pixels)))
        for wide, high, tilt in turns:
            cos, sin = math.cos(tilt), math.sin(tilt)
            where = torch.stack(
                [(cos * right + sin * up) / wide, (sin * right - cos * up) / high], dim=-1
            )
            drawn.append(grid_sample(shrunk, where[None], align_corners=False))
    return torch.cat(drawn)


def _edges(x_FCHW: Tensor) -> Tensor:
    """How much of an edge each pixel is, in [0, 1]: (F, 1, H, W)."""
    x = pad(x_FCHW, [1] * 4, mode="replicate")
    across = (x[..., 1:-1, 2:] - x[..., 1:-1, :-2]).abs().amax(1, keepdim=True)
    down = (x[..., 2:, 1:-1] - x[..., :-2, 1:-1]).abs().amax(1, keepdim=True)
    return (torch.maximum(across, down) / _EDGE).clamp(max=1)


def _spectrum(x: Tensor) -> Tensor:
    return torch.fft.rfft2(x, s=(_FIELD, _FIELD))


def _laid(frame_1CHW: Tensor, template_TCHW: Tensor) -> Tensor:
    """Sums of products over the channels with the template at each place: (T, H, W)."""
    product = (_spectrum(frame_1CHW) * template_TCHW).sum(1)
    return torch.fft.irfft2(product, s=(_FIELD, _FIELD))[..., :SIDE, :SIDE]
