"""Runs that learn from prepared clips."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from overcrank.errors import RequestError
from overcrank.runtime import choose
from overcrank.train import build_objective, read_config, train
from overcrank.vae import VAE
from overcrank.weights import load_component
from prepared_clips import write_clips

CPU = choose("cpu", "float32")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("prepared"), count=10)


def run(folder: Path, preset: str, *changes: str) -> list[dict[str, Any]]:
    """Train as the command line does; what the log says."""
    config = read_config(preset, changes)
    objective = build_objective(config, folder, lambda _event: None, CPU)
    train(config, objective, folder, lambda _event: None, CPU)
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


VAE_RUN = ("preset=nano", "steps=2", "stages=[{frames: 9, size: 96x64, batch: 2}]")


def test_an_autoencoder_learns_from_clips(shards: Path, tmp_path: Path) -> None:
    """The held-out clip and the statistics are of the folder, in the size of the largest stage."""
    log = run(tmp_path, "pocket-vae", *VAE_RUN, f"clips.folder={shards}")
    assert log[-1]["held_out_psnr"] > 3
    assert "held_out_actor_psnr" not in log[-1]
    stored = load_component(tmp_path / "vae.safetensors", "vae")
    assert isinstance(stored, VAE)
    assert not torch.equal(stored.per_channel_statistics.std, torch.ones(128))
    assert (tmp_path / "round-trip-000002.png").exists()


def test_clips_and_scenes_share_a_run(shards: Path, tmp_path: Path) -> None:
    config = read_config("pocket-vae", [*VAE_RUN, f"clips={{folder: {shards}, share: 0.5}}"])
    objective = build_objective(config, tmp_path, lambda _event: None, CPU)
    seen = [objective.data()[step].actors.any().item() for step in range(2)]
    assert seen != [False, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("clips.folder=lost", "no folder of clips: got lost"),
        ("clips={folder: SHARDS, enlarge: 0.5}", "clips.enlarge: .*got 0.5"),
        ("clips={folder: SHARDS, jiter: 0.5}", "did you mean clips.jitter"),
        ("stages=[{frames: 97, size: 64, batch: 1}]", "no clip fits 97 frames of 64 x 64"),
    ],
)
def test_clips_that_cannot_be_used_are_refused(
    shards: Path, tmp_path: Path, change: str, message: str
) -> None:
    changes = [*VAE_RUN, f"clips.folder={shards}", change.replace("SHARDS", str(shards))]
    with pytest.raises(RequestError, match=message):
        build_objective(
            read_config("pocket-vae", changes), tmp_path / "run", lambda _event: None, CPU
        )
    assert not (tmp_path / "run").exists()
