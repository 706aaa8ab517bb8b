"""Few-step distillation: who learns what from whom."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_train_given import batch, generator

from overcrank.errors import RequestError
from overcrank.runtime import choose
from overcrank.train.config import Distil, Latents, Optim, RunConfig, Stage
from overcrank.train.distil import DistilObjective
from overcrank.transformer import PRESETS, Transformer
from overcrank.weights import load_component, save_component


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    module = Transformer(PRESETS["nano"])
    module.initialise()
    torch.nn.init.normal_(module.proj_out.weight, std=0.05)
    path = tmp_path / "teacher.safetensors"
    save_component(path, "transformer", module, dtype=torch.float32, extra={"latent_hash": "abc"})
    return path


def objective(teacher: Path, **changes: Any) -> DistilObjective:
    config = RunConfig(
        kind="distil",
        preset="nano",
        steps=30,
        stages=[Stage(frames=17, size=32, batch=4)],
        optim=Optim(lr=1e-3),
        vae="nano",
        start_from=str(teacher),
        latents=[Latents(clips=128, frames=17, size=32)],
        distil=Distil(**{"every": 1, "levels": [1.0, 0.5], **changes}),
    )
    cache: Any = SimpleNamespace(empty_LD=torch.randn(2, PRESETS["nano"].text_width))
    return DistilObjective(config, {32: cache}, "abc", choose("cpu", "float32"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_student_and_shadow_learn_and_the_teacher_stays(teacher: Path, dtype: torch.dtype) -> None:
    run = objective(teacher)
    enabled = dtype != torch.float32
    with torch.autocast("cpu", dtype, enabled=enabled, cache_enabled=False):
        loss, numbers = run.loss(batch(), generator())
    loss.backward()
    for name in ("student", "shadow"):
        grads = [p.grad for p in run.module[name].parameters()]
        assert any(grad is not None and grad.abs().sum() > 0 for grad in grads), name
    assert all(p.grad is None for p in run.teacher.parameters())
    assert set(numbers) == {"shadow", "gap"}


def test_a_student_that_waits_has_no_gradient(teacher: Path) -> None:
    run = objective(teacher, every=1000)
    loss, numbers = run.loss(batch(), generator())
    loss.backward()
    assert set(numbers) == {"shadow"}
    assert all(p.grad is None for p in run.module["student"].parameters())


def test_while_shadow_and_teacher_agree_the_student_stays(teacher: Path) -> None:
    """With guidance 1 and a shadow that has learnt nothing yet, the two see the same data."""
    run = objective(teacher, guidance=1.0)
    loss, numbers = run.loss(batch(), generator())
    torch.testing.assert_close(loss.detach(), numbers["shadow"])


def test_the_student_moves_towards_what_the_teacher_sees(teacher: Path) -> None:
    """A teacher that sees other data than the shadow pulls: the gap to it falls."""
    run = objective(teacher, guidance=1.0)
    with torch.no_grad():
        run.teacher.proj_out.bias += 0.5
    optimiser = torch.optim.Adam(run.module["student"].parameters(), 1e-2)
    gaps = []
    for _ in range(20):
        loss, numbers = run.loss(batch(), generator())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        gaps.append(float(numbers["gap"]))
    assert gaps[-1] < 0.8 * gaps[0], gaps


def test_the_student_is_what_is_exported(teacher: Path, tmp_path: Path) -> None:
    run = objective(teacher)
    with torch.no_grad():
        run.module["student"].proj_out.bias += 1
    run.export(run.module, tmp_path)
    stored = load_component(tmp_path / "transformer.safetensors", "transformer")
    torch.testing.assert_close(
        stored.proj_out.bias, run.module["student"].proj_out.bias, atol=1e-3, rtol=1e-3
    )


def test_levels_fall(teacher: Path) -> None:
    with pytest.raises(RequestError, match="the levels of a student fall"):
        objective(teacher, levels=[0.5, 1.0])
