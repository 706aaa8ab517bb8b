"""Clips that are made at once share passes of the network, and are what they are alone."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from time import monotonic

import pytest
import torch
from torch import Tensor

from nano_model import nano_pipeline
from overcrank.request import Request
from overcrank.serve.together import Together

SIZES = [(64, 64), (64, 64), (64, 64), (96, 64)]


def _requests() -> list[Request]:
    return [
        Request(
            prompt_embeds=torch.randn(1, 3 + n, 48, generator=torch.Generator().manual_seed(n)),
            negative_prompt_embeds=torch.zeros(1, 2, 48),
            num_frames=9,
            height=height,
            width=width,
            num_inference_steps=4,
            guidance=2.0,
            seed=n,
        )
        for n, (height, width) in enumerate(SIZES)
    ]


class Counting:
    """A network that remembers how many clips it was given at once, and takes its time."""

    def __init__(self, network: Callable[..., Tensor]) -> None:
        self.network, self.batches = network, list[int]()

    def __call__(self, tokens_BNC: Tensor, *rest: object, **others: object) -> Tensor:
        self.batches.append(len(tokens_BNC))
        Event().wait(0.01)
        return self.network(tokens_BNC, *rest, **others)


def test_clips_made_at_once_are_those_made_alone() -> None:
    pipe = nano_pipeline()
    alone = [pipe.generate(request) for request in _requests()]
    counting = Counting(pipe.transformer)
    pipe.network = Together(counting, 4)
    with ThreadPoolExecutor(4) as threads:
        at_once = list(threads.map(pipe.generate, _requests()))
    for one, other in zip(alone, at_once, strict=True):
        torch.testing.assert_close(other.latents, one.latents, atol=1e-5, rtol=1e-4)
        assert (other.frames.int() - one.frames.int()).abs().max() <= 1
    assert sum(counting.batches) == 4 * 2 * len(SIZES)  # steps, texts, clips
    assert 4 <= max(counting.batches) <= 6  # at most three clips of one size, two texts each
    assert len(counting.batches) < 4 * len(SIZES)


def test_a_prompt_and_its_negative_prompt_share_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, [request, *_] = nano_pipeline(), _requests()
    pipe.network = counting = Counting(pipe.transformer)
    at_once = pipe.generate(request)
    assert counting.batches == [2] * 4
    monkeypatch.setattr("overcrank.denoise.PAIRED", 0)
    in_turn = pipe.generate(request)
    assert counting.batches[4:] == [1] * 8
    torch.testing.assert_close(at_once.latents, in_turn.latents, atol=1e-5, rtol=1e-4)


def test_one_clip_does_not_wait_for_others() -> None:
    together, began = Together(lambda tokens, *_: tokens, 8), monotonic()
    tokens = torch.zeros(1, 4, 3)
    for _ in range(200):
        assert together(tokens, torch.ones(1), tokens, tokens) is not None
    assert monotonic() - began < 0.8  # 200 times PATIENCE


def test_no_more_than_asked_for_are_computed_at_once() -> None:
    counting = Counting(lambda tokens, *_: tokens)
    together, begin = Together(counting, 2), Barrier(6)

    def ask(n: int) -> Tensor:
        begin.wait()
        tokens = torch.full((1, 4, 3), float(n))
        return together(tokens, torch.ones(1), tokens, tokens)

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(ask, range(6)))
    assert [float(answer.mean()) for answer in answers] == [0, 1, 2, 3, 4, 5]
    assert max(counting.batches) <= 2
    assert sum(counting.batches) == 6


def test_an_error_reaches_all_that_it_meets_and_the_next_call_works() -> None:
    def network(tokens: Tensor, *_: object) -> Tensor:
        if tokens.isnan().any():
            raise ValueError("not a number")
        return tokens

    together = Together(network, 4)
    tokens = torch.zeros(1, 4, 3)
    with pytest.raises(ValueError, match="not a number"):
        together(tokens * torch.nan, torch.ones(1), tokens, tokens)
    assert together(tokens, torch.ones(1), tokens, tokens).shape == (1, 4, 3)
