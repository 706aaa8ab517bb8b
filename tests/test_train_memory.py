"""Less memory for the same step: batches in parts, stages computed again."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from loud_weights import randomise
from overcrank.runtime import choose
from overcrank.shapes import ClipSize
from overcrank.train import RunConfig, train
from overcrank.train.config import Optim, Stage, VAELoss
from overcrank.train.given import Given, flow_loss
from overcrank.train.memory import recompute, stages
from overcrank.train.vae import VAEObjective
from overcrank.transformer import PRESETS, Transformer
from overcrank.vae import PRESETS as VAES
from overcrank.vae import VAE
from overcrank.vae.blocks import ResStack
from test_train_given import batch
from test_train_given import generator as dice
from test_train_state import Small, state_of

CPU = choose("cpu", "float32")


def vae_run(**changes: Any) -> RunConfig:
    plain = {
        "kind": "vae",
        "preset": "nano",
        "steps": 3,
        "stages": [Stage(frames=9, size=32, batch=4)],
        "optim": Optim(lr=1e-2, warmup=0),
        "precision": "float32",
        "log_every": 1,
    }
    return RunConfig(**{**plain, **changes})


class Answers(Small):
    """Without noise, so that nothing depends on how a batch is divided but rounding."""

    def loss(self, batch: Any, _generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        loss = (self.module(batch.x) - batch.x.mean(1, keepdim=True)).square().mean()
        return loss, {"twice": 2 * loss.detach()}


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_a_step_in_parts_is_the_undivided_step(tmp_path: Path, parts: int) -> None:
    """Batches have 4 samples; 3 parts are of unequal size."""
    losses: dict[int, list[float]] = {}
    for accumulate in (1, parts):
        events: list[dict[str, Any]] = []
        config, folder = vae_run(accumulate=accumulate), tmp_path / str(accumulate)
        train(config, Answers(), folder, events.append, CPU)
        losses[accumulate] = [event["loss"] for event in events if "loss" in event]
    assert losses[parts] == pytest.approx(losses[1], abs=2e-5)  # they are logged with five digits
    whole, divided = state_of(tmp_path / "1", 3), state_of(tmp_path / str(parts), 3)
    for name in ("first.weight", "scale"):
        torch.testing.assert_close(
            divided[f"module.{name}"], whole[f"module.{name}"], rtol=1e-5, atol=1e-6
        )
        assert not torch.equal(whole[f"module.{name}"], torch.ones(()))


def gradients(module: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def flow(module: Transformer) -> Tensor:
    given = Given.nothing(batch())
    return flow_loss(module, batch(), torch.full((4,), 0.5), given, dice()).mean()


def round_trip(module: VAE) -> Tensor:
    video = torch.rand(1, 3, 9, 32, 32, generator=dice())
    return (module.decode(module.encode(video), torch.tensor([0.1])) - video).square().mean()


@pytest.mark.parametrize(
    ("module", "loss"),
    [(Transformer(PRESETS["nano"]), flow), (VAE(VAES["nano"]), round_trip)],
    ids=["transformer", "autoencoder"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_stages_that_are_computed_again_give_the_same_gradients(
    module: Any, loss: Any, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    randomise(module)
    again = copy.deepcopy(module)
    recompute(again)
    kept, results = [], []
    for each in (module, again):
        saved: list[int] = []

        def count(tensor: Tensor, saved: list[int] = saved) -> Tensor:
            saved.append(tensor.numel())
            return tensor

        mixed = torch.autocast("cpu", dtype, enabled=dtype != torch.float32, cache_enabled=False)
        with mixed, torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            value = loss(each)
        results.append(gradients(each, value))
        kept.append(sum(saved))
    assert results[0].keys() == results[1].keys()
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])
    assert kept[1] < 0.7 * kept[0], kept


def test_what_is_computed_again_draws_the_same_noise() -> None:
    config = replace(VAES["ltxv-0.9.1"], base_width=8)
    stack = ResStack(8, 2, config, noise=True)
    for name, parameter in stack.named_parameters():
        if "per_channel_scale" in name:
            nn.init.normal_(parameter)
    network = nn.Sequential(nn.ModuleList([stack]))
    assert list(stages(network)) == [stack]
    x_BCTHW = torch.randn(1, 8, 2, 4, 4, requires_grad=True)

    def run() -> tuple[dict[str, Tensor], Tensor]:
        generator = dice()
        loss = stack(x_BCTHW, causal=False, generator=generator).square().mean()
        found = gradients(stack, loss)
        return found, torch.rand(1, generator=generator)

    before = run()
    recompute(network)
    after = run()
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert torch.equal(before[1], after[1]), "what is drawn later is not drawn again"


@pytest.mark.parametrize("loss", [VAELoss(), VAELoss(gan=0.1, gan_from=0)])
def test_a_run_can_compute_its_stages_again(tmp_path: Path, loss: VAELoss) -> None:
    for name, changes in (("plain", {}), ("again", {"recompute": True})):
        torch.manual_seed(0)
        config = vae_run(**changes, steps=2, loss=loss)
        objective = VAEObjective(config, CPU, held_out=ClipSize(9, 32, 32))
        train(config, objective, tmp_path / name, lambda _event: None, CPU)
    plain, again = state_of(tmp_path / "plain", 2), state_of(tmp_path / "again", 2)
    assert plain.keys() == again.keys()
    assert all(torch.equal(plain[name], again[name]) for name in plain)
