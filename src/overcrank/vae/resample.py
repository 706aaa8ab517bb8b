"""Blocks that change the resolution.

Axes: B batch, C channels, T H W frames, height, width. An odd number of frames, n, halves to
(n + 1) / 2 and doubles to 2n - 1: the first frame always stands alone.
"""

import torch
from torch import Tensor, nn

from overcrank.vae.conv import CausalConv3d, Memory, convolve
from overcrank.vae.ops import (
    boxes_to_channels,
    channels_to_boxes,
    depth_to_space,
    repeat_first_frame,
    space_to_depth,
)

Stride = tuple[int, int, int]


class SpaceToDepthDownsample(nn.Module):
    """`compress_res`: a convolution, then space to depth, plus the averaged input."""

    def __init__(self, inputs: int, outputs: int, stride: Stride) -> None:
        super().__init__()
        self.stride, self.factor = stride, stride[0] * stride[1] * stride[2]
        self.conv = CausalConv3d(inputs, outputs // self.factor)
        self.group = inputs * self.factor // outputs

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        x_BCTHW = repeat_first_frame(x_BCTHW, self.stride[0] - 1)
        skip = space_to_depth(x_BCTHW, self.stride).unflatten(1, (-1, self.group)).mean(2)
        return space_to_depth(self.conv(x_BCTHW, causal=True), self.stride) + skip


class DepthToSpaceUpsample(nn.Module):
    """`compress` in a decoder: a convolution, then depth to space; optionally plus the input."""

    def __init__(self, inputs: int, outputs: int, stride: Stride, *, residual: bool) -> None:
        super().__init__()
        self.stride, self.factor = stride, stride[0] * stride[1] * stride[2]
        self.conv = CausalConv3d(inputs, outputs * self.factor)
        self.repeats = outputs * self.factor // inputs if residual else 0

    def forward(self, x_BCTHW: Tensor, *, causal: bool, memory: Memory | None = None) -> Tensor:
        first = _is_first_chunk(self, memory)
        y_BCTHW = depth_to_space(self.conv(x_BCTHW, causal=causal, memory=memory), self.stride)
        if self.repeats:
            skip = depth_to_space(x_BCTHW, self.stride)
            y_BCTHW = y_BCTHW + skip.repeat(1, self.repeats, 1, 1, 1)
        return y_BCTHW[:, :, self.stride[0] - 1 :] if first else y_BCTHW


class ProjectDown(nn.Module):
    """`project` in an encoder: space to depth, then one matrix with orthogonal rows to start."""

    def __init__(self, inputs: int, outputs: int, stride: Stride) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv3d(inputs * stride[0] * stride[1] * stride[2], outputs, 1)
        _orthogonal(self.conv)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        x_BCTHW = repeat_first_frame(x_BCTHW, self.stride[0] - 1)
        return convolve(self.conv, boxes_to_channels(x_BCTHW, self.stride))


class ProjectUp(nn.Module):
    """`project` in a decoder: one matrix with orthogonal columns to start, then depth to space."""

    def __init__(self, inputs: int, outputs: int, stride: Stride) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv3d(inputs, outputs * stride[0] * stride[1] * stride[2], 1)
        _orthogonal(self.conv)

    def forward(
        self,
        x_BCTHW: Tensor,
        *,
        causal: bool,  # noqa: ARG002  the decoder calls both kinds alike
        memory: Memory | None = None,
    ) -> Tensor:
        first = _is_first_chunk(self, memory)
        y_BCTHW = channels_to_boxes(convolve(self.conv, x_BCTHW), self.stride)
        return y_BCTHW[:, :, self.stride[0] - 1 :] if first else y_BCTHW


def _is_first_chunk(module: nn.Module, memory: Memory | None) -> bool:
    if memory is None:
        return True
    first = module not in memory
    memory[module] = None
    return first


def _orthogonal(conv: nn.Conv3d) -> None:
    if not conv.weight.is_meta:
        nn.init.orthogonal_(conv.weight)
    assert conv.bias is not None
    torch.nn.init.zeros_(conv.bias)
