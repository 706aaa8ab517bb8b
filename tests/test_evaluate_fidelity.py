"""What a model keeps of keyframes and of a beginning; on random weights, which keep nothing."""

from dataclasses import replace

import pytest
import torch

from nano_model import DEFAULTS, nano_model
from overcrank.errors import RequestError
from overcrank.evaluate.adherence import single_actor_items
from overcrank.evaluate.fidelity import beginning_kept, decibels, keyframes_kept, picture_kept
from overcrank.evaluate.shown import Question, ask
from overcrank.evaluate.suites import Setting, Studio
from overcrank.flow import Guidance
from overcrank.pipeline import Pipeline
from overcrank.text import SmallEncoder
from overcrank.toybox.recogniser import Recogniser
from overcrank.toybox.render import render
from overcrank.weights.releases import RELEASES


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    model = replace(
        nano_model(384),
        open_text_encoder=SmallEncoder,
        defaults=replace(DEFAULTS, frames=33),
    )
    return Pipeline(model, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def with_keyframes(pipe: Pipeline) -> Pipeline:
    release = RELEASES["ltxv-2b-0.9.5"]
    release = replace(release, one=replace(release.one, steps=2, guidance=Guidance(1.0)))
    return Pipeline(replace(pipe.model, release=release), device="cpu", dtype="float32")


def studio(pipe: Pipeline) -> Studio:
    return Studio(pipe, Setting(model=pipe.model.name))


def asked(count: int) -> list[Question]:
    return [ask(item) for item in single_actor_items(count)]


def no_pair(*_: torch.Tensor) -> None:
    pass


def test_a_beginning_is_kept_as_well_as_the_autoencoder_can(pipe: Pipeline) -> None:
    seen: list[torch.Tensor] = []
    done: list[tuple[int, int]] = []
    found = beginning_kept(
        studio(pipe), asked(2), lambda *n: done.append(n), lambda *pair: seen.extend(pair)
    )
    assert done == [(1, 2), (2, 2)]
    assert [len(clip) for clip in seen] == [33] * 4
    assert (found["items"], found["frames_given"]) == (2, 9)
    # The decoder is causal and the latents of the beginning are given: only its noise differs.
    assert found["psnr"]["mean"] == pytest.approx(found["psnr_round_trip"]["mean"], abs=0.5)
    assert 0.5 < found["seam_true"]["mean"] < 2
    for name in ("seam", "seam_vae", "change_ratio"):
        assert found[name]["low"] <= found[name]["mean"] <= found[name]["high"]
        assert found[name]["n"] == 2


def test_a_picture_is_the_first_frame_as_well_as_the_autoencoder_can(pipe: Pipeline) -> None:
    found = picture_kept(studio(pipe), Recogniser.load(), asked(2), lambda *_: None, no_pair)
    gap = found["psnr_round_trip"]["mean"] - found["psnr"]["mean"]
    assert found["below_round_trip"]["mean"] == pytest.approx(gap)
    assert abs(gap) < 0.5
    ratio = found["change"]["mean"] / found["true_change"]["mean"]
    assert found["change_ratio"] == pytest.approx(ratio)
    assert found["facts"]["motion"]["total"] == 2


def test_keyframes_are_measured_where_a_model_takes_them(with_keyframes: Pipeline) -> None:
    makes, (question,) = studio(with_keyframes), asked(1)
    found = keyframes_kept(makes, [question], lambda *_: None, no_pair)
    last = render(question.item.scene, makes.own_size, makes.frame_rate)[-1:]
    alone = decibels(makes.round_trip(last), last)
    assert found["last"]["psnr_round_trip"]["mean"] == pytest.approx(alone)
    assert set(found) == {"items", "middle", "last"}
    assert 0 < found["middle"]["psnr"]["mean"] < 30


def test_a_model_that_takes_none_says_so(pipe: Pipeline) -> None:
    assert not pipe.model.advice.keyframes
    with pytest.raises(RequestError, match="trained with conditions at frame 0 only"):
        keyframes_kept(studio(pipe), asked(1), lambda *_: None, no_pair)
