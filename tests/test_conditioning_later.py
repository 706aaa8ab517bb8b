"""Conditions at later frames: extra tokens, their places and clocks, and how clips are split."""

from typing import Any

import pytest
import torch
from torch import Tensor

from nano_model import nano_model
from overcrank import noise, vae
from overcrank.conditioning import Clip, Image, LatentState, Reference
from overcrank.errors import RequestError, SizeError
from overcrank.shapes import LatentSize
from overcrank.transformer import token_positions

SIZE = LatentSize(frames=5, height=1, width=2)
FRAME_RATE = 25.0


@pytest.fixture(scope="module")
def coder() -> vae.VAE:
    coder = nano_model().vae.eval().requires_grad_(False)
    coder.per_channel_statistics.std.fill_(0.5)
    return coder


def start() -> Tensor:
    return torch.randn(1, 128, 5, 1, 2, generator=torch.Generator().manual_seed(0))


def free_state(*, causal: bool = True, seed: int = 0) -> LatentState:
    positions = token_positions(SIZE, FRAME_RATE, causal=causal)
    return LatentState.free(start(), positions, seed=seed, frame_rate=FRAME_RATE, causal=causal)


def frames(count: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 32, 64, 3), dtype=torch.uint8, generator=generator)


def pixels(given: Tensor) -> Tensor:
    return given.permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def test_a_later_picture_stands_beside_the_clip_and_leaves_it_as_it_was(coder: vae.VAE) -> None:
    state = Image(image=frames(1)[0], at=13).apply(free_state(), coder)
    assert (state.extra, state.tokens_BNC.shape[1]) == (2, 12)
    assert torch.equal(state.latent(state.tokens_BNC), start())
    assert state.cap_BN.tolist() == [[0, 0] + [1] * 10]
    assert torch.equal(state.own(state.cap_BN), torch.ones(1, 10))


def test_a_later_picture_lies_at_the_second_of_its_frame(coder: vae.VAE) -> None:
    state = Image(image=frames(1)[0], at=13).apply(free_state(), coder)
    expected = torch.tensor([[13 / FRAME_RATE, 0, 0], [13 / FRAME_RATE, 0, 32]])
    torch.testing.assert_close(state.positions_BNX[0, :2], expected)


@pytest.mark.parametrize(("causal", "second"), [(True, 17), (False, 24)])
def test_a_later_clip_is_two_latent_frames_beside_and_the_rest_inside(
    coder: vae.VAE, causal: bool, second: int
) -> None:
    given = frames(17)
    state = Clip(frames=given, at=16).apply(free_state(causal=causal), coder)
    latent = coder.encode(pixels(given))
    assert state.cap_BN.tolist() == [[0] * 4 + [1] * 8 + [0] * 2]
    torch.testing.assert_close(state.latent(state.tokens_BNC)[:, :, 4], latent[:, :, 2])
    torch.testing.assert_close(state.tokens_BNC[0, :2], latent[0, :, 0, 0].T)
    seconds = state.positions_BNX[0, :4, 0] * FRAME_RATE
    torch.testing.assert_close(seconds, torch.tensor([16.0, 16, second, second]))


def test_a_weaker_later_picture_is_mixed_with_noise_of_its_own(coder: vae.VAE) -> None:
    whole = Image(image=frames(1)[0], at=4).apply(free_state(), coder)
    weak = Image(image=frames(1)[0], at=4, strength=0.75).apply(free_state(), coder)
    fresh = noise.gaussian(0, "extra", (128, 1, 2), 1)[0, :, 0].T
    expected = 0.25 * fresh + 0.75 * whole.tokens_BNC[0, :2]
    torch.testing.assert_close(weak.tokens_BNC[0, :2], expected)
    assert weak.cap_BN[0, :2].tolist() == [0.25, 0.25]


def test_two_weak_pictures_do_not_share_their_noise(coder: vae.VAE) -> None:
    state = free_state()
    for at in (3, 5):
        state = Image(image=frames(1)[0], at=at, strength=0.5).apply(state, coder)
    assert not torch.isclose(state.tokens_BNC[0, :2], state.tokens_BNC[0, 2:4]).any()


def test_the_order_of_conditions_does_not_matter_to_the_clip_itself(coder: vae.VAE) -> None:
    given = [Image(image=frames(1)[0]), Image(image=frames(1, 2)[0], at=13)]
    one, other = free_state(), free_state()
    for condition in given:
        one = condition.apply(one, coder)
    for condition in reversed(given):
        other = condition.apply(other, coder)
    assert torch.equal(one.tokens_BNC, other.tokens_BNC)
    assert torch.equal(one.cap_BN, other.cap_BN)


def test_a_reference_video_lies_where_the_clip_lies(coder: vae.VAE) -> None:
    state = Reference(frames=frames(33)).apply(free_state(), coder)
    assert state.extra == 10
    assert torch.equal(state.positions_BNX[:, :10], state.positions_BNX[:, 10:])
    assert state.cap_BN.tolist() == [[0] * 10 + [1] * 10]


def test_tokens_that_never_move_are_shaken_in_every_step_anew(coder: vae.VAE) -> None:
    state = Image(image=frames(1)[0], at=13).apply(free_state(seed=3), coder)
    state = Image(image=frames(1)[0]).apply(state, coder)
    moved = state.tokens_BNC + 1
    first, again, later = (
        state.shaken(moved, step, 0.5, 0.15) - state.tokens_BNC for step in (0, 0, 1)
    )
    assert torch.equal(first, again)
    free = state.shaken(moved, 0, 0.5, 0.15)[:, 4:]
    assert torch.equal(free, moved[:, 4:])
    for shake in (first, later):
        assert shake[:, :4].std().item() == pytest.approx(0.15 * 0.25, rel=0.1)
    assert not torch.isclose(first[:, :4], later[:, :4], atol=1e-6).all()


def test_nothing_is_shaken_at_scale_zero(coder: vae.VAE) -> None:
    state = Image(image=frames(1)[0]).apply(free_state(), coder)
    assert state.shaken(state.tokens_BNC, 0, 1.0, 0.0) is state.tokens_BNC


def test_a_picture_is_treated_as_the_model_was_trained_unless_the_user_knows_better() -> None:
    size, picture = SIZE.clip, frames(1)[0]
    assert Image(image=picture).opened(size, crf=29).crf == 29
    assert Image(image=picture, crf=0).opened(size, crf=29).crf == 0
    assert Clip(frames=frames(9)).opened(size, crf=29).describe()["crf"] == 29


def test_a_compressed_picture_is_what_gets_encoded(coder: vae.VAE) -> None:
    plain, treated = (
        Image(image=frames(1)[0], crf=crf).apply(free_state(), coder).tokens_BNC for crf in (0, 29)
    )
    assert not torch.isclose(plain[:, :2], treated[:, :2], atol=1e-3).all()


@pytest.mark.parametrize("crf", [-1, 52, 1.5, True, "29"])
def test_a_quality_that_h264_does_not_have_is_refused(crf: int) -> None:
    with pytest.raises(RequestError, match="crf is a whole number from 0"):
        Image(image=frames(1)[0], crf=crf)


def test_a_picture_after_the_end_is_refused() -> None:
    with pytest.raises(RequestError, match="got at=33 of 33 frames: try at=32"):
        Image(image=frames(1)[0], at=33).opened(SIZE.clip)


def test_a_clip_that_begins_off_the_grid_is_refused() -> None:
    with pytest.raises(RequestError, match="got at=13: try at=8 or at=16"):
        Clip(frames=frames(9), at=13).opened(SIZE.clip)


def test_a_clip_of_one_frame_may_begin_anywhere(coder: vae.VAE) -> None:
    state = Clip(frames=frames(1), at=13).apply(free_state(), coder)
    assert torch.equal(
        state.tokens_BNC, Image(image=frames(1)[0], at=13).apply(free_state(), coder).tokens_BNC
    )


def test_a_clip_beyond_the_end_is_refused() -> None:
    with pytest.raises(SizeError, match="frames 24 to 40 of 33: give at most 9 there"):
        Clip(frames=frames(17), at=24).opened(SIZE.clip)


def test_a_reference_longer_than_the_clip_is_refused() -> None:
    with pytest.raises(SizeError, match="got 41 frames for 33: give 33"):
        Reference(frames=frames(41)).opened(SIZE.clip)


class TheirEncoder:
    """Our autoencoder, spoken to in the way diffusers speaks to its own."""

    def __init__(self, coder: vae.VAE) -> None:
        self.coder = coder
        self.latents_mean = coder.per_channel_statistics.mean
        self.latents_std = coder.per_channel_statistics.std

    def encode(self, video: Tensor) -> Any:
        class Encoded:
            latents = self.coder.per_channel_statistics.restore(self.coder.encode(video))

        return Encoded


@pytest.mark.reference
def test_tokens_places_and_clocks_equal_those_of_diffusers(coder: vae.VAE) -> None:
    from diffusers import LTXConditionPipeline

    untyped: Any = LTXConditionPipeline
    theirs = untyped.__new__(untyped)  # its functions, without the networks they do not use
    values = {
        "vae": TheirEncoder(coder),
        "vae_spatial_compression_ratio": 32,
        "vae_temporal_compression_ratio": 8,
        "transformer_spatial_patch_size": 1,
        "transformer_temporal_patch_size": 1,
    }
    theirs.__dict__.update(values)
    first, key, late = frames(1), frames(1, 2), frames(17, 3)
    expected, mask, ids, extra = theirs.prepare_latents(
        conditions=[pixels(first), pixels(key), pixels(late)],
        condition_strength=[0.8, 1.0, 1.0],
        condition_frame_index=[0, 13, 16],
        height=32,
        width=64,
        num_frames=33,
        generator=torch.Generator().manual_seed(0),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    ids = ids.float()
    ids[:, 0] *= 1.0 / FRAME_RATE

    state = free_state()
    for condition in (
        Image(image=first[0], strength=0.8),
        Image(image=key[0], at=13),
        Clip(frames=late, at=16),
    ):
        state = condition.apply(state, coder)
    assert state.extra == extra
    assert torch.equal(state.positions_BNX, ids.transpose(1, 2))
    torch.testing.assert_close(state.cap_BN, 1 - mask)
    assert expected.std() >= 0.1
    assert (state.tokens_BNC - expected).norm() / expected.norm() <= 1e-5


@pytest.mark.reference
def test_shaking_follows_the_formula_of_diffusers(coder: vae.VAE) -> None:
    from diffusers import LTXConditionPipeline

    untyped: Any = LTXConditionPipeline
    state = Image(image=frames(1)[0]).apply(free_state(), coder)
    generator = torch.Generator().manual_seed(5)
    theirs = untyped.add_noise_to_image_conditioning_latents(
        0.7, state.tokens_BNC, state.tokens_BNC + 1, 0.15, 1 - state.cap_BN, generator
    )
    drawn = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(5))
    unit = state.shaken(state.tokens_BNC, 0, 1.0, 1.0) - state.tokens_BNC
    ours = state.shaken(state.tokens_BNC + 1, 0, 0.7, 0.15)
    # Both are linear in their noise: exchange ours for theirs.
    ours = ours + 0.15 * 0.7**2 * torch.where(state.cap_BN[..., None] == 0, drawn - unit, 0)
    torch.testing.assert_close(ours, theirs)
