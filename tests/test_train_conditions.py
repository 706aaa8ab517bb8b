"""What lies beside a clip in training is what lies beside it when a clip is made."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nano_model import nano_model
from overcrank.conditioning import Clip, Image, LatentState, Reference
from overcrank.data import latents
from overcrank.data.batches import Batch, collate
from overcrank.data.controls import edges
from overcrank.data.latents import CacheSpec, LatentCache, Makers, make_cache
from overcrank.data.originals import FRAME_RATES, ToyOriginals
from overcrank.data.world import SOLIDS
from overcrank.errors import ModelError
from overcrank.shapes import ClipSize
from overcrank.train.config import Conditions
from overcrank.train.given import Given, Tokens
from overcrank.train.vae import to_video
from overcrank.transformer import token_positions
from overcrank.vae import VAE
from test_train_transformer import LetterCounts

SIZE = ClipSize(33, 32, 64)
LATER, BEGINS = 32, 16
"""Frames of the pictures; an ending begins with the second."""


@pytest.fixture(scope="module")
def coder() -> VAE:
    coder = nano_model().vae.eval().requires_grad_(False)
    coder.per_channel_statistics.std.fill_(0.5)
    return coder


def frames(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (SIZE.frames, SIZE.height, SIZE.width, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def batch_of(coder: VAE, seeds: list[int], frame_rate: float = 24.0) -> Batch:
    clips = torch.stack([frames(seed) for seed in seeds])
    latent_BCTHW = coder.encode(to_video(clips))
    samples, _, *grid = latent_BCTHW.shape
    pictures = clips[:, [LATER, BEGINS]].flatten(0, 1)[:, None]
    return Batch(
        latent_BCTHW=latent_BCTHW,
        actors_BTHW=torch.zeros(samples, *grid),
        frame_rate_B=torch.full((samples,), frame_rate),
        text_BLD=torch.zeros(samples, 1, 384),
        keep_BL=torch.ones(samples, 1, dtype=torch.bool),
        keys_BKCHW=coder.encode(to_video(pictures))[:, :, 0].unflatten(0, (samples, 2)),
        key_frames_BK=torch.tensor([[LATER, BEGINS]]).repeat(samples, 1),
        kept_BN=torch.arange(SIZE.latent.tokens).repeat(samples, 1),
        ending_BCMHW=coder.encode(to_video(clips[:, BEGINS : BEGINS + 9])),
        reference_BCTHW=coder.encode(to_video(torch.stack([edges(clip) for clip in clips]))),
    )


def dice() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("frame_rate", [24.0, 25.0, 30.0])
def test_training_and_inference_lay_tokens_out_alike(
    coder: VAE, causal: bool, frame_rate: float
) -> None:
    """Same order, same places to the last bit, same values, and the same tokens are clean."""
    clip = frames(1)
    places = token_positions(SIZE.latent, frame_rate, causal=causal)
    noise = torch.randn(1, 128, 5, 1, 2)
    state = LatentState.free(noise, places, frame_rate=frame_rate, causal=causal)
    for condition in (
        Reference(frames=edges(clip)),
        Image(image=clip[LATER], at=LATER),
        Clip(frames=clip[BEGINS:], at=BEGINS),
        Image(image=clip[0]),
    ):
        state = condition.apply(state, coder)

    given_T = torch.tensor([True, False, False, False, True])
    given = Given(given_T[None], torch.tensor([0]), ending=True, reference=True)
    batch = batch_of(coder, [1], frame_rate)
    tokens = Tokens.of(batch, given, causal=causal)
    assert tokens.extra == state.extra == (5 + 1 + 2) * 2
    assert torch.equal(tokens.positions_BNX, state.positions_BNX)
    assert torch.equal(tokens.free_BN, state.cap_BN == 1)
    beside = tokens.extra + 2  # and the first frame
    torch.testing.assert_close(tokens.clean_BNC[:, :beside], state.tokens_BNC[:, :beside])


def test_an_ending_leaves_a_latent_frame_to_do(coder: VAE) -> None:
    """From its third latent frame on it is in the clip; the first two lie beside it."""
    conditions = Conditions(first_frame=0.3, beginning=0.7, ending=1.0)
    given = Given.draw(batch_of(coder, [1] * 64), conditions, dice())
    assert given.ending
    assert given.frames_BT[:, 4].all(), "frames 16 to 32: beside, beside, inside"
    assert not given.frames_BT[:, 3].any()
    assert set(given.frames_BT[:, :3].sum(1).tolist()) == {1, 2, 3}


def test_a_clip_that_is_cut_shorter_than_its_ending_has_none(coder: VAE) -> None:
    batch = batch_of(coder, [1, 2])
    cut = replace(batch, latent_BCTHW=batch.latent_BCTHW[:, :, :3])
    for without in (cut, replace(batch, ending_BCMHW=torch.empty(2, 0))):
        given = Given.draw(without, Conditions(first_frame=0, ending=1.0), dice())
        assert not given.ending
        assert not given.frames_BT.any()


def test_each_batch_is_given_what_its_dice_say(coder: VAE) -> None:
    batch, generator = batch_of(coder, [1]), dice()
    conditions = Conditions(later_frame=0.5, ending=0.25, reference=0.75)
    drawn = [Given.draw(batch, conditions, generator) for _ in range(400)]
    shares = [
        sum(each) / 400
        for each in zip(
            *((g.picture_B is not None, g.ending, g.reference) for g in drawn), strict=True
        )
    ]
    torch.testing.assert_close(
        torch.tensor(shares), torch.tensor([0.5, 0.25, 0.75]), atol=0.07, rtol=0
    )


def test_a_reference_is_cut_with_its_clip(coder: VAE) -> None:
    batch = batch_of(coder, [1, 2])
    cut = replace(
        batch, latent_BCTHW=batch.latent_BCTHW[:, :, :2], kept_BN=torch.arange(4).repeat(2, 1)
    )
    tokens = Tokens.of(cut, Given.nothing(cut, reference=True), causal=True)
    assert tokens.extra == 4
    assert torch.equal(tokens.positions_BNX[:, :4], tokens.positions_BNX[:, 4:])


def test_edges_are_white_where_brightness_jumps() -> None:
    clip = torch.zeros(3, 8, 8, 3, dtype=torch.uint8)
    clip[1, :, 4:] = 50
    clip[2, 4:] = 255
    drawn = edges(clip)
    assert drawn.shape == clip.shape
    assert drawn[0].max() == 0
    assert drawn[1, 2, :, 0].tolist() == [0, 0, 0, 100, 100, 0, 0, 0]
    assert drawn[2, :, 2, 1].tolist() == [0, 0, 0, 255, 255, 0, 0, 0]


def test_a_cache_holds_endings_and_references_where_asked(
    coder: VAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latents, "PER_SHARD", 2)
    size = ClipSize(17, 32, 32)
    plain = CacheSpec(
        size=size, clips=2, captions=1, seed=0, latent_hash="abc", text="letters", world="solids"
    )
    rich = replace(plain, endings=True, control="edges")
    clips = ToyOriginals(SOLIDS, size, seed=0, captions=1)
    makers = Makers(clips, lambda frames: coder.encode(to_video(frames)), LetterCounts())
    make_cache(tmp_path / "rich", rich, makers, lambda *_: None)
    make_cache(tmp_path / "plain", plain, makers, lambda *_: None)
    clip = LatentCache(tmp_path / "rich", rich)[1]
    assert clip.ending_CMHW.shape == (128, 2, 1, 1)
    torch.testing.assert_close(clip.ending_CMHW[:, 0], clip.keys_KCHW[1], rtol=1e-2, atol=1e-2)
    scene = SOLIDS.scene(1, "train")
    control = edges(SOLIDS.render(scene, size, FRAME_RATES[1]))
    wanted = coder.encode(to_video(control[None]))[0]
    torch.testing.assert_close(clip.reference_CTHW, wanted, rtol=1e-2, atol=1e-2)

    # What holds more serves a run that wants less; the other way round is refused.
    batch = collate(LatentCache(tmp_path / "rich", plain), [0, 1], 3, [0, 0], [False] * 2)
    assert batch.reference_BCTHW.shape == batch.latent_BCTHW.shape
    without = collate(LatentCache(tmp_path / "plain", plain), [0, 1], 3, [0, 0], [False] * 2)
    assert without.reference_BCTHW.numel() == without.ending_BCMHW.numel() == 0
    with pytest.raises(ModelError, match="got control not stated, right is edges"):
        LatentCache(tmp_path / "plain", replace(plain, control="edges"))
