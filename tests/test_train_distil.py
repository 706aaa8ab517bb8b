"""Few-step distillation: who learns what from whom."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from loud_weights import randomise
from overcrank.runtime import choose
from overcrank.shapes import ClipSize
from overcrank.train.config import Distil, Latents, Optim, RunConfig, Stage
from overcrank.train.distil import DistilObjective
from overcrank.train.given import Given, Tokens
from overcrank.transformer import PRESETS, Transformer
from overcrank.weights import load_component, save_component
from test_train_given import batch, generator


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    module = Transformer(PRESETS["nano"])
    randomise(module)
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
    cache: Any = SimpleNamespace(
        empty_LD=torch.randn(2, PRESETS["nano"].text_width), frame_rate=24.0
    )
    return DistilObjective(config, {ClipSize(17, 32, 32): cache}, "abc", choose("cpu", "float32"))


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


def test_the_student_is_pulled_from_what_the_shadow_sees_to_what_the_teacher_sees(
    teacher: Path,
) -> None:
    """A teacher whose velocity is greater everywhere sees smaller data everywhere."""
    run, data = objective(teacher, guidance=1.0), batch()
    with torch.no_grad():
        run.teacher.proj_out.bias += 0.5
    given = Given(torch.tensor([True, False, False]).expand(4, 3))
    tokens = Tokens.of(data, given, causal=True)
    made = tokens.clean_BNC.clone().requires_grad_()
    run.matching(run.module["shadow"], data, tokens, made, generator())[0].backward()
    assert made.grad is not None
    assert (made.grad[:, 2:] > 0).all()
    assert (made.grad[:, :2] == 0).all(), "what is given stays"


def test_the_student_is_what_is_exported(teacher: Path, tmp_path: Path) -> None:
    run = objective(teacher)
    with torch.no_grad():
        run.module["student"].proj_out.bias += 1
    run.export(run.module, tmp_path)
    stored = load_component(tmp_path / "transformer.safetensors", "transformer")
    torch.testing.assert_close(
        stored.proj_out.bias, run.module["student"].proj_out.bias, atol=1e-3, rtol=1e-3
    )
