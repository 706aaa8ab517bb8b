"""The published autoencoders have the tensors of the published files."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from overcrank.vae import PRESETS, VAE
from overcrank.vae.ops import patchify

COUNTS = {  # parameters: all, encoder; tensors without the latent statistics
    "ltxv-0.9.0": (419_193_649, 180_404_353, 188),
    "ltxv-0.9.1": (934_976_434, 180_404_353, 292),
    "ltxv-0.9.5": (1_246_913_522, 694_098_881, 224),
}
CUBE = (3, 3, 3)
ENCODER_090 = {
    "encoder.conv_in.conv.weight": (128, 48, *CUBE),
    "encoder.down_blocks.0.res_blocks.3.conv1.conv.weight": (128, 128, *CUBE),
    "encoder.down_blocks.1.conv.weight": (128, 128, *CUBE),
    "encoder.down_blocks.2.conv1.conv.weight": (256, 128, *CUBE),
    "encoder.down_blocks.2.conv2.conv.bias": (256,),
    "encoder.down_blocks.2.conv_shortcut.weight": (256, 128, 1, 1, 1),
    "encoder.down_blocks.2.norm3.norm.weight": (128,),
    "encoder.down_blocks.5.conv_shortcut.weight": (512, 256, 1, 1, 1),
    "encoder.down_blocks.7.conv.weight": (512, 512, *CUBE),
    "encoder.down_blocks.9.res_blocks.3.conv2.conv.weight": (512, 512, *CUBE),
    "encoder.conv_out.conv.weight": (129, 512, *CUBE),
}
DECODER_091 = {
    "decoder.timestep_scale_multiplier": (),
    "decoder.last_scale_shift_table": (2, 128),
    "decoder.last_time_embedder.timestep_embedder.linear_1.weight": (256, 256),
    "decoder.last_time_embedder.timestep_embedder.linear_2.bias": (256,),
    "decoder.conv_in.conv.weight": (1024, 128, *CUBE),
    "decoder.up_blocks.0.time_embedder.timestep_embedder.linear_1.weight": (4096, 256),
    "decoder.up_blocks.6.time_embedder.timestep_embedder.linear_2.weight": (512, 512),
    "decoder.up_blocks.1.conv.conv.weight": (4096, 1024, *CUBE),
    "decoder.up_blocks.3.conv.conv.weight": (2048, 512, *CUBE),
    "decoder.up_blocks.5.conv.conv.weight": (1024, 256, *CUBE),
    "decoder.up_blocks.4.res_blocks.4.scale_shift_table": (4, 256),
    "decoder.up_blocks.6.res_blocks.4.conv1.conv.weight": (128, 128, *CUBE),
    "decoder.conv_out.conv.weight": (48, 128, *CUBE),
}
INVENTORY: dict[str, dict[str, tuple[int, ...]]] = {
    "ltxv-0.9.0": {
        **ENCODER_090,
        "decoder.conv_in.conv.weight": (512, 128, *CUBE),
        "decoder.up_blocks.0.res_blocks.3.conv1.conv.weight": (512, 512, *CUBE),
        "decoder.up_blocks.2.conv.conv.weight": (4096, 512, *CUBE),
        "decoder.up_blocks.4.conv1.conv.weight": (256, 512, *CUBE),
        "decoder.up_blocks.4.norm3.norm.bias": (512,),
        "decoder.up_blocks.5.conv.conv.weight": (2048, 256, *CUBE),
        "decoder.up_blocks.7.conv_shortcut.weight": (128, 256, 1, 1, 1),
        "decoder.up_blocks.8.conv.conv.weight": (1024, 128, *CUBE),
        "decoder.up_blocks.9.res_blocks.3.conv2.conv.weight": (128, 128, *CUBE),
        "decoder.conv_out.conv.weight": (48, 128, *CUBE),
    },
    "ltxv-0.9.1": {
        **ENCODER_090,
        **DECODER_091,
        "decoder.up_blocks.0.res_blocks.7.conv1.conv.weight": (1024, 1024, *CUBE),
        "decoder.up_blocks.2.res_blocks.6.per_channel_scale1": (512, 1, 1),
        "decoder.up_blocks.6.res_blocks.4.per_channel_scale2": (128, 1, 1),
    },
    "ltxv-0.9.5": {
        **DECODER_091,
        "encoder.conv_in.conv.weight": (128, 48, *CUBE),
        "encoder.down_blocks.1.conv.conv.weight": (64, 128, *CUBE),
        "encoder.down_blocks.2.res_blocks.5.conv1.conv.weight": (256, 256, *CUBE),
        "encoder.down_blocks.3.conv.conv.weight": (256, 256, *CUBE),
        "encoder.down_blocks.5.conv.conv.weight": (128, 512, *CUBE),
        "encoder.down_blocks.7.conv.conv.weight": (256, 1024, *CUBE),
        "encoder.down_blocks.8.res_blocks.1.conv2.conv.weight": (2048, 2048, *CUBE),
        "encoder.conv_out.conv.weight": (129, 2048, *CUBE),
    },
}
STATISTICS = {
    "per_channel_statistics.mean-of-means": (128,),
    "per_channel_statistics.std-of-means": (128,),
}


def on_meta(preset: str) -> VAE:
    with torch.device("meta"):
        return VAE(PRESETS[preset])


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("preset", COUNTS)
def test_published_models_have_their_parameter_counts(preset: str) -> None:
    vae = on_meta(preset)
    everything, encoder, tensors = COUNTS[preset]
    assert (parameters(vae), parameters(vae.encoder)) == (everything, encoder)
    assert len(vae.state_dict()) - len(STATISTICS) == tensors


@pytest.mark.parametrize("preset", INVENTORY)
def test_published_models_have_their_tensors(preset: str) -> None:
    state: dict[str, Tensor] = on_meta(preset).state_dict()
    expected = INVENTORY[preset] | STATISTICS
    assert {name: tuple(state[name].shape) for name in expected if name in state} == expected


def test_noise_levels_are_scaled_by_a_thousand() -> None:
    vae = VAE(replace(PRESETS["ltxv-0.9.5"], base_width=8))
    assert vae.decoder.timestep_scale_multiplier == 1000


def test_patches_are_ordered_as_published() -> None:
    patches = patchify(torch.arange(3 * 8 * 8.0).reshape(1, 3, 1, 8, 8), 4)
    assert patches.shape == (1, 48, 1, 2, 2)
    assert patches[0, :8, 0, 0, 0].tolist() == [0, 8, 16, 24, 1, 9, 17, 25]
    assert patches[0, 16, 0, 0, 0] == 64
