"""Noise that a decoder injects into its layers: one picture for all frames, also in a stream."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from loud_weights import randomise
from nano_model import embeds, nano_model
from overcrank.pipeline import Pipeline
from overcrank.train.config import DecoderShape
from overcrank.vae import PRESETS, VAE
from overcrank.vae.blocks import FactorisedBlock

NOISY = DecoderShape(noise=True).of(PRESETS["nano"])


@pytest.fixture(scope="module")
def loud() -> VAE:
    vae = VAE(NOISY)
    randomise(vae)
    return vae.eval().requires_grad_(False)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latent(frames: int = 4) -> Tensor:
    return torch.randn(2, 128, frames, 1, 2, generator=seeded(2))


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_a_stream_with_noise_gives_the_frames_of_one_decode(loud: VAE, chunk: int) -> None:
    whole = loud.decode(latent(), generator=seeded(1))
    pieces = list(loud.decode_stream(latent(), None, chunk, seeded(1)))
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, rtol=0, atol=1e-5)
    other = loud.decode(latent(), generator=seeded(5))
    assert (whole - other).abs().mean() > 1e-2


def test_the_published_block_streams_with_noise_too() -> None:
    """Its decoder is not causal; one with its blocks could be."""
    vae = VAE(replace(PRESETS["ltxv-0.9.1"], base_width=8, causal_decoder=True))
    randomise(vae)
    vae.eval().requires_grad_(False)
    whole = vae.decode(latent(2), generator=seeded(1))
    pieces = list(vae.decode_stream(latent(2), None, 1, seeded(1)))
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, rtol=0, atol=1e-4)


def test_noise_does_not_change_from_frame_to_frame() -> None:
    torch.manual_seed(0)
    block = FactorisedBlock(8, ada=False, noise=True)
    randomise(block)
    still = torch.randn(1, 8, 1, 4, 4).expand(-1, -1, 5, -1, -1)
    with torch.no_grad():
        after = block(still, causal=True, generator=seeded(0))
        other = block(still, causal=True, generator=seeded(1))
    torch.testing.assert_close(after, after[:, :, :1].expand_as(after))
    assert (after - other).abs().mean() > 0.1


def test_a_decoder_begins_without_noise() -> None:
    """What a network can do already is not disturbed when it is given noise to use."""
    plain = nano_model().vae
    noisy = VAE(NOISY)
    noisy.load_state_dict({**noisy.state_dict(), **plain.state_dict()})
    assert len(noisy.state_dict()) == len(plain.state_dict()) + 2 * 4
    assert torch.equal(noisy.decode(latent()), plain.decode(latent()))


def test_every_layer_can_learn_how_much_noise_it_uses() -> None:
    vae = VAE(NOISY)
    randomise(vae)
    vae.decode(latent(), generator=seeded(0)).square().mean().backward()
    scales = {n: p for n, p in vae.named_parameters() if "per_channel_scale" in n}
    assert len(scales) == 2 * 4
    for name, scale in scales.items():
        assert scale.grad is not None, name
        assert scale.grad.abs().max() > 0, name


def test_the_noise_of_a_clip_follows_its_seed(loud: VAE) -> None:
    pipe = Pipeline(replace(nano_model(), vae=loud), device="cpu", dtype="float32")
    clips = [pipe(prompt_embeds=embeds(), seed=seed).frames for seed in (1, 1)]
    assert torch.equal(*clips)
