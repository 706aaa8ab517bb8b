"""What a model keeps of keyframes and of a beginning; on random weights, which keep nothing."""

from dataclasses import replace

import pytest
import torch

from nano_model import DEFAULTS, nano_model
from overcrank.errors import RequestError
from overcrank.evaluate.adherence import single_actor_items, true_frames
from overcrank.evaluate.fidelity import beginning_kept, decibels, keyframes_kept, round_trip
from overcrank.flow import Guidance
from overcrank.pipeline import Pipeline
from overcrank.text import MiniLMEncoder
from overcrank.weights.releases import RELEASES


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    model = replace(
        nano_model(384),
        open_text_encoder=MiniLMEncoder,
        defaults=replace(DEFAULTS, frames=33),
    )
    return Pipeline(model, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def with_keyframes(pipe: Pipeline) -> Pipeline:
    release = RELEASES["ltxv-2b-0.9.5"]
    release = replace(release, one=replace(release.one, steps=2, guidance=Guidance(1.0)))
    return Pipeline(replace(pipe.model, release=release), device="cpu", dtype="float32")


def test_a_beginning_is_kept_as_well_as_the_autoencoder_can(pipe: Pipeline) -> None:
    sheet: list[torch.Tensor] = []
    done: list[tuple[int, int]] = []
    found = beginning_kept(pipe, single_actor_items(2), lambda *n: done.append(n), sheet, 1)
    assert done == [(1, 2), (2, 2)]
    assert [len(clip) for clip in sheet] == [33, 33]
    assert (found["items"], found["frames_given"]) == (2, 9)
    # The decoder is causal and the latents of the beginning are given: only its noise differs.
    assert found["psnr"]["mean"] == pytest.approx(found["psnr_round_trip"]["mean"], abs=0.5)
    assert 0.5 < found["seam_true"]["mean"] < 2
    for name in ("seam", "seam_vae", "change_ratio"):
        assert found[name]["low"] <= found[name]["mean"] <= found[name]["high"]
        assert found[name]["n"] == 2


def test_keyframes_are_measured_where_a_model_takes_them(with_keyframes: Pipeline) -> None:
    items = single_actor_items(1)
    found = keyframes_kept(with_keyframes, items, lambda *_: None, [], 0)
    last = true_frames(with_keyframes, items[0].scene)[-1:]
    alone = decibels(round_trip(with_keyframes, last), last)
    assert found["last"]["psnr_round_trip"]["mean"] == pytest.approx(alone)
    assert set(found) == {"items", "middle", "last"}
    assert 0 < found["middle"]["psnr"]["mean"] < 30


def test_a_model_that_takes_none_says_so(pipe: Pipeline) -> None:
    assert not pipe.model.advice.keyframes
    with pytest.raises(RequestError, match="trained with conditions at frame 0 only"):
        keyframes_kept(pipe, single_actor_items(1), lambda *_: None, [], 0)
