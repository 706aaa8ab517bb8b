"""The training loop, for every objective.

To resume, run the same command again. Batch and noise of a step depend on the seed and the step
only, so a resumed run goes on as if it had not stopped, to the last bit.
"""

import random
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from overcrank.data.loading import loaded, stay
from overcrank.errors import RunError
from overcrank.runtime import Hardware
from overcrank.train.config import Optim, RunConfig
from overcrank.train.learnt import Learnt
from overcrank.train.memory import local, recompute
from overcrank.train.record import Event, Objective, Record, make_writable, steps_done
from overcrank.train.signals import asked_to_stop
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
    learnt = Learnt.begin(objective.module, config.optim, workers.count if config.shard else 1)
    if begin:
        load_state(folder, learnt)
    if config.recompute:
        recompute(objective.module)
    loader = DataLoader(
        Subset(objective.data(), range(begin, config.steps)),
        batch_size=None,
        num_workers=processes,
        prefetch_factor=4,
        worker_init_fn=stay,
    )
    workers.wait()  # before the first one writes what the others read
    first = workers.rank == 0
    record = Record(config, objective, folder, begin, on_event) if first else None
    done = begin
    with asked_to_stop() as asked, record.of_run(str(hardware.device)) if record else nullcontext():
        if begin == 0 and config.samples:
            _show(learnt, record, hardware, export=False)
        for done, batch in enumerate(loaded(loader), begin + 1):
            numbers = _learn(config, objective, learnt, done - 1, batch, hardware, workers)
            learnt.follow(min(config.optim.ema, done / (9 + done)))
            if record:
                record.step(done, numbers, learning_rate(config.optim, done - 1, config.steps))
            stops = workers.any(bool(asked)) and done < config.steps
            due = done % config.save_every == 0 or done == config.steps
            if due and not stops:
                _show(learnt, record, hardware, export=True)
            if due or stops:  # last: where a state is, all else is there too
                save_state(folder, done, learnt, workers)
                if record:
                    record.saved()
            if stops:
                break
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
    module, optimiser = learnt.module, learnt.optimiser
    for group in optimiser.param_groups:
        group["lr"] = group["scale"] * learning_rate(config.optim, step, config.steps)
    optimiser.zero_grad()
    logs, loss = [], torch.zeros((), device=hardware.device)
    for part in workers.parts(batch, config.accumulate):
        generator = _random_numbers(config.seed, step, part.number, hardware.device)
        with _mixed(hardware):
            of_part, numbers = objective.loss(on_device(part.batch, hardware.device), generator)
        (part.share * of_part).backward()
        loss += part.share * of_part.detach()
        logs.append(numbers)
    workers.join(module)
    workers.sum(loss)
    norm = workers.norm(module)
    if not bool(torch.isfinite(loss + norm)):
        raise _not_finite(step, {"loss": loss, "norm": norm}, logs, module)
    _clip(module, config.optim.clip, norm)
    optimiser.step()
    return {"loss": loss, "norm": norm, **_together(logs)}


def _show(learnt: Learnt, record: Record | None, hardware: Hardware, *, export: bool) -> None:
    """Held-out numbers and the weights that others use; what is spread is put together by all."""
    if record is None and not learnt.spread:
        return
    network = learnt.network()
    if record:
        with _mixed(hardware):
            record.evaluate(network)
        if export:
            record.export(network)


def _random_numbers(seed: int, step: int, part: int, device: torch.device) -> torch.Generator:
    """For one part of one step. What draws without being given a generator is seeded, too."""
    own = random.Random(f"overcrank step {seed}/{step}/{part}").getrandbits(63)
    torch.manual_seed(own)
    return torch.Generator(device).manual_seed(own)


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


@torch.no_grad()
def _clip(module: nn.Module, longest: float, norm: Tensor) -> None:
    """Shorten the gradient, whose length is `norm`, to at most `longest`."""
    grads = [local(p.grad) for p in module.parameters() if p.grad is not None]
    torch._foreach_mul_(grads, (longest / (norm + 1e-6)).clamp(max=1.0).to(grads[0].device))


def _together(logs: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Numbers of a batch from those of its parts, of which some may not have all."""
    names = dict.fromkeys(name for log in logs for name in log)
    return {n: torch.stack([log[n] for log in logs if n in log]).nanmean() for n in names}


def _not_finite(
    step: int, whole: dict[str, Tensor], logs: Sequence[dict[str, Tensor]], module: nn.Module
) -> RunError:
    """Where it shows: the parts of the loss, and the first gradient in the network's order."""
    unlike = (log for log in logs if not all(bool(value.isfinite()) for value in log.values()))
    numbers = {**whole, **next(unlike, logs[-1])}
    said = ", ".join(f"{name} {value.item():.4g}" for name, value in numbers.items())
    first = next(
        (
            name
            for name, parameter in module.named_parameters()
            if parameter.grad is not None and not bool(local(parameter.grad).isfinite().all())
        ),
        "none here",
    )
    return RunError(
        f"step {step} is not finite: got {said}; the first gradient that is not finite: {first}: "
        "nothing was changed; try a lower optim.lr, or precision=float32"
    )
