"""Examples that work on networks, here on tiny ones, and pictures."""

import json
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest
import torch
from PIL import Image

from overcrank.vae import PRESETS, VAE
from overcrank.weights import latent_hash, load_component, save_component
from tiny_checkpoints import write_tiny

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.mark.reference
def test_a_release_is_measured_in_one_process_after_another(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "a.safetensors", "0.9.8-distilled")
    done = subprocess.run(
        [sys.executable, EXAMPLES / "real_scale.py", path, "--dtype", "float32"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["clip"]["std_of_frames"] > 20
    assert report["our_step"]["step_seconds"] > 0
    assert report["diffusers_step"]["step_seconds"] > 0


def test_a_training_step_is_measured_with_and_without_recompute() -> None:
    small = ["--preset", "nano", "--frames", "9", "--width", "64", "--height", "64", "--steps", "1"]
    done = subprocess.run(
        [sys.executable, EXAMPLES / "train_step.py", *small, "--dtype", "float32"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    kept, again = json.loads(done.stdout).values()
    assert kept["losses"] == again["losses"]
    assert kept["tokens"] == 8
    assert again["gb_peak"] > again["gb_before"] > 0


@pytest.mark.slow
def test_pictures_of_measures_are_made_as_they_stand_in_the_docs(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, EXAMPLES / "measures_pictures_vae.py", tmp_path], check=True, timeout=300
    )
    for made in tmp_path.iterdir():
        known = EXAMPLES.parent / "docs" / "pictures" / made.name
        with Image.open(made) as ours, Image.open(known) as theirs:
            assert ours.size == theirs.size
            assert ours.width == 640
        assert known.stat().st_size <= 60_000


def test_pictures_of_measures_are_drawn_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    import measures_pictures_distance as pictures

    pictures.agreement(tmp_path / "agreement.png")
    pictures.seams(tmp_path / "beginning.png")
    pictures.permanence(tmp_path / "permanence.png")
    for path in tmp_path.iterdir():
        with PIL.Image.open(path) as picture:
            assert picture.width == 640
        assert path.stat().st_size < 60_000


def test_a_pruned_decoder_reads_the_same_latents_and_new_blocks_change_nothing(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    large = VAE(PRESETS["nano"])
    with torch.no_grad():
        for name, weights in large.named_parameters():
            if "conv2.conv.weight" in name:  # as if trained: else every block is an identity
                weights.normal_(std=0.1)
    save_component(tmp_path / "large.safetensors", "vae", large)
    latent = torch.randn(1, 128, 2, 2, 2)
    made = {}
    for keep in ("0 0 0 0", "0 0+ 0 ++0", "- 0 0 0"):
        files = tmp_path / "large.safetensors", "-o", tmp_path / "small.safetensors"
        command = [sys.executable, EXAMPLES / "prune_decoder.py", *files, "--keep", *keep.split()]
        subprocess.run(command, check=True, timeout=100)
        small = load_component(tmp_path / "small.safetensors", "vae")
        assert latent_hash(small) == latent_hash(large)
        made[keep] = small.decode(latent)
    whole, grown, less = made.values()
    torch.testing.assert_close(grown, whole)
    assert (less - whole).abs().max() > 0.01
