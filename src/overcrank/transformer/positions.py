"""Where each video token lies: its coordinates in seconds and pixels."""

import torch
from torch import Tensor

from overcrank.shapes import FRAMES_PER_CELL, PIXELS_PER_CELL, LatentSize


def token_positions(latent: LatentSize, frame_rate: float, *, causal: bool) -> Tensor:
    """Top left corner of each latent cell, (N, 3) float32: seconds, pixels down, pixels right.

    Tokens are ordered n = (f * H + h) * W + w. The first latent frame stands for one frame, so
    with `causal` latent frame f starts at frame 8f - 7 (0 for f = 0); without, at frame 8f.
    Source: Lightricks LTX-Video, `latent_to_pixel_coords`.
    """
    frames = torch.arange(latent.frames) * FRAMES_PER_CELL
    if causal:
        frames = (frames + 1 - FRAMES_PER_CELL).clamp(min=0)
    # Times the reciprocal, as upstream: high rotary frequencies feel the last bit.
    seconds = frames * (1.0 / frame_rate)
    down = torch.arange(latent.height) * PIXELS_PER_CELL
    right = torch.arange(latent.width) * PIXELS_PER_CELL
    grid = torch.meshgrid(seconds, down.float(), right.float(), indexing="ij")
    return torch.stack(grid, dim=-1).reshape(-1, 3)
