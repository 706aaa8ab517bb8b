"""Pictures are encoded once."""

import pytest
import torch
from torch import Tensor

from nano_model import nano_model
from overcrank import Pipeline
from overcrank.vae.remembered import RememberingEncoder


class Counting:
    """An encoder of averages that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, video_BCFHW: Tensor) -> Tensor:
        self.calls += 1
        return video_BCFHW.mean((-1, -2), keepdim=True)


def video(seed: int, frames: int = 1) -> Tensor:
    return torch.randn(1, 3, frames, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_the_same_pixels_are_encoded_once_and_others_by_themselves() -> None:
    counting = Counting()
    encoder = RememberingEncoder(counting)
    first = encoder.encode(video(0))
    assert torch.equal(encoder.encode(video(0).clone()), first)
    assert counting.calls == 1
    assert torch.equal(encoder.encode(video(1)), video(1).mean((-1, -2), keepdim=True))
    changed = video(0)
    changed[0, 2, 0, 31, 31] += 1e-6
    assert not torch.equal(changed, video(0))
    encoder.encode(changed)
    assert counting.calls == 3


def test_neither_shape_nor_precision_is_mixed_up() -> None:
    counting = Counting()
    encoder = RememberingEncoder(counting)
    two = video(0, frames=2)
    encoder.encode(two)
    encoder.encode(two.reshape(2, 3, 1, 32, 32))
    encoder.encode(two.double())
    with torch.autocast("cpu", torch.bfloat16):
        encoder.encode(two)
    assert counting.calls == 4


def test_what_was_used_longest_ago_goes_first() -> None:
    counting = Counting()
    encoder = RememberingEncoder(counting, max_bytes=2 * 3 * 4)  # two latents of three floats
    for seed in (0, 1, 0, 2):
        encoder.encode(video(seed))
    assert (counting.calls, len(encoder)) == (3, 2)
    encoder.encode(video(0))
    assert counting.calls == 3
    encoder.encode(video(1))
    assert counting.calls == 4


def test_a_second_clip_from_a_picture_is_the_same_and_does_not_encode_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipe = Pipeline(nano_model())
    calls = []
    encode = pipe.vae.encode

    def counted(video_BCFHW: Tensor) -> Tensor:
        calls.append(video_BCFHW.shape)
        return encode(video_BCFHW)

    monkeypatch.setattr(pipe.vae, "encode", counted)
    image = torch.arange(64 * 64 * 3).reshape(64, 64, 3).remainder(251).to(torch.uint8)
    text = torch.zeros(1, 3, pipe.transformer.config.text_width)
    size = {"num_frames": 9, "height": 64, "width": 64, "num_inference_steps": 2}
    first, again = (pipe(prompt_embeds=text, image=image, seed=3, **size) for _ in range(2))
    assert len(calls) == 1
    assert torch.equal(first.frames, again.frames)
