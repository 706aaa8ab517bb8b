"""What must hold for every video autoencoder, and for our causal family."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from loud_weights import randomise
from overcrank.errors import SizeError
from overcrank.vae import PRESETS, VAE
from overcrank.vae.blocks import FactorisedBlock
from overcrank.vae.conv import convolve

SIGMA = torch.tensor([0.0, 0.4])


@cache
def loud_vae(preset: str) -> VAE:
    vae = VAE(replace(PRESETS[preset], base_width=8))
    randomise(vae)
    return vae.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def nano() -> VAE:
    return loud_vae("nano")


def random_video(frames: int = 25) -> Tensor:
    return torch.rand(2, 3, frames, 32, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def random_latent(frames: int = 4) -> Tensor:
    return torch.randn(2, 128, frames, 1, 2, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_cell_stands_for_8_frames_of_32_x_32_pixels(preset: str) -> None:
    vae = loud_vae(preset)
    latent = vae.encode(random_video(9))
    assert latent.shape == (2, 128, 2, 1, 2)
    assert vae.decode(latent).shape == (2, 3, 9, 32, 64)


def test_a_picture_is_a_clip_of_one_frame(nano: VAE) -> None:
    picture = random_video(1)
    assert nano.decode(nano.encode(picture)).shape == picture.shape


@pytest.mark.parametrize("preset", PRESETS)
def test_latents_do_not_depend_on_later_frames(preset: str) -> None:
    vae, video = loud_vae(preset), random_video(17)
    whole = vae.encode(video)
    for frames in (1, 9):
        start = vae.encode(video[:, :, :frames])
        torch.testing.assert_close(start, whole[:, :, : start.shape[2]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changed", [1, 2, 3])
def test_frames_do_not_depend_on_later_latents(nano: VAE, changed: int) -> None:
    latent = random_latent()
    other = latent.clone()
    other[:, :, changed] += 1
    before, after = nano.decode(latent, SIGMA), nano.decode(other, SIGMA)
    first = 8 * changed - 7
    torch.testing.assert_close(after[:, :, :first], before[:, :, :first], rtol=0, atol=1e-5)
    moved = (after - before).abs().amax((0, 1, 3, 4))
    assert (moved[first : first + 8] > 1e-2).all()


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_a_stream_gives_the_frames_of_one_decode(nano: VAE, chunk: int) -> None:
    latent = random_latent()
    pieces = list(nano.decode_stream(latent, SIGMA, chunk))
    assert [piece.shape[2] for piece in pieces[:2]] == [8 * chunk - 7, 8 * min(chunk, 4 - chunk)]
    whole = nano.decode(latent, SIGMA)
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("size", "frames"), [((5, 8, 8), [1, 8, 16, 8]), ((1, 1, 1), [1])])
def test_a_stream_begins_with_little_and_goes_on_with_what_fills_a_cache(
    nano: VAE, size: tuple[int, int, int], frames: list[int]
) -> None:
    latent = torch.randn(1, 128, *size, generator=torch.Generator().manual_seed(3))
    pieces = list(nano.decode_stream(latent, SIGMA[1:]))
    assert [piece.shape[2] for piece in pieces] == frames
    whole = nano.decode(latent, SIGMA[1:])
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    ("kernel", "stride"),
    [
        ((1, 3, 3), (1, 1, 1)),
        ((1, 3, 3), (2, 2, 1)),
        ((3, 1, 1), (1, 1, 1)),
        ((3, 1, 1), (2, 1, 2)),
        ((1, 1, 1), (1, 1, 1)),
        ((1, 1, 1), (1, 2, 2)),
        ((3, 3, 3), (1, 1, 1)),
    ],
)
def test_a_flat_convolution_is_that_of_three_axes(
    kernel: tuple[int, int, int], stride: tuple[int, int, int], last: bool
) -> None:
    dice = torch.Generator().manual_seed(4)
    conv = torch.nn.Conv3d(8, 16, kernel, stride, padding=(0, kernel[1] // 2, kernel[2] // 2))
    for parameter in conv.parameters():
        parameter.data = torch.randn(parameter.shape, generator=dice)
    x = torch.randn(2, 8, 5, 6, 7, generator=dice)
    if last:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    y, right = convolve(conv, x), conv(x)
    assert y.shape == right.shape
    torch.testing.assert_close(y, right, rtol=1e-5, atol=1e-4)


def test_two_streams_do_not_disturb_each_other(nano: VAE) -> None:
    first, second = random_latent(2), random_latent(2).flip(0)
    for left, right in zip(nano.decode_stream(first), nano.decode_stream(second), strict=True):
        torch.testing.assert_close(left, right.flip(0))


def test_latents_are_the_posterior_mean_in_units_of_the_statistics(nano: VAE) -> None:
    video, statistics = random_video(9), nano.per_channel_statistics
    raw = nano.posterior(video).mean_BCTHW
    centred = raw - statistics.mean[:, None, None, None]
    expected = centred / statistics.std[:, None, None, None]
    torch.testing.assert_close(nano.encode(video), expected)


def test_decoding_undoes_the_normalisation(nano: VAE) -> None:
    raw = random_latent()
    normalised = nano.per_channel_statistics.normalise(raw)
    torch.testing.assert_close(nano.decode(normalised, SIGMA), nano.decoder(raw, SIGMA))


def test_no_noise_level_means_clean_latents(nano: VAE) -> None:
    latent = random_latent()
    assert torch.equal(nano.decode(latent), nano.decode(latent, torch.zeros(2)))


def test_the_noise_level_of_each_clip_matters(nano: VAE) -> None:
    latent = random_latent()
    clean, mixed = nano.decode(latent), nano.decode(latent, SIGMA)
    torch.testing.assert_close(mixed[0], clean[0])
    assert (mixed[1] - clean[1]).abs().mean() > 1e-2


def test_injected_noise_follows_its_generator() -> None:
    vae, latent = loud_vae("ltxv-0.9.1"), random_latent(1)
    first, again, other = (
        vae.decode(latent, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_a_draw_follows_its_generator(nano: VAE) -> None:
    video = random_video(9)
    first, again, other = (
        nano.encode(video, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 8, 32, 32), "got 8: try 1 or 9"),
        ((1, 3, 9, 48, 32), "height must be a multiple of 32, got 48"),
        ((1, 3, 9, 32, 31), "width must be a multiple of 32, got 31"),
        ((3, 9, 32, 32), r"got \(3, 9, 32, 32\)"),
        ((1, 9, 3, 32, 32), "colours second"),
    ],
)
def test_a_video_off_the_grid_is_refused(nano: VAE, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(SizeError, match=message):
        nano.encode(torch.zeros(shape))


def test_a_fresh_small_model_is_linear() -> None:
    """Training begins as linear coding: the residual branches add nothing yet."""
    torch.manual_seed(0)
    vae = VAE(PRESETS["nano"])

    def round_trip(video: Tensor) -> Tensor:
        return vae.decode(vae.encode(video))

    video = random_video(9)
    zero, half, whole = (round_trip(video * scale).detach() for scale in (0, 0.5, 1))
    torch.testing.assert_close(half - zero, (whole - zero) / 2, rtol=1e-4, atol=1e-5)
    assert whole.std() > 1e-3


@pytest.mark.parametrize("preset", ["nano", "ltxv-0.9.1", "ltxv-0.9.5"])
def test_every_parameter_learns_from_a_round_trip(preset: str) -> None:
    vae = VAE(replace(PRESETS[preset], base_width=8))
    randomise(vae)
    generator = torch.Generator().manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        latent = vae.encode(random_video(9), generator)
        video = vae.decode(latent, SIGMA, generator)
    video.float().square().mean().backward()
    for name, parameter in vae.named_parameters():
        if not parameter.requires_grad:
            assert name == "decoder.timestep_scale_multiplier", "a unit, not something to learn"
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("preset", ["nano", "ltxv-0.9.5"])
def test_bfloat16_stays_close_to_float32(preset: str) -> None:
    vae, latent = loud_vae(preset), random_latent(2)
    half = VAE(vae.config).to(torch.bfloat16).requires_grad_(False)
    half.load_state_dict(vae.state_dict())
    expected, got = vae.decode(latent, SIGMA), half.decode(latent.bfloat16(), SIGMA)
    assert got.dtype == torch.bfloat16
    assert (got.float() - expected).norm() / expected.norm() < 0.05


def test_rows_of_a_small_blocks_table_are_shift_and_scale() -> None:
    """With a scale of -1 only the shift is left, whatever the input."""
    torch.manual_seed(0)
    block = FactorisedBlock(8, ada=True)
    block.scale_shift_table.data[1] = -1
    x = torch.randn(1, 8, 3, 4, 4)
    branch = block(x, causal=True, embedding_BC=torch.zeros(1, 16)) - x
    expected = block(torch.zeros_like(x), causal=True)
    torch.testing.assert_close(branch, expected)
