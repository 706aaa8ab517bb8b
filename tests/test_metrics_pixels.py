"""Signal-to-noise ratios have the values one can work out by hand."""

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from overcrank.metrics import psnr


def grey(value: float = 0.0) -> Tensor:
    return torch.full((2, 3, 9, 32, 64), value)


@pytest.mark.parametrize(("error", "decibels"), [(2.0, 0.0), (0.2, 20.0), (0.02, 40.0)])
def test_a_known_error_has_its_decibels(error: float, decibels: float) -> None:
    got = psnr(grey(error - 1), grey(-1))
    torch.testing.assert_close(got, torch.full((2,), decibels), rtol=0, atol=1e-3)


def test_equal_videos_have_a_hundred_decibels() -> None:
    assert psnr(grey(), grey()).tolist() == [100, 100]


def test_each_clip_has_a_number_of_its_own() -> None:
    video = grey()
    video[1] += 0.2
    torch.testing.assert_close(psnr(video, grey()), torch.tensor([100.0, 20.0]))


def test_what_no_file_can_hold_is_clipped() -> None:
    assert torch.equal(psnr(grey(1.7), grey(0.8)), psnr(grey(1), grey(0.8)))


def test_only_pixels_of_the_mask_count() -> None:
    mask = torch.zeros(1, 1, 9, 32, 64, dtype=torch.bool)
    mask[..., :16] = True
    video = grey()
    video[..., :16] += 0.2
    inside, outside = psnr(video, grey(), mask), psnr(video, grey(), ~mask)
    torch.testing.assert_close(inside, torch.full((2,), 20.0))
    assert outside.tolist() == [100, 100]
    torch.testing.assert_close(psnr(video, grey()), inside + 10 * torch.log10(torch.tensor(4.0)))


def test_a_mask_of_everything_changes_nothing() -> None:
    video = torch.rand(2, 3, 9, 32, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    everything = torch.ones(1, 1, 9, 32, 64, dtype=torch.bool)
    torch.testing.assert_close(psnr(video, grey(), everything), psnr(video, grey()))


def test_a_mask_may_differ_between_clips() -> None:
    video = grey()
    video[:, :, 0] += 0.2
    mask = torch.zeros(2, 1, 9, 1, 1, dtype=torch.bool)
    mask[0, :, 0], mask[1, :, 1:] = True, True
    torch.testing.assert_close(psnr(video, grey(), mask), torch.tensor([20.0, 100.0]))


def test_decibels_are_those_of_torchmetrics() -> None:
    dice = torch.Generator().manual_seed(0)
    video, other = (torch.rand(1, 3, 9, 32, 64, generator=dice) * 2 - 1 for _ in range(2))
    theirs = peak_signal_noise_ratio(video, other, data_range=2.0)
    torch.testing.assert_close(psnr(video, other)[0], theirs, rtol=0, atol=1e-4)
