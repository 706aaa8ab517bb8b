"""Runs that learn from prepared clips."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from overcrank.errors import ModelError, RequestError
from overcrank.runtime import choose
from overcrank.text import T5Encoder, TextEmbedding
from overcrank.train import build_objective, read_config, train
from overcrank.vae import PRESETS as VAES
from overcrank.vae import VAE
from overcrank.weights import load_component, save_component
from overcrank.weights.store import content_hash
from prepared_clips import write_clips
from tiny_t5 import save_t5

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


def test_a_run_on_clips_goes_on_as_if_it_had_not_stopped(shards: Path, tmp_path: Path) -> None:
    changes = [*VAE_RUN, "steps=3", "optim.fall=0", f"clips={{folder: {shards}, jitter: 0.5}}"]
    run(tmp_path / "whole", "pocket-vae", *changes)
    run(tmp_path / "parts", "pocket-vae", *changes, "steps=1")
    run(tmp_path / "parts", "pocket-vae", *changes)
    whole, parts = (
        load_component(tmp_path / name / "vae.safetensors", "vae") for name in ("whole", "parts")
    )
    assert content_hash(whole) == content_hash(parts)


def test_clips_and_scenes_share_a_run(shards: Path, tmp_path: Path) -> None:
    config = read_config("pocket-vae", [*VAE_RUN, f"clips={{folder: {shards}, share: 0.5}}"])
    objective = build_objective(config, tmp_path, lambda _event: None, CPU)
    seen = [objective.data()[step].actors.any().item() for step in range(2)]
    assert seen != [False, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("clips.folder=lost", "clips.folder is not there: got lost"),
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


LATENTS = "latents=[{frames: 9, size: 96x64}, {frames: 17, size: 64x96}, {frames: 1, size: 128}]"
STAGES = (
    "stages=[{frames: 9, size: 96x64, batch: 2, tokens: 10}, {frames: 17, size: 64x96, batch: 1}, "
    "{frames: 1, size: 128, batch: 2}]"
)
TRANSFORMER_RUN = ("preset=nano", "steps=3", "save_every=3", LATENTS, STAGES)


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("vae") / "vae.safetensors"
    save_component(file, "vae", VAE(VAES["nano"]))
    return file


def test_a_transformer_learns_from_clips_of_all_sizes(
    shards: Path, autoencoder: Path, tmp_path: Path
) -> None:
    """Wide and tall clips and pictures take turns, and one wide clip is held out."""
    said: list[dict[str, Any]] = []
    changes = [*TRANSFORMER_RUN, f"vae={autoencoder}", f"clips={{folder: {shards}, jitter: 0.3}}"]
    config = read_config("pocket-transformer", changes)
    objective = build_objective(config, tmp_path, said.append, CPU)
    data = objective.data()
    shapes = [tuple(data[step].latent_BCTHW.shape[2:]) for step in range(3)]
    assert shapes == [(1, 4, 4), (2, 2, 3), (3, 3, 2)]  # the shortest first
    assert data[1].kept_BN.shape == (2, 10)
    assert {10.0, 20.0} >= set(data[2].frame_rate_B.tolist())
    assert [event["latents"] for event in said if "latents" in event] == [
        "9 frames of 96 x 64",
        "17 frames of 64 x 96",
        "1 frame of 128 x 128",
    ]
    assert [event for event in said if "left_out" in event] == [
        {"left_out": 2, "of": 11, "because": "too short or too small"}
    ]
    train(config, objective, tmp_path, lambda _event: None, CPU)
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert "held_out_96x64_0.5" in last
    assert "held_out_64x96_0.5" not in last
    assert (tmp_path / "transformer.safetensors").exists()


def test_latents_of_other_clips_or_texts_are_refused(
    shards: Path, autoencoder: Path, tmp_path: Path
) -> None:
    changes = [
        *TRANSFORMER_RUN,
        "latents=[{frames: 1, size: 64}]",
        "stages=[{frames: 1, size: 64, batch: 2}]",
        f"vae={autoencoder}",
        f"clips.folder={shards}",
    ]
    config = read_config("pocket-transformer", changes)
    build_objective(config, tmp_path, lambda _event: None, CPU)
    of_one_frame_there_is_no_second = read_config(
        "pocket-transformer", [*changes, "clips.jitter=1.0"]
    )
    build_objective(of_one_frame_there_is_no_second, tmp_path, lambda _event: None, CPU)
    for change in ("clips.trigger=sqr", "clips.crop=random"):
        other = read_config("pocket-transformer", [*changes, change])
        with pytest.raises(ModelError, match="got world prepared clips .*, right is prepared"):
            build_objective(other, tmp_path, lambda _event: None, CPU)


def test_captions_are_read_by_a_t5(shards: Path, autoencoder: Path, tmp_path: Path) -> None:
    """Of words that it knows; a token at the end says that the text is over."""
    t5 = save_t5(tmp_path / "t5", width=384)
    changes = [
        "preset=nano",
        "latents=[{frames: 1, size: 64}]",
        "stages=[{frames: 1, size: 64, batch: 4}]",
        "conditions.drop_text=0.5",
        "save_every=2",
        "steps=2",
        f"vae={autoencoder}",
        f"text={t5}",
        f"clips={{folder: {shards}, trigger: red ball}}",
    ]
    config = read_config("pocket-transformer", changes)
    objective = build_objective(config, tmp_path / "run", lambda _event: None, CPU)
    encoder = T5Encoder(t5)
    batch = objective.data()[0]
    rows = TextEmbedding(batch.text_BLD, batch.keep_BL).rows()
    wanted = encoder.encode(
        ["red ball still squares", "red ball squares of kind 0 move", ""]
    ).rows()
    assert {len(row) for row in rows} <= {len(row) for row in wanted} | {1}
    assert any(
        row.shape == other.shape and torch.allclose(row, other, atol=2e-3)
        for row in rows
        for other in wanted
    )
    train(config, objective, tmp_path / "run", lambda _event: None, CPU)
    config = read_config("pocket-transformer", [*changes, f"text={save_t5(tmp_path / 'b', 32)}"])
    with pytest.raises(RequestError, match="does not fit the text encoder t5: .* one for 32, or"):
        build_objective(config, tmp_path / "run", lambda _event: None, CPU)
    config = read_config("pocket-transformer", [*changes, "text=overcrank-small"])
    with pytest.raises(ModelError, match="got text t5 .*, right is overcrank-small"):
        build_objective(config, tmp_path / "run", lambda _event: None, CPU)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("clips.share=0.5", "a run of kind transformer learns from prepared clips alone"),
        ("clips=null", "latents of the toybox are of so many clips, got no clips"),
        ("clips.folder=SILENT", "3 of 3 clips have no caption: got none for 00000000 of 00.mp4"),
        ("latents=[{frames: 97, size: 64}]", "no clip fits 97 frames of 64 x 64"),
    ],
)
def test_clips_that_a_transformer_cannot_learn_from_are_refused(
    shards: Path, autoencoder: Path, tmp_path: Path, change: str, message: str
) -> None:
    if "SILENT" in change:
        silent = write_clips(tmp_path / "silent", captions=False)
        change = change.replace("SILENT", str(silent))
    one_size = ["latents=[{frames: 9, size: 32}]", "stages=[{frames: 9, size: 32, batch: 1}]"]
    if "97" in change:
        one_size[1] = "stages=[{frames: 97, size: 64, batch: 1}]"
    changes = [*TRANSFORMER_RUN, f"vae={autoencoder}", f"clips.folder={shards}", *one_size, change]
    with pytest.raises(RequestError, match=message):
        build_objective(
            read_config("pocket-transformer", changes), tmp_path / "run", lambda _event: None, CPU
        )
    assert not (tmp_path / "run").exists()
