"""The Haar transform loses nothing and sorts changes by direction."""

import pytest
import torch
from torch import Tensor

from overcrank.metrics import haar3d


def random_video() -> Tensor:
    return torch.randn(2, 3, 4, 8, 6, generator=torch.Generator().manual_seed(0))


def joined(low: Tensor, high: Tensor, axis: int) -> Tensor:
    """Inverse of one step."""
    return torch.stack([low + high, low - high], dim=axis + 1).flatten(axis, axis + 1)


def test_there_are_eight_bands_of_half_the_size() -> None:
    assert haar3d(random_video()).shape == (2, 3, 2, 4, 3, 8)


def test_the_bands_hold_the_whole_video() -> None:
    bands = list(haar3d(random_video()).unbind(-1))
    for axis in (4, 3, 2):
        bands = [joined(bands[n], bands[n + 1], axis) for n in range(0, len(bands), 2)]
    torch.testing.assert_close(bands[0], random_video())


def test_the_bands_share_the_energy_of_the_video() -> None:
    """Each of three steps halves the sum of squares, since it averages instead of adding."""
    energy = haar3d(random_video()).square().sum()
    torch.testing.assert_close(8 * energy, random_video().square().sum())


def test_the_first_band_is_the_average_of_each_box() -> None:
    expected = torch.nn.functional.avg_pool3d(random_video(), 2)
    torch.testing.assert_close(haar3d(random_video())[..., 0], expected)


@pytest.mark.parametrize(("axis", "band"), [(2, 4), (3, 2), (4, 1)])
def test_a_change_along_one_axis_fills_the_band_of_that_axis(axis: int, band: int) -> None:
    shape = [1] * 5
    shape[axis] = -1
    size = random_video().shape[axis]
    stripes = (torch.arange(size) % 2 * 2.0 - 1).reshape(shape).expand(random_video().shape)
    for number, values in enumerate(haar3d(stripes).unbind(-1)):
        assert values.abs().max() == (1 if number == band else 0)
