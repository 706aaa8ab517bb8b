"""Pictures and clips as data."""

import math
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from nano_model import nano_model
from overcrank import vae
from overcrank.conditioning import Clip, Image, LatentState
from overcrank.errors import RequestError, SizeError
from overcrank.shapes import LatentSize
from overcrank.transformer import token_positions

SIZE = LatentSize(frames=3, height=1, width=2)


@pytest.fixture(scope="module")
def coder() -> vae.VAE:
    return nano_model().vae.eval().requires_grad_(False)


def free_state() -> LatentState:
    noise = torch.randn(1, 128, 3, 1, 2, generator=torch.Generator().manual_seed(0))
    return LatentState.free(noise, token_positions(SIZE, 8.0, causal=True), frame_rate=8.0)


def picture(height: int = 32, width: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator)


def test_nothing_is_known_of_a_free_state() -> None:
    state = free_state()
    assert torch.equal(state.cap_BN, torch.ones(1, 6))
    assert torch.equal(state.latent(state.tokens_BNC)[0, :, 2, 0, 1], state.noise_BNC[0, 5])


def test_a_picture_of_strength_one_replaces_the_noise(coder: vae.VAE) -> None:
    state = Image(image=picture()).apply(free_state(), coder)
    pixels = picture().permute(2, 0, 1).float() / 127.5 - 1
    clean = coder.encode(pixels[None, :, None])
    assert torch.allclose(state.latent(state.tokens_BNC)[:, :, :1], clean, atol=1e-5)
    assert state.cap_BN.tolist() == [[0, 0, 1, 1, 1, 1]]


def test_a_weaker_picture_is_mixed_with_noise(coder: vae.VAE) -> None:
    """Source: the latent is lerp(noise, clean, strength), its clock at most 1 - strength."""
    whole = Image(image=picture()).apply(free_state(), coder)
    weak = Image(image=picture(), strength=0.75).apply(free_state(), coder)
    mixed = 0.25 * whole.noise_BNC + 0.75 * whole.tokens_BNC
    assert torch.allclose(weak.tokens_BNC[:, :2], mixed[:, :2], atol=1e-5)
    assert weak.cap_BN.tolist() == [[0.25, 0.25, 1, 1, 1, 1]]


def test_a_clip_fixes_as_many_latent_frames_as_it_has(coder: vae.VAE) -> None:
    state = Clip(frames=picture()[None].repeat(9, 1, 1, 1)).apply(free_state(), coder)
    assert state.cap_BN.tolist() == [[0, 0, 0, 0, 1, 1]]


def test_a_clip_of_one_frame_is_a_picture(coder: vae.VAE) -> None:
    one = Clip(frames=picture()[None]).apply(free_state(), coder)
    assert torch.equal(one.tokens_BNC, Image(image=picture()).apply(free_state(), coder).tokens_BNC)


def test_a_picture_may_come_from_a_file_or_from_pillow(coder: vae.VAE, tmp_path: Path) -> None:
    pillow = PIL.Image.fromarray(np.asarray(picture(80, 100)))
    pillow.save(tmp_path / "picture.png")
    states = [
        Image(image=image).apply(free_state(), coder).tokens_BNC
        for image in (picture(80, 100), pillow, tmp_path / "picture.png")
    ]
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


def test_a_picture_of_another_size_is_refused_if_it_must_not_be_fitted(coder: vae.VAE) -> None:
    with pytest.raises(SizeError, match="got 70 x 32 for 64 x 32"):
        Image(image=picture(32, 70), fit=False).apply(free_state(), coder)


def test_a_clip_off_the_grid_is_refused(coder: vae.VAE) -> None:
    with pytest.raises(SizeError, match="got 8: try 1 or 9"):
        Clip(frames=picture()[None].repeat(8, 1, 1, 1)).apply(free_state(), coder)


@pytest.mark.parametrize("strength", [0, -1.0, 1.5, math.nan, math.inf, True, "all"])
def test_a_strength_out_of_range_is_refused(strength: float) -> None:
    with pytest.raises(RequestError, match="strength"):
        Image(image=picture(), strength=strength)


@pytest.mark.parametrize("at", [-1, 0.5, "end", False])
def test_a_place_is_the_number_of_a_frame(at: int) -> None:
    for make in (
        lambda: Image(image=picture(), at=at),
        lambda: Clip(frames=picture()[None], at=at),
    ):
        with pytest.raises(RequestError, match="counted from 0, got .*: try at=0"):
            make()


@pytest.mark.parametrize("pixels", [torch.zeros(3, 32, 64), torch.zeros(4), None, 3])
def test_what_is_no_picture_is_refused(pixels: object) -> None:
    with pytest.raises(RequestError, match="uint8"):
        Image(image=pixels)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="uint8"):
        Clip(frames=pixels)  # type: ignore[arg-type]
