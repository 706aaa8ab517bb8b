"""Convolution over time and space, in one piece or as a stream.

Time is padded by repeating frames, never with zeros. A causal convolution sees only the past; it
can therefore run chunk by chunk if it remembers the last frames of the chunk before (`Memory`).
Source: HaCohen et al., "LTX-Video", arXiv:2501.00103, section 2.1.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from overcrank.vae.ops import join, repeat_first_frame

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
            return convolve(self.conv, x_BCTHW)
        if not causal:
            future = x_BCTHW[:, :, -1:].expand(-1, -1, self.past // 2, -1, -1)
            x_BCTHW = join([repeat_first_frame(x_BCTHW, self.past // 2), future])
            return convolve(self.conv, x_BCTHW)
        seen = None if memory is None else memory.get(self)
        before = [x_BCTHW[:, :, :1]] * self.past if seen is None else [seen]
        x_BCTHW = join([*before, x_BCTHW])
        if memory is not None:
            memory[self] = x_BCTHW[:, :, -self.past :]
        return convolve(self.conv, x_BCTHW)


def convolve(conv: nn.Conv3d, x_BCTHW: Tensor) -> Tensor:
    """The same as `conv(x)`, without groups and dilation; on a CPU, a kernel that is flat in time
    or in space is a convolution of two axes, up to four times as fast there.

    Flat in both it is a matrix. With channels last, all of these are views.
    """
    (time, height, width), weight, bias = conv.kernel_size, conv.weight, conv.bias
    assert isinstance(conv.padding, tuple)
    if x_BCTHW.device.type != "cpu" or (time > 1 and height * width > 1):
        y_BCTHW: Tensor = conv(x_BCTHW)
        return y_BCTHW
    if time * height * width == 1 and conv.stride == (1, 1, 1):
        x_BTHWC = x_BCTHW.movedim(1, -1)
        y_NC = F.linear(x_BTHWC.flatten(0, 3), weight.flatten(1), bias)
        return y_NC.unflatten(0, x_BTHWC.shape[:4]).movedim(-1, 1)
    if time == 1:
        x_NCHW = x_BCTHW[:, :, :: conv.stride[0]].transpose(1, 2).flatten(0, 1)
        y_NCHW = F.conv2d(x_NCHW, weight[:, :, 0], bias, conv.stride[1:], conv.padding[1:])
        return y_NCHW.unflatten(0, (len(x_BCTHW), -1)).transpose(1, 2)
    stride, padding = (conv.stride[0], 1), (conv.padding[0], 0)
    x_BCTHW = x_BCTHW[..., :: conv.stride[1], :: conv.stride[2]]
    y_BCTN = F.conv2d(x_BCTHW.flatten(3), weight[..., 0], bias, stride, padding)
    return y_BCTN.unflatten(3, x_BCTHW.shape[3:])
