"""Convolution over time and space, in one piece or as a stream.

Time is padded by repeating frames, never with zeros. A causal convolution sees only the past; it
can therefore run chunk by chunk if it remembers the last frames of the chunk before (`Memory`).
Source: HaCohen et al., "LTX-Video", arXiv:2501.00103, section 2.1.
"""

import torch
from torch import Tensor, nn

from overcrank.vae.ops import repeat_first_frame

Memory = dict[nn.Module, Tensor | None]
"""What a stream has seen so far, per module. Empty before the first chunk."""


class CausalConv3d(nn.Module):
    """3-D convolution that keeps the number of frames (divided by its stride)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int, int] = (3, 3, 3),
        stride: tuple[int, int, int] = (1, 1, 1),
    ) -> None:
        super().__init__()
        space = (0, kernel[1] // 2, kernel[2] // 2)
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride=stride, padding=space)
        self.past = kernel[0] - 1

    def forward(self, x_BCTHW: Tensor, *, causal: bool, memory: Memory | None = None) -> Tensor:
        """`memory` is read and updated; only a causal convolution can have one."""
        if self.past == 0:
            return self.conv(x_BCTHW)
        if not causal:
            future = x_BCTHW[:, :, -1:].expand(-1, -1, self.past // 2, -1, -1)
            x_BCTHW = torch.cat([repeat_first_frame(x_BCTHW, self.past // 2), future], dim=2)
            return self.conv(x_BCTHW)
        seen = None if memory is None else memory.get(self)
        if seen is None:
            x_BCTHW = repeat_first_frame(x_BCTHW, self.past)
        else:
            x_BCTHW = torch.cat([seen, x_BCTHW], dim=2)
        if memory is not None:
            memory[self] = x_BCTHW[:, :, -self.past :]
        return self.conv(x_BCTHW)
