"""What a run left becomes a model that makes its clips in two passes."""

import json
from pathlib import Path

import pytest

import overcrank
from loud_weights import randomise
from nano_model import embeds, nano_model
from overcrank.errors import RequestError
from overcrank.train.pack import SECOND, pack
from overcrank.vae.linear_upsampler import LinearUpsampler, LinearUpsamplerConfig
from overcrank.vae.upsampler import save_upsampler
from overcrank.weights import latent_hash, save_component
from test_pipeline_passes import write_upscaler

CONFIG = """
kind: transformer
preset: nano
vae: {vae}
steps: 10
latents:
  - {{clips: 128, frames: 17, size: 128}}
  - {{clips: 128, frames: 9, size: 256}}
stages:
  - {{frames: 17, size: 128, batch: 4, near_noise: 0.5}}
  - {{frames: 9, size: 256, batch: 2, below: 0.8}}
optim: {{lr: 0.001}}
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """As a run leaves it."""
    model, folder = nano_model(384), tmp_path / "run"
    folder.mkdir()
    save_component(folder / "vae.safetensors", "vae", model.vae)
    said = {"latent_hash": latent_hash(model.vae), "frame_rate": "12"}
    file = folder / "transformer.safetensors"
    save_component(file, "transformer", model.transformer, extra=said)
    (folder / "config.yaml").write_text(CONFIG.format(vae=json.dumps(f"{folder}/vae.safetensors")))
    return folder


def test_a_run_of_two_sizes_becomes_a_model_of_two_passes(run: Path, tmp_path: Path) -> None:
    upsampler = LinearUpsampler(LinearUpsamplerConfig(rank=4)).requires_grad_(False)
    randomise(upsampler)
    save_upsampler(tmp_path / "upsampler.safetensors", upsampler)
    said = pack(run, tmp_path / "model", upscaler=tmp_path / "upsampler.safetensors").defaults
    assert (said.frames, said.height, said.width, said.frame_rate) == (17, 256, 256, 12.0)
    assert said.second == SECOND
    pipe = overcrank.load(tmp_path / "model", dtype="float32", device="cpu")
    video = pipe(prompt_embeds=embeds(width=384), num_inference_steps=1)
    assert video.frames.shape == (17, 256, 256, 3)  # type: ignore[union-attr]
    assert len(video.recipe["passes"]) == 2  # type: ignore[union-attr]


def test_without_an_upscaler_it_is_a_model_of_one_pass(run: Path, tmp_path: Path) -> None:
    said = pack(run, tmp_path / "model").defaults
    assert (said.frames, said.height, said.width, said.second) == (17, 128, 128, ())


def test_a_published_upscaler_is_refused_and_nothing_is_written(run: Path, tmp_path: Path) -> None:
    other = write_upscaler(tmp_path / "published.safetensors")
    with pytest.raises(RequestError, match="an upscaler of ours, got a published one"):
        pack(run, tmp_path / "model", upscaler=other)
    assert not (tmp_path / "model").exists()
