"""Descriptions of autoencoders, and the distribution they give."""

import json

import pytest
import torch
from torch import Tensor

from overcrank.errors import ModelError
from overcrank.vae import PRESETS, Posterior, VAEConfig
from overcrank.vae.ops import (
    boxes_to_channels,
    channels_to_boxes,
    depth_to_space,
    patchify,
    space_to_depth,
    unpatchify,
)

NANO = PRESETS["nano"].to_dict()


@pytest.mark.parametrize("preset", PRESETS)
def test_a_config_survives_json(preset: str) -> None:
    config = PRESETS[preset]
    assert VAEConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_an_unknown_key_of_a_config_is_named() -> None:
    with pytest.raises(ModelError, match="VAEConfig has no field depth: known are base_width"):
        VAEConfig.from_dict({**NANO, "depth": 3})


def test_an_unknown_key_of_a_block_is_named() -> None:
    with pytest.raises(ModelError, match="Block has no field heads: known are kind"):
        VAEConfig.from_dict({**NANO, "encoder_blocks": [{"kind": "res_x", "heads": 3}]})


def test_a_missing_key_of_a_config_is_named() -> None:
    needed = {"encoder_blocks", "decoder_blocks", "base_width", "causal_decoder", "denoises"}
    assert VAEConfig.from_dict({name: NANO[name] for name in needed}).latent_channels == 128
    with pytest.raises(ModelError, match="needs the field base_width, denoises"):
        VAEConfig.from_dict({name: NANO[name] for name in needed - {"base_width", "denoises"}})


def posterior(mean: float, log_var: float) -> Posterior:
    return Posterior(torch.full((2, 128, 3, 4, 4), mean), torch.full((2, 1, 3, 4, 4), log_var))


def test_a_standard_normal_diverges_by_nothing() -> None:
    assert posterior(0.0, 0.0).kl() == 0


def test_divergence_equals_that_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(2, 8, 2, 2, 2, generator=generator)
    log_var = torch.randn(2, 1, 2, 2, 2, generator=generator)
    exact = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (log_var / 2).exp()), torch.distributions.Normal(0, 1)
    )
    torch.testing.assert_close(Posterior(mean, log_var).kl(), exact.mean())


def test_draws_have_the_mean_and_the_spread_of_the_posterior() -> None:
    draw = posterior(2.0, -2.0).sample(torch.Generator().manual_seed(0))
    assert abs(float(draw.mean()) - 2) < 0.02
    assert abs(float(draw.std()) - torch.tensor(-1.0).exp()) < 0.02


def test_draws_follow_their_generator() -> None:
    first, again, other = (
        posterior(0.0, 0.0).sample(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def numbered() -> Tensor:
    return torch.arange(2 * 3 * 4 * 8 * 8.0).reshape(2, 3, 4, 8, 8)


def test_patches_can_be_put_back() -> None:
    assert torch.equal(unpatchify(patchify(numbered(), 4), 4), numbered())


@pytest.mark.parametrize("stride", [(1, 2, 2), (2, 1, 1), (2, 2, 2)])
def test_boxes_can_be_put_back(stride: tuple[int, int, int]) -> None:
    for there, back in ((space_to_depth, depth_to_space), (boxes_to_channels, channels_to_boxes)):
        moved = there(numbered(), stride)
        assert moved.shape[1] == 3 * stride[0] * stride[1] * stride[2]
        assert torch.equal(back(moved, stride), numbered())


def test_both_orders_of_a_box_hold_the_same_numbers() -> None:
    """Channel slowest in one, fastest in the other."""
    slow, fast = space_to_depth(numbered(), (2, 2, 2)), boxes_to_channels(numbered(), (2, 2, 2))
    assert torch.equal(slow.unflatten(1, (3, 8)).transpose(1, 2).flatten(1, 2), fast)


@pytest.mark.parametrize(
    "values",
    [
        {"base_width": 10**12},
        {"base_width": "48"},
        {"latent_channels": 0},
        {"patch_size": -4},
        {"denoises": 1},
        {"sigma_hidden": 0},
        {"encoder_blocks": []},
        {"decoder_blocks": [{"kind": "magic"}]},
        {"decoder_blocks": [{"kind": "res_x", "layers": 10**9}]},
        {"decoder_blocks": [{"kind": "res_x", "noise": "yes"}]},
        {"decoder_blocks": [{"kind": "compress", "stride": [2, 2]}]},
        {"decoder_blocks": [{"kind": "res_x_y", "multiplier": 16}] * 50},
    ],
)
def test_a_config_that_no_autoencoder_can_have_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ModelError):
        VAEConfig.from_dict({**PRESETS["nano"].to_dict(), **values})
