"""What the transformer is given in training, and what its loss leaves out."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from overcrank.data.batches import Batch, thinned
from overcrank.train.config import Conditions, Stage
from overcrank.train.given import Given, Tokens, draw_levels, flow_loss
from overcrank.transformer import PRESETS, Transformer

WIDTH = PRESETS["nano"].text_width


def batch(samples: int = 4, frames: int = 3) -> Batch:
    torch.manual_seed(0)
    return Batch(
        latent_BCTHW=torch.randn(samples, 128, frames, 2, 1),
        actors_BTHW=torch.zeros(samples, frames, 2, 1),
        frame_rate_B=torch.full((samples,), 24.0),
        text_BLD=torch.randn(samples, 5, WIDTH),
        keep_BL=torch.ones(samples, 5, dtype=torch.bool),
        keys_BKCHW=torch.randn(samples, 2, 128, 2, 1),
        key_frames_BK=torch.tensor([[16, 8]]).repeat(samples, 1),
        kept_BN=torch.arange(2 * frames).repeat(samples, 1),
    )


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def network() -> Transformer:
    torch.manual_seed(1)
    module = Transformer(PRESETS["nano"])
    module.initialise()
    torch.nn.init.normal_(module.proj_out.weight, std=0.05)
    return module


def test_each_sample_is_given_what_its_dice_say() -> None:
    conditions = Conditions(first_frame=0.3, beginning=0.3, later_frame=1.0)
    given = Given.draw(batch(512, frames=6), conditions, generator())
    counts = given.frames_BT.sum(1)
    assert not given.frames_BT[:, -1].any(), "something is always left to do"
    assert (given.frames_BT.long().diff(dim=1) <= 0).all(), "frames are given from the first on"
    assert 0.33 < (counts == 0).float().mean() < 0.47
    assert {2, 3, 4, 5} <= set(counts.tolist())
    assert given.picture_B is not None
    assert set(given.picture_B.tolist()) == {0, 1}


def test_a_clip_of_one_frame_is_given_nothing() -> None:
    conditions = Conditions(first_frame=0.5, beginning=0.5, later_frame=1.0)
    given = Given.draw(batch(frames=1), conditions, generator())
    assert not given.frames_BT.any()
    assert given.picture_B is None


def test_what_is_given_is_clean_and_called_clean() -> None:
    data = batch()
    given = Given(torch.tensor([True, False, False]).expand(4, 3), torch.tensor([0, 1, 0, 1]))
    tokens = Tokens.of(data, given, causal=True)
    assert tokens.extra == 2
    levels_BN = tokens.levels(torch.tensor([[0.2, 0.5, 0.9]] * 4))
    torch.testing.assert_close(levels_BN[0], torch.tensor([0, 0, 0, 0, 0.5, 0.5, 0.9, 0.9]))
    torch.testing.assert_close(tokens.levels(torch.full((4,), 0.7))[1, 4:], torch.full((4,), 0.7))
    torch.testing.assert_close(tokens.clean_BNC[1, :2], data.keys_BKCHW[1, 1, :, :, 0].T)
    # A picture lies where its frame does; latent frames begin with frames 0, 1 and 9.
    seconds = tokens.positions_BNX[1, :, 0] * 24
    torch.testing.assert_close(seconds, torch.tensor([8.0, 8, 0, 0, 1, 1, 9, 9]))


def test_only_what_is_not_given_counts() -> None:
    """The error of tokens that are given may be anything."""
    data, module = batch(), network()
    given = Given(torch.tensor([True, False, False]).expand(4, 3))
    loss_B = flow_loss(module, data, torch.full((4,), 0.5), given, generator())
    with torch.no_grad():
        tokens = Tokens.of(data, given, causal=True)
        noise = torch.randn(tokens.clean_BNC.shape, generator=generator())
        sigma = tokens.levels(torch.full((4,), 0.5))
        noisy = torch.lerp(tokens.clean_BNC, noise, sigma[..., None])
        out = module(noisy, sigma, tokens.positions_BNX, data.text_BLD, data.keep_BL)
        wanted = (out - (noise - tokens.clean_BNC))[:, 2:].square().mean((1, 2))
    torch.testing.assert_close(loss_B, wanted)


def test_tokens_left_out_are_not_seen_and_do_not_count() -> None:
    """What is left keeps its place, level and weight; what is not may be anything."""
    module, sigma = network(), torch.full((4, 3), 0.5)
    given = Given(torch.tensor([True, False, False]).expand(4, 3), torch.tensor([0, 1, 0, 1]))
    whole = batch()
    thin = thinned(whole, 5, generator())
    places = thin.kept_BN[0].tolist()
    (gone,) = set(range(6)) - set(places)
    tokens, all_tokens = (Tokens.of(data, given, causal=True) for data in (thin, whole))
    rows = [0, 1] + [2 + place for place in places]
    assert torch.equal(tokens.positions_BNX[0], all_tokens.positions_BNX[0, rows])
    assert torch.equal(tokens.clean_BNC[0], all_tokens.clean_BNC[0, rows])
    levels = torch.tensor([[0.2, 0.5, 0.9]] * 4)
    assert torch.equal(tokens.levels(levels)[0], all_tokens.levels(levels)[0, rows])
    losses = []
    for change in (0.0, 100.0):
        latent = thin.latent_BCTHW.clone()
        latent[0, :, gone // 2, gone % 2, 0] += change
        actors = thin.actors_BTHW.clone()
        actors[0, gone // 2, gone % 2, 0] = change
        changed = replace(thin, latent_BCTHW=latent, actors_BTHW=actors)
        losses.append(flow_loss(module, changed, sigma, given, generator(), 1.0))
    assert torch.equal(*losses)


def test_tokens_are_left_out_at_random_but_for_the_last() -> None:
    thin = thinned(batch(400, frames=4), 7, generator())
    assert thin.kept_BN.shape == (400, 7)
    assert (thin.kept_BN.diff(dim=1) > 0).all()
    counts = torch.bincount(thin.kept_BN.flatten(), minlength=8)
    assert counts[-1] == 400
    assert (counts[:-1] > 300).all()
    assert (counts[:-1] < 380).all()
    assert thinned(thin, 7, generator()) is thin


def test_a_picture_changes_the_answer() -> None:
    data, module = batch(), network()
    free = torch.zeros(4, 3, dtype=torch.bool)
    sigma = torch.full((4,), 0.5)
    losses = []
    for shown in (data, replace(data, keys_BKCHW=data.keys_BKCHW + 1)):
        # The noise of the picture's tokens is drawn, though not used.
        given = Given(free, torch.zeros(4, dtype=torch.long))
        losses.append(flow_loss(module, shown, sigma, given, generator()))
    assert not torch.allclose(losses[0], losses[1])


def test_levels_differ_between_frames_where_asked() -> None:
    data = batch(256)
    one = draw_levels(data, Conditions(), generator())
    assert (one == one[:, :1]).all()
    own = draw_levels(data, Conditions(own_levels=0.5), generator())
    assert 0.4 < (own != own[:, :1]).any(1).float().mean() < 0.6


def test_a_stage_says_where_levels_are_drawn() -> None:
    data = batch(2048)

    def drawn(**more: float) -> torch.Tensor:
        stage = Stage(frames=17, size="32x64", batch=1, **more)
        return draw_levels(data, Conditions(), generator(), stage)[:, 0]

    plain, near, low = drawn(), drawn(near_noise=0.5), drawn(below=0.5)
    assert near.mean() > plain.mean() + 0.1
    assert (near > 0.93).float().mean() > 2 * (plain > 0.93).float().mean()
    assert near.min() < 0.1, "the other half is drawn as before"
    above = (low > 0.5).float().mean() / (plain > 0.5).float().mean()
    assert above == pytest.approx(0.15, abs=0.03), "15 % of the clips have all levels"
    assert (low <= 0.5).float().mean() > 0.85


def test_first_frame_and_beginning_share_the_samples() -> None:
    with pytest.raises(ValidationError, match="a sum of at most 1"):
        Conditions(first_frame=0.7, beginning=0.4)
