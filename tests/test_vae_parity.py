"""The autoencoders compute what diffusers' independent implementation computes."""

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from loud_weights import randomise
from overcrank.vae import PRESETS, VAE

pytestmark = pytest.mark.reference

WIDTH = 8


@dataclass(frozen=True)
class Layout:
    """What diffusers calls the blocks of our lists, and its arguments."""

    encoder: tuple[str, ...]
    decoder: tuple[str, ...]
    arguments: dict[str, Any]


ENCODER_090 = (
    *("down_blocks.0", "down_blocks.0.downsamplers.0", "down_blocks.0.conv_out"),
    *("down_blocks.1", "down_blocks.1.downsamplers.0", "down_blocks.1.conv_out"),
    *("down_blocks.2", "down_blocks.2.downsamplers.0", "down_blocks.3", "mid_block"),
)
ENCODER_095 = (
    *(f"down_blocks.{n}{part}" for n in range(4) for part in ("", ".downsamplers.0")),
    "mid_block",
)
DECODER_090 = (
    *("mid_block", "up_blocks.0", "up_blocks.1.upsamplers.0", "up_blocks.1"),
    *("up_blocks.2.conv_in", "up_blocks.2.upsamplers.0", "up_blocks.2"),
    *("up_blocks.3.conv_in", "up_blocks.3.upsamplers.0", "up_blocks.3"),
)
DECODER_091 = (
    "mid_block",
    *(f"up_blocks.{n}{part}" for n in range(3) for part in (".upsamplers.0", "")),
)
ARGUMENTS_090: dict[str, Any] = {
    "block_out_channels": (WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH),
    "decoder_block_out_channels": (WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH),
}
ARGUMENTS_091: dict[str, Any] = {
    **ARGUMENTS_090,
    "decoder_block_out_channels": (2 * WIDTH, 4 * WIDTH, 8 * WIDTH),
    "decoder_layers_per_block": (5, 6, 7, 8),
    "decoder_spatio_temporal_scaling": (True, True, True),
    "decoder_inject_noise": (True, True, True, False),
    "upsample_residual": (True, True, True),
    "upsample_factor": (2, 2, 2),
    "timestep_conditioning": True,
}
ARGUMENTS_095: dict[str, Any] = {
    **ARGUMENTS_091,
    "block_out_channels": tuple(WIDTH << n for n in range(5)),
    "down_block_types": ("LTXVideo095DownBlock3D",) * 4,
    "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
    "layers_per_block": (4, 6, 6, 2, 2),
    "spatio_temporal_scaling": (True,) * 4,
    "decoder_layers_per_block": (5, 5, 5, 5),
    "decoder_inject_noise": (False,) * 4,
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}
LAYOUTS = {
    "ltxv-0.9.0": Layout(ENCODER_090, DECODER_090, ARGUMENTS_090),
    "ltxv-0.9.1": Layout(ENCODER_090, DECODER_091, ARGUMENTS_091),
    "ltxv-0.9.5": Layout(ENCODER_095, DECODER_091, ARGUMENTS_095),
}
COMMON = (
    ("res_blocks", "resnets"),
    ("conv_shortcut", "conv_shortcut.conv"),
    ("norm3.norm", "norm3"),
    ("last_time_embedder", "time_embedder"),
    ("last_scale_shift_table", "scale_shift_table"),
    ("per_channel_statistics.mean-of-means", "latents_mean"),
    ("per_channel_statistics.std-of-means", "latents_std"),
)


def renamed(name: str, layout: Layout) -> str:
    """The tensor's name in diffusers."""
    if found := re.match(r"(encoder|decoder)\.(?:down|up)_blocks\.(\d+)\.(.*)", name):
        side, index, rest = found.groups()
        blocks = layout.encoder if side == "encoder" else layout.decoder
        name = f"{side}.{blocks[int(index)]}.{rest}"
    for ours, theirs in COMMON:
        name = name.replace(ours, theirs)
    return name


@cache
def networks(preset: str) -> tuple[VAE, Any]:
    """Ours and diffusers', with the same random weights."""
    from diffusers import AutoencoderKLLTXVideo

    ours, layout = VAE(replace(PRESETS[preset], base_width=WIDTH)), LAYOUTS[preset]
    randomise(ours)
    untyped: Any = AutoencoderKLLTXVideo
    theirs = untyped(**layout.arguments)
    theirs.load_state_dict(
        {renamed(name, layout): value for name, value in ours.state_dict().items()}, strict=True
    )
    return ours, theirs


def assert_same(got: Tensor, expected: Tensor) -> None:
    assert got.shape == expected.shape
    assert expected.std() >= 0.1
    assert (got - expected).norm() / expected.norm() <= 1e-5


@pytest.mark.parametrize("preset", LAYOUTS)
@torch.no_grad()
def test_the_encoder_equals_that_of_diffusers(preset: str) -> None:
    ours, theirs = networks(preset)
    video = torch.rand(2, 3, 17, 64, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1
    got, expected = ours.posterior(video), theirs.encode(video).latent_dist
    assert_same(got.mean_BCTHW, expected.mean)
    assert_same(got.log_var_B1THW.expand_as(got.mean_BCTHW), expected.logvar)


@pytest.mark.parametrize("preset", LAYOUTS)
@torch.no_grad()
def test_the_decoder_equals_that_of_diffusers(preset: str) -> None:
    """Clips of one batch differ in noise level; injected noise comes from the same seed."""
    ours, theirs = networks(preset)
    latent = torch.randn(2, 128, 3, 2, 3, generator=torch.Generator().manual_seed(2))
    sigma = torch.tensor([0.05, 0.4]) if ours.config.denoises else None
    raw = latent * theirs.latents_std[:, None, None, None]
    raw = raw + theirs.latents_mean[:, None, None, None]
    torch.manual_seed(3)
    got = ours.decode(latent, sigma)
    torch.manual_seed(3)
    expected = theirs.decode(raw, temb=sigma).sample
    assert got.shape == (2, 3, 17, 64, 96)
    assert_same(got, expected)
