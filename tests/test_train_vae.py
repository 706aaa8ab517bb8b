"""What an autoencoder is trained with: each loss does what it is for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, interpolate

from loud_weights import randomise
from overcrank.metrics import mobilenet
from overcrank.runtime import choose
from overcrank.shapes import ClipSize
from overcrank.toybox import render, sample_scene
from overcrank.train.config import DecoderShape, Optim, RunConfig, Stage, VAELoss
from overcrank.train.reconstruction import Reconstruction
from overcrank.train.vae import VAEObjective, to_video
from overcrank.vae import PRESETS, VAE
from overcrank.weights import latent_hash, save_component

CPU = choose("cpu", "float32")
needs_weights = pytest.mark.skipif(
    mobilenet.PINNED.path() is None, reason="the weights are not installed"
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


def test_a_decoder_that_exists_is_given_noise_and_its_latents_stay(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = VAE(PRESETS["nano"])
    file = tmp_path / "vae.safetensors"
    save_component(file, "vae", plain, dtype=torch.float32)
    noisy = DecoderShape(noise=True)
    vae = VAEObjective(vae_run(start_from=str(file), decoder=noisy), CPU).vae
    assert all(block.noise for block in vae.config.decoder_blocks if block.kind == "res_x")
    latent = torch.randn(1, 128, 2, 1, 1)
    assert torch.equal(vae.decode(latent), plain.decode(latent))
    assert latent_hash(vae) == latent_hash(plain)


@pytest.mark.parametrize("shape", [DecoderShape(causal=False), DecoderShape(noise=True)])
def test_other_decoders_learn_as_well(shape: DecoderShape) -> None:
    torch.manual_seed(0)
    objective = VAEObjective(vae_run(decoder=shape), CPU)
    assert objective.vae.config.causal_decoder == (shape.causal is None)
    optimiser = torch.optim.AdamW(objective.module.parameters(), 3e-3)
    batch, losses = objective.data()[0], []
    for _ in range(30):
        loss, _ = objective.loss(batch, random())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    scales = [p for n, p in objective.vae.named_parameters() if "per_channel_scale" in n]
    assert bool(scales) == shape.noise
    assert all(scale.abs().max() > 0 for scale in scales)


def test_later_latents_reach_a_frame_of_a_decoder_that_is_not_causal() -> None:
    torch.manual_seed(0)
    vae = VAEObjective(vae_run(decoder=DecoderShape(causal=False)), CPU).vae
    randomise(vae)
    latent = torch.randn(1, 128, 3, 1, 1)
    other = latent.clone()
    other[:, :, 1] += 1
    with torch.no_grad():
        assert (vae.decode(latent) - vae.decode(other))[:, :, 0].abs().max() > 1e-3


def test_measuring_latents_is_told() -> None:
    told: list[dict[str, Any]] = []
    objective = VAEObjective(vae_run(), CPU, held_out=ClipSize(9, 32, 32), tell=told.append)
    objective.finished(objective.vae)
    assert {event["doing"] for event in told} == {"measuring latents"}
    assert (told[0]["done"], told[-1]["done"], told[-1]["of"]) == (0, 64, 64)
