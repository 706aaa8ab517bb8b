"""The space-time Haar wavelet transform. Source: Haar, Math. Annalen 69 (1910); LTX-Video 2.1."""

import torch
from einops import rearrange
from torch import Tensor


def haar3d(video_BCFHW: Tensor) -> Tensor:
    """Eight half-size bands, (B, C, F / 2, H / 2, W / 2, 8): low or high in time, height, width.

    Each band is a mean of the eight pixels of a box with signs; band 0 has none, bit 4 of the
    number is for time, 2 for height, 1 for width. F, H and W must be even.
    """
    boxes = rearrange(video_BCFHW, "b c (f p) (h q) (w r) -> b c f h w (p q r)", p=2, q=2, r=2)
    step = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=boxes.dtype, device=boxes.device) / 2
    return boxes @ torch.kron(step, torch.kron(step, step))
