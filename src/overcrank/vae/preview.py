"""A look at latents without decoding them: the mean colour of every cell is nearly linear in them.

Axes: B batch, C latent channels, F H W frames, height, width of a video, T h w of a latent grid,
N cells.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d

from overcrank.shapes import FRAMES_PER_CELL, PIXELS_PER_CELL
from overcrank.vae.ops import repeat_first_frame

RIDGE = 1e-4
"""Of the latents' variance: keeps a fit on few cells in bounds."""


class Preview(nn.Module):
    """Normalised latents (B, C, T, h, w) -> colours in about [-1, 1], (B, 3, T, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(3, channels))
        self.register_buffer("bias", torch.zeros(3))

    def forward(self, latent_BCTHW: Tensor) -> Tensor:
        weight, bias = (self.get_buffer(name).to(latent_BCTHW) for name in ("weight", "bias"))
        return torch.einsum("rc, bcthw -> brthw", weight, latent_BCTHW) + bias[:, None, None, None]

    @torch.no_grad()
    def fit(self, latent_NC: Tensor, colour_N3: Tensor) -> None:
        """The least squares of normalised latents and the colours of their cells."""
        x_NC, y_N3 = latent_NC.double(), colour_N3.double()
        middle_C, mean_3 = x_NC.mean(0), y_N3.mean(0)
        x_NC, y_N3 = x_NC - middle_C, y_N3 - mean_3
        kept = RIDGE * x_NC.square().mean() * len(x_NC)
        square_CC = x_NC.T @ x_NC + kept * torch.eye(x_NC.shape[1]).to(x_NC)
        weight_C3 = torch.linalg.solve(square_CC, x_NC.T @ y_N3)
        self.get_buffer("weight").copy_(weight_C3.T)
        self.get_buffer("bias").copy_(mean_3 - middle_C @ weight_C3)


def cell_colours(video_BCFHW: Tensor) -> Tensor:
    """The mean colour of each cell's pixels, (B, 3, T, h, w); the first cell has one frame."""
    whole = repeat_first_frame(video_BCFHW, FRAMES_PER_CELL - 1)
    return avg_pool3d(whole, (FRAMES_PER_CELL, PIXELS_PER_CELL, PIXELS_PER_CELL))
