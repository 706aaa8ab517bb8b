"""The space-time Haar wavelet transform. Source: Haar, Math. Annalen 69 (1910); LTX-Video 2.1."""

import torch
from einops import rearrange
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Brightness of red, green and blue. Source: ITU-R BT.601."""


def haar3d(video_BCFHW: Tensor) -> Tensor:
    """Eight half-size bands, (B, C, F / 2, H / 2, W / 2, 8): low or high in time, height, width.

    Each band is a mean of the eight pixels of a box with signs; band 0 has none, bit 4 of the
    number is for time, 2 for height, 1 for width. F, H and W must be even.
    """
    boxes = rearrange(video_BCFHW, "b c (f p) (h q) (w r) -> b c f h w (p q r)", p=2, q=2, r=2)
    step = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=boxes.dtype, device=boxes.device) / 2
    return boxes @ torch.kron(step, torch.kron(step, step))


def band_energies(video_BCFHW: Tensor, levels: int = 3) -> Tensor:
    """How much detail of each kind a video holds: mean absolute values of the seven detail bands
    of its brightness, at full size, then at half of it and so on, (B, 7 * levels).

    A first frame, and pixels at the right and below, that do not fit are left out.
    """
    grid = 2**levels
    frames, height, width = (n // grid * grid for n in video_BCFHW.shape[2:])
    luma_C = torch.tensor(LUMA, dtype=video_BCFHW.dtype, device=video_BCFHW.device)
    fitting = video_BCFHW[:, :, -frames:, :height, :width]
    grey_BCFHW = torch.einsum("bcfhw,c->bfhw", fitting, luma_C)[:, None]
    found = []
    for _ in range(levels):
        bands = haar3d(grey_BCFHW)
        found.append(bands[..., 1:].abs().mean((1, 2, 3, 4)))
        grey_BCFHW = bands[..., 0]
    return torch.cat(found, 1)
