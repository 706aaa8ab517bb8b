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


STUDENT = """
kind: distil
preset: nano
vae: {vae}
start_from: {run}
steps: 10
latents:
  - {{clips: 128, frames: 9, size: 128}}
stages:
  - {{frames: 9, size: 128, batch: 4}}
distil: {{levels: [1.0, 0.7, 0.4]}}
optim: {{lr: 0.001}}
"""


def students(run: Path, folder: Path, latents: str | None = None) -> Path:
    """A run that distilled the transformer of `run`, as it is left."""
    folder.mkdir()
    network = nano_model(384).transformer.requires_grad_(False)
    randomise(network)
    known = latent_hash(nano_model(384).vae) if latents is None else latents
    said = {"latent_hash": known, "frame_rate": "12"}
    save_component(folder / "transformer.safetensors", "transformer", network, extra=said)
    places = {"vae": run / "vae.safetensors", "run": run / "transformer.safetensors"}
    quoted = {name: json.dumps(str(path)) for name, path in places.items()}
    (folder / "config.yaml").write_text(STUDENT.format(**quoted))
    return folder


def test_a_student_lies_beside_its_transformer(run: Path, tmp_path: Path) -> None:
    few = students(run, tmp_path / "few")
    said = pack(run, tmp_path / "model", student=few).defaults
    assert (said.student, said.levels, said.steps) == ((1.0, 0.7, 0.4), (), 20)
    pipe = overcrank.load(tmp_path / "model", dtype="float32", device="cpu")
    video = pipe(prompt_embeds=embeds(width=384), num_frames=9, height=64, width=64)
    assert video.recipe["num_inference_steps"] == 3  # type: ignore[union-attr]


def test_a_student_is_of_kind_distil_and_of_the_same_latents(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="kind distil"):
        pack(run, tmp_path / "model", student=run)
    with pytest.raises(RequestError, match="other latents"):
        pack(run, tmp_path / "model", student=students(run, tmp_path / "few", "others"))
    assert not (tmp_path / "model").exists()
