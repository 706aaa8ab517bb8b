"""A few-step student beside a transformer: which clips it makes, and how both are stored."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import overcrank
from loud_weights import randomise
from nano_model import DEFAULTS, embeds, nano_model
from overcrank.errors import ModelError
from overcrank.flow import Guidance
from overcrank.pipeline import Pipeline
from overcrank.transformer import Transformer
from overcrank.vae.linear_upsampler import LinearUpsampler, LinearUpsamplerConfig
from overcrank.video import Video
from overcrank.weights import Card, convert, load_component, save_component, save_model
from overcrank.weights.inspect import describe

LEVELS = (1.0, 0.8, 0.6, 0.3)


def another(network: Transformer) -> Transformer:
    student = Transformer(network.config).requires_grad_(False)
    randomise(student)
    return student


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In two passes from 192 pixels on, and with a student."""
    path, model = tmp_path_factory.mktemp("few") / "nano", nano_model()
    upsampler = LinearUpsampler(LinearUpsamplerConfig(rank=8)).requires_grad_(False)
    randomise(upsampler)
    defaults = replace(DEFAULTS, steps=3, guidance=2.0, second=(0.6, 0.3), student=LEVELS)
    save_model(
        path,
        Card(name="nano", text_encoder=None, defaults=defaults),
        model.vae,
        model.transformer,
        upsampler=upsampler,
        student=another(model.transformer),
    )
    return path


@pytest.fixture(scope="module")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The same model without its student."""
    path = tmp_path_factory.mktemp("alone") / "nano"
    shutil.copytree(folder, path)
    card = json.loads((path / "model.json").read_text())
    card["defaults"]["student"] = []
    (path / "model.json").write_text(json.dumps(card))
    return overcrank.load(path, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def pipe(folder: Path) -> Pipeline:
    return overcrank.load(folder, device="cpu", dtype="float32")


def clip(pipe: Pipeline, **wishes: object) -> Video:
    negative = embeds().flip(1)
    video = pipe(prompt_embeds=embeds(), negative_prompt_embeds=negative, **wishes)
    assert isinstance(video, Video)
    return video


def networks_called(pipe: Pipeline, **wishes: object) -> list[str]:
    """What denoises a clip, call by call."""
    called: list[str] = []
    for name in ("network", "student"):
        network = getattr(pipe, name)

        def heard(*args: object, name: str = name, network: object = network, **more: object):  # type: ignore[no-untyped-def]
            called.append(name)
            return network(*args, **more)  # type: ignore[operator]

        setattr(pipe, name, heard)
    try:
        clip(pipe, **wishes)
    finally:
        pipe.network, pipe.student = pipe.transformer, pipe.model.student
    return called


def test_the_student_makes_what_asks_for_no_guidance(pipe: Pipeline) -> None:
    assert networks_called(pipe) == ["student"] * 4
    assert networks_called(pipe, guidance=1) == ["student"] * 4
    assert networks_called(pipe, guidance=2.0) == ["network"] * 3
    assert (
        networks_called(pipe, guidance=Guidance(1.0, stg_scale=1.0, stg_layers=(0,)))[0]
        == "network"
    )


def test_the_second_pass_is_the_transformers(pipe: Pipeline) -> None:
    called = networks_called(pipe, height=256, width=192)
    assert called == ["student"] * 4 + ["network"] * 2


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_any_number_of_steps_is_taken_along_its_line(pipe: Pipeline, steps: int) -> None:
    assert networks_called(pipe, num_inference_steps=steps) == ["student"] * steps


def test_with_guidance_a_clip_is_as_without_a_student(pipe: Pipeline, alone: Pipeline) -> None:
    for wishes in ({"guidance": 2.0}, {"guidance": 2.0, "height": 256, "width": 192}):
        ours, theirs = clip(pipe, **wishes), clip(alone, **wishes)
        assert torch.equal(ours.latents, theirs.latents)
    assert not torch.equal(clip(pipe).latents, clip(alone).latents)


def test_a_recipe_names_the_student(pipe: Pipeline, alone: Pipeline) -> None:
    ours, theirs = clip(pipe).recipe, clip(alone).recipe
    assert (ours["num_inference_steps"], theirs["num_inference_steps"]) == (4, 3)
    assert set(ours["hashes"]) - set(theirs["hashes"]) == {"student"}  # type: ignore[call-overload]


def test_matrices_in_eight_bits_are_half_a_step_off_at_most(tmp_path: Path) -> None:
    network, path = another(nano_model().transformer), tmp_path / "transformer.safetensors"
    save_component(path, "transformer", network, dtype=torch.int8)
    stored, read = load_file(path), load_component(path, "transformer").state_dict()
    for name, right in network.state_dict().items():
        if stored[name].dtype != torch.int8:
            torch.testing.assert_close(read[name], right.half().float())
            continue
        step_R1 = right.abs().amax(1, keepdim=True) / 127
        assert bool(((read[name] - right).abs() <= 0.501 * step_R1).all())
    assert sum(tensor.dtype == torch.int8 for tensor in stored.values()) > 20
    again = tmp_path / "again.safetensors"
    save_component(again, "transformer", load_component(path, "transformer"), dtype=torch.int8)
    with safe_open(path, "pt") as one, safe_open(again, "pt") as other:
        assert one.metadata()["content_hash"] == other.metadata()["content_hash"]


def test_a_changed_scale_is_seen(folder: Path, tmp_path: Path) -> None:
    path = folder / "student.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("scale_weight"))
    tensors[name][0] *= 1.01
    with safe_open(path, "pt") as file:
        save_file(tensors, tmp_path / "changed.safetensors", file.metadata())
    with pytest.raises(ModelError, match="content hash"):
        load_component(tmp_path / "changed.safetensors", "transformer")


def test_whole_numbers_without_a_scale_are_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "student.safetensors"
    tensors = load_file(path)
    del tensors[next(name for name in tensors if name.endswith("scale_weight"))]
    with safe_open(path, "pt") as file:
        save_file(tensors, tmp_path / "bare.safetensors", file.metadata())
    with pytest.raises(ModelError, match=r"int8.*floats"):
        load_component(tmp_path / "bare.safetensors", "transformer")


def test_a_student_of_other_latents_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "other")
    student = load_component(folder / "student.safetensors", "transformer")
    file = tmp_path / "other" / "student.safetensors"
    save_component(file, "transformer", student, extra={"latent_hash": "another"})
    with pytest.raises(ModelError, match="do not belong together"):
        overcrank.load(tmp_path / "other")


def test_a_student_that_is_not_there_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "lost")
    (tmp_path / "lost" / "student.safetensors").unlink()
    with pytest.raises(ModelError, match=r"student.safetensors.*no such file"):
        overcrank.load(tmp_path / "lost")
    assert describe(tmp_path / "lost")["missing"] == ["student.safetensors"]


def test_a_conversion_to_our_format_takes_the_student_along(folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "same", "overcrank")
    again = overcrank.load(tmp_path / "same", device="cpu", dtype="float32")
    ours = overcrank.load(folder, device="cpu", dtype="float32")
    assert torch.equal(clip(again).latents, clip(ours).latents)


def test_levels_of_a_student_must_fall() -> None:
    with pytest.raises(ModelError, match="student"):
        replace(DEFAULTS, student=(0.5, 1.0))
    with pytest.raises(ModelError, match="student"):
        replace(DEFAULTS, steps=2, levels=(1.0, 0.5), student=(1.0, 0.5))


def test_with_a_lora_the_transformer_walks(pipe: Pipeline, tmp_path: Path) -> None:
    width = pipe.transformer.config.width
    layer = "diffusion_model.transformer_blocks.0.attn1.to_q"
    parts = {"A": torch.ones(2, width), "B": torch.ones(width, 2)}
    save_file({f"{layer}.lora_{n}.weight": t for n, t in parts.items()}, tmp_path / "lora")
    pipe.fuse(tmp_path / "lora")
    assert networks_called(pipe) == ["network"] * 3
    pipe.unfuse()
    assert networks_called(pipe) == ["student"] * 4
