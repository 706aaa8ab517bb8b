"""Autoencoder and transformer learn together, and neither spoils the other."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import overcrank
from nano_model import save_nano
from overcrank.data.controls import edges
from overcrank.data.originals import share_of_tokens
from overcrank.data.pixels import OriginalSource
from overcrank.errors import ModelError
from overcrank.shapes import ClipSize
from overcrank.train import build_objective, read_config, train
from overcrank.train.checks import with_files
from overcrank.train.config import Conditions, Joint, Optim, RunConfig, Stage, VAELoss
from overcrank.train.joint import JointObjective, Scale, bounded, richness
from overcrank.train.transformer import start_transformer
from overcrank.train.vae import VAEObjective, to_video
from overcrank.weights import latent_hash, load_component
from prepared_clips import write_clips
from test_train_loop import CPU
from test_train_transformer import LetterCounts

CLIP = ClipSize(9, 32, 32)


def joint_run(**changes: Any) -> RunConfig:
    plain = {
        "kind": "joint",
        "preset": "nano",
        "steps": 4,
        "stages": [Stage(frames=9, size=32, batch=4)],
        "optim": Optim(lr=1e-3, warmup=0),
        "precision": "float32",
        "log_every": 1,
        "save_every": 2,
    }
    return RunConfig(**{**plain, **changes})


def joint_objective(**changes: Any) -> JointObjective:
    config = joint_run(**changes)
    torch.manual_seed(config.seed)
    pixels = VAEObjective(config, CPU, held_out=CLIP)
    objective = JointObjective(config, pixels, start_transformer(config, CPU), LetterCounts(), CPU)
    # A fresh transformer answers zero: nothing would reach its layers, nor the encoder.
    for parameter in objective.module["transformer"].parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return objective


def encoder_gradient(objective: JointObjective) -> Tensor:
    """Of the loss of one batch, on the latents."""
    caught: list[Tensor] = []
    encoder = objective.pixels.module.encoder

    def catch(_module: object, _given: object, moments: Tensor) -> None:
        moments.register_hook(caught.append)

    hook = encoder.register_forward_hook(catch)
    objective.loss(objective.data()[0], torch.Generator().manual_seed(0))[0].backward()
    hook.remove()
    return caught[0][:, :128]


def test_one_step_moves_both_networks() -> None:
    objective = joint_objective()
    before = {name: p.detach().clone() for name, p in objective.module.named_parameters()}
    optimiser = torch.optim.AdamW(objective.module.parameters(), 1e-3, weight_decay=0.0)
    objective.loss(objective.data()[0], torch.Generator().manual_seed(0))[0].backward()
    optimiser.step()
    moved = {
        name.rsplit(".", 1)[0].split(".")[0 if name.startswith("transformer") else 1]
        for name, p in objective.module.named_parameters()
        if not torch.equal(p, before[name])
    }
    assert moved == {"encoder", "decoder", "transformer"}


def test_the_diffusion_loss_has_no_more_than_its_share_of_the_encoder() -> None:
    """Beside the reconstruction alone, the gradient on the latents changes by what is allowed."""
    alone = encoder_gradient(joint_objective(joint=Joint(share=0.0)))
    for share in (0.01, 0.1):
        change = encoder_gradient(joint_objective(joint=Joint(share=share))) - alone
        torch.testing.assert_close(change.norm(), share * alone.norm(), rtol=1e-3, atol=0)
    free = encoder_gradient(joint_objective(joint=Joint(share=1e9))) - alone
    assert free.norm() > 0.2 * alone.norm()


def test_a_gradient_within_its_share_is_left_alone() -> None:
    latent = torch.ones(3, requires_grad=True)
    first, second = bounded(latent, 0.5)
    (first.sum() + 0.1 * second.sum()).backward()
    torch.testing.assert_close(latent.grad, torch.full((3,), 1.1))


def test_the_transformer_is_not_pleased_by_latents_that_shrink() -> None:
    """What it sees does not change with the scale of a channel, so no gradient goes along it."""
    objective = joint_objective()
    batch, vae = objective.data()[0], objective.pixels.module
    mean = vae.posterior(to_video(batch.frames)).mean_BCTHW.detach().requires_grad_()
    seen = objective._latents(vae, batch, mean, Scale.of(mean)).latent_BCTHW
    assert seen.std((0, 2, 3, 4)).sub(1).abs().max() < 1e-3
    wish = torch.randn(seen.shape, generator=torch.Generator().manual_seed(0))
    gradient = torch.autograd.grad((seen * wish).sum(), mean)[0]
    centred = mean - mean.mean((0, 2, 3, 4), keepdim=True)
    along_C, size_C = (x.sum((0, 2, 3, 4)) for x in (gradient * centred, (seen * wish).abs()))
    assert (along_C.abs() < 1e-3 * size_C).all()
    assert (gradient.sum((0, 2, 3, 4)).abs() < 1e-3 * gradient.abs().sum((0, 2, 3, 4))).all()


def test_the_decoder_learns_from_what_the_transformer_hands_it() -> None:
    objective = joint_objective(joint=Joint(handed=0.5))
    batch, vae = objective.data()[0], objective.pixels.module
    with torch.no_grad():
        posterior = vae.posterior(to_video(batch.frames))
        scale = Scale.of(posterior.mean_BCTHW)
        latents = objective._latents(vae, batch, posterior.mean_BCTHW, scale)
        _, sigma_B = objective.pixels.noised(posterior, torch.Generator().manual_seed(0))

    def handed(level_B: Tensor, highest: float) -> Tensor:
        joint = Joint(handed=0.5, handed_from=highest)
        objective.config = objective.config.model_copy(update={"joint": joint})
        generator = torch.Generator().manual_seed(0)
        return objective._handed(latents, scale, level_B[:2], generator)

    before = handed(sigma_B, 0.3)
    for parameter in objective.module["transformer"].parameters():
        torch.nn.init.normal_(parameter, std=0.06)
    assert not torch.allclose(handed(sigma_B, 0.3), before)
    # Without a way to go, nothing is done to the latents.
    still = handed(torch.zeros_like(sigma_B), 0.0)
    torch.testing.assert_close(still, posterior.mean_BCTHW[:2], rtol=1e-4, atol=1e-5)


def test_the_encoder_learns_from_what_is_not_handed_over() -> None:
    """Nearly all of its gradient: others have a part in the scale of the noise."""
    loss = VAELoss(kl=0.0)
    gradient_BCTHW = encoder_gradient(
        joint_objective(joint=Joint(share=0.0, handed=0.5), loss=loss)
    )
    size_B = gradient_BCTHW.flatten(1).norm(dim=1)
    assert size_B[2:].min() > 20 * size_B[:2].max()


def test_several_noise_levels_of_a_clip_have_the_same_mean() -> None:
    """A transformer that answers zero has the same loss at every level."""
    losses = []
    for draws in (1, 64):
        objective = joint_objective(joint=Joint(draws=draws))
        for parameter in objective.module["transformer"].parameters():
            torch.nn.init.zeros_(parameter)
        with torch.no_grad():
            batch = objective.data()[0]
            losses.append(objective.loss(batch, torch.Generator().manual_seed(0))[1]["flow"])
    torch.testing.assert_close(losses[0], losses[1], rtol=0.1, atol=0)


def test_what_is_given_besides_a_clip_is_encoded_alone() -> None:
    wanted = Conditions(later_frame=0.5, ending=0.5, reference=0.5)
    objective = joint_objective(conditions=wanted, stages=[Stage(frames=17, size=32, batch=2)])
    batch, vae = objective.data()[0], objective.pixels.module
    frames = batch.frames[1:]
    with torch.no_grad():
        mean = vae.posterior(to_video(batch.frames)).mean_BCTHW
        scale = Scale.of(mean)
        latents = objective._latents(vae, batch, mean, scale)
        last, ending, drawn = (
            scale.normalise(vae.posterior(to_video(part)).mean_BCTHW)
            for part in (frames[:, -1:], frames[:, 8:], edges(frames[0])[None])
        )
    assert batch.key_frames_BK[1].tolist() == [16, 8]
    torch.testing.assert_close(latents.keys_BKCHW[1, 0], last[0, :, 0])
    torch.testing.assert_close(latents.ending_BCMHW[1:], ending)
    torch.testing.assert_close(latents.reference_BCTHW[1:], drawn)
    shares = share_of_tokens(batch.actors[1], ClipSize(17, 32, 32))
    torch.testing.assert_close(latents.actors_BTHW[1], shares)
    always = Conditions(later_frame=1.0, ending=1.0, reference=1.0, drop_text=0.0)
    objective.config = objective.config.model_copy(update={"conditions": always})
    assert objective.loss(batch, torch.Generator().manual_seed(0))[0].isfinite()


def test_a_batch_depends_on_its_step_only() -> None:
    data = joint_objective(conditions=Conditions(drop_text=0.5)).data()
    again, other = data[1], data[2]
    assert torch.equal(data[1].frames, again.frames)
    assert torch.equal(data[1].text_BLD, again.text_BLD)
    assert not torch.equal(other.frames, again.frames)


def test_richness_tells_a_collapse() -> None:
    rich = torch.randn(4, 16, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    poor = rich[:, :1] * torch.arange(1, 17).view(1, 16, 1, 1, 1)
    assert richness(rich)["latent_rank"] == pytest.approx(16, abs=0.5)
    assert richness(poor)["latent_rank"] == pytest.approx(1, abs=0.01)
    assert richness(0.1 * rich)["latent_std"] == pytest.approx(0.1, abs=0.01)


def run(folder: Path, **changes: Any) -> list[dict[str, Any]]:
    objective = joint_objective(**changes)
    train(objective.config, objective, folder, lambda _event: None, CPU)
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_what_a_run_leaves_is_a_model(tmp_path: Path) -> None:
    log = run(tmp_path, steps=2)
    assert {"held_out_psnr", "held_out_0.5", "latent_rank"} <= log[-1].keys()
    pipe = overcrank.load(tmp_path, device="cpu", dtype="float32")
    clip = pipe(prompt_embeds=torch.randn(1, 3, 384), num_inference_steps=2, guidance=1.0)
    assert clip.frames.shape == (9, 32, 32, 3)
    vae = load_component(tmp_path / "vae.safetensors", "vae")
    assert not torch.equal(vae.per_channel_statistics.std, torch.ones(128))
    assert latent_hash(vae)


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_like_one_that_was_not(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    run(tmp_path / "parts", steps=2)
    run(tmp_path / "parts")
    for name in ("vae.safetensors", "transformer.safetensors"):
        whole, parts = (load_file(tmp_path / place / name) for place in ("whole", "parts"))
        assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_a_run_starts_from_a_model(tmp_path: Path) -> None:
    model = save_nano(tmp_path / "model")
    config = read_config("pocket-joint", [f"start_from={model}", "preset=nano", "samples=null"])
    objective = build_objective(config, tmp_path / "run", lambda _event: None, CPU)
    assert isinstance(objective, JointObjective)
    found = latent_hash(objective.pixels.module)
    assert found == latent_hash(load_component(model / "vae.safetensors", "vae"))


def test_a_run_needs_both_networks_of_a_model(tmp_path: Path) -> None:
    model = save_nano(tmp_path / "model")
    config = read_config("pocket-joint", [f"start_from={model}"])
    assert with_files(config).start_from == str(model)
    with pytest.raises(ModelError, match="no vae"):
        with_files(read_config("pocket-joint", [f"start_from={model / 'transformer.safetensors'}"]))


def test_both_networks_learn_from_prepared_clips(tmp_path: Path) -> None:
    shards = write_clips(tmp_path / "prepared", count=10)
    changes = [
        *("preset=nano", "start_from=null", "samples=null", "steps=1", f"clips.folder={shards}"),
        "stages=[{frames: 9, size: 96x64, batch: 2}]",
    ]
    config = read_config("pocket-joint", changes)
    objective = build_objective(config, tmp_path / "run", lambda _event: None, CPU)
    assert isinstance(objective, JointObjective)
    batch = objective.data()[0]
    assert batch.frames.shape == (2, 9, 64, 96, 3)
    assert not batch.actors.any()
    assert objective.loss(batch, torch.Generator().manual_seed(0))[0].isfinite()
    source = objective.source
    assert isinstance(source, OriginalSource)
    (pieces,) = source.originals.values()
    assert pieces.held_out > 0
    unseen = source.unseen(pieces.held_out, ClipSize(9, 64, 96))
    assert torch.equal(unseen.frames_FHW3, pieces[0].frames_FHW3)
