"""Two passes: a small clip, upscaled in latent space, and refined at the larger size."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import overcrank
from command_line import overcrank as command
from loud_weights import randomise
from nano_model import embeds
from overcrank import Clip, Image, Video
from overcrank.errors import ModelError, RequestError, SizeError
from overcrank.estimate import _calls
from overcrank.flow import euler
from overcrank.flow.path import mix
from overcrank.flow.tone import adain, tone_map
from overcrank.moment import Moment
from overcrank.noise import gaussian
from overcrank.pipeline import Pipeline
from overcrank.plan import Plan
from overcrank.request import Request
from overcrank.shapes import LatentSize
from overcrank.transformer import Transformer, TransformerConfig, token_positions
from overcrank.vae.upsampler import LatentUpsampler, UpsamplerConfig
from overcrank.weights.releases import RELEASES
from tiny_checkpoints import write_tiny

PICTURE = torch.full((64, 64, 3), 90, dtype=torch.uint8)


def write_upscaler(path: Path, *, time: bool = False, channels: int = 128) -> Path:
    config = UpsamplerConfig(
        in_channels=channels,
        mid_channels=32,
        num_blocks_per_stage=1,
        spatial_upsample=not time,
        temporal_upsample=time,
    )
    upsampler = LatentUpsampler(config)
    randomise(upsampler)
    save_file(upsampler.state_dict(), path, {"config": json.dumps(config.to_dict())})
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("two")
    write_tiny(path / "model.safetensors", "0.9.8-distilled")
    write_upscaler(path / "space.safetensors")
    write_upscaler(path / "time.safetensors", time=True)
    return path


@pytest.fixture(scope="module")
def pipe(folder: Path) -> Pipeline:
    return load(folder, "space")


def load(folder: Path, upscaler: str | None) -> Pipeline:
    named = None if upscaler is None else folder / f"{upscaler}.safetensors"
    return overcrank.load(
        folder / "model.safetensors", device="cpu", dtype="float32", upscaler=named
    )


def clip(pipe: Pipeline, **wishes: Any) -> Video:
    video = pipe(
        **{
            "prompt_embeds": embeds(width=24),
            "height": 96,
            "width": 96,
            "num_frames": 9,
            **wishes,
        }
    )
    assert isinstance(video, Video)
    return video


def test_a_clip_in_two_passes_has_the_size_that_was_asked_for(pipe: Pipeline) -> None:
    """96 pixels are 2 / 3 of a multiple of 32 on a grid: 32 first, then 64, then scaled."""
    told: list[tuple[int, int]] = []
    video = clip(pipe, on_step=lambda *both: told.append(both))
    assert video.frames.shape == (9, 96, 96, 3)
    assert video.latents.shape == (1, 128, 2, 2, 2)
    assert told == [(step + 1, 10) for step in range(10)]
    first, second = video.recipe["passes"]  # type: ignore[misc]
    assert (first["width"], first["num_inference_steps"]) == (32, 7)
    assert (second["width"], second["num_inference_steps"]) == (64, 3)
    assert "upscaler" in video.recipe["hashes"]  # type: ignore[operator]
    json.dumps(video.recipe)


def test_a_clip_goes_on_from_a_moment_of_either_pass(pipe: Pipeline) -> None:
    moments: list[Moment] = []
    whole = clip(pipe, on_moment=moments.append)
    assert len(moments) == 10
    for moment in (moments[2], moments[6], moments[8]):
        steps: list[int] = []
        again = clip(pipe, resume=moment, on_step=lambda step, _: steps.append(step))  # noqa: B023
        assert torch.equal(again.frames, whole.frames)
        assert steps == list(range(moment.step + 1, 11))


def test_two_passes_are_what_lightricks_describes(pipe: Pipeline) -> None:
    """Each piece called by hand, from the latents of the first pass alone."""
    video = clip(pipe, seed=3)
    small = clip(pipe, seed=3, height=32, width=32, passes=1).latents
    assert pipe.model.upsampler is not None
    with torch.no_grad():
        large = pipe.model.upsampler.upscale(small, pipe.vae.per_channel_statistics)
        large = adain(large, small, 1.0)
        noise = gaussian(3, "second", (128, 2, 2), 2).permute(1, 0, 2, 3)[None]
        start = mix(large, noise, 0.9094).flatten(2).transpose(1, 2)
        positions = token_positions(LatentSize(2, 2, 2), 30.0, causal=True)[None]

        def velocity(x: Tensor, sigma: Tensor) -> Tensor:
            return pipe.transformer(x, sigma, positions, embeds(width=24))

        done = euler(velocity, start, torch.tensor([0.9094, 0.725, 0.4219, 0.0]))
    expected = done.transpose(1, 2).unflatten(2, (2, 2, 2))
    assert (video.latents - expected).norm() / expected.norm() < 1e-5


def test_one_pass_is_as_without_an_upscaler(pipe: Pipeline, folder: Path) -> None:
    one, without = clip(pipe, passes=1), clip(load(folder, None))
    assert torch.equal(one.frames, without.frames)
    assert one.recipe["passes"] == []


def test_an_upscaler_in_time_halves_the_frames_of_the_first_pass(folder: Path) -> None:
    pipe = load(folder, "time")
    video = clip(pipe, height=32, width=64, num_frames=17)
    assert video.frames.shape == (17, 32, 64, 3)
    assert [each["num_frames"] for each in video.recipe["passes"]] == [9, 17]  # type: ignore[attr-defined]
    with pytest.raises(SizeError, match=r"16n \+ 1 frames, got 9: try 1 or 17"):
        clip(pipe, height=32, width=64)
    frames = PICTURE[None].repeat(9, 1, 1, 1)
    with pytest.raises(RequestError, match="every other frame only, got .*clip"):
        clip(pipe, height=32, width=64, num_frames=17, conditions=[Clip(frames=frames)])


def test_conditions_hold_in_both_passes(pipe: Pipeline) -> None:
    video = clip(pipe, conditions=[Image(image=PICTURE, crf=0)])
    with torch.no_grad():
        fixed = pipe.vae.encode((PICTURE.permute(2, 0, 1)[None, :, None] / 127.5 - 1).float())
    torch.testing.assert_close(video.latents[:, :, :1], fixed)


def test_the_tone_map_of_a_release_reaches_the_decoder_alone(pipe: Pipeline) -> None:
    release = pipe.model.release
    assert release is not None
    assert release.two is not None
    mapped = replace(release, two=replace(release.two, tone_map=0.6))
    other = Pipeline(replace(pipe.model, release=mapped), device="cpu", dtype="float32")
    plain, toned = clip(pipe, decode_noise=0.0), clip(other, decode_noise=0.0)
    assert torch.equal(plain.latents, toned.latents)
    with torch.no_grad():
        sigma = torch.tensor([0.05])
        video = pipe.vae.decode(tone_map(plain.latents, 0.6), sigma)[0].transpose(0, 1)
    scaled = torch.nn.functional.interpolate(video.clamp(-1, 1), (96, 96), mode="bilinear")
    pixels = ((scaled + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1)
    assert (pixels - toned.frames).abs().max() <= 1
    assert not torch.equal(plain.frames, toned.frames)


def test_what_cannot_be_in_two_passes_is_refused(
    pipe: Pipeline, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(SizeError, match="at least 64 x 64, or ask for passes=1"):
        clip(pipe, height=32)
    with pytest.raises(RequestError, match="in one pass, got passes=2"):
        clip(load(folder, None), passes=2)
    with pytest.raises(RequestError, match="passes is a whole number from 1 to 2, got 3"):
        clip(pipe, passes=3)
    dev = write_tiny(tmp_path / "dev.safetensors", "0.9.5")
    with pytest.raises(ModelError, match="is run in one pass: got the upscaler"):
        overcrank.load(dev, upscaler=folder / "space.safetensors")
    write_upscaler(tmp_path / "odd.safetensors", channels=64)
    with pytest.raises(ModelError, match="got latents of 64 channels: right are 128"):
        load_with(folder, tmp_path / "odd.safetensors")


def load_with(folder: Path, upscaler: Path) -> Pipeline:
    return overcrank.load(folder / "model.safetensors", device="cpu", upscaler=upscaler)


def test_the_large_development_release_takes_62_and_26_forwards(pipe: Pipeline) -> None:
    """As many as its guidance needs in each step, and not one more."""
    config = TransformerConfig(
        layers=48, heads=1, head_width=6, text_width=24, causal_positions=True
    )
    network = Transformer(config).eval()
    randomise(network)
    counted: list[int] = []
    network.register_forward_pre_hook(  # a prompt and its negative may come in one call
        lambda _, inputs: counted.extend([inputs[0].shape[1]] * len(inputs[0]))
    )
    model = replace(pipe.model, transformer=network, release=RELEASES["ltxv-13b-0.9.8-dev"])
    text = embeds(width=24)
    dev = Pipeline(model, device="cpu", dtype="float32")
    clip(dev, negative_prompt_embeds=text, decode_sigma=0.05)
    assert (counted.count(2), counted.count(8)) == (62, 26)
    request = Request(
        prompt_embeds=text, negative_prompt_embeds=text, height=96, width=96, num_frames=9
    )
    assert [_calls(walk) for walk in Plan.make(request, model).walks] == [62, 26]


def test_an_estimate_counts_the_size_that_is_decoded(pipe: Pipeline) -> None:
    """960 pixels are made at 608 first, decoded at 1216, and kept at 960."""

    def needed(**wishes: int) -> int:
        size = {"height": 960, "width": 960, "num_frames": 9} | wishes
        return pipe.estimate(Request(prompt_embeds=embeds(width=24), **size)).memory  # type: ignore[arg-type]

    assert needed(passes=1) < needed() < needed(height=1216, width=1216, passes=1)


def test_two_passes_come_from_the_command_line(folder: Path, tmp_path: Path) -> None:
    """Without a text encoder the command says so: what it needs is named."""
    words = ["generate", "a red ball", "-o", tmp_path / "a.mp4"]
    files = ["--model", folder / "model.safetensors", "--upscaler", folder / "space.safetensors"]
    done = command(*words, *files, "--passes", 2, "--guidance-scale", 1)
    assert done.code == 2
    assert "--text-encoder" in done.err
