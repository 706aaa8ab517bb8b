"""A model that is run as one of the published releases, and what a plan makes of that."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nano_model import embeds, nano_model
from overcrank import Clip, Guidance, Image, Video
from overcrank.conditioning import Reference
from overcrank.errors import RequestError
from overcrank.flow import GuidanceByLevel, linear_quadratic
from overcrank.pipeline import Pipeline
from overcrank.plan import Plan
from overcrank.request import Request
from overcrank.shapes import ClipSize
from overcrank.text import TextEmbedding
from overcrank.weights.model import Model
from overcrank.weights.own import recommended
from overcrank.weights.releases import RELEASES, Release
from tiny_checkpoints import tiny

BY_LEVEL = GuidanceByLevel(
    (1.0, 0.5),
    (Guidance(1.0), Guidance(3.0, stg_scale=1.0, stg_layers=(1,), stg_mode="attention_skip")),
)
PICTURE = torch.full((32, 64, 3), 90, dtype=torch.uint8)
LATER = Image(at=9, image=PICTURE)


def model(name: str, **changes: Any) -> Model:
    """The nano networks, run as that release is, but small and without guidance."""
    row = RELEASES[name]
    walk = replace(row.one, guidance=Guidance(1.0), steps=min(row.one.steps, 8))
    release = replace(row, size=ClipSize(17, 32, 64), one=walk)
    return replace(nano_model(), release=replace(release, **changes))


def pipeline(name: str, **changes: Any) -> Pipeline:
    return Pipeline(model(name, **changes), device="cpu", dtype="float32")


def clip(pipe: Pipeline, **wishes: object) -> Video:
    return pipe.generate(Request(**{"prompt_embeds": embeds(), **wishes}))  # type: ignore[arg-type]


def plan(model: Model, **wishes: object) -> Plan:
    request = Request(**{"prompt_embeds": embeds(), **wishes})  # type: ignore[arg-type]
    return Plan.make(request, model)


@pytest.mark.parametrize("name", RELEASES)
def test_each_release_says_how_it_is_run(name: str) -> None:
    row: Release = RELEASES[name]
    small = {"height": 32, "width": 64, "num_frames": 9, "guidance": 1.0}
    got = plan(replace(nano_model(), release=row), decode_sigma=row.decode_sigma, **small)
    (walk,) = got.walks
    assert (got.frame_rate, walk.steps) == (row.frame_rate, row.one.steps)
    expected = row.one.schedule.sigmas(row.one.steps, tokens=got.size.latent.tokens)
    assert torch.equal(walk.sigmas, expected)
    assert walk.stochastic == row.one.stochastic
    assert got.negative_prompt == row.negative_prompt
    assert walk.sigmas[-1] == 0
    assert got.decode_noise == (row.decode_noise or 0)


def test_the_sizes_of_a_release_are_the_default() -> None:
    release = RELEASES["ltxv-2b-0.9.5"]
    got = plan(replace(nano_model(), release=release), guidance=1.0)
    assert got.size == release.size


def test_the_sampler_of_a_release_runs_to_zero_and_noise_is_put_back() -> None:
    """As upstream: (1 - 0.025) of the latents and 0.025 of noise, told as 0.05."""
    got = plan(model("ltxv-2b-0.9.5"))
    assert (got.stop, got.decode_noise, got.decode_sigma) == (0.0, 0.025, 0.05)
    assert torch.equal(got.walks[0].sigmas, linear_quadratic(8))


def test_noise_levels_that_a_distilled_model_was_not_trained_for_are_refused() -> None:
    distilled = model("ltxv-2b-0.9.8-distilled")
    assert plan(distilled, sigmas=[1.0, 0.725]).walks[0].steps == 2
    with pytest.raises(RequestError, match="got 0.5: choose from"):
        plan(distilled, sigmas=[1.0, 0.5])
    with pytest.raises(RequestError, match="from 1 to 8, got 9"):
        plan(distilled, num_inference_steps=9)


def test_a_stochastic_release_has_its_noise_from_the_seed() -> None:
    pipe, plain = pipeline("ltxv-2b-0.9.6-distilled"), pipeline("ltxv-2b-0.9.6-dev")
    first = clip(pipe, seed=5)
    assert torch.equal(first.latents, clip(pipe, seed=5).latents)
    assert not torch.allclose(first.latents, clip(plain, seed=5).latents, atol=0.1)


def test_fresh_noise_reaches_extra_tokens_too() -> None:
    pipe = pipeline("ltxv-2b-0.9.6-distilled")
    half = clip(pipe, conditions=[Image(at=9, image=PICTURE, strength=0.5)])
    assert half.latents.shape == (1, 128, 3, 1, 2)


def test_a_picture_at_a_later_frame_is_heeded_from_095_on() -> None:
    pipe = pipeline("ltxv-2b-0.9.5")
    steered, free = clip(pipe, conditions=[LATER]), clip(pipe)
    assert steered.frames.shape == free.frames.shape == (17, 32, 64, 3)
    assert not torch.equal(steered.latents, free.latents)


@pytest.mark.parametrize("old", [nano_model(), model("ltxv-2b-0.9.1"), model("ltxv-2b-0.9")])
def test_other_models_refuse_conditions_at_later_frames(old: Model) -> None:
    parts = Clip(at=8, frames=PICTURE.repeat(9, 1, 1, 1))
    for condition, at in ((LATER, 9), (parts, 8)):
        with pytest.raises(RequestError, match=f"frame 0 only, got at={at}: try at=0"):
            plan(old, num_frames=17, conditions=[condition])


def test_a_reference_video_needs_a_model_that_knows_it() -> None:
    video = Reference(frames=PICTURE.repeat(9, 1, 1, 1))
    knows_not = model("ltxv-2b-0.9.5")
    with pytest.raises(RequestError, match="got one: add an IC-LoRA"):
        plan(knows_not, conditions=[video])
    pipe = Pipeline(knows_not, device="cpu", dtype="float32")
    pipe.model.fuser.in_context = True
    followed, free = clip(pipe, conditions=[video]), clip(pipe)
    assert followed.latents.shape == free.latents.shape
    assert not torch.equal(followed.latents, free.latents)


def test_pictures_are_treated_as_the_release_was_trained() -> None:
    (published,) = plan(model("ltxv-2b-0.9.5"), image=PICTURE).walks[0].conditions
    (own,) = plan(nano_model(), image=PICTURE).walks[0].conditions
    assert (published.describe()["crf"], own.describe()["crf"]) == (29, 0)


def test_a_shaken_picture_gives_another_clip() -> None:
    pipe = pipeline("ltxv-2b-0.9.5")
    still = clip(pipe, image=PICTURE)
    assert torch.equal(clip(pipe, image=PICTURE, image_noise=0.0).latents, still.latents)
    assert not torch.equal(clip(pipe, image=PICTURE, image_noise=0.15).latents, still.latents)


def test_guidance_may_change_with_the_level() -> None:
    negative = {"negative_prompt_embeds": embeds() * 0}
    pipe = pipeline("ltxv-13b-0.9.8-dev")
    listed, constant = (
        clip(pipe, guidance=guidance, **negative) for guidance in (BY_LEVEL, BY_LEVEL.entries[1])
    )
    free = clip(pipe)
    assert not torch.equal(listed.latents, constant.latents)
    assert not torch.equal(listed.latents, free.latents)
    never = replace(BY_LEVEL, entries=(Guidance(1.0), Guidance(1.0)))
    assert torch.equal(clip(pipe, guidance=never).latents, free.latents)


def test_what_is_left_out_of_a_layer_can_be_chosen() -> None:
    pipe = pipeline("ltxv-2b-0.9.5")
    skips = Guidance(1.0, stg_scale=1.0, stg_layers=(1,))
    modes = ("attention_values", "attention_skip", "transformer_block")
    values, skip, block = (
        clip(pipe, guidance=replace(skips, stg_mode=mode)).latents for mode in modes
    )
    assert not torch.equal(values, skip)
    assert not torch.equal(skip, block)


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        (Guidance(-1.0), "guidance.scale"),
        (Guidance(stg_scale=1.0, stg_layers=(77,)), "stg_layers"),
        (Guidance(stg_mode="none"), "stg_mode.*got 'none'"),  # type: ignore[arg-type]
        (Guidance(2.0), "negative_prompt_embeds"),
    ],
)
def test_each_entry_of_a_list_is_checked(entry: Guidance, match: str) -> None:
    with pytest.raises(RequestError, match=match):
        plan(nano_model(), guidance=GuidanceByLevel((1.0, 0.5), (Guidance(1.0), entry)))


def test_a_clip_outside_of_what_the_release_was_made_for_says_so() -> None:
    pipe = pipeline("ltxv-2b-0.9.5")
    usual, faster = (clip(pipe, frame_rate=rate).report.warnings for rate in (24.0, 60.0))
    remark = faster[0]
    assert remark not in usual
    assert len(usual) == len(faster) - 1
    assert "24 to 30 frames a second, got 60" in remark


def test_the_recipe_names_the_release() -> None:
    recipe = clip(pipeline("ltxv-2b-0.9.5"), guidance=1.0).recipe
    assert recipe["release"] == "ltxv-2b-0.9.5"


@pytest.mark.parametrize("layout", ["0.9.0", "0.9.1", "0.9.8-distilled", "13b"])
def test_a_checkpoint_of_each_layout_makes_a_clip(layout: str) -> None:
    """All its blocks at reduced width; the layers that guidance skips are fewer, too."""
    found = tiny(layout, dtype=torch.float32)
    assert found.finding is not None
    release = found.finding.release
    entries = tuple(
        replace(entry, stg_layers=tuple({layer % 2 for layer in entry.stg_layers}))
        for entry in release.one.guidance.entries
    )
    networks = (found.build_vae(), found.build_transformer())
    model = Model(layout, *networks, recommended(found), release=release)
    text = embeds(width=24)
    video = Pipeline(model, device="cpu", dtype="float32")(
        prompt_embeds=text,
        negative_prompt_embeds=text * 0,
        guidance=GuidanceByLevel((1.0, 0.9933, 0.5)[: len(entries)], entries[:3]),
        num_inference_steps=3,
        height=32,
        width=64,
        num_frames=9,
        image=PICTURE,
    )
    assert isinstance(video, Video)
    assert video.frames.shape == (9, 32, 64, 3)
    assert video.frames.float().std() > 20


class Heavy:
    """An encoder that is loaded and dropped, and says when."""

    name, width = "heavy", 48

    def __init__(self) -> None:
        self.events: list[str] = []

    def load(self) -> None:
        if self.events[-1:] != ["load"]:
            self.events.append("load")

    def drop(self) -> None:
        self.events.append("drop")

    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        self.events.extend(prompts)
        rows: list[Tensor] = [torch.full((3, 48), float(len(prompt))) for prompt in prompts]
        return TextEmbedding.from_rows(rows)


def test_all_prompts_are_read_before_the_encoder_makes_room() -> None:
    heavy = Heavy()
    pipe = Pipeline(replace(nano_model(), open_text_encoder=lambda: heavy), dtype="float32")
    videos = pipe(["a", "bb"], on_step=lambda step, _: heavy.events.append(str(step)))
    assert heavy.events == ["load", "a", "bb", "drop", "1", "2", "1", "2"]
    alone = pipe("bb")
    assert isinstance(videos, list)
    assert isinstance(alone, Video)
    assert torch.equal(videos[1].latents, alone.latents)
    assert all(video.report.seconds["text"] > 0 for video in videos)
