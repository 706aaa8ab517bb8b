"""Structural similarity.

    SSIM = (2 mx my + C1) (2 sxy + C2) / ((mx^2 + my^2 + C1) (sx^2 + sy^2 + C2))

with means m, variances s^2 and covariance sxy under a Gaussian window of 11 x 11 pixels and
standard deviation 1.5; C1 = (0.01 L)^2, C2 = (0.03 L)^2, L the range of a pixel. Source: Wang et
al., "Image Quality Assessment", IEEE TIP 13 (2004), equation 13.

Axes: B batch, C colours, F frames, H W height and width, N planes of pixels.
"""

import torch
from torch import Tensor

from overcrank.errors import SizeError

WINDOW, SIGMA = 11, 1.5


def ssim(video_BCFHW: Tensor, reference_BCFHW: Tensor) -> Tensor:
    """Mean over colours, frames and all places where the window fits, (B,): 1 if equal.

    Pixels in [-1, 1]; values outside are clipped, as when a file is written. Raises SizeError for
    pictures smaller than the window.
    """
    height, width = video_BCFHW.shape[3:]
    if min(height, width) < WINDOW:
        raise SizeError(
            f"SSIM needs {WINDOW} x {WINDOW} pixels, got {width} x {height}: give larger pictures"
        )
    frames = zip(video_BCFHW.unbind(2), reference_BCFHW.unbind(2), strict=True)
    return torch.stack([_similar(one, other) for one, other in frames]).mean(0)


def _similar(frame_BCHW: Tensor, reference_BCHW: Tensor) -> Tensor:
    """Of one frame of each clip, (B,)."""
    x_NHW = (frame_BCHW.float().clamp(-1, 1).flatten(0, 1) + 1) / 2
    y_NHW = (reference_BCHW.float().flatten(0, 1) + 1) / 2
    one, two = 0.01**2, 0.03**2
    mean_x, mean_y = _windowed(x_NHW), _windowed(y_NHW)
    var_x = _windowed(x_NHW.square()) - mean_x.square()
    var_y = _windowed(y_NHW.square()) - mean_y.square()
    cov = _windowed(x_NHW * y_NHW) - mean_x * mean_y
    light = (2 * mean_x * mean_y + one) / (mean_x.square() + mean_y.square() + one)
    similar_NHW = light * (2 * cov + two) / (var_x + var_y + two)
    return similar_NHW.unflatten(0, frame_BCHW.shape[:2]).mean((1, 2, 3))


def _windowed(x_NHW: Tensor) -> Tensor:
    """Gaussian means of each window, rows first, then columns: faster as sums than as
    convolutions of one channel."""
    places = torch.arange(WINDOW) - WINDOW // 2
    row = torch.exp(-0.5 * (places / SIGMA).square())
    weights: list[float] = (row / row.sum()).tolist()
    for axis in (1, 2):
        count = x_NHW.shape[axis] - WINDOW + 1
        total = x_NHW.narrow(axis, 0, count) * weights[0]
        for place, weight in enumerate(weights[1:], 1):
            total.add_(x_NHW.narrow(axis, place, count), alpha=weight)
        x_NHW = total
    return x_NHW
