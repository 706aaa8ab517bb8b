"""Grids that a decoder draws on what has no pattern: peaks in the spectrum of a flat field.

Axes: B batch, C colours, F frames, H W height and width.
"""

import torch
from torch import Tensor

from overcrank.errors import SizeError

PERIODS = (32, 16, 8, 4, 2)
"""In pixels: of a latent cell, and of the steps from it to a pixel."""
ROUNDING = 1 / 12
"""Variance of a whole number's last half: no spectrum of stored pixels lies lower."""


def grid_peaks(video_BCFHW: Tensor) -> dict[int, tuple[float, float]]:
    """By period p in pixels: how strong a grid of that period is, in dB and in 255ths.

    The decibels compare the mean power at the frequencies (1 / p, 0), (0, 1 / p), (1 / p, 1 / p)
    and (1 / p, -1 / p) with the median power of those around, and at least with that of rounding:
    near 0 without a grid. The strength in 255ths is the root mean square of what the peaks make
    together. A pattern that is no sine has harmonics, which are peaks of periods below its own.

    Pixels in [-1, 1] of flat fields; height and width are a multiple of 64.
    """
    height, width = video_BCFHW.shape[3:]
    if height % 64 or width % 64:
        raise SizeError(
            f"a grid of 32 pixels is looked for in multiples of 64, got {width} x {height}: cut "
            "the margin off"
        )
    pixels = (video_BCFHW.float().clamp(-1, 1) + 1) * 127.5
    # Of a plane of white noise of variance v, v everywhere: the mean over frames and colours.
    power = torch.fft.fft2(pixels - pixels.mean((3, 4), keepdim=True)).abs().square()
    power = power.mean((0, 1, 2)) / (height * width)
    peaks = {}
    for period in PERIODS:
        row, column = height // period, width // period
        places = [(row, 0), (0, column), (row, column)]
        if period > 2:  # or the two diagonals are one
            places.append((row, width - column))
        found = torch.stack([power[place] for place in places])
        around = torch.cat([_around(power, *place) for place in places])
        floor = around.median().clamp(min=ROUNDING)
        decibels = 10 * torch.log10(found.mean().clamp(min=ROUNDING) / floor)
        # Each but that of period 2 has a mirror image of the same power.
        mirrored = 1 if period == 2 else 2
        rms = (mirrored * found.sum() / (height * width)).sqrt()
        peaks[period] = (float(decibels), float(rms))
    return peaks


def _around(power_HW: Tensor, row: int, column: int, reach: int = 3) -> Tensor:
    """The power around a frequency, without its own, and without those of the axes' origin."""
    height, width = power_HW.shape
    near = [
        power_HW[(row + down) % height, (column + right) % width]
        for down in range(-reach, reach + 1)
        for right in range(-reach, reach + 1)
        if (down, right) != (0, 0) and ((row + down) % height, (column + right) % width) != (0, 0)
    ]
    return torch.stack(near)
