"""The training loop, for every objective.

To resume, run the same command again. Batch and noise of a step depend on the seed and the step
only, so a resumed run goes on as if it had not stopped.
"""

import copy
import signal
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from overcrank.errors import RunError
from overcrank.runtime import Hardware
from overcrank.train.config import Optim, RunConfig
from overcrank.train.record import (
    Event,
    Objective,
    Record,
    check_same_run,
    make_writable,
    resume,
)
from overcrank.train.workers import ALONE, BatchT, Workers


def train(
    config: RunConfig,
    objective: Objective,
    folder: Path,
    on_event: Callable[[Event], None],
    hardware: Hardware,
    workers: Workers = ALONE,
    processes: int = 1,
) -> int:
    """Run until `config.steps`, resuming from `folder` if it holds a run; return the steps done.

    The objective is on the `hardware` already; `processes` prepare its batches. SIGTERM ends the
    run after a step, of which nothing is lost. A run that is done already is left as it is.
    """
    make_writable(folder)
    module, average = objective.module, copy.deepcopy(objective.module).eval()
    optimiser = torch.optim.AdamW(
        parameter_groups(module, config.optim.fan_in),
        betas=config.optim.betas,
        weight_decay=config.optim.weight_decay,
        fused=True,
    )
    begin = resume(folder, module, average, optimiser)
    if begin:
        check_same_run(folder, config)
    if begin >= config.steps:
        return begin
    loader = DataLoader(
        Subset(objective.data(), range(begin, config.steps)),
        batch_size=None,
        num_workers=processes,
        prefetch_factor=4,
    )
    workers.wait()  # before the first one writes what the others read
    record = None
    if workers.rank == 0:
        record = Record(config, objective, folder, begin, on_event)
        record.begin(str(hardware.device))
    asked, done = _asked_to_stop(), begin
    try:
        for done, batch in enumerate(loader, begin + 1):
            numbers = _learn(config, objective, optimiser, done - 1, batch, hardware, workers)
            _follow(average, module, min(config.optim.ema, done / (9 + done)))
            ends = workers.any(bool(asked)) and done < config.steps
            if record is not None:
                record.step(done, numbers)
                if ends:
                    record.save_state(module, average, optimiser)
                elif record.is_due(done):
                    with _mixed(hardware):
                        record.evaluate(average)
                    record.save(module, average, optimiser)
            if ends:
                break
    except KeyboardInterrupt:
        if record is not None:
            on_event({"step": record.done, "lost": record.done - record.saved})
        raise
    return done


def _mixed(hardware: Hardware) -> torch.autocast:
    """Without a cache: a weight cast where no gradient is wanted would have none after."""
    return torch.autocast(
        hardware.device.type,
        hardware.dtype,
        enabled=hardware.dtype != torch.float32,
        cache_enabled=False,
    )


def _learn(
    config: RunConfig,
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    step: int,
    batch: Any,
    hardware: Hardware,
    workers: Workers,
) -> dict[str, Tensor]:
    """One step on one batch: the loss, the gradient's norm, and what the objective adds."""
    for group in optimiser.param_groups:
        group["lr"] = group["scale"] * learning_rate(config.optim, step, config.steps)
    noise_seed = config.seed * 2**32 + workers.rank * 2**31 + step
    generator = torch.Generator(hardware.device).manual_seed(noise_seed)
    mine = on_device(workers.part(batch), hardware.device)
    with _mixed(hardware):
        loss, numbers = objective.loss(mine, generator)
    optimiser.zero_grad()
    loss.backward()
    workers.average(objective.module)
    norm = nn.utils.clip_grad_norm_(objective.module.parameters(), config.optim.clip)
    _check_finite(step, loss, norm)
    optimiser.step()
    return {"loss": loss.detach(), "norm": norm, **numbers}


def _asked_to_stop() -> list[int]:
    """A list that SIGTERM fills: the step is finished and saved, nothing is lost."""
    asked: list[int] = []
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    return asked


def on_device(batch: BatchT, device: torch.device) -> BatchT:
    """A dataclass of tensors, each moved there."""
    given: Any = batch
    moved = {f.name: getattr(given, f.name).to(device, non_blocking=True) for f in fields(given)}
    there: BatchT = replace(given, **moved)
    return there


def learning_rate(optim: Optim, step: int, steps: int) -> float:
    """Linear warm-up, constant, linear fall over the last `optim.fall` steps."""
    rise = min(1.0, (step + 1) / max(1, optim.warmup))
    fall = min(1.0, (steps - step) / max(1, optim.fall))
    return optim.lr * rise * fall


def parameter_groups(module: nn.Module, fan_in: int | None) -> list[dict[str, Any]]:
    """Parameters by the factor on their learning rate (see `Optim.fan_in`)."""
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in module.parameters():
        if not parameter.requires_grad:
            continue
        inputs = parameter[0].numel() if parameter.ndim > 1 else 1
        scale = min(1.0, fan_in / inputs) if fan_in else 1.0
        groups.setdefault(scale, []).append(parameter)
    return [{"params": parameters, "scale": scale} for scale, parameters in groups.items()]


def _check_finite(step: int, loss: Tensor, norm: Tensor) -> None:
    if not bool(torch.isfinite(loss + norm)):
        raise RunError(
            f"step {step}: the loss is {loss.item()} and the gradient's norm {norm.item()}: "
            "nothing was changed; try a lower optim.lr"
        )


@torch.no_grad()
def _follow(average: nn.Module, module: nn.Module, decay: float) -> None:
    targets, sources = list(average.state_dict().values()), list(module.state_dict().values())
    torch._foreach_lerp_(targets, sources, 1 - decay)
