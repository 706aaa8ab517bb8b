"""The training loop, for every objective.

To resume, run the same command again. Batch and noise of a step depend on the seed and the step
only, so a resumed run goes on as if it had not stopped, to the last bit.
"""

import random
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
from overcrank.train.learnt import Learnt
from overcrank.train.record import Event, Objective, Record, make_writable, steps_done
from overcrank.train.signals import asked_to_stop, stay
from overcrank.train.state import load_state, save_state
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
    begin = steps_done(folder, config)
    if begin >= config.steps:
        return begin
    learnt = Learnt.begin(objective.module, config.optim)
    if begin:
        load_state(folder, learnt)
    loader = DataLoader(
        Subset(objective.data(), range(begin, config.steps)),
        batch_size=None,
        num_workers=processes,
        prefetch_factor=4,
        worker_init_fn=stay,
    )
    workers.wait()  # before the first one writes what the others read
    record = None
    if workers.rank == 0:
        record = Record(config, objective, folder, begin, on_event)
        record.begin(str(hardware.device))
    done = begin
    try:
        with asked_to_stop() as asked:
            for done, batch in enumerate(loader, begin + 1):
                numbers = _learn(config, objective, learnt, done - 1, batch, hardware, workers)
                learnt.follow(min(config.optim.ema, done / (9 + done)))
                stops = workers.any(bool(asked)) and done < config.steps
                if record is not None:
                    record.step(done, numbers)
                    due = done % config.save_every == 0 or done == config.steps
                    if due and not stops:
                        network = learnt.network()
                        with _mixed(hardware):
                            record.evaluate(network)
                        record.export(network)
                    if due or stops:  # last: where a state is, all else is there too
                        save_state(folder, done, learnt)
                        record.saved()
                if stops:
                    break
    except KeyboardInterrupt:
        if record is not None:
            record.interrupted()
        raise
    return done


def _learn(
    config: RunConfig,
    objective: Objective,
    learnt: Learnt,
    step: int,
    batch: Any,
    hardware: Hardware,
    workers: Workers,
) -> dict[str, Tensor]:
    """One step on one batch: the loss, the gradient's norm, and what the objective adds."""
    for group in learnt.optimiser.param_groups:
        group["lr"] = group["scale"] * learning_rate(config.optim, step, config.steps)
    seed = random.Random(f"overcrank step {config.seed}/{step}/{workers.rank}").getrandbits(63)
    torch.manual_seed(seed)  # for what draws without being given a generator
    generator = torch.Generator(hardware.device).manual_seed(seed)
    mine = on_device(workers.part(batch), hardware.device)
    learnt.optimiser.zero_grad()
    with _mixed(hardware):
        loss, numbers = objective.loss(mine, generator)
    loss.backward()
    workers.average(learnt.module)
    norm = nn.utils.clip_grad_norm_(learnt.module.parameters(), config.optim.clip)
    _check_finite(step, loss, norm)
    learnt.optimiser.step()
    return {"loss": loss.detach(), "norm": norm, **numbers}


def _mixed(hardware: Hardware) -> torch.autocast:
    """Without a cache: a weight cast where no gradient is wanted would have none after."""
    return torch.autocast(
        hardware.device.type,
        hardware.dtype,
        enabled=hardware.dtype != torch.float32,
        cache_enabled=False,
    )


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


def _check_finite(step: int, loss: Tensor, norm: Tensor) -> None:
    if not bool(torch.isfinite(loss + norm)):
        raise RunError(
            f"step {step}: the loss is {loss.item()} and the gradient's norm {norm.item()}: "
            "nothing was changed; try a lower optim.lr"
        )
