"""One clip, from request to frames."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from nano_model import embeds, nano_pipeline, save_nano
from overcrank import Guidance, Image, Video
from overcrank.errors import RequestError, RunError
from overcrank.media import read_metadata
from overcrank.moment import Moment
from overcrank.pipeline import Pipeline
from overcrank.request import Request
from overcrank.video import Report


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return nano_pipeline()


def clip(pipe: Pipeline, **wishes: object) -> Video:
    return pipe.generate(Request(**{"prompt_embeds": embeds(), **wishes}))  # type: ignore[arg-type]


def test_a_clip_has_the_size_and_rate_that_the_model_recommends(pipe: Pipeline) -> None:
    video = clip(pipe)
    assert video.frames.shape == (9, 32, 64, 3)
    assert video.frames.dtype == torch.uint8
    assert video.frame_rate == 8.0
    assert video.latents.shape == (1, 128, 2, 1, 2)


def test_the_same_seed_gives_the_same_clip(pipe: Pipeline) -> None:
    assert torch.equal(clip(pipe, seed=7).frames, clip(pipe, seed=7).frames)


def test_another_process_gives_the_same_clip(tmp_path: Path) -> None:
    save_nano(tmp_path / "nano", text_encoder=None)
    code = """
import sys, torch, overcrank, hashlib
pipe = overcrank.load(sys.argv[1], dtype="float32")
wish = torch.linspace(-1, 1, 3 * 384).reshape(1, 3, 384)
print(hashlib.sha256(pipe(prompt_embeds=wish).frames.numpy().tobytes()).hexdigest())
"""
    command = [sys.executable, "-c", code, str(tmp_path / "nano")]
    here, there = (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)
    )
    assert here == there


def test_another_seed_gives_another_clip(pipe: Pipeline) -> None:
    assert not torch.equal(clip(pipe, seed=7).frames, clip(pipe, seed=8).frames)


def test_streamed_chunks_are_the_clip(pipe: Pipeline) -> None:
    chunks = list(pipe.stream(prompt_embeds=embeds(), num_frames=25))
    assert [len(chunk) for chunk in chunks] == [1, 8, 16]
    assert torch.equal(torch.cat(chunks), clip(pipe, num_frames=25).frames)


def test_several_embeddings_give_the_clips_they_would_give_alone(pipe: Pipeline) -> None:
    both = embeds(clips=2)
    videos = pipe(prompt_embeds=both)
    assert isinstance(videos, list)
    for video, alone in zip(videos, both, strict=True):
        assert torch.equal(video.frames, clip(pipe, prompt_embeds=alone[None]).frames)


def test_masked_text_tokens_change_nothing(pipe: Pipeline) -> None:
    """Padding is invisible: a masked prompt equals the same prompt cut short."""
    mask = torch.tensor([[True, True, False]])
    short, masked = (
        clip(pipe, prompt_embeds=embeds()[:, :2]),
        clip(pipe, prompt_embeds=embeds(), prompt_attention_mask=mask),
    )
    assert torch.allclose(short.latents, masked.latents, atol=1e-4)


def test_a_longer_clip_begins_with_the_same_noise(pipe: Pipeline) -> None:
    """Without a network in between: one step of no length leaves the noise as it was."""
    short, long = (
        clip(pipe, num_frames=frames, sigmas=[1e-6], decode_sigma=0.0).latents for frames in (9, 25)
    )
    assert torch.allclose(short, long[:, :, :2], atol=1e-4)


def test_a_picture_fixes_the_first_latent_frame(pipe: Pipeline) -> None:
    picture = torch.randint(0, 256, (32, 64, 3), dtype=torch.uint8)
    pixels = picture.permute(2, 0, 1).float() / 127.5 - 1
    with torch.no_grad():
        wanted = pipe.vae.encode(pixels[None, :, None])
    latents = clip(pipe, image=picture).latents
    assert torch.allclose(latents[:, :, :1], wanted, atol=1e-5)
    assert not torch.allclose(latents[:, :, 1:], wanted, atol=0.1)


def test_a_picture_is_the_same_as_a_condition(pipe: Pipeline) -> None:
    picture = torch.randint(0, 256, (50, 40, 3), dtype=torch.uint8)
    short, full = clip(pipe, image=picture), clip(pipe, conditions=[Image(image=picture)])
    assert torch.equal(short.frames, full.frames)


def test_the_decoder_gets_all_tokens_at_one_level(pipe: Pipeline) -> None:
    """A fixed first frame is clean; the decoder is told a level, so it is noised to that."""
    picture = torch.full((32, 64, 3), 128, dtype=torch.uint8)
    video = clip(pipe, image=picture, num_frames=9)
    told = torch.tensor([0.05])
    with torch.no_grad():
        clean = pipe.vae.decode(video.latents, told)[0].permute(1, 2, 3, 0)
    frames = ((clean + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    assert not torch.equal(frames[0], video.frames[0])


def test_guidance_off_equals_scale_one(pipe: Pipeline) -> None:
    off = clip(pipe, guidance=1.0)
    on = clip(pipe, guidance=3.0, negative_prompt_embeds=embeds() * 0)
    steered = clip(pipe, guidance=Guidance(1.0, stg_scale=1.0, stg_layers=(1,)))
    assert torch.equal(off.frames, clip(pipe).frames)
    assert not torch.equal(off.latents, on.latents)
    assert not torch.equal(off.latents, steered.latents)


def test_explicit_levels_replace_the_schedule(pipe: Pipeline) -> None:
    seen: list[tuple[int, int]] = []
    clip(pipe, sigmas=[1.0, 0.6, 0.3], on_step=lambda step, total: seen.append((step, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_noise_is_put_back_when_the_sampler_goes_on_to_zero(pipe: Pipeline) -> None:
    plain, again = clip(pipe), clip(pipe, decode_noise=0.1)
    assert not torch.equal(plain.latents, again.latents)
    assert not torch.equal(plain.frames, again.frames)


def test_on_step_can_cancel(pipe: Pipeline) -> None:
    class Cancelled(Exception):  # noqa: N818
        pass

    steps: list[int] = []

    def cancel(step: int, total: int) -> None:
        steps.append(step)
        raise Cancelled

    with pytest.raises(Cancelled):
        clip(pipe, on_step=cancel, num_inference_steps=5)
    assert steps == [1]


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"image": torch.zeros(32, 64, 3, dtype=torch.uint8), "image_noise": 0.2},
        {"sigmas": [1.0, 0.7, 0.4]},
    ],
)
def test_a_clip_goes_on_from_every_moment_to_the_same_frames(
    pipe: Pipeline, wish: dict[str, Any]
) -> None:
    moments: list[Moment] = []
    whole = clip(pipe, on_moment=moments.append, **wish)
    assert [moment.step for moment in moments] == list(range(1, moments[0].total + 1))
    for moment in moments:
        steps: list[int] = []
        again = clip(pipe, resume=moment, on_step=lambda step, _: steps.append(step), **wish)  # noqa: B023
        assert torch.equal(again.frames, whole.frames)
        assert steps == list(range(moment.step + 1, moment.total + 1))
    # The last step is the shortest: what it points at is nearly what it arrives at.
    first, last = (each.data_BCTHW - whole.latents for each in (moments[0], moments[-1]))
    assert last.square().mean() < first.square().mean()


def test_a_moment_of_another_clip_is_refused(pipe: Pipeline) -> None:
    moments: list[Moment] = []
    clip(pipe, on_moment=moments.append)
    for wish in ({"num_frames": 17}, {"num_inference_steps": moments[0].total + 1}):
        with pytest.raises(RequestError, match="from a moment of its own"):
            clip(pipe, resume=moments[0], **wish)


def test_the_report_says_where_the_seconds_went(pipe: Pipeline) -> None:
    report = clip(pipe).report
    assert list(report.seconds) == ["prepare", "text", "denoise", "decode"]
    assert all(seconds > 0 for seconds in report.seconds.values())
    made = sum(report.seconds[stage] for stage in ("text", "denoise", "decode"))
    assert report.realtime_factor == pytest.approx(9 / 8 / made)
    assert report.peak_memory > 1 << 20


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({}, "the arguments do not fit, got: missing"),
        ({"path": "a.mp4", "foo": 1}, "no argument has this name, got foo: there are path"),
        ({"path": "a.mp4", "metadata": 3}, "metadata is true or false, got 3: choose one"),
    ],
)
def test_a_wrong_wish_to_save_is_refused_in_words(arguments: dict[str, Any], what: str) -> None:
    pixels = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    report = Report(seconds={}, video_seconds=1, peak_memory=0, warnings=())
    video = Video(frames=pixels, frame_rate=24, latents=pixels, report=report, recipe={})
    with pytest.raises(RequestError, match=what):
        video.save(**arguments)


@pytest.mark.parametrize(
    "wish", [{"conditions": 3}, {"on_step": 3}, {"on_moment": 3}, {"resume": 3}]
)
def test_conditions_and_callbacks_of_another_kind_are_refused(wish: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=r"(are|is) a .*, got 3: (try|keep) "):
        Request("a ball", **wish)


def test_a_saved_clip_carries_its_recipe(pipe: Pipeline, tmp_path: Path) -> None:
    video = clip(pipe, seed=3)
    video.save(tmp_path / "clip.mp4")
    tags = read_metadata(tmp_path / "clip.mp4")
    recipe = json.loads(tags["comment"])
    assert tags["overcrank"] == "generated"
    assert (recipe["seed"], recipe["model"], recipe["num_frames"]) == (3, "nano", 9)


def test_weights_that_give_no_numbers_end_the_run() -> None:
    pipe = nano_pipeline()
    with torch.no_grad():
        pipe.transformer.proj_out.bias.fill_(float("nan"))
    with pytest.raises(RunError, match="finite"):
        clip(pipe)


def test_a_clip_of_one_colour_ends_the_run() -> None:
    pipe = nano_pipeline()
    with torch.no_grad():
        for parameter in pipe.vae.decoder.parameters():
            parameter.zero_()
    with pytest.raises(RunError, match="every pixel"):
        clip(pipe)


def test_what_is_wrong_with_a_clip_is_among_its_warnings() -> None:
    """A decoder that shows its bias, whatever the latents: nothing moves."""
    pipe = nano_pipeline()
    with torch.no_grad():
        pipe.vae.get_parameter("decoder.conv_out.conv.weight").zero_()
        pipe.vae.get_parameter("decoder.conv_out.conv.bias").copy_(torch.linspace(-1, 1, 48))
    report = clip(pipe).report
    assert report.warnings[0].startswith("nothing moves")
    assert set(report.seconds) == {"prepare", "text", "denoise", "decode"}


def test_no_gradients_or_modes_leak_into_the_caller(pipe: Pipeline) -> None:
    """A suspended stream must not change how the caller computes."""
    stream = pipe.stream(prompt_embeds=embeds())
    next(stream)
    assert torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")
    stream.close()


def test_a_lack_of_memory_is_told_in_words(pipe: Pipeline) -> None:
    def fill(step: int, total: int) -> None:
        torch.empty(2**60, dtype=torch.int8)

    with pytest.raises(RunError, match="make it smaller"):
        clip(pipe, on_step=fill)
