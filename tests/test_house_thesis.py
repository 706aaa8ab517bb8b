"""The example that tests LTX-Video's claims, and its measures, on a few clips."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from overcrank.metrics import psnr
from overcrank.runtime import choose
from overcrank.toybox import render
from overcrank.train.vae import to_frames, to_video
from overcrank.transformer import PRESETS, token_positions
from overcrank.vae import VAE

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))
from measures import Judge  # noqa: E402
from small_world import RATE, SIZE, scene  # noqa: E402
from thesis_networks import (  # noqa: E402
    build_transformer,
    start_from_components,
    vae_config,
)
from thesis_parts import pixels_of, round_trip, tokens_of  # noqa: E402


def test_true_clips_are_found_to_be_what_they_are_and_noise_is_not() -> None:
    scenes = [scene(number, "test") for number in range(24)]
    true_BFHWC = torch.stack([render(each, SIZE, RATE) for each in scenes])
    judge = Judge.of(true_BFHWC[:12], RATE)
    true = judge.measure(true_BFHWC[12:], scenes[12:])
    noise = judge.measure(torch.randint_like(true_BFHWC[12:], 256), scenes[12:])
    swapped = judge.measure(true_BFHWC[12:], scenes[:12])
    assert true["all"] > 0.9
    assert noise["all"] == 0
    assert swapped["all"] < 0.2
    assert noise["frechet"] > 2 * true["frechet"]
    assert noise["flicker"] > 10 * true["flicker"]


def test_scenes_of_the_two_splits_differ() -> None:
    assert all(scene(n, "train").seed == scene(n, "train").seed for n in range(4))
    assert not any(scene(n, "train").held_out for n in range(16))
    assert {len(scene(n, "test").actors) for n in range(16)} == {1}


def test_one_block_along_one_axis_mixes_that_axis_only() -> None:
    size = SIZE.latent
    config = replace(PRESETS["nano"], layers=1)
    tokens_BNC = torch.randn(1, size.tokens, config.latent_channels)
    changed_BNC = tokens_BNC.clone()
    changed_BNC[:, 0] += 1
    rest = (torch.full((1,), 0.5), token_positions(size, RATE, causal=True)[None])
    text_BLD = torch.randn(1, 3, config.text_width)
    for attention, reached in (("full", 12), ("alternating", 4), ("both", 12)):
        network = build_transformer(config, attention, size.frames)
        torch.nn.init.ones_(network.proj_out.weight[0])
        before, after = (network(x, *rest, text_BLD) for x in (tokens_BNC, changed_BNC))
        moved_N = (before - after)[0].abs().amax(1) > 1e-6
        assert moved_N.sum() == reached, attention


@pytest.mark.parametrize("merge", [1, 2])
def test_cells_become_tokens_and_pixels_again(merge: int) -> None:
    vae = VAE(vae_config(128 // merge**2, merge))
    hardware = choose("cpu", "float32")
    frames_BFHWC = torch.randint(256, (2, 17, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        tokens_BCTHW = tokens_of(vae, frames_BFHWC, merge, hardware)
        again = pixels_of(vae, tokens_BCTHW, merge, 0.0, hardware)
        assert tokens_BCTHW.shape == (2, 128, 3, 2, 2)
        assert torch.equal(again, to_frames(round_trip(vae, frames_BFHWC)))


def test_principal_components_keep_more_than_any_other_start() -> None:
    scenes = [scene(number, "train") for number in range(24)]
    frames_BFHWC = torch.stack([render(each, SIZE, RATE) for each in scenes])
    vae = VAE(vae_config(128, 1))

    def decibels() -> float:
        with torch.no_grad():
            return float(psnr(round_trip(vae, frames_BFHWC), to_video(frames_BFHWC)).mean())

    before = decibels()
    start_from_components(vae, frames_BFHWC)
    assert decibels() > before + 10


@pytest.mark.slow
def test_a_variant_is_trained_and_measured(tmp_path: Path) -> None:
    variant = "merged"
    words = [variant, "--folder", tmp_path, "--tera", "0.01", "0.01", "--clips", "72", "8", "8"]
    subprocess.run(
        [sys.executable, EXAMPLES / "thesis.py", *map(str, words)],
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    lines = (tmp_path / f"{variant}-0" / "metrics.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    assert 0 <= last["all"] <= 1
    assert last["frechet"] > 0
    summary = json.loads((tmp_path / f"{variant}-0" / "summary.json").read_text())
    assert summary["flops_of_a_step"] > 1e9
    assert summary["steps"] >= 2


@pytest.mark.slow
def test_both_networks_are_trained_together_and_measured(tmp_path: Path) -> None:
    words = ["bounded", "--folder", tmp_path, "--tera", "0.02", "0.02", "--clips", "72", "8", "8"]
    subprocess.run(
        [sys.executable, EXAMPLES / "thesis_joint.py", *map(str, words)],
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    lines = (tmp_path / "joint-bounded-0" / "metrics.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    assert {"held_out_psnr", "latent_rank", "held_out_0.5", "frechet", "all"} <= last.keys()
