"""Measures of autoencoders move with what they are for, and stay put where nothing is wrong."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import structural_similarity_index_measure

from overcrank.errors import SizeError
from overcrank.metrics import psnr
from overcrank.metrics.channels import Channels
from overcrank.metrics.grid import PERIODS, grid_peaks
from overcrank.metrics.seam import seam_of_parts
from overcrank.metrics.ssim import ssim
from overcrank.metrics.temporal import ends, flicker
from overcrank.shapes import ClipSize
from overcrank.toybox.bench import bench
from overcrank.toybox.render import render

LEVEL = 1 / 127.5
"""One of the 255 steps of a stored pixel."""


@pytest.fixture(scope="module")
def clip() -> Tensor:
    """(1, 3, 33, 64, 64) of a ball that bounces."""
    item = next(item for item in bench() if item.scene.actors[0].motion == "bounce")
    frames = render(item.scene, ClipSize(33, 64, 64), 24.0)
    return frames.movedim(-1, 0)[None].float() / 127.5 - 1


def noise(clip: Tensor, levels: float = 4.0) -> Tensor:
    return levels * LEVEL * torch.randn(clip.shape, generator=torch.Generator().manual_seed(0))


def blurred(clip: Tensor) -> Tensor:
    padded = F.pad(clip[0].movedim(1, 0), (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(padded, 3, 1).movedim(0, 1)[None]


def noisy(clip: Tensor) -> Tensor:
    return clip + noise(clip)


def shuffled(clip: Tensor) -> Tensor:
    order = torch.randperm(clip.shape[2], generator=torch.Generator().manual_seed(0))
    return clip[:, :, order]


def discoloured(clip: Tensor) -> Tensor:
    return clip.flip(1)


def frozen(clip: Tensor) -> Tensor:
    return clip[:, :, :1].expand_as(clip)


def split(clip: Tensor) -> Tensor:
    return clip + 8 * LEVEL * (torch.arange(clip.shape[-1]) >= 32)


def shifted(clip: Tensor) -> Tensor:
    return clip + LEVEL


def value(found: Tensor) -> float:
    return float(found[0])


SPOILT = [blurred, noisy, shuffled, discoloured, frozen]


@pytest.mark.parametrize("spoil", SPOILT)
def test_decibels_and_similarity_fall(clip: Tensor, spoil: Callable[[Tensor], Tensor]) -> None:
    harmless, spoilt = shifted(clip), spoil(clip)
    assert value(psnr(spoilt, clip)) < value(psnr(harmless, clip)) - 5
    assert value(ssim(spoilt, clip)) < value(ssim(harmless, clip)) - 0.005


def test_a_level_more_changes_similarity_by_nothing(clip: Tensor) -> None:
    assert value(ssim(clip, clip)) == pytest.approx(1, abs=1e-6)
    assert value(ssim(shifted(clip), clip)) > 0.999


def test_a_mirror_changes_no_measure(clip: Tensor) -> None:
    for measure in (ssim, psnr, lambda a, b: flicker(a, b)[0], lambda a, b: ends(a, b)[1]):
        here, there = (measure(noisy(clip), clip), measure(noisy(clip).flip(4), clip.flip(4)))
        torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-4)


def test_similarity_is_that_of_torchmetrics(clip: Tensor) -> None:
    """Where the window fits: torchmetrics counts mirrored margins, too, Wang et al. do not."""
    for spoilt in (blurred(clip), noisy(clip), discoloured(clip)):
        pictures, others = ((x[0].movedim(1, 0).clamp(-1, 1) + 1) / 2 for x in (spoilt, clip))
        _, everywhere = structural_similarity_index_measure(
            pictures, others, data_range=1.0, return_full_image=True
        )
        theirs = float(everywhere[..., 5:-5, 5:-5].mean())
        assert value(ssim(spoilt, clip)) == pytest.approx(theirs, abs=1e-4)


def test_similarity_of_clips_is_each_ones_own(clip: Tensor) -> None:
    both = ssim(torch.cat([clip, noisy(clip)]), torch.cat([clip, clip]))
    torch.testing.assert_close(both, torch.cat([ssim(clip, clip), ssim(noisy(clip), clip)]))


def test_pictures_smaller_than_the_window_are_refused(clip: Tensor) -> None:
    with pytest.raises(SizeError, match="11 x 11 pixels, got 10 x 64"):
        ssim(clip[..., :10], clip[..., :10])


def test_an_error_that_stands_still_does_not_flicker(clip: Tensor) -> None:
    still = 4 * LEVEL * torch.randn(1, 3, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    for calm in (clip, shifted(clip), clip * 0.97 + still):
        change, share = flicker(calm, clip)
        assert value(share) < 0.05
        assert value(change) < 1


def test_errors_that_change_flicker(clip: Tensor) -> None:
    clip = clip * 0.5  # so that nothing is clipped
    change, share = flicker(clip + noise(clip), clip)
    assert value(change) == pytest.approx(4 * 2**0.5, rel=0.02)
    assert value(share) == pytest.approx(1, abs=0.05)
    sign = (-1.0) ** torch.arange(33)[:, None, None]
    change, share = flicker(clip + 4 * LEVEL * sign, clip)
    assert value(change) == pytest.approx(8, rel=1e-3)
    assert value(share) == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize("spoil", [shuffled, noisy])
def test_shuffled_and_noisy_clips_flicker_more(
    clip: Tensor, spoil: Callable[[Tensor], Tensor]
) -> None:
    assert value(flicker(spoil(clip), clip)[0]) > 5 * value(flicker(split(clip), clip)[0])


def test_the_ends_are_compared_with_the_middle(clip: Tensor) -> None:
    worse = clip * 0.5 + noise(clip)
    for found in ends(worse, clip * 0.5):
        assert value(found) == pytest.approx(0, abs=0.3)
    worse[:, :, -1] = clip[:, :, -1] * 0.5 + noise(clip, 40.0)[:, :, -1]
    first, last = ends(worse, clip * 0.5)
    assert value(first) == pytest.approx(0, abs=0.3)
    assert value(last) == pytest.approx(-20, abs=0.5)


@pytest.mark.parametrize("measure", [flicker, ends])
def test_measures_of_time_need_some(
    clip: Tensor, measure: Callable[[Tensor, Tensor], object]
) -> None:
    with pytest.raises(SizeError, match=r"got 1 frame.*: give"):
        measure(clip[:, :, :1], clip[:, :, :1])


def flat(side: int = 128) -> Tensor:
    """Two clips of three frames of one colour, with the noise of rounding."""
    pixels = torch.tensor([90.0, 200.0])[:, None, None, None, None].expand(2, 3, 3, side, side)
    dice = torch.Generator().manual_seed(0)
    return (pixels + torch.rand(pixels.shape, generator=dice) - 0.5) / 127.5 - 1


def test_a_flat_field_has_no_grid() -> None:
    for field in (flat(), shifted(flat()), flat().flip(3), noisy(flat())):
        assert all(abs(decibels) < 4 for decibels, _ in grid_peaks(field).values())


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("axis", [3, 4])
def test_a_grid_is_found_at_its_period(period: int, axis: int) -> None:
    angle = 2 * torch.pi * torch.arange(128) / period
    wave = 2 * LEVEL * torch.cos(angle)
    wave = wave[:, None] if axis == 3 else wave
    peaks = grid_peaks(flat() + wave)
    assert peaks[period][0] > 20
    power = 4.0 if period == 2 else 2.0  # the mean square of a cosine is a half
    assert peaks[period][1] == pytest.approx(power**0.5, rel=0.1)
    others = [decibels for p, (decibels, _) in peaks.items() if p != period]
    assert max(others) < 4


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_grid_on_either_diagonal_is_found(period: int, sign: int) -> None:
    place = torch.arange(128)
    angle = 2 * torch.pi * (place[:, None] + sign * place) / period
    decibels, rms = grid_peaks(flat() + 2 * LEVEL * torch.cos(angle))[period]
    assert decibels > 20
    assert rms == pytest.approx(2.0 if period == 2 else 2**0.5, rel=0.1)


def test_fields_off_the_grid_of_periods_are_refused() -> None:
    with pytest.raises(SizeError, match="multiples of 64, got 96 x 96"):
        grid_peaks(flat()[..., :96, :96])


def test_a_seam_is_the_jump_at_a_border(clip: Tensor) -> None:
    assert seam_of_parts(clip, clip, [32], 4) == 0
    assert seam_of_parts(shifted(clip), clip, [32], 4) < 1e-3
    typical = float(clip.diff(dim=4).abs().mean())
    assert seam_of_parts(split(clip), clip, [32], 4) == pytest.approx(8 * LEVEL / typical, rel=1e-3)
    assert seam_of_parts(split(clip), clip, [16], 4) < 1e-3
    assert seam_of_parts(split(clip), clip, [16, 32], 4) == pytest.approx(
        4 * LEVEL / typical, rel=1e-3
    )


def test_a_seam_in_time_is_found_alike(clip: Tensor) -> None:
    later = clip + 8 * LEVEL * (torch.arange(33) >= 9)[:, None, None]
    assert seam_of_parts(later, clip, [9], 2) > 1
    assert seam_of_parts(later, clip, [17], 2) < 1e-3


def test_channels_have_the_moments_of_what_was_put_in() -> None:
    dice = torch.Generator().manual_seed(0)
    latent = torch.randn(4, 3, 5, 16, 16, generator=dice)
    latent[:, 0] = latent[:, 0] * 2 + 5
    latent[:, 1] = latent[:, 1].sign()
    latent[:, 2] *= 1e-4
    seen = Channels()
    for part in latent.split(2):
        seen.add(part)
    found = seen.result()
    assert found["mean"] == pytest.approx([5, 0, 0], abs=0.1)
    assert found["std"] == pytest.approx([2, 1, 0], abs=0.05)
    assert found["kurtosis"] == pytest.approx([3, 1, 3], abs=0.2)
    assert found["share"] == pytest.approx([0.8, 0.2, 0], abs=0.02)
    assert found["dead"] == 1
    torch.testing.assert_close(
        found["std"], latent.std((0, 2, 3, 4)).double().tolist(), rtol=1e-2, atol=1e-4
    )
