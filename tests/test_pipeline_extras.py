"""LoRAs and a language model for prompts, through the pipeline and the command line."""

import json
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import overcrank
from command_line import overcrank as command
from nano_model import embeds, nano_pipeline, save_nano
from overcrank import Reference, Video
from overcrank.cli.values import weighted
from overcrank.errors import ModelError, RequestError
from overcrank.media import read_metadata, write_mp4
from overcrank.pipeline import Pipeline
from overcrank.text import PromptEnhancer
from test_text_enhance import save_model as save_language_model
from tiny_checkpoints import write_tiny
from tiny_t5 import save_t5

FRAMES = torch.full((9, 32, 64, 3), 90, dtype=torch.uint8)


def write_lora(path: Path, *, width: int = 24, stray: bool = False) -> Path:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"transformer.transformer_blocks.{block}.attn1.to_{layer}.lora_{part}.weight": torch.randn(
            shape, generator=generator
        )
        for block in (0, 1)
        for layer in "qv"
        for part, shape in (("A", (4, width)), ("B", (width, 4)))
    }
    if stray:
        tensors["transformer.audio.lora_A.weight"] = torch.ones(4, width)
        tensors["transformer.audio.lora_B.weight"] = torch.ones(width, 4)
    save_file(tensors, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("extras")
    write_tiny(path / "model.safetensors")
    write_lora(path / "lora.safetensors")
    return path


def load(folder: Path, **extras: Any) -> Pipeline:
    return overcrank.load(folder / "model.safetensors", device="cpu", dtype="float32", **extras)


def clip(pipe: Pipeline, **wishes: Any) -> Video:
    small = {"height": 32, "width": 64, "num_frames": 9, "num_inference_steps": 2, "guidance": 1.0}
    video = pipe(**{"prompt_embeds": embeds(width=24), **small, **wishes})
    assert isinstance(video, Video)
    return video


def test_a_lora_changes_the_clip_and_is_recorded(folder: Path) -> None:
    plain, styled = load(folder), load(folder, loras=[(folder / "lora.safetensors", 0.5)])
    video = clip(styled)
    assert not torch.equal(video.latents, clip(plain).latents)
    assert video.recipe["loras"] == [{"name": "lora", "weight": 0.5, "layers": 4}]
    assert video.report.warnings == ()


def test_what_is_fused_later_is_the_same_and_can_be_taken_out(folder: Path) -> None:
    pipe, early = load(folder), load(folder, loras=[folder / "lora.safetensors"])
    before = clip(pipe)
    (report,) = pipe.fuse(folder / "lora.safetensors")
    assert len(report.matched) == 4
    assert torch.equal(clip(pipe).latents, clip(early).latents)
    pipe.unfuse()
    after = clip(pipe)
    assert torch.equal(after.latents, before.latents)
    assert after.recipe["loras"] == []


def test_keys_that_go_nowhere_are_warned_of(folder: Path, tmp_path: Path) -> None:
    odd = write_lora(tmp_path / "odd.safetensors", stray=True)
    (warning,) = clip(load(folder, loras=[odd])).report.warnings
    assert "4 layers are used and 1 key goes nowhere, such as transformer.audio" in warning


def test_a_lora_of_another_width_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="for a transformer 32 wide, got one that is 24 wide"):
        load(folder, loras=[write_lora(tmp_path / "wide.safetensors", width=32)])


def test_an_in_context_lora_lets_a_reference_video_in(folder: Path) -> None:
    video = Reference(frames=FRAMES)
    with pytest.raises(RequestError, match="add an IC-LoRA"):
        clip(load(folder, loras=[folder / "lora.safetensors"]), conditions=[video])
    pipe = load(folder, loras=[folder / "lora.safetensors"], in_context=True)
    followed = clip(pipe, conditions=[video])
    assert followed.recipe["in_context"] is True
    assert not torch.equal(followed.latents, clip(pipe).latents)
    pipe.unfuse()
    with pytest.raises(RequestError, match="add an IC-LoRA"):
        clip(pipe, conditions=[video])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.safetensors", ("a.safetensors", 1.0)),
        ("a.safetensors:0.5", ("a.safetensors", 0.5)),
        ("a/b/c.safetensors@main:-1", ("a/b/c.safetensors@main", -1.0)),
        ("c:folder", ("c:folder", 1.0)),
    ],
)
def test_a_lora_may_have_a_weight_behind_a_colon(text: str, expected: tuple[str, float]) -> None:
    assert weighted(text) == expected


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_language_model(tmp_path_factory.mktemp("llama"))


def test_a_prompt_is_enhanced_by_its_seed_and_the_file_says_so(
    language_model: Path, tmp_path: Path
) -> None:
    nano = save_nano(tmp_path / "nano")
    words = ["generate", "a red ball", "--model", nano, "--seed", 3, "--enhance", language_model]
    recipes = []
    for path in (tmp_path / "a.mp4", tmp_path / "b.mp4"):
        assert command(*words, "-o", path).code == 0
        recipes.append(json.loads(read_metadata(path)["comment"]))
    assert recipes[0] == recipes[1]
    expected = {"model": language_model.name, "seed": 3, "original": "a red ball"}
    assert recipes[0]["enhanced"] == expected
    assert recipes[0]["prompt"] != "a red ball"
    assert command(*words, "-o", tmp_path / "c.mp4", "--no-metadata").code == 0
    assert b"a red ball" not in (tmp_path / "c.mp4").read_bytes()


def test_enhancing_is_of_the_stage_prepare(
    language_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow language model makes no clip slower than it is."""
    enhance = PromptEnhancer.enhance

    def slow(*args: Any) -> Any:
        sleep(0.5)
        return enhance(*args)

    monkeypatch.setattr(PromptEnhancer, "enhance", slow)
    pipe = overcrank.load(save_nano(tmp_path / "nano"), device="cpu", dtype="float32")
    video = pipe("a red ball", enhance=str(language_model))
    assert isinstance(video, Video)
    assert video.report.seconds["prepare"] > 0.5 > video.report.seconds["text"]


def test_prompts_are_as_they_are_unless_it_is_asked_for(language_model: Path) -> None:
    assert clip_of_nano().recipe["enhanced"] == {}
    with pytest.raises(RequestError, match="enhanced before it is encoded"):
        clip_of_nano(enhance=str(language_model))


def test_a_language_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    pipe = overcrank.load(save_nano(tmp_path / "nano"), device="cpu", dtype="float32")
    with pytest.raises(ModelError, match="no language model can be loaded"):
        pipe("a red ball", enhance=str(tmp_path / "nothing"))


def clip_of_nano(**wishes: Any) -> Video:
    video = nano_pipeline()(prompt_embeds=embeds(), **wishes)
    assert isinstance(video, Video)
    return video


def test_a_published_file_runs_from_the_command_line_with_all_its_extras(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_mp4(tmp_path / "follow.mp4", [FRAMES], 25.0, metadata={})
    words = ["generate", "a red ball", "-o", tmp_path / "a.mp4", "--json", "--steps", 2]
    words += ["--model", folder / "model.safetensors", "--guidance-scale", 2]
    words += ["--text-encoder", save_t5(tmp_path / "t5", width=24)]
    words += ["--width", 64, "--height", 32, "--num-frames", 9]
    words += ["--reference", tmp_path / "follow.mp4"]
    done = command(*words)
    assert done.code == 2
    assert "add an IC-LoRA" in done.err
    done = command(*words, "--lora", f"{folder / 'lora.safetensors'}:0.8")
    assert done.code == 0, done.err
    recipe = json.loads(read_metadata(tmp_path / "a.mp4")["comment"])
    assert recipe["loras"] == [{"name": "lora", "weight": 0.8, "layers": 4}]
    assert (recipe["release"], recipe["in_context"]) == ("ltxv-2b-0.9.5", True)
    assert recipe["conditions"] == [{"kind": "reference", "strength": 1.0}]
