"""The plain functions of the autoencoder.

Axes: B batch, C channels, T H W frames, height, width (pixels or cells).
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor


def pixel_norm(x_BCTHW: Tensor) -> Tensor:
    """Divide by the root mean square over channels. Source: arXiv:1710.10196, section 4.2."""
    # vector_norm is one pass, and adds up in float32.
    norm_B1THW = torch.linalg.vector_norm(x_BCTHW, dim=1, keepdim=True, dtype=torch.float32)
    factor_B1THW = torch.rsqrt(norm_B1THW.square() / x_BCTHW.shape[1] + 1e-8)
    return x_BCTHW * factor_B1THW.to(x_BCTHW.dtype)


def patchify(video_BCTHW: Tensor, size: int) -> Tensor:
    """Each size x size square of pixels becomes channels: (colour, column, row), row fastest."""
    return rearrange(video_BCTHW, "b c t (h q) (w r) -> b (c r q) t h w", q=size, r=size)


def unpatchify(x_BCTHW: Tensor, size: int) -> Tensor:
    """Inverse of `patchify`."""
    return rearrange(x_BCTHW, "b (c r q) t h w -> b t (h q) (w r) c", q=size, r=size).movedim(-1, 1)


def space_to_depth(x_BCTHW: Tensor, stride: tuple[int, int, int]) -> Tensor:
    """Each stride-sized box becomes channels, ordered (channel, time, row, column)."""
    t, h, w = stride
    return rearrange(x_BCTHW, "b c (t p) (h q) (w r) -> b (c p q r) t h w", p=t, q=h, r=w)


def depth_to_space(x_BCTHW: Tensor, stride: tuple[int, int, int]) -> Tensor:
    """Inverse of `space_to_depth`."""
    t, h, w = stride
    return rearrange(x_BCTHW, "b (c p q r) t h w -> b c (t p) (h q) (w r)", p=t, q=h, r=w)


def boxes_to_channels(x_BCTHW: Tensor, stride: tuple[int, int, int]) -> Tensor:
    """As `space_to_depth`, but the channel is the fastest axis: whole vectors move in memory."""
    t, h, w = stride
    pattern = "b c (t p) (h q) (w r) -> b t h w (p q r c)"
    return rearrange(x_BCTHW, pattern, p=t, q=h, r=w).movedim(-1, 1)


def channels_to_boxes(x_BCTHW: Tensor, stride: tuple[int, int, int]) -> Tensor:
    """Inverse of `boxes_to_channels`."""
    t, h, w = stride
    pattern = "b (p q r c) t h w -> b (t p) (h q) (w r) c"
    return rearrange(x_BCTHW, pattern, p=t, q=h, r=w).movedim(-1, 1)


def repeat_first_frame(x_BCTHW: Tensor, count: int) -> Tensor:
    """Prepend `count` copies of the first frame: the past that a causal network assumes."""
    return join([x_BCTHW[:, :, :1]] * count + [x_BCTHW])


def join(parts_BCTHW: Sequence[Tensor]) -> Tensor:
    """One after another in time; channels stay last in memory, which torch's own does not heed."""
    if all(part.stride(1) == 1 for part in parts_BCTHW):
        return torch.cat([part.movedim(1, -1) for part in parts_BCTHW], dim=1).movedim(-1, 1)
    return torch.cat(list(parts_BCTHW), dim=2)
