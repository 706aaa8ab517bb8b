"""What may be asked for, and how the rest is refused."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from nano_model import embeds, nano_pipeline
from overcrank import Clip, Guidance, Image, Request, load
from overcrank.errors import MediaError, RequestError, SizeError
from overcrank.pipeline import Pipeline
from overcrank.weights import open_model

PICTURE = torch.zeros(32, 64, 3, dtype=torch.uint8)


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return nano_pipeline()


def test_the_arguments_of_a_pipeline_are_a_contract() -> None:
    for method in (Pipeline.__call__, Pipeline.stream):
        parameters = inspect.signature(method).parameters.values()
        assert {p.name: p.default for p in parameters if p.name != "self"} == {
            "prompt": None,
            "image": None,
            "conditions": (),
            "negative_prompt": None,
            "height": None,
            "width": None,
            "num_frames": None,
            "frame_rate": None,
            "num_inference_steps": None,
            "sigmas": None,
            "guidance": None,
            "seed": 0,
            "latents": None,
            "prompt_embeds": None,
            "prompt_attention_mask": None,
            "negative_prompt_embeds": None,
            "decode_sigma": None,
            "decode_noise": None,
            "on_step": None,
            "on_moment": None,
            "resume": None,
            "strict_size": False,
            "image_noise": 0.0,
            "enhance": None,
            "passes": None,
        }


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"prompt": "", "prompt_embeds": None}, "prompt"),
    ({"prompt": " \n\t", "prompt_embeds": None}, "prompt"),
    ({"prompt": [], "prompt_embeds": None}, "prompt"),
    ({"prompt": ["a", ""], "prompt_embeds": None}, "prompt"),
    ({"prompt": 7, "prompt_embeds": None}, "prompt"),
    ({"prompt_embeds": None}, "neither"),
    ({"prompt": "a red ball"}, "both"),
    ({"prompt": "a red ball", "prompt_embeds": None}, "no text encoder"),
    ({"prompt_embeds": embeds(width=12)}, "wide"),
    ({"prompt_embeds": embeds()[0]}, "prompt_embeds"),
    ({"prompt_attention_mask": torch.ones(1, 9)}, "prompt_attention_mask"),
    ({"guidance": 3.0}, "negative_prompt_embeds"),
    ({"guidance": -1.0}, "guidance"),
    ({"guidance": math.nan}, "guidance"),
    ({"guidance": math.inf}, "guidance"),
    ({"guidance": 1e9}, "guidance"),
    ({"guidance": "high"}, "guidance"),
    ({"guidance": Guidance(math.nan)}, "guidance.scale"),
    ({"guidance": Guidance(rescale=2.0)}, "guidance.rescale"),
    ({"guidance": Guidance(interval=(0.9, 0.1))}, "guidance.interval"),
    ({"guidance": Guidance(stg_scale=1.0)}, "stg_layers"),
    ({"guidance": Guidance(stg_scale=1.0, stg_layers=(9,))}, "stg_layers"),
    ({"guidance": Guidance(stg_scale=1.0, stg_layers=7)}, "stg_layers"),
    ({"seed": -1}, "seed"),
    ({"seed": 1.5}, "seed"),
    ({"seed": True}, "seed"),
    ({"seed": 2**64}, "seed"),
    ({"seed": None}, "seed"),
    ({"num_inference_steps": 0}, "num_inference_steps"),
    ({"num_inference_steps": -3}, "num_inference_steps"),
    ({"num_inference_steps": 10**6}, "num_inference_steps"),
    ({"num_inference_steps": 2, "sigmas": [1.0]}, "sigmas"),
    ({"frame_rate": 0}, "frame_rate"),
    ({"frame_rate": -24.0}, "frame_rate"),
    ({"frame_rate": math.nan}, "frame_rate"),
    ({"frame_rate": math.inf}, "frame_rate"),
    ({"frame_rate": 1e9}, "frame_rate"),
    ({"sigmas": []}, "sigmas"),
    ({"sigmas": [0.5, 1.0]}, "sigmas"),
    ({"sigmas": [2.0, 1.0]}, "sigmas"),
    ({"sigmas": [1.0, math.nan]}, "sigmas"),
    ({"sigmas": [1.0, 0.01]}, "decode_sigma"),
    ({"sigmas": "1.0"}, "sigmas"),
    ({"sigmas": 5}, "sigmas"),
    ({"prompt": "a\0ball", "prompt_embeds": None}, r"leave out '\\x00'"),
    ({"prompt": "a \x1b[1m ball", "prompt_embeds": None}, r"leave out '\\x1b'"),
    ({"negative_prompt": "bell\a"}, "negative_prompt is text without control"),
    ({"prompt": "a \udc80 ball", "prompt_embeds": None}, "UTF-8"),
    ({"negative_prompt": 5}, "UTF-8"),
    ({"frame_rate": 0.0005}, "from 0.1"),
    ({"decode_sigma": 10**5000}, "too long"),
    ({"decode_sigma": -0.1}, "decode_sigma"),
    ({"decode_sigma": 1.0}, "decode_sigma"),
    ({"decode_noise": math.nan}, "decode_noise"),
    ({"conditions": [Image(image="nowhere.png")]}, "nowhere.png"),
    ({"conditions": "cat.png"}, "conditions"),
    ({"image": 3}, "picture"),
    ({"image": PICTURE[:, :50], "strict_size": True}, "32 x 64|64 x 32"),
    ({"conditions": [Clip(frames=PICTURE[None].repeat(17, 1, 1, 1))]}, "at most 9"),
]


@pytest.mark.parametrize(("wishes", "match"), WRONG)
def test_a_wrong_request_is_refused_in_words(
    pipe: Pipeline, wishes: dict[str, Any], match: str
) -> None:
    from overcrank.errors import OvercrankError

    with pytest.raises(OvercrankError, match=match) as refusal:
        pipe(**{"prompt_embeds": embeds(), **wishes})
    what, given = str(refusal.value).split(":", 1)[0], str(refusal.value)
    assert what
    assert "got" in given or "there is no" in given


@pytest.mark.parametrize("name", ["num_frames", "height", "width"])
@pytest.mark.parametrize("value", [0, -8, 10**9, 2.5, math.nan, math.inf, "9", True])
def test_a_size_that_cannot_be_is_refused(pipe: Pipeline, name: str, value: object) -> None:
    with pytest.raises(SizeError, match=f"{name}.*got"):
        pipe(**{"prompt_embeds": embeds(), name: value})  # type: ignore[arg-type]


def test_a_size_off_the_grid_names_its_neighbours(pipe: Pipeline) -> None:
    """A size is never corrected in silence."""
    with pytest.raises(SizeError, match="got 120: try 113 or 121"):
        pipe(prompt_embeds=embeds(), num_frames=120)
    with pytest.raises(SizeError, match="got 50: try 32 or 64"):
        pipe(prompt_embeds=embeds(), height=50)


def test_a_clip_of_too_many_tokens_is_refused(pipe: Pipeline) -> None:
    with pytest.raises(SizeError, match="make it smaller"):
        pipe(prompt_embeds=embeds(), num_frames=99_993, height=1024, width=1024)


def test_latents_of_another_size_are_refused(pipe: Pipeline) -> None:
    with pytest.raises(SizeError, match="latents"):
        pipe(prompt_embeds=embeds(), latents=torch.zeros(1, 128, 3, 1, 2))


def test_a_wrong_request_is_refused_before_the_first_frame_is_asked_for(pipe: Pipeline) -> None:
    with pytest.raises(RequestError):
        pipe.stream(prompt_embeds=embeds(), seed=-1)
    with pytest.raises(RequestError, match="one by one"):
        pipe.stream(prompt_embeds=embeds(clips=2))
    with pytest.raises(MediaError, match="nowhere.png"):
        pipe.stream(prompt_embeds=embeds(), image="nowhere.png")


@pytest.mark.parametrize("device", ["cuda:99", "toaster", 7.5])
def test_a_device_that_is_not_there_is_refused(device: Any) -> None:
    with pytest.raises(RequestError, match="device"):
        Pipeline(nano_pipeline().model, device=device)


def test_a_dtype_that_is_not_ours_is_refused() -> None:
    with pytest.raises(RequestError, match="auto, float32 or bfloat16"):
        Pipeline(nano_pipeline().model, dtype="int4")


@pytest.mark.parametrize(
    ("call", "right"),
    [
        (lambda pipe: pipe(prompt_embeds=embeds(), sed=7), "got sed: did you mean seed?"),
        (lambda pipe: pipe.stream(prompt_embed=embeds()), "did you mean prompt_embeds?"),
        (lambda _: Request("a ball", steps=9), "did you mean num_inference_steps?"),  # type: ignore[call-arg]
        (lambda _: Request("a ball", fps=9), "there are prompt, image"),  # type: ignore[call-arg]
        (lambda _: Request(*"x" * 40), "got: too many .*: give prompt"),  # type: ignore[arg-type]
        (lambda pipe: pipe.generate("a ball"), "takes a Request, got 'a ball': try"),
        (lambda pipe: pipe.generate("a ball", seed=3), "got seed: there are request"),
        (lambda pipe: pipe.generate(), "missing .*'request': give request"),
        (lambda _: load(None), "got None: try 'pocket'"),  # type: ignore[arg-type]
        (lambda _: load("pocket", devise="cpu"), "did you mean device?"),  # type: ignore[call-arg]
        (lambda _: load("pocket", textencoder="t5"), "did you mean text_encoder?"),  # type: ignore[call-arg]
        (lambda _: open_model("pocket", lora=()), "got lora: did you mean loras?"),  # type: ignore[call-arg]
        (lambda pipe: pipe.fuse(in_contxt=True), "did you mean in_context?"),
    ],
)
def test_wrong_arguments_are_refused_in_words(
    pipe: Pipeline, call: Callable[[Pipeline], object], right: str
) -> None:
    with pytest.raises(RequestError, match=right):
        call(pipe)


def test_a_prompt_may_have_several_lines() -> None:
    assert Request("a red ball\n\tbounces").prompt == "a red ball\n\tbounces"
