"""A run finds its files before it makes anything."""

import re
from pathlib import Path

import pytest
import torch

from nano_model import save_nano
from overcrank.cli import main
from overcrank.errors import MediaError, ModelError, RequestError
from overcrank.runtime import choose
from overcrank.toybox.figure_pack import shipped_pack
from overcrank.train import RunConfig, build_objective, read_config
from overcrank.train.checks import with_files
from overcrank.train.config import Scenes
from overcrank.train.plan import plan_run
from overcrank.train.start import build_world
from overcrank.transformer import PRESETS as TRANSFORMERS
from overcrank.transformer import Transformer
from overcrank.vae import PRESETS, VAE
from overcrank.weights import latent_hash, load_component, save_component
from overcrank.weights.presets import find_model
from prepared_clips import write_clips
from tiny_checkpoints import write_tiny
from tiny_t5 import save_t5

CPU = choose("cpu", "float32")
NANO = TRANSFORMERS["nano"]


def test_scenes_show_the_shipped_figures_if_no_pack_is_given() -> None:
    world = build_world(Scenes(figures=0.5, stories=0.25))
    assert (world.pack, world.figures, world.stories) == (shipped_pack(), 0.5, 0.25)


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


def test_numbers_go_where_they_can(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["train", "pocket-vae", "--log", "wandb"])
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "got 'wandb': try tensorboard, or leave it out: metrics.jsonl" in said


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
    config = read_config("pocket-transformer", [f"start_from={whole}", "preset=null"])
    with pytest.raises(RequestError, match="ltxv.* got a transformer for texts 24 wide"):
        build_objective(config, tmp_path / "run", lambda _event: None, CPU)
    assert not (tmp_path / "run").exists()


TINY = [
    "latents=[{clips: 128, frames: 9, size: 32}]",
    "stages=[{frames: 9, size: 32, batch: 2}]",
    *("preset=nano", "samples=null"),
]


def refused(config: RunConfig, run: Path) -> str:
    """What is said before anything is made."""
    with pytest.raises(RequestError) as error:
        build_objective(config, run, lambda _event: None, CPU)
    assert not run.exists()
    return str(error.value)


@pytest.mark.parametrize("in_folder", [False, True])
def test_a_frozen_network_is_not_given_other_latents(tmp_path: Path, in_folder: bool) -> None:
    """Under a LoRA it stays as it is, so what it would see must be what it knows."""
    torch.manual_seed(0)
    vae, network = tmp_path / "vae.safetensors", tmp_path / "model" / "transformer.safetensors"
    network.parent.mkdir()
    save_component(vae, "vae", VAE(PRESETS["nano"]))
    start = network.parent if in_folder else network
    changes = [*TINY, f"vae={vae}", f"start_from={start}", "lora={rank: 4}"]
    config = read_config("pocket-transformer", changes)
    for knows in ("0" * 64, latent_hash(load_component(vae, "vae"))):
        extra = {"latent_hash": knows}
        save_component(network, "transformer", Transformer(NANO), extra=extra)
        if knows.startswith("0000"):
            said = refused(config, tmp_path / "run")
            assert re.search("knows other latents: got .* trained on .000000", said)
    build_objective(config, tmp_path / "run", lambda _event: None, CPU)


def test_a_published_network_is_not_given_latents_of_another_release(tmp_path: Path) -> None:
    early = write_tiny(tmp_path / "early.safetensors", "0.9.0")
    late = write_tiny(tmp_path / "late.safetensors", "0.9.5")
    changes = [*TINY, f"start_from={early}", "lora={rank: 4}", "preset=null"]
    text = f"text={save_t5(tmp_path / 't5', width=24)}"
    config = read_config("pocket-transformer", [*changes, f"vae={late}", text])
    assert "are of different releases: got" in refused(config, tmp_path / "run")


def test_a_preset_beside_a_network_of_another_size_is_refused(tmp_path: Path) -> None:
    """Also by a plan. Without a preset the file decides."""
    model = save_nano(tmp_path / "nano")
    changes = [*TINY, "preset=pocket", f"start_from={model}", f"vae={model}"]
    config = read_config("pocket-transformer", changes)
    said = refused(config, tmp_path / "run")
    assert re.search("got preset pocket of 11,.* and start_from .* right is preset=nano or", said)
    with pytest.raises(RequestError, match="preset is not what the run starts from"):
        plan_run(config, CPU)
    free = read_config("pocket-transformer", [*changes, "preset=null"])
    objective = build_objective(free, tmp_path / "run", lambda _event: None, CPU)
    assert isinstance(objective.module, Transformer)
    assert objective.module.config == NANO


def test_a_layer_that_is_not_there_is_refused_before_any_work(tmp_path: Path) -> None:
    model = save_nano(tmp_path / "nano")
    changes = [*TINY, f"start_from={model}", f"vae={model}", "lora={rank: 4, targets: [to_w]}"]
    config = read_config("pocket-transformer", changes)
    assert "got 'to_w': there are attn1.to_q" in refused(config, tmp_path / "run")
    with pytest.raises(RequestError, match="got 'to_w': there are"):
        plan_run(config, CPU)


LONG, PLAIN = "frames: 249, size: 32", "frames: 9, size: 32"


@pytest.mark.parametrize(
    ("kind", "stage", "message"),
    [
        ("pocket-vae", LONG, "no clip fits 249 frames"),
        ("pocket-transformer", LONG, "no clip fits 249 frames"),
        ("pocket-transformer", PLAIN, "have no caption"),
        ("pocket-joint", PLAIN, "have no caption"),
    ],
)
def test_clips_that_do_not_do_are_refused_before_large_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, stage: str, message: str
) -> None:
    folder = write_clips(tmp_path, captions=False)
    changes = [f"clips.folder={folder}", f"stages=[{{{stage}, batch: 2}}]", "preset=nano"]
    changes += {
        "pocket-transformer": [f"latents=[{{{stage}}}]", "samples=null"],
        "pocket-joint": ["start_from=null", "samples=null"],
    }.get(kind, [])
    config = read_config(kind, changes)
    monkeypatch.setattr("overcrank.train.start.SmallEncoder", None)  # calling it would fail
    assert message in refused(config, tmp_path / "run")
    with pytest.raises(RequestError, match=message):
        plan_run(config, CPU)


def test_a_plan_says_what_is_not_there_yet() -> None:
    plan = plan_run(read_config("pocket-decoder", ["clips.folder=lost"]), CPU)
    [said] = [remark for remark in plan.remarks if remark.startswith("not there yet")]
    assert "start_from runs/pocket-vae/vae.safetensors, clips.folder lost" in said
