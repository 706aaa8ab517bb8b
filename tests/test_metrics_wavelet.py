"""The Haar transform loses nothing and sorts changes by direction."""

import pytest
import torch
from torch import Tensor

from overcrank.metrics import haar3d
from overcrank.metrics.wavelet import band_energies


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


def test_band_energies_are_those_of_each_video_and_size() -> None:
    video = torch.randn(2, 3, 17, 34, 20, generator=torch.Generator().manual_seed(0))
    found = band_energies(video)
    assert found.shape == (2, 21)
    torch.testing.assert_close(found[1:], band_energies(video[1:]))
    # The first frame, and what does not fit on the right and below, do not count.
    torch.testing.assert_close(found, band_energies(video[:, :, 1:, :32, :16]))


def test_band_energies_say_where_detail_is() -> None:
    still = torch.randn(1, 3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    still = still.expand(-1, -1, 16, -1, -1)
    in_time = torch.tensor([bool(n & 4) for n in range(1, 8)] * 3)
    assert band_energies(still)[0, in_time].abs().max() < 1e-6
    assert band_energies(still)[0, ~in_time].min() > 0.05
    flickering = torch.where(torch.arange(16) % 2 == 0, 1.0, -1.0)[:, None, None].expand(16, 8, 8)
    energies = band_energies(flickering[None, None].expand(-1, 3, -1, -1, -1))[0]
    assert energies.nonzero().tolist() == [[3]]
    assert float(energies[3]) == pytest.approx(1)


def test_blur_takes_fine_detail_first() -> None:
    video = torch.randn(1, 3, 16, 32, 32, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool3d(video, (1, 3, 3), 1, (0, 1, 1))
    kept = (band_energies(blurred) / band_energies(video))[0]
    assert kept[:7].mean() < 0.7 * kept[14:].mean()
