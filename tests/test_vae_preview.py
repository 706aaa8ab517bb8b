"""The linear preview of latents: fitted by least squares, stored with the weights, of no say in
what the latents are."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from loud_weights import randomise
from overcrank.errors import ModelError
from overcrank.metrics import psnr
from overcrank.runtime import choose
from overcrank.shapes import ClipSize
from overcrank.toybox import render, sample_scene
from overcrank.train.config import Optim, RunConfig, Stage
from overcrank.train.vae import VAEObjective, to_video
from overcrank.vae import PRESETS, VAE, cell_colours
from overcrank.weights import latent_hash, load_component, save_component
from overcrank.weights.presets import find_model

CPU = choose("cpu", "float32")


@pytest.fixture
def vae() -> VAE:
    vae = VAE(PRESETS["nano"])
    randomise(vae)
    return vae.eval().requires_grad_(False)


def fitted(vae: VAE) -> VAE:
    generator = torch.Generator().manual_seed(0)
    vae.fit_preview(*(torch.randn(300, n, generator=generator) for n in (128, 3)))
    return vae


def metadata(file: Path) -> dict[str, str]:
    with safe_open(file, framework="pt") as opened:
        return dict(opened.metadata())


def test_the_first_cell_has_the_colour_of_one_frame_and_the_others_of_eight() -> None:
    video = torch.zeros(1, 3, 9, 32, 64)
    video[:, 0, 0] = 1.0
    video[:, 1, 1:5, :, 32:] = 1.0
    colours = cell_colours(video)
    assert colours.shape == (1, 3, 2, 1, 2)
    assert colours[0, 0, :, 0].tolist() == [[1, 1], [0, 0]]
    assert colours[0, 1, :, 0].tolist() == [[0, 0], [0, 0.5]]


def test_colours_that_are_linear_in_the_latents_are_found(vae: VAE) -> None:
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(2, 128, 4, 8, 8, generator=generator)
    weight = torch.randn(3, 128, generator=generator) / 128**0.5
    colours = torch.einsum("rc, bcthw -> brthw", weight, latent) + 0.25

    def cells(x: Tensor) -> Tensor:
        return x.movedim(1, -1).flatten(0, -2)

    vae.fit_preview(cells(latent), cells(colours))
    torch.testing.assert_close(vae.preview(latent), colours, rtol=0, atol=2e-3)


def test_an_autoencoder_without_a_map_says_so(vae: VAE) -> None:
    with pytest.raises(ModelError, match="no map from latents to colours.*decode the latents"):
        vae.preview(torch.zeros(1, 128, 1, 1, 1))


def test_a_map_is_stored_and_changes_neither_latents_nor_frames(vae: VAE, tmp_path: Path) -> None:
    file, latent = tmp_path / "vae.safetensors", torch.randn(1, 128, 2, 1, 1)
    before, frames = latent_hash(vae), vae.decode(latent)
    save_component(file, "vae", fitted(vae))
    assert metadata(file)["latent_hash"] == before
    again = load_component(file, "vae")
    torch.testing.assert_close(again.preview(latent), vae.preview(latent), rtol=0, atol=1e-2)
    assert latent_hash(again) == before
    assert torch.equal(vae.decode(latent), frames)


def test_files_from_before_there_were_maps_still_load(vae: VAE, tmp_path: Path) -> None:
    file = tmp_path / "vae.safetensors"
    save_component(file, "vae", vae)
    told = metadata(file)
    config = json.loads(told["config"])
    del config["preview"], told["latent_hash"]
    save_file(load_file(file), file, {**told, "config": json.dumps(config)})
    assert not load_component(file, "vae").config.preview


def test_another_encoder_has_another_hash_in_its_file(vae: VAE, tmp_path: Path) -> None:
    hashes = []
    for amount in (0.0, 0.1):
        vae.encoder.conv_out.conv.bias[0] += amount
        save_component(tmp_path / "vae.safetensors", "vae", vae)
        hashes.append(metadata(tmp_path / "vae.safetensors")["latent_hash"])
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize("freeze", [[], ["encoder"]])
def test_a_run_ends_with_statistics_a_map_and_the_hash_of_its_latents(
    tmp_path: Path, freeze: list[str]
) -> None:
    config = RunConfig(
        kind="vae",
        preset="nano",
        steps=1,
        stages=[Stage(frames=9, size=32, batch=2)],
        optim=Optim(lr=1e-3),
        freeze=freeze,
    )
    torch.manual_seed(0)
    objective = VAEObjective(config, CPU, held_out=ClipSize(9, 64, 64))
    objective.export(objective.module, tmp_path)
    assert not objective.vae.config.preview, "what is trained must not change on the way"
    vae, file = load_component(tmp_path / "vae.safetensors", "vae"), tmp_path / "vae.safetensors"
    assert metadata(file)["latent_hash"] == latent_hash(vae)
    assert bool((vae.per_channel_statistics.std == 1).all()) == bool(freeze)
    unseen = [render(sample_scene(n, split="test"), ClipSize(9, 64, 64)) for n in range(8)]
    video = to_video(torch.stack(unseen))
    colours = cell_colours(video)
    with torch.no_grad():
        away = (vae.preview(vae.encode(video)) - colours).square().mean()
    assert away < 0.5 * colours.var()


def test_the_shipped_autoencoder_previews_scenes_it_has_not_seen() -> None:
    vae = load_component(find_model("pocket") / "vae.safetensors", "vae")
    video = to_video(render(sample_scene(3, split="test"), ClipSize(9, 96, 128))[None])
    with torch.no_grad():
        seen, colours = vae.preview(vae.encode(video)), cell_colours(video)
    assert psnr(seen, colours) > 28
    assert psnr(colours.mean((2, 3, 4), keepdim=True).expand_as(colours), colours) < 20
