"""The loop learns, resumes exactly, and stops on numbers that are not finite."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from overcrank.data.latents import CacheSpec, LatentCache, make_cache
from overcrank.errors import ModelError, RunError
from overcrank.shapes import ClipSize
from overcrank.text import TextEmbedding
from overcrank.train import train
from overcrank.train.config import Latents, Optim, RunConfig, Stage
from overcrank.train.loop import learning_rate, parameter_groups
from overcrank.train.transformer import TransformerObjective, flow_loss
from overcrank.train.vae import VAEObjective
from overcrank.vae import PRESETS, VAE
from overcrank.weights import content_hash, latent_hash


class LetterCounts:
    """A text encoder small enough for tests: one token a word, its letters counted."""

    name = "letters"
    width = 48

    def encode(self, prompts: list[str]) -> TextEmbedding:
        rows = []
        for prompt in prompts:
            words = prompt.split() or [""]
            row = torch.zeros(len(words), self.width)
            for place, word in enumerate(words):
                for letter in word:
                    row[place, ord(letter) % self.width] += 1
            rows.append(row)
        return TextEmbedding.from_rows(rows)


def vae_run(**changes: Any) -> RunConfig:
    plain = {
        "kind": "vae",
        "preset": "nano",
        "steps": 4,
        "stages": [Stage(frames=9, size=32, batch=2)],
        "optim": Optim(lr=1e-3, warmup=0),
        "precision": "float32",
        "log_every": 1,
        "save_every": 2,
    }
    return RunConfig(**{**plain, **changes})


def run(config: RunConfig, folder: Path) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    torch.manual_seed(config.seed)
    train(config, VAEObjective(config), folder, events.append)
    return events


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_like_one_that_was_not(tmp_path: Path) -> None:
    """Two steps, then two more, against four: the same weights, bit for bit, and the same log."""
    run(vae_run(), tmp_path / "whole")
    run(vae_run(steps=2), tmp_path / "parts")
    run(vae_run(), tmp_path / "parts")
    whole, parts = (load_file(tmp_path / name / "vae.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    losses = [[json.loads(line).get("loss") for line in log.splitlines()] for log in logs]
    assert losses[0] == losses[1]


def fit_one_batch(objective: VAEObjective | TransformerObjective, lr: float) -> list[float]:
    """Losses of one batch with one noise, seen 30 times."""
    torch.manual_seed(0)
    optimiser = torch.optim.AdamW(objective.module.parameters(), lr)
    batch, losses = objective.data()[0], []
    for _ in range(30):
        loss, _ = objective.loss(batch, torch.Generator().manual_seed(0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_an_autoencoder_learns() -> None:
    losses = fit_one_batch(VAEObjective(vae_run()), 3e-3)
    assert losses[-1] < 0.5 * losses[0]


def test_a_frozen_encoder_keeps_its_latents(tmp_path: Path) -> None:
    objective = VAEObjective(vae_run(freeze=["encoder"]))
    before, decoder = latent_hash(objective.module), content_hash(objective.module)
    batch = objective.data()[0]
    optimiser = torch.optim.AdamW(parameter_groups(objective.module, None), 1e-3)
    objective.loss(batch, torch.Generator().manual_seed(0))[0].backward()
    optimiser.step()
    objective.export(objective.module, tmp_path)
    assert latent_hash(objective.module) == before
    assert content_hash(objective.module) != decoder


def test_a_folder_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"module": {}, "average": {}, "optimiser": {}, "step": 1}, tmp_path / "state.pt")
    with pytest.raises(ModelError, match="holds another network"):
        run(vae_run(), tmp_path)


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    config = vae_run(optim=Optim(lr=1e-3, warmup=0), start_from=None)
    objective = VAEObjective(config)
    with torch.no_grad():
        objective.module.decoder.conv_out.conv.bias.fill_(float("nan"))
    before = objective.module.encoder.conv_in.conv.weight.clone()
    with pytest.raises(RunError, match="step 0"):
        train(config, objective, tmp_path, lambda _event: None)
    assert torch.equal(objective.module.encoder.conv_in.conv.weight, before)


def test_the_learning_rate_rises_stays_and_falls() -> None:
    optim = Optim(lr=1.0, warmup=10, fall=10)
    rates = [learning_rate(optim, step, 100) for step in (0, 9, 50, 89, 95, 99)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 1.0, 0.5, 0.1])


def test_wide_matrices_learn_more_slowly() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(32, 4))
    groups = parameter_groups(module, 16)
    assert {group["scale"]: len(group["params"]) for group in groups} == {1.0: 3, 0.5: 1}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LatentCache]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("latents")
    spec = CacheSpec(size=ClipSize(9, 32, 32), clips=128, captions=2, seed=0)
    vae = VAE(PRESETS["nano"])
    make_cache(folder, spec, vae.encode, "abc", LetterCounts(), lambda _done, _total: None)
    return folder, LatentCache(folder, "abc")


def transformer_objective(cache: LatentCache, **changes: Any) -> TransformerObjective:
    config = RunConfig(
        kind="transformer",
        preset="nano",
        steps=30,
        stages=[Stage(frames=9, size=32, batch=4)],
        optim=Optim(lr=3e-3, warmup=0),
        latents=Latents(clips=128),
        **changes,
    )
    return TransformerObjective(config, cache, "abc")


def test_latents_of_another_autoencoder_are_refused(cache: tuple[Path, LatentCache]) -> None:
    with pytest.raises(ModelError, match="encoded by another VAE"):
        LatentCache(cache[0], "def")


def test_a_cached_clip_has_its_texts(cache: tuple[Path, LatentCache]) -> None:
    clip = cache[1][5]
    assert clip.latent_CTHW.shape == (128, 2, 1, 1)
    assert len(clip.texts) == 2
    assert all(text.shape[1] == 48 and len(text) > 3 for text in clip.texts)


def test_a_given_first_frame_is_outside_the_loss(cache: tuple[Path, LatentCache]) -> None:
    """With the first of two frames given, only the second one's error counts."""
    objective = transformer_objective(cache[1])
    batch = objective.data()[0]
    losses = []
    for given in (False, True):
        generator = torch.Generator().manual_seed(1)
        sigma, knows = torch.full((4,), 0.5), torch.full((4,), given)
        losses.append(flow_loss(objective.module, batch, sigma, knows, generator))
    assert not torch.allclose(losses[0], losses[1])
    assert all(loss.isfinite().all() for loss in losses)


def test_a_transformer_learns(cache: tuple[Path, LatentCache]) -> None:
    losses = fit_one_batch(transformer_objective(cache[1]), 3e-3)
    assert losses[-1] < 0.9 * losses[0]
