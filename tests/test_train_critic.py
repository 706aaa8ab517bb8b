"""The critic: who learns what from the game, how it is balanced, and when it begins."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d, interpolate

from overcrank.runtime import choose
from overcrank.shapes import ClipSize
from overcrank.train import train
from overcrank.train.config import Optim, RunConfig, Stage, VAELoss
from overcrank.train.critic import Critic, balance, game, knowledge
from overcrank.train.vae import VAEObjective

CPU = choose("cpu", "float32")


def run(**changes: Any) -> RunConfig:
    plain = {
        "kind": "vae",
        "preset": "nano",
        "steps": 4,
        "stages": [Stage(frames=9, size=32, batch=2)],
        "optim": Optim(lr=1e-3, warmup=0),
        "loss": VAELoss(gan=0.5, gan_from=2),
        "precision": "float32",
        "save_every": 2,
    }
    return RunConfig(**{**plain, **changes})


def objective(config: RunConfig) -> VAEObjective:
    torch.manual_seed(0)
    return VAEObjective(config, CPU, held_out=ClipSize(9, 32, 32))


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(seed: int) -> Tensor:
    return torch.rand(8, 3, 5, 32, 32, generator=random(seed)) * 2 - 1


def blurred(video: Tensor) -> Tensor:
    return interpolate(avg_pool3d(video, (1, 2, 2)), size=video.shape[2:])


@pytest.fixture
def critic() -> Critic:
    torch.manual_seed(0)
    return Critic(16)


def test_a_critic_that_cannot_tell_loses_as_much_as_who_misleads_it(critic: Critic) -> None:
    nn.init.zeros_(critic.last.weight)
    misled, judged = game(critic, clips(1), clips(2))
    assert misled.item() == judged.item() == pytest.approx(math.log(2))


def test_each_side_learns_from_its_own_loss_alone(critic: Critic) -> None:
    output = clips(1).requires_grad_()
    misled, judged = game(critic, output, clips(2))
    (for_output,) = torch.autograd.grad(misled, output)
    assert for_output.abs().max() > 0
    assert all(parameter.grad is None for parameter in critic.parameters())
    judged.backward()
    assert output.grad is None
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in critic.parameters())


def test_turning_a_pair_turns_the_answer(critic: Critic) -> None:
    one, other = clips(1), clips(2)
    answer = critic(one, other)
    assert answer.abs().mean() > 1e-3
    torch.testing.assert_close(critic(other, one), -answer)


def test_a_critic_learns_which_one_is_blurred(critic: Critic) -> None:
    optimiser = torch.optim.AdamW(critic.parameters(), 1e-3)
    for step in range(20):
        video = clips(step)
        _, judged = game(critic, blurred(video), video)
        optimiser.zero_grad()
        judged.backward()
        optimiser.step()
    unseen = clips(100)
    assert (critic(unseen, blurred(unseen)).mean((1, 2, 3, 4)) > 1).all()


def test_a_patch_sees_31_pixels_and_17_frames(critic: Critic) -> None:
    one, other = torch.randn(2, 1, 3, 33, 96, 96, generator=random()).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(one, other)[0, 0, 4, 6, 6], one)
    where = gradient[0].abs().sum(0).nonzero()
    assert (where.amax(0) - where.amin(0) + 1).tolist() == [17, 31, 31]


def test_balanced_losses_pull_equally_hard_on_the_last_weights() -> None:
    last = torch.tensor([1.0, 2.0], requires_grad=True)
    one, other = (3 * last).square().sum(), last.sum()
    scale = balance(one, other, last)
    pulls = [torch.autograd.grad(loss, last, retain_graph=True)[0] for loss in (one, scale * other)]
    assert pulls[0].norm().item() == pytest.approx(pulls[1].norm().item(), rel=1e-4)
    assert not scale.requires_grad
    assert balance(one, 1e-9 * other, last) == 1e4


def test_a_critic_that_cannot_tell_has_no_say() -> None:
    batch = objective(run()).data()[2]
    gradients = []
    for loss in (VAELoss(gan=0.5, gan_from=2), VAELoss()):
        trained = objective(run(loss=loss))
        if trained.critic is not None:
            nn.init.zeros_(trained.critic.last.weight)
        trained.loss(batch, random())[0].backward()
        gradients.append([p.grad for p in trained.vae.parameters() if p.requires_grad])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    lost = torch.tensor([0.0, 0.5, 1.0, 2.0]) * math.log(2)
    torch.testing.assert_close(knowledge(lost), torch.tensor([1.0, 0.5, 0.0, 0.0]))


def test_the_critic_begins_late() -> None:
    trained = objective(run())
    batches = trained.data()
    before, _ = trained.loss(batches[1], random())
    assert before == objective(run(loss=VAELoss())).loss(batches[1], random())[0]
    before.backward()
    assert trained.critic is not None
    assert all(parameter.grad is None for parameter in trained.critic.parameters())
    loss, numbers = trained.loss(batches[2], random())
    loss.backward()
    assert all(parameter.grad is not None for parameter in trained.critic.parameters())
    assert {"gan", "critic", "gan_scale"} <= set(numbers)


def test_a_run_with_a_critic_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    """Stopped when the critic has learnt for one step: autoencoder and critic, bit for bit."""
    config = run(loss=VAELoss(gan=0.5, gan_from=1))
    whole, first, second = objective(config), objective(config), objective(config)
    train(config, whole, tmp_path / "whole", lambda _event: None, CPU)
    train(run(steps=2, loss=config.loss), first, tmp_path / "parts", lambda _event: None, CPU)
    train(config, second, tmp_path / "parts", lambda _event: None, CPU)
    ends = [each.module.state_dict() for each in (whole, second)]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    begun = first.module.state_dict()
    assert not torch.equal(ends[0]["critic.last.weight"], begun["critic.last.weight"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": VAELoss(gan=1, gan_from=4)}, "got loss.gan 1.0 from step 4 of 4"),
        ({"freeze": ["decoder"]}, "and freeze .'decoder'.: right is"),
        ({"kind": "joint"}, "a run of kind joint has no critic"),
    ],
)
def test_a_critic_with_nothing_to_do_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        run(**changes)
