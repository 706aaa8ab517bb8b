"""Folders written by us open in diffusers, and the other way round, with the same numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from overcrank.weights.convert import convert, open_checkpoint
from tiny_checkpoints import tiny

pytestmark = pytest.mark.reference

LAYOUTS = ("0.9.0", "0.9.1", "0.9.5")


def classes() -> tuple[Any, Any]:
    from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel

    return AutoencoderKLLTXVideo, LTXVideoTransformer3DModel


def opened(kind: Any, folder: Path) -> Any:
    """From its folder, with nothing missing and nothing left over."""
    network, info = kind.from_pretrained(
        folder, output_loading_info=True, torch_dtype=torch.float32, low_cpu_mem_usage=False
    )
    assert not any(info.values()), info
    return network


def assert_same(got: Tensor, expected: Tensor) -> None:
    assert got.shape == expected.shape
    assert expected.std() >= 0.1
    assert (got - expected).norm() / expected.norm() <= 1e-5


@torch.no_grad()
def compare_vaes(ours: Any, theirs: Any) -> None:
    video = torch.rand(1, 3, 9, 32, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert_same(ours.posterior(video).mean_BCTHW, theirs.encode(video).latent_dist.mean)
    latent = torch.randn(1, 128, 2, 1, 2, generator=torch.Generator().manual_seed(2))
    raw = ours.per_channel_statistics.restore(latent)
    sigma = torch.tensor([0.05]) if ours.config.denoises else None
    torch.manual_seed(3)
    got = ours.decode(latent, sigma)
    torch.manual_seed(3)
    assert_same(got, theirs.decode(raw, temb=sigma).sample)


@torch.no_grad()
def compare_transformers(ours: Any, theirs: Any) -> None:
    generator = torch.Generator().manual_seed(4)
    tokens = torch.randn(1, 6, 128, generator=generator)
    text = torch.randn(1, 5, 24, generator=generator)
    positions = torch.rand(1, 6, 3, generator=generator) * 100
    sigma = torch.tensor([0.7])
    expected = theirs(
        hidden_states=tokens,
        encoder_hidden_states=text,
        timestep=sigma * 1000,
        encoder_attention_mask=torch.ones(1, 5, dtype=torch.long),
        video_coords=positions.transpose(1, 2),
        return_dict=False,
    )[0]
    assert_same(ours(tokens, sigma, positions, text), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_autoencoder_written_by_us_computes_the_same_in_diffusers(
    layout: str, tmp_path: Path
) -> None:
    source = tiny(layout)
    convert(source, tmp_path / "model", "diffusers", shard_bytes=100_000)
    assert (tmp_path / "model" / "vae" / "diffusion_pytorch_model.safetensors.index.json").exists()
    compare_vaes(source.build_vae(torch.float32), opened(classes()[0], tmp_path / "model" / "vae"))


def test_a_transformer_written_by_us_computes_the_same_in_diffusers(tmp_path: Path) -> None:
    source = tiny("13b")
    convert(source, tmp_path / "model", "diffusers")
    theirs = opened(classes()[1], tmp_path / "model" / "transformer")
    compare_transformers(source.build_transformer(torch.float32), theirs)


def test_a_folder_written_by_us_opens_as_a_pipeline_of_diffusers(tmp_path: Path) -> None:
    from diffusers import DiffusionPipeline

    convert(tiny("0.9.1"), tmp_path / "model", "diffusers")
    untyped: Any = DiffusionPipeline
    pipeline = untyped.from_pretrained(tmp_path / "model", text_encoder=None, tokenizer=None)
    assert type(pipeline).__name__ == "LTXPipeline"
    assert pipeline.scheduler.config.shift_terminal == 0.1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_written_by_diffusers_computes_the_same_in_ours(
    layout: str, tmp_path: Path
) -> None:
    convert(tiny(layout), tmp_path / "first", "diffusers")
    vae = opened(classes()[0], tmp_path / "first" / "vae")
    transformer = opened(classes()[1], tmp_path / "first" / "transformer")
    vae.save_pretrained(tmp_path / "theirs" / "vae")
    transformer.save_pretrained(tmp_path / "theirs" / "transformer", max_shard_size="50KB")
    found = open_checkpoint(tmp_path / "theirs")
    compare_vaes(found.build_vae(), vae)
    compare_transformers(found.build_transformer(), transformer)
    assert found.build_transformer().config.causal_positions == (layout == "0.9.5")
    alone = open_checkpoint(tmp_path / "theirs" / "vae")
    assert alone.vae is not None
    assert found.vae is not None
    assert alone.vae.config == found.vae.config


def test_configs_that_diffusers_fills_in_by_default_are_those_of_0_9_0() -> None:
    from diffusers import AutoencoderKLLTXVideo

    from overcrank.vae import PRESETS
    from overcrank.weights import diffusers_config

    untyped: Any = AutoencoderKLLTXVideo
    with torch.device("meta"):
        stored = dict(untyped().config)
    assert diffusers_config.read_vae(stored) == PRESETS["ltxv-0.9.0"]
    assert (
        diffusers_config.read_vae({"_class_name": "AutoencoderKLLTXVideo"})
        == (PRESETS["ltxv-0.9.0"])
    )
