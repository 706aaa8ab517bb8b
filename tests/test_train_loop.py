"""The loop learns, resumes exactly, and stops on numbers that are not finite."""

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import Dataset

from overcrank.errors import ModelError, RequestError, RunError
from overcrank.runtime import choose
from overcrank.train import steps_done, train
from overcrank.train.config import Optim, RunConfig, Stage
from overcrank.train.learnt import parameter_groups
from overcrank.train.loop import learning_rate
from overcrank.train.transformer import TransformerObjective
from overcrank.train.vae import VAEObjective
from overcrank.weights import content_hash, latent_hash

CPU = choose("cpu", "float32")


def vae_run(**changes: Any) -> RunConfig:
    plain = {
        "kind": "vae",
        "preset": "nano",
        "steps": 4,
        "stages": [Stage(frames=9, size=32, batch=2)],
        "optim": Optim(lr=1e-3, warmup=0),
        "precision": "float32",
        "log_every": 1,
        "save_every": 2,
    }
    return RunConfig(**{**plain, **changes})


def run(config: RunConfig, folder: Path) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    torch.manual_seed(config.seed)
    train(config, VAEObjective(config, CPU), folder, events.append, CPU)
    return events


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_like_one_that_was_not(tmp_path: Path) -> None:
    """Two steps, then two more, against four: the same weights, bit for bit, and the same log."""
    run(vae_run(), tmp_path / "whole")
    run(vae_run(steps=2), tmp_path / "parts")
    run(vae_run(), tmp_path / "parts")
    whole, parts = (load_file(tmp_path / name / "vae.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    losses = [[json.loads(line).get("loss") for line in log.splitlines()] for log in logs]
    assert losses[0] == losses[1]
    with pytest.raises(RequestError, match="with another seed: got 1, right is 0"):
        run(vae_run(seed=1), tmp_path / "parts")


def fit_one_batch(objective: VAEObjective | TransformerObjective, lr: float) -> list[float]:
    """Losses of one batch with one noise, seen 30 times."""
    torch.manual_seed(0)
    optimiser = torch.optim.AdamW(objective.module.parameters(), lr)
    batch, losses = objective.data()[0], []
    for _ in range(30):
        loss, _ = objective.loss(batch, torch.Generator().manual_seed(0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_an_autoencoder_learns() -> None:
    losses = fit_one_batch(VAEObjective(vae_run(), CPU), 3e-3)
    assert losses[-1] < 0.5 * losses[0]


def test_a_frozen_encoder_keeps_its_latents(tmp_path: Path) -> None:
    objective = VAEObjective(vae_run(freeze=["encoder"]), CPU)
    before, decoder = latent_hash(objective.module), content_hash(objective.module)
    batch = objective.data()[0]
    optimiser = torch.optim.AdamW(parameter_groups(objective.module, None), 1e-3)
    objective.loss(batch, torch.Generator().manual_seed(0))[0].backward()
    optimiser.step()
    objective.export(objective.module, tmp_path)
    assert latent_hash(objective.module) == before
    assert content_hash(objective.module) != decoder


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="cannot write to the folder"):
        run(vae_run(), tmp_path / "file" / "run")


@dataclass(frozen=True)
class One:
    x: Tensor


class Ones(Dataset[One]):
    def __len__(self) -> int:
        return 100

    def __getitem__(self, _step: int) -> One:
        return One(torch.ones(1))


class Line:
    """An objective small enough to run the loop in no time; `stop` raises before that step."""

    def __init__(self, stop: int = -1) -> None:
        self.module, self.stop, self.steps = torch.nn.Linear(1, 1), stop, 0

    def data(self) -> Dataset[Any]:
        return Ones()

    def loss(self, batch: One, _generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        if self.steps == self.stop:
            raise KeyboardInterrupt
        self.steps += 1
        return self.module(batch.x).square().mean(), {"of_nothing": torch.tensor(float("nan"))}

    def evaluate(self, _module: torch.nn.Module, _folder: Path, _step: int) -> dict[str, float]:
        return {}

    def export(self, module: torch.nn.Module, folder: Path) -> None:
        pass


def test_a_log_that_was_cut_off_goes_on_without_the_torn_line(tmp_path: Path) -> None:
    train(vae_run(steps=2), Line(), tmp_path, lambda _event: None, CPU)
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"step": 2, "lo')
    train(vae_run(), Line(), tmp_path, lambda _event: None, CPU)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]
    assert not any("of_nothing" in line for line in lines)


def test_a_lost_log_begins_anew(tmp_path: Path) -> None:
    train(vae_run(steps=2), Line(), tmp_path, lambda _event: None, CPU)
    (tmp_path / "metrics.jsonl").unlink()
    train(vae_run(), Line(), tmp_path, lambda _event: None, CPU)
    assert '"step": 3' in (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.parametrize("content", [None, b"seed: [", b"\xff", b"seed: 7", b""])
def test_a_run_that_lost_its_configuration_is_not_resumed(
    tmp_path: Path, content: bytes | None
) -> None:
    """Its seed could be another one, and half of the run would see other data."""
    train(vae_run(steps=2), Line(), tmp_path, lambda _event: None, CPU)
    (tmp_path / "config.yaml").unlink()
    if content is not None:
        (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(ModelError, match="is not known, got .* from config.yaml: write its kind"):
        train(vae_run(), Line(), tmp_path, lambda _event: None, CPU)


def test_an_interrupted_run_says_how_many_steps_are_lost(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    with pytest.raises(KeyboardInterrupt):
        train(vae_run(), Line(stop=3), tmp_path, events.append, CPU)
    assert events[-1] == {"step": 3, "lost": 1}


def test_a_run_that_is_terminated_loses_nothing(tmp_path: Path) -> None:
    """As a cluster ends a job: the step is finished and saved."""
    before = signal.getsignal(signal.SIGTERM)

    class Ends(Line):
        def loss(self, batch: One, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
            if self.steps == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().loss(batch, generator)

        def export(self, module: torch.nn.Module, folder: Path) -> None:
            raise AssertionError(f"it takes minutes to export {module} to {folder}")

    config = vae_run(save_every=3, steps=90)
    assert train(config, Ends(), tmp_path, lambda _event: None, CPU) == 3
    assert signal.getsignal(signal.SIGTERM) is before
    assert steps_done(tmp_path, config) == 3


def test_a_run_that_is_done_is_left_as_it_is(tmp_path: Path) -> None:
    train(vae_run(steps=2), Line(), tmp_path, lambda _event: None, CPU)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    events: list[dict[str, Any]] = []
    again = vae_run(steps=1, optim=Optim(lr=5))
    assert steps_done(tmp_path, again) == 2
    assert train(again, Line(), tmp_path, events.append, CPU) == 2
    assert not events
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_a_run_whose_last_weights_are_not_written_is_not_done(tmp_path: Path) -> None:
    class Full(Line):
        def export(self, module: torch.nn.Module, folder: Path) -> None:
            raise OSError(f"no room for {module} in {folder}")

    with pytest.raises(OSError, match="no room"):
        train(vae_run(steps=1), Full(), tmp_path, lambda _event: None, CPU)
    assert steps_done(tmp_path, vae_run()) == 0


def test_a_run_says_what_it_does_and_how_long_its_first_step_took(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    train(vae_run(log_every=100), Line(), tmp_path, events.append, CPU)
    assert events[0] == {
        "trains": "vae nano",
        "parameters": 2,
        "device": "cpu",
        "steps": 4,
        "done": 0,
        "folder": str(tmp_path),
    }
    assert events[1]["step"] == 1
    assert events[1]["seconds"] > 0


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    config = vae_run(optim=Optim(lr=1e-3, warmup=0), start_from=None)
    objective = VAEObjective(config, CPU)
    with torch.no_grad():
        objective.module.decoder.conv_out.conv.bias.fill_(float("nan"))
    before = objective.module.encoder.conv_in.conv.weight.clone()
    with pytest.raises(
        RunError,
        match=r"step 0 .*: got loss nan, norm nan, l1 nan,.* not finite: encoder.+: nothing was",
    ):
        train(config, objective, tmp_path, lambda _event: None, CPU)
    assert torch.equal(objective.module.encoder.conv_in.conv.weight, before)


def test_a_gradient_that_is_not_finite_is_named(tmp_path: Path) -> None:
    class Steep(Line):
        """The root of zero has no slope."""

        def __init__(self) -> None:
            super().__init__()
            self.module = torch.nn.ModuleDict(
                {"a": torch.nn.Linear(1, 1), "b": torch.nn.Linear(1, 1), "c": torch.nn.Linear(1, 1)}
            )

        def loss(self, batch: One, _generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
            fine, zero = self.module["a"](batch.x).sum(), 0 * self.module["b"](batch.x).sum()
            if self.steps < 2:
                self.steps += 1
                zero = zero + 1
            return fine.square() + zero.sqrt(), {"fine": fine.detach()}

    objective = Steep()
    with pytest.raises(
        RunError, match=r"step 2 .* got loss .*, norm nan, fine .*: b\.weight: nothing"
    ):
        train(vae_run(save_every=9), objective, tmp_path, lambda _event: None, CPU)
    assert all(bool(parameter.isfinite().all()) for parameter in objective.module.parameters())


def test_the_learning_rate_rises_stays_and_falls() -> None:
    optim = Optim(lr=1.0, warmup=10, fall=10)
    rates = [learning_rate(optim, step, 100) for step in (0, 9, 50, 89, 95, 99)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 1.0, 0.5, 0.1])


def test_wide_matrices_learn_more_slowly() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(32, 4))
    groups = parameter_groups(module, 16)
    assert {group["scale"]: len(group["params"]) for group in groups} == {1.0: 3, 0.5: 1}


def test_parts_learn_at_their_own_pace() -> None:
    module = torch.nn.ModuleDict({"a": torch.nn.Linear(8, 4), "b": torch.nn.Linear(32, 4)})
    groups = parameter_groups(module, 16, {"b.": 6.0})
    assert {group["scale"]: len(group["params"]) for group in groups} == {1.0: 2, 3.0: 1, 6.0: 1}
    with pytest.raises(RequestError, match="got c: .* names of parameters: a, b"):
        parameter_groups(module, None, {"c": 2.0})
