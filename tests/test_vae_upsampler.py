"""Upscaled latents: diffusers' numbers, exact sizes, and files that are what they claim to be."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from loud_weights import randomise
from overcrank.errors import ModelError
from overcrank.flow.tone import adain, tone_map
from overcrank.vae.autoencoder import Statistics
from overcrank.vae.upsampler import LatentUpsampler, UpsamplerConfig, load_upsampler

KINDS = {"spatial": (True, False), "temporal": (False, True), "both": (True, True)}


def config(kind: str, **changes: Any) -> UpsamplerConfig:
    space, time = KINDS[kind]
    small = {"in_channels": 8, "mid_channels": 64, "num_blocks_per_stage": 2}
    return UpsamplerConfig(**small, spatial_upsample=space, temporal_upsample=time, **changes)


def upsampler(kind: str) -> LatentUpsampler:
    network = LatentUpsampler(config(kind)).eval().requires_grad_(False)
    randomise(network)
    return network


def latents(frames: int = 3) -> torch.Tensor:
    return torch.randn(2, 8, frames, 3, 4, generator=torch.Generator().manual_seed(1))


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    assert expected.std() >= 0.1
    return float((got - expected).norm() / expected.norm())


@pytest.mark.reference
@pytest.mark.parametrize("kind", KINDS)
def test_upscaled_latents_equal_those_of_diffusers(kind: str) -> None:
    from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel

    untyped: Any = LTXLatentUpsamplerModel
    ours = upsampler(kind)
    theirs = untyped(**ours.config.to_dict())
    theirs.load_state_dict(ours.state_dict())
    with torch.no_grad():
        assert relative_error(ours(latents()), theirs(latents())) <= 1e-5


@pytest.mark.reference
@pytest.mark.parametrize("factor", [0.0, 0.25, 1.0])
def test_matched_statistics_equal_those_of_diffusers(factor: float) -> None:
    from diffusers import LTXLatentUpsamplePipeline

    untyped: Any = LTXLatentUpsamplePipeline
    x, reference = latents(), 0.5 + 2 * latents(5)
    expected = untyped.adain_filter_latent(None, x, reference, factor)
    assert relative_error(adain(x, reference, factor), expected) <= 1e-5


@pytest.mark.reference
def test_mapped_tones_equal_those_of_diffusers() -> None:
    from diffusers import LTXLatentUpsamplePipeline

    untyped: Any = LTXLatentUpsamplePipeline
    x = 3 * latents()
    assert relative_error(tone_map(x, 0.6), untyped.tone_map_latents(None, x, 0.6)) <= 1e-5


def test_mapped_tones_are_golden() -> None:
    x = torch.tensor([-3, -1, -0.5, 0, 0.5, 1, 3])
    expected = torch.tensor([-1.9487246, -0.82, -0.4479709, 0, 0.4479709, 0.82, 1.9487246])
    torch.testing.assert_close(tone_map(x, 0.6), expected, rtol=1e-6, atol=1e-7)


def test_no_compression_changes_nothing() -> None:
    assert torch.equal(tone_map(latents(), 0.0), latents())


def test_a_channel_that_does_not_vary_is_moved_and_not_blown_up() -> None:
    flat = torch.full((1, 1, 2, 1, 1), 3.0)
    reference = torch.tensor([0.0, 2.0]).reshape(1, 1, 2, 1, 1)
    assert adain(flat, reference).flatten().tolist() == [1.0, 1.0]
    assert adain(flat[:, :, :1], reference[:, :, :1]).item() == 0.0


@pytest.mark.parametrize(
    ("kind", "size"), [("spatial", (3, 6, 8)), ("temporal", (5, 3, 4)), ("both", (5, 6, 8))]
)
def test_space_doubles_and_frames_double_but_the_first(kind: str, size: tuple[int, ...]) -> None:
    assert upsampler(kind)(latents()).shape == (2, 8, *size)


def test_the_published_upscalers_have_the_published_sizes() -> None:
    with torch.device("meta"):
        networks = [
            LatentUpsampler(UpsamplerConfig(spatial_upsample=space, temporal_upsample=not space))
            for space in (True, False)
        ]
    assert [len(network.state_dict()) for network in networks] == [72, 72]
    parameters = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert parameters == [126_250_624, 130_968_192]


def test_normalised_latents_are_upscaled_as_raw_ones() -> None:
    statistics = Statistics(8)
    statistics.mean.copy_(torch.linspace(-1, 1, 8))
    statistics.std.copy_(torch.linspace(0.5, 2, 8))
    network, raw = upsampler("spatial"), latents()
    got = network.upscale(statistics.normalise(raw), statistics)
    torch.testing.assert_close(statistics.restore(got), network(raw))


def test_an_upscaler_is_read_from_a_single_file_in_its_own_dtype(tmp_path: Path) -> None:
    network = upsampler("spatial").bfloat16()
    metadata = {"config": json.dumps(network.config.to_dict())}
    save_file(network.state_dict(), tmp_path / "up.safetensors", metadata)
    loaded = load_upsampler(tmp_path / "up.safetensors")
    assert loaded.config == network.config
    x = latents().bfloat16()
    assert torch.equal(loaded(x), network(x))


@pytest.mark.reference
def test_an_upscaler_is_read_from_a_folder_of_diffusers(tmp_path: Path) -> None:
    from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel

    untyped: Any = LTXLatentUpsamplerModel
    ours = upsampler("temporal")
    theirs = untyped(**ours.config.to_dict())
    theirs.load_state_dict(ours.state_dict())
    theirs.save_pretrained(tmp_path)
    assert torch.equal(load_upsampler(tmp_path)(latents()), ours(latents()))


@pytest.mark.parametrize(
    "damage",
    [
        {"config": "{"},
        {"config": "[]"},
        {"config": "{}"},
        {},
        {"config": json.dumps(config("spatial").to_dict() | {"mid_channels": 10**9})},
        {"config": json.dumps(config("spatial").to_dict() | {"mid_channels": 96})},
        {"config": json.dumps(config("spatial").to_dict() | {"num_blocks_per_stage": "2"})},
        {"config": json.dumps(config("spatial").to_dict() | {"dims": 2})},
        {"config": json.dumps(config("temporal").to_dict())},
    ],
)
def test_a_file_that_is_no_upscaler_is_refused(tmp_path: Path, damage: dict[str, str]) -> None:
    save_file(upsampler("spatial").state_dict(), tmp_path / "up.safetensors", damage)
    with pytest.raises(ModelError, match=r"up\.safetensors .*: right"):
        load_upsampler(tmp_path / "up.safetensors")


def test_what_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "up.safetensors").write_bytes(b"\x80\x04 a pickle, perhaps")
    with pytest.raises(ModelError, match="cannot be used as an upscaler"):
        load_upsampler(tmp_path / "up.safetensors")


def test_an_upscaler_that_enlarges_nothing_is_refused() -> None:
    with pytest.raises(ModelError, match="one of them must be true"):
        UpsamplerConfig(spatial_upsample=False)
