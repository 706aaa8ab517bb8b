"""The space-time Haar wavelet transform. Source: Haar, Math. Annalen 69 (1910); LTX-Video 2.1."""

from torch import Tensor


def haar3d(video_BCFHW: Tensor) -> list[Tensor]:
    """Eight half-size bands, (low, high) along time, height, width; time slowest.

    Each step is (a + b) / 2 and (a - b) / 2 of neighbours. F, H and W must be even.
    """
    bands = [video_BCFHW]
    for axis in (2, 3, 4):
        split = []
        for band in bands:
            first, second = band.unflatten(axis, (-1, 2)).unbind(axis + 1)
            split += [(first + second) / 2, (first - second) / 2]
        bands = split
    return bands
