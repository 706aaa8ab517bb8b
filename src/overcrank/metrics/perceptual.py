"""How different two pictures look, by the features of a network that has learnt to see.

    d(x, y) = mean over layers and places of |f_l(x) / |f_l(x)| - f_l(y) / |f_l(y)||^2

where f_l is the vector of features at a place of layer l. Source: Zhang et al., "The Unreasonable
Effectiveness of Deep Features as a Perceptual Metric", arXiv:1801.03924, equation 1 with all
weights 1.

Axes: N pictures, C channels, H W height and width.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Features = Callable[[Tensor], Sequence[Tensor]]
"""Pictures (N, 3, H, W) in [-1, 1] -> feature maps (N, C, h, w), one of each layer."""


def perceptual_distance(
    features: Features, pictures_NCHW: Tensor, reference_NCHW: Tensor
) -> Tensor:
    """`d` of each pair of pictures, (N,): 0 if they look the same, 4 at the most.

    In float32 also where others are not: bfloat16 turns its gradient by a good 30 degrees.
    """
    with torch.autocast(pictures_NCHW.device.type, enabled=False):
        with torch.no_grad():
            wanted = [_directions(layer) for layer in features(reference_NCHW.float())]
        found = [_directions(layer) for layer in features(pictures_NCHW.float())]
    layers = [
        (one - other).square().sum(1).mean((1, 2)) for one, other in zip(found, wanted, strict=True)
    ]
    return torch.stack(layers).mean(0)


def _directions(layer_NCHW: Tensor) -> Tensor:
    """Vectors of length 1, in float32."""
    layer_NCHW = layer_NCHW.float()
    return layer_NCHW * torch.rsqrt(layer_NCHW.square().sum(1, keepdim=True) + 1e-8)
