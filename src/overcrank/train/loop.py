"""The training loop: one flat function, for every objective.

A run lives in one folder: config.yaml, metrics.jsonl, state.pt (weights, moving average,
optimiser) and the exported weights. To resume, run the same command again. Batch and noise of a
step depend on the seed and the step only, so a resumed run goes on as if it had not stopped.
"""

import copy
import json
import math
import pickle
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from overcrank.errors import ModelError, RequestError, RunError
from overcrank.runtime import Hardware
from overcrank.train.config import Optim, RunConfig
from overcrank.train.workers import ALONE, BatchT, Workers

Event = dict[str, Any]


class Objective(Protocol):
    """What a run optimises."""

    @property
    def module(self) -> nn.Module:
        """The network that is trained."""
        ...

    def data(self) -> Dataset[Any]:
        """`data()[step]` is the batch of that step."""
        ...

    def loss(self, batch: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one batch, on the generator's device, and numbers to log."""
        ...

    def evaluate(self, module: nn.Module, folder: Path, step: int, /) -> dict[str, float]:
        """Numbers on held-out data, for the moving average of the weights."""
        ...

    def export(self, module: nn.Module, folder: Path) -> None:
        """Write the weights that others use."""
        ...


def train(
    config: RunConfig,
    objective: Objective,
    folder: Path,
    on_event: Callable[[Event], None],
    hardware: Hardware,
    workers: Workers = ALONE,
    processes: int = 1,
) -> None:
    """Run until `config.steps`, resuming from `folder` if it holds a run.

    The objective is on the `hardware` already; `processes` prepare its batches.
    """
    make_writable(folder)
    module, average = objective.module, copy.deepcopy(objective.module).eval()
    optimiser = torch.optim.AdamW(
        parameter_groups(module, config.optim.fan_in),
        betas=config.optim.betas,
        weight_decay=config.optim.weight_decay,
        fused=True,
    )
    begin = _resume(folder, module, average, optimiser)
    if begin:
        _check_same_run(folder / "config.yaml", config)
    device = hardware.device
    # Without a cache: a weight that is cast where no gradient is wanted would have none after.
    mixed = torch.autocast(
        device.type,
        hardware.dtype,
        enabled=hardware.dtype != torch.float32,
        cache_enabled=False,
    )
    loader = DataLoader(
        Subset(objective.data(), range(begin, config.steps)),
        batch_size=None,
        num_workers=processes,
        prefetch_factor=4,
    )
    workers.wait()  # before the first one writes what the others read
    record = _Record(config, objective, folder, begin, on_event) if workers.rank == 0 else None
    asked = _asked_to_stop()
    try:
        for step, batch in enumerate(loader, begin):
            for group in optimiser.param_groups:
                group["lr"] = group["scale"] * learning_rate(config.optim, step, config.steps)
            noise_seed = config.seed * 2**32 + workers.rank * 2**31 + step
            generator = torch.Generator(device).manual_seed(noise_seed)
            with mixed:
                loss, numbers = objective.loss(on_device(workers.part(batch), device), generator)
            optimiser.zero_grad()
            loss.backward()
            workers.average(module)
            norm = nn.utils.clip_grad_norm_(module.parameters(), config.optim.clip)
            _check_finite(step, loss, norm)
            optimiser.step()
            _follow(average, module, min(config.optim.ema, (1 + step) / (10 + step)))
            if record is not None:
                record.step(step + 1, loss, norm, numbers)
                if record.is_due(step + 1):
                    with mixed:
                        record.evaluate(average)
                    record.save(module, average, optimiser)
                elif asked:
                    record.save(module, average, optimiser)
            if asked:
                break
    except KeyboardInterrupt:
        if record is not None:
            on_event({"step": record.done, "lost": record.done - record.saved})
        raise


def _asked_to_stop() -> list[int]:
    """A list that SIGTERM fills: the step is finished and saved, nothing is lost."""
    asked: list[int] = []
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    return asked


class _Record:
    """What a run leaves in its folder."""

    def __init__(
        self,
        config: RunConfig,
        objective: Objective,
        folder: Path,
        begin: int,
        on_event: Callable[[Event], None],
    ) -> None:
        self.config, self.objective = config, objective
        self.folder, self.on_event = folder, on_event
        self.done = self.saved = self.timed = begin
        self.since = time.perf_counter()
        self.log = folder / "metrics.jsonl"
        (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(), sort_keys=False))
        _forget_later(self.log, begin)

    def step(self, done: int, loss: Tensor, norm: Tensor, numbers: dict[str, Tensor]) -> None:
        """Note a step that is done, and every few steps its numbers."""
        self.done = done
        if done % self.config.log_every == 0 or done == self.config.steps:
            now = time.perf_counter()
            seconds = round((now - self.since) / (done - self.timed), 4)
            self.since, self.timed = now, done
            rounded = {name: round(value.item(), 5) for name, value in numbers.items()}
            self._write({"loss": loss.item(), "norm": norm.item(), "seconds": seconds, **rounded})

    def is_due(self, done: int) -> bool:
        """Is this the time to evaluate and save?"""
        return done % self.config.save_every == 0 or done == self.config.steps

    def evaluate(self, average: nn.Module) -> None:
        """Numbers on held-out data."""
        self._write(self.objective.evaluate(average, self.folder, self.done))

    def save(self, module: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """What the run needs to go on, and the weights that others use."""
        _save(self.folder, self.done, module, average, optimiser)
        self.objective.export(copy.deepcopy(average), self.folder)
        self.since, self.timed, self.saved = time.perf_counter(), self.done, self.done

    def _write(self, numbers: dict[str, float]) -> None:
        """A number that no sample of the step has, a mean of nothing, is left out."""
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        event = {"step": self.done, **finite}
        with self.log.open("a") as file:
            file.write(json.dumps(event) + "\n")
        self.on_event(event)


def on_device(batch: BatchT, device: torch.device) -> BatchT:
    """A dataclass of tensors, each moved there."""
    given: Any = batch
    moved = {f.name: getattr(given, f.name).to(device, non_blocking=True) for f in fields(given)}
    there: BatchT = replace(given, **moved)
    return there


def make_writable(folder: Path) -> None:
    """Make a folder if there is none; refused if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RequestError(
            f"cannot write to the folder {folder}: {error.strerror}: give one that can be written"
        ) from None


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


def _save(
    folder: Path, step: int, module: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    state = {
        "format_version": 1,
        "step": step,
        "module": module.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    temporary = folder / "state.pt.tmp"
    torch.save(state, temporary)
    temporary.replace(folder / "state.pt")


def _resume(
    folder: Path, module: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer
) -> int:
    path = folder / "state.pt"
    if not path.exists():
        return 0
    mend = "delete it to begin anew, or give another run folder"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, OSError, EOFError, pickle.UnpicklingError):
        raise ModelError(f"{path} is damaged, it cannot be read: {mend}") from None
    needed = {"step", "module", "average", "optimiser"}
    if not isinstance(state, dict) or not needed <= set(state):
        raise ModelError(f"{path} is damaged, it lacks {', '.join(sorted(needed))}: {mend}")
    try:
        module.load_state_dict(state["module"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} holds another network: {str(error).splitlines()[0]}; "
            "give a new run folder, or the configuration that the run began with"
        ) from None
    step: int = state["step"]
    return step


def _check_same_run(path: Path, config: RunConfig) -> None:
    """A run may be given other steps or rates on the way, but not other data."""
    try:
        before = yaml.safe_load(path.read_text())
        changed = [n for n in ("kind", "preset", "seed") if before[n] != getattr(config, n)]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return
    if changed:
        name = changed[0]
        raise RequestError(
            f"{path.parent} holds a run with another {name}: got {getattr(config, name)}, right is "
            f"{before[name]}: give a new run folder to begin anew"
        )


def _forget_later(path: Path, step: int) -> None:
    """Drop log lines of steps that will be run again, and what a crash cut off."""
    if path.exists():
        lines = [line for line in path.read_text().splitlines() if _is_until(line, step)]
        path.write_text("".join(line + "\n" for line in lines))


def _is_until(line: str, step: int) -> bool:
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False
