"""`overcrank.load` opens files of every format, and what it opened makes clips."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import overcrank
from nano_model import embeds
from overcrank import Video
from overcrank.errors import ModelError, RequestError
from overcrank.pipeline import Pipeline
from overcrank.weights import ModelFiles, convert
from test_weights_formats_hub import cached
from test_weights_formats_quantised import write_float8, write_gguf
from tiny_checkpoints import LAYOUTS, write_tiny
from tiny_t5 import save_t5

SMALL: dict[str, Any] = {
    "height": 32,
    "width": 64,
    "num_frames": 9,
    "guidance": 1.0,
    "num_inference_steps": 2,
}


def clip(pipe: Pipeline, **wishes: Any) -> Video:
    width = pipe.transformer.config.text_width
    video = pipe(**{**SMALL, "prompt_embeds": embeds(width=width), **wishes})
    assert isinstance(video, Video)
    return video


def load(path: Path | str, dtype: str = "float32", **extras: Any) -> Pipeline:
    return overcrank.load(path, device="cpu", dtype=dtype, **extras)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_single_file_runs_as_its_release(layout: str, tmp_path: Path) -> None:
    pipe = load(write_tiny(tmp_path / "a.safetensors", layout))
    video = clip(pipe)
    assert pipe.model.name == "a"
    assert video.recipe["release"] == LAYOUTS[layout]
    assert video.recipe["allow_mismatch"] is False
    assert video.frames.shape == (9, 32, 64, 3)
    assert video.frames.float().std() > 20


def as_diffusers(folder: Path) -> Path:
    return convert(write_tiny(folder / "a.safetensors"), folder / "b", "diffusers").path


def as_own(folder: Path) -> Path:
    return convert(write_tiny(folder / "a.safetensors"), folder / "b", "overcrank").path


@pytest.mark.parametrize("write", [as_diffusers, as_own])
def test_the_same_weights_in_another_format_make_the_same_clip(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    got, expected = clip(load(write(tmp_path))), clip(load(tmp_path / "a.safetensors"))
    assert torch.equal(got.latents, expected.latents)
    assert got.recipe["release"] == expected.recipe["release"]


def test_float8_runs_as_the_numbers_it_holds(tmp_path: Path) -> None:
    write_float8(tmp_path / "a.safetensors")
    assert clip(load(tmp_path / "a.safetensors")).frames.float().std() > 20


def test_gguf_runs_with_an_autoencoder_that_also_says_where_tokens_lie(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf")
    with pytest.raises(ModelError, match=r"holds no vae: got transformer: .*--vae"):
        load(tmp_path / "a.gguf")
    vae = write_tiny(tmp_path / "vae.safetensors", only="vae.")
    pipe = load(tmp_path / "a.gguf", vae=vae)
    assert pipe.transformer.config.causal_positions
    video = clip(pipe)
    assert "nothing in" in " ".join(video.report.warnings)
    assert video.latents.isfinite().all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_in_bfloat16_the_dtypes_of_the_file_are_kept(layout: str, tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "a.safetensors", layout)
    pipe = load(path, "bfloat16")
    dtypes = {name: tensor.dtype for name, tensor in pipe.transformer.state_dict().items()}
    assert dtypes["proj_out.weight"] == torch.bfloat16
    assert dtypes["transformer_blocks.0.scale_shift_table"] == torch.float32
    exact, rounded = clip(load(path)).latents, clip(pipe).latents
    assert (exact - rounded).norm() / exact.norm() < 0.1


def test_files_of_different_releases_are_refused_or_recorded(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "a.safetensors", "0.9.5")
    vae = write_tiny(tmp_path / "b.safetensors", "0.9.1")
    with pytest.raises(ModelError, match="right is an autoencoder of 0.9.5 .*--allow-mismatch"):
        load(path, vae=vae)
    video = clip(load(path, vae=vae, allow_mismatch=True))
    assert video.recipe["allow_mismatch"] is True
    assert any("of different releases" in each for each in video.report.warnings)


def test_a_pair_of_ours_that_does_not_fit_can_be_allowed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="do not belong together"):
        load("pocket", vae=write_tiny(tmp_path / "a.safetensors"))
    pipe = load("pocket", vae=tmp_path / "a.safetensors", allow_mismatch=True)
    assert any("do not belong together" in each for each in pipe.model.remarks)


def test_a_card_that_its_release_overrules_is_remarked_on(tmp_path: Path) -> None:
    folder = as_own(tmp_path)
    assert not any("model.json" in each for each in ModelFiles.find(folder).remarks)
    card = json.loads((folder / "model.json").read_text())
    card["defaults"]["steps"] = 7
    (folder / "model.json").write_text(json.dumps(card))
    assert "the release counts" in ModelFiles.find(folder).remarks[-1]


def test_a_file_without_a_text_encoder_takes_embeddings_or_is_given_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = write_tiny(tmp_path / "a.safetensors")
    with pytest.raises(RequestError, match=r"no text encoder, got a prompt: .*text_encoder="):
        load(path)("a red ball")
    t5 = save_t5(tmp_path / "t5", width=24)
    pipe = load(path, text_encoder=t5)
    video = pipe("a red ball", **SMALL)
    assert isinstance(video, Video)
    assert pipe.model.text_encoder is not None
    row: Tensor = pipe.model.text_encoder.encode(["a red ball"]).embeds_BLD
    assert torch.equal(clip(pipe, prompt_embeds=row).latents, video.latents)


@pytest.mark.parametrize(("layout", "tokens"), [("0.9.1", 128), ("0.9.5", 256)])
def test_prompts_are_as_long_as_the_release_reads_them(
    layout: str, tokens: int, tmp_path: Path
) -> None:
    source = write_tiny(tmp_path / "a.safetensors", layout)
    folder = convert(source, tmp_path / "b", "diffusers").path
    save_t5(folder, width=24)  # beside the networks, as diffusers keeps it
    encoder = load(folder).model.text_encoder
    assert encoder is not None
    assert encoder.encoder.longest == tokens  # type: ignore[attr-defined]


def test_a_hub_id_runs_from_the_cache(tmp_path: Path) -> None:
    snapshot = cached(tmp_path, "somebody/ltx")
    write_tiny(snapshot / "ltxv.safetensors")
    code = (
        "import torch, overcrank\n"
        "pipe = overcrank.load('somebody/ltx/ltxv.safetensors', device='cpu', dtype='float32')\n"
        "video = pipe(prompt_embeds=torch.ones(1, 3, 24), height=32, width=64, num_frames=1,\n"
        "    guidance=1.0, num_inference_steps=1)\n"
        "print(video.recipe['model'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (0, "somebody/ltx/ltxv\n"), done.stderr


def test_the_networks_are_named_by_a_hash_of_some_of_their_numbers(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "a.safetensors")
    hashes = load(path).model.hashes
    assert hashes == load(path, "bfloat16").model.hashes  # a matter of the file, not of dtypes
    assert hashes["vae"].startswith("sampled-")
    other = write_tiny(tmp_path / "b.safetensors", "0.9.8-distilled")
    assert load(other).model.hashes["transformer"] == hashes["transformer"]  # the same weights


def test_lists_of_prompts_and_seeds_are_as_separate_calls(tmp_path: Path) -> None:
    pipe = load(write_tiny(tmp_path / "a.safetensors"))
    both = embeds(clips=2, width=24)
    videos = pipe(**{**SMALL, "prompt_embeds": both, "seed": [3, 5]})
    assert isinstance(videos, list)
    for index, seed in enumerate((3, 5)):
        alone = clip(pipe, prompt_embeds=both[index : index + 1], seed=seed)
        assert torch.equal(videos[index].latents, alone.latents)
        assert videos[index].recipe["seed"] == seed
    again = pipe(**{**SMALL, "prompt_embeds": both[:1], "seed": [3, 4]})
    assert isinstance(again, list)
    assert torch.equal(again[0].latents, videos[0].latents)
    assert not torch.equal(again[1].latents, again[0].latents)
    for seeds in ([], [1, 2, 3]):
        with pytest.raises(RequestError, match=f"one for each, got {len(seeds)} for 2 prompts"):
            pipe(**{**SMALL, "prompt_embeds": both, "seed": seeds})


def test_the_text_encoder_makes_room_once_a_prompt_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = write_tiny(tmp_path / "a.safetensors")
    pipe = load(path, text_encoder=save_t5(tmp_path / "t5", width=24))
    for once in (False, True):
        pipe.reads_once = once
        pipe(f"a red ball {once}", **SMALL)
        assert pipe.model.text_encoder is not None
        assert pipe.model.text_encoder.encoder.loaded is not once  # type: ignore[attr-defined]


def test_an_argument_that_loading_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no argument has this name, got textencoder"):
        load("pocket", textencoder=tmp_path)
