"""What an autoencoder is trained with: each loss does what it is for."""

import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, interpolate

from overcrank.metrics import mobilenet
from overcrank.runtime import choose
from overcrank.shapes import ClipSize
from overcrank.toybox import render, sample_scene
from overcrank.train.config import Optim, RunConfig, Stage, VAELoss
from overcrank.train.reconstruction import Reconstruction
from overcrank.train.vae import VAEObjective, to_video

CPU = choose("cpu", "float32")
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec(mobilenet.PACKAGE) is None, reason="the weights are not installed"
)


def vae_run(**changes: Any) -> RunConfig:
    plain = {
        "kind": "vae",
        "preset": "nano",
        "steps": 4,
        "stages": [Stage(frames=9, size=32, batch=2)],
        "optim": Optim(lr=1e-3, warmup=0),
        "precision": "float32",
    }
    return RunConfig(**{**plain, **changes})


def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def video() -> Tensor:
    scene = sample_scene(1, split="train")
    return to_video(render(scene, ClipSize(9, 64, 64))[None])


def blurred(video: Tensor, size: int) -> Tensor:
    small = avg_pool3d(video, (1, size, size))
    return interpolate(small, size=video.shape[2:], mode="trilinear")


@needs_weights
@pytest.mark.parametrize("loss", ["l1", "mse", "wavelet", "perceptual"])
def test_every_loss_of_an_output_falls_with_its_blur(video: Tensor, loss: str) -> None:
    only = {**dict.fromkeys(("l1", "mse", "wavelet", "perceptual"), 0.0), loss: 1.0}
    judge = Reconstruction(vae_run(loss=VAELoss(**only)), CPU)
    nobody = torch.zeros(1, 9, 64, 64, dtype=torch.bool)
    away = [judge(blurred(video, size), video, nobody, random())[0].item() for size in (8, 4, 2)]
    assert away[0] > 1.2 * away[1] > 1.2 * 1.2 * away[2] > 0
    assert judge(video, video, nobody, random())[0] == 0


@needs_weights
def test_the_perceptual_loss_reaches_decoder_and_encoder() -> None:
    only = VAELoss(l1=0, mse=0, wavelet=0, kl=0, perceptual=1.0)
    objective = VAEObjective(vae_run(loss=only), CPU)
    loss, numbers = objective.loss(objective.data()[0], random())
    loss.backward()
    assert numbers["perceptual"] == loss.detach()
    for side in (objective.module.encoder, objective.module.decoder):
        gradient = side.conv_in.conv.weight.grad
        assert gradient is not None
        assert gradient.abs().max() > 0
