"""The small upscaler: what it is fitted to, and models that make clips in two passes with it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

import overcrank
from loud_weights import randomise
from nano_model import DEFAULTS, embeds, nano_model
from overcrank.errors import ModelError
from overcrank.pipeline import Pipeline
from overcrank.vae.linear_upsampler import LinearUpsampler, LinearUpsamplerConfig
from overcrank.vae.upsampler import load_upsampler, save_upsampler
from overcrank.video import Video
from overcrank.weights import Card, convert, save_model

CONFIG = LinearUpsamplerConfig(in_channels=4, rank=3)
SECOND = (0.6, 0.3)


def known(config: LinearUpsamplerConfig = CONFIG) -> LinearUpsampler:
    """One with loud weights."""
    network = LinearUpsampler(config).requires_grad_(False)
    randomise(network)
    return network


def pairs(network: LinearUpsampler, count: int) -> list[tuple[Tensor, Tensor]]:
    dice = torch.Generator().manual_seed(2)
    small = [torch.randn(6, 4, 3, 4, 5, generator=dice) for _ in range(count)]
    return [(each, network(each)) for each in small]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, model = tmp_path_factory.mktemp("two") / "nano", nano_model()
    upsampler = known(LinearUpsamplerConfig(rank=8))
    defaults = replace(DEFAULTS, height=256, width=192, second=SECOND)
    card = Card(name="nano", text_encoder=None, defaults=defaults)
    save_model(path, card, model.vae, model.transformer, upsampler=upsampler)
    return path


@pytest.fixture(scope="module")
def pipe(folder: Path) -> Pipeline:
    return overcrank.load(folder, device="cpu", dtype="float32")


def clip(pipe: Pipeline, **wishes: object) -> Video:
    video = pipe(prompt_embeds=embeds(), **wishes)
    assert isinstance(video, Video)
    return video


def test_a_frame_is_enlarged_by_itself_and_from_its_neighbourhood_only() -> None:
    network, latent = known(), torch.randn(2, 4, 3, 4, 5)
    whole = network(latent)
    assert whole.shape == (2, 4, 3, 8, 10)
    torch.testing.assert_close(network(latent[:1, :, 1:2]), whole[:1, :, 1:2])
    other = latent.clone()
    other[..., 2:] += 1
    changed = (network(other) != whole).any(dim=(0, 1, 2, 3))
    assert changed.tolist() == [False] * 2 + [True] * 8


def test_a_map_of_its_own_rank_is_found() -> None:
    right, found = known(), LinearUpsampler(CONFIG)
    found.fit(pairs(right, 8))
    small, large = pairs(right, 9)[-1]
    with torch.no_grad():
        error = (found(small) - large).norm() / large.norm()
    assert error < 5e-3


def test_less_rank_leaves_the_least_important_out() -> None:
    """A kept direction fewer costs what an independent least-squares fit says it costs."""
    dice = torch.Generator().manual_seed(3)
    small = torch.randn(64, 4, 1, 3, 3, generator=dice)
    large = F.interpolate(small[:, :, 0], scale_factor=2)[:, :, None]
    large = large * torch.tensor([3.0, 2.0, 1.0, 0.1]).reshape(1, 4, 1, 1, 1)
    found = LinearUpsampler(CONFIG)
    found.fit([(small, large)])
    with torch.no_grad():
        error = (found(small) - large).square().mean(dim=(0, 2, 3, 4))
    assert error[:3].max() < 1e-3
    assert error[3] == pytest.approx(float(large[:, 3].square().mean()), rel=0.1)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    network, path = known(), tmp_path / "upsampler.safetensors"
    save_upsampler(path, network)
    loaded = load_upsampler(path).float()
    assert isinstance(loaded, LinearUpsampler)
    latent = torch.randn(1, 4, 2, 3, 3)
    torch.testing.assert_close(loaded(latent), network(latent), rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("config", [{"rank": 0, "in_channels": 4}, {"rank": 3}, {"rank": "a"}])
def test_a_config_that_none_can_have_is_refused(tmp_path: Path, config: dict[str, object]) -> None:
    path = tmp_path / "upsampler.safetensors"
    save_file(known().state_dict(), path, {"config": json.dumps(config)})
    with pytest.raises(ModelError, match="upscaler"):
        load_upsampler(path)


def test_a_model_of_ours_makes_clips_in_two_passes(pipe: Pipeline) -> None:
    told: list[tuple[int, int]] = []
    video = clip(pipe, on_step=lambda *both: told.append(both))
    assert video.frames.shape == (9, 256, 192, 3)
    assert told == [(step + 1, 4) for step in range(4)]
    first, second = video.recipe["passes"]  # type: ignore[misc]
    assert (first["height"], first["width"]) == (128, 96)
    assert (second["height"], second["width"]) == (256, 192)
    assert "upscaler" in video.recipe["hashes"]  # type: ignore[operator]
    assert pipe.model.upsampler is not None
    assert pipe.model.upsampler.apart.weight.dtype == torch.float32  # type: ignore[union-attr]


def test_a_converted_model_keeps_its_second_pass(folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "again", to="overcrank")
    again = overcrank.load(tmp_path / "again", device="cpu", dtype="float32")
    assert again.model.upsampler is not None
    (tmp_path / "again" / "upsampler.safetensors").unlink()
    convert(tmp_path / "again", tmp_path / "less", to="overcrank")
    assert overcrank.load(tmp_path / "less", device="cpu").model.upsampler is None


def test_small_clips_take_one_pass(pipe: Pipeline) -> None:
    for size in ({"height": 128, "width": 128}, {"passes": 1}):
        assert clip(pipe, **size).recipe["passes"] == []
    assert len(clip(pipe, height=128, width=128, passes=2).recipe["passes"]) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("second", [(1.0, 0.5), (0.3, 0.6), (0,), "a", [0.5]])
def test_levels_of_a_second_pass_fall_from_below_one(second: object) -> None:
    with pytest.raises(ModelError, match="second"):
        replace(DEFAULTS, second=second)
