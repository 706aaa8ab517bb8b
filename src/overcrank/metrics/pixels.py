"""Measures that compare two videos pixel by pixel."""

import torch
from torch import Tensor


def psnr(video: Tensor, reference: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB of each sample, (B,).

    Pixels in [-1, 1], any shape (B, ...) with B samples; values outside are clipped, as when a
    file is written. `mask` (bool, broadcast against the pixels) restricts it to some of them.
    """
    square = (video.float().clamp(-1, 1) - reference.float()).div(2).square().flatten(1)
    if mask is None:
        mse = square.mean(1)
    else:
        weight = mask.expand_as(reference).flatten(1).float()
        mse = (square * weight).sum(1) / weight.sum(1).clamp(min=1)
    return -10 * torch.log10(mse.clamp(min=1e-10))
