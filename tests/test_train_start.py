"""A run finds its files before it makes anything."""

from pathlib import Path

import pytest
import torch

from overcrank.cli import main
from overcrank.errors import MediaError, ModelError, RequestError
from overcrank.runtime import choose
from overcrank.train import build_objective, read_config
from overcrank.train.start import with_files
from overcrank.transformer import PRESETS as TRANSFORMERS
from overcrank.transformer import Transformer
from overcrank.vae import PRESETS, VAE
from overcrank.weights import latent_hash, load_component, save_component
from overcrank.weights.presets import find_model
from tiny_checkpoints import write_tiny

CPU = choose("cpu", "float32")
NANO = TRANSFORMERS["nano"]


@pytest.mark.parametrize(
    ("preset", "change", "message"),
    [
        ("pocket-vae", "scenes={figures: 0.5, pack: lost}", "scenes.pack .* docs/figures.md"),
        ("pocket-vae", "film.file=lost", "film.file is not there: got lost: .* docs/film.md"),
        (
            "pocket-vae",
            "start_from=lost",
            "start_from .* got lost: .*`overcrank train pocket-vae`",
        ),
        ("pocket-decoder", "steps=1", "exported by a run .`overcrank train pocket-vae`"),
        ("pocket-distil", "steps=1", "exported by a run .`overcrank train pocket-transformer`"),
        ("pocket-transformer", "vae=lost", "vae is not there: .*--set vae=pocket"),
    ],
)
def test_a_missing_file_is_found_before_a_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str, change: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=message):
        build_objective(read_config(preset, [change]), Path("run"), lambda _event: None, CPU)
    assert not list(tmp_path.iterdir())


def test_a_damaged_film_is_found_before_a_folder_is_made(tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(b"no film")
    config = read_config("pocket-vae", ["preset=nano", f"film.file={tmp_path / 'film'}"])
    with pytest.raises(MediaError, match="the film cannot be read"):
        build_objective(config, tmp_path / "run", lambda _event: None, CPU)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("preset", "file"),
    [("pocket-decoder", "vae.safetensors"), ("pocket-distil", "transformer.safetensors")],
)
def test_a_run_starts_from_a_model_by_its_name(preset: str, file: str) -> None:
    found = with_files(read_config(preset, ["start_from=pocket"]))
    assert found.start_from == str(find_model("pocket") / file)


@pytest.mark.parametrize("option", ["--processes", "--threads"])
def test_a_count_that_cannot_be_says_what_was_given(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["train", "pocket-vae", option, "0"])
    assert "got '0': try 1 to 256" in capsys.readouterr().err


def test_a_run_starts_from_published_files(tmp_path: Path) -> None:
    """One file for both networks; a file without the one that is needed is refused."""
    whole = write_tiny(tmp_path / "ltxv.safetensors")
    half = write_tiny(tmp_path / "vae.safetensors", only="vae.")
    found = with_files(read_config("pocket-transformer", [f"start_from={whole}", f"vae={whole}"]))
    assert (found.start_from, found.vae) == (str(whole), str(whole))
    with pytest.raises(ModelError, match="holds no transformer: got vae"):
        with_files(read_config("pocket-transformer", [f"start_from={half}"]))


def test_a_published_network_for_other_texts_is_refused(tmp_path: Path) -> None:
    whole = write_tiny(tmp_path / "ltxv.safetensors")
    config = read_config("pocket-transformer", [f"start_from={whole}"])
    with pytest.raises(RequestError, match="ltxv.* got a transformer for texts 24 wide"):
        build_objective(config, tmp_path / "run", lambda _event: None, CPU)
    assert not (tmp_path / "run").exists()


def test_a_frozen_network_is_not_given_other_latents(tmp_path: Path) -> None:
    """Under a LoRA it stays as it is, so what it would see must be what it knows."""
    torch.manual_seed(0)
    vae, network = tmp_path / "vae.safetensors", tmp_path / "transformer.safetensors"
    save_component(vae, "vae", VAE(PRESETS["nano"]))
    changes = [
        *(f"vae={vae}", f"start_from={network}", "lora={rank: 4}", "samples=null"),
        "latents=[{clips: 128, frames: 9, size: 32}]",
        "stages=[{frames: 9, size: 32, batch: 2}]",
    ]
    config = read_config("pocket-transformer", changes)
    for knows in ("0" * 64, latent_hash(load_component(vae, "vae"))):
        extra = {"latent_hash": knows}
        save_component(network, "transformer", Transformer(NANO), extra=extra)
        if knows.startswith("0000"):
            with pytest.raises(
                RequestError, match="knows other latents: got .* trained on .000000"
            ):
                build_objective(config, tmp_path / "run", lambda _event: None, CPU)
            assert not (tmp_path / "run").exists()
    build_objective(config, tmp_path / "run", lambda _event: None, CPU)
