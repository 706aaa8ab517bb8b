"""What a run leaves in its folder, and how it goes on from there.

config.yaml, metrics.jsonl, state.pt (weights, moving average, optimiser) and what the objective
exports.
"""

import copy
import json
import math
import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from torch import Tensor, nn
from torch.utils.data import Dataset

from overcrank.errors import ModelError, RequestError
from overcrank.train.config import RunConfig

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


class Record:
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
        self.first = begin + 1
        (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(), sort_keys=False))
        _forget_later(self.log, begin)

    def begin(self, device: str) -> None:
        """Say what is going to be done."""
        learnt = [p.numel() for p in self.objective.module.parameters() if p.requires_grad]
        self.on_event(
            {
                "trains": f"{self.config.kind} {self.config.preset}",
                "parameters": sum(learnt),
                "device": device,
                "steps": self.config.steps,
                "done": self.done,
                "folder": str(self.folder),
            }
        )

    def step(self, done: int, numbers: dict[str, Tensor]) -> None:
        """Note a step that is done; of the first and the last, and every few, its numbers."""
        self.done = done
        if done % self.config.log_every == 0 or done in (self.first, self.config.steps):
            now = time.perf_counter()
            seconds = round((now - self.since) / (done - self.timed), 4)
            self.since, self.timed = now, done
            rounded = {name: round(value.item(), 5) for name, value in numbers.items()}
            self._write({**rounded, "seconds": seconds})

    def is_due(self, done: int) -> bool:
        """Is this the time to evaluate and save?"""
        return done % self.config.save_every == 0 or done == self.config.steps

    def evaluate(self, average: nn.Module) -> None:
        """Numbers on held-out data."""
        self._write(self.objective.evaluate(average, self.folder, self.done))

    def save(self, module: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """What the run needs to go on, and the weights that others use.

        The last state is the last to be written: where it is, the weights are there too.
        """
        last = self.done == self.config.steps
        if not last:
            self.save_state(module, average, optimiser)
        self.objective.export(copy.deepcopy(average), self.folder)
        if last:
            self.save_state(module, average, optimiser)
        self.since, self.timed = time.perf_counter(), self.done

    def save_state(
        self, module: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer
    ) -> None:
        """What the run needs to go on, no more."""
        _save(self.folder, self.done, module, average, optimiser)
        self.saved = self.done

    def _write(self, numbers: dict[str, float]) -> None:
        """A number that no sample of the step has, a mean of nothing, is left out."""
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        event = {"step": self.done, **finite}
        with self.log.open("a") as file:
            file.write(json.dumps(event) + "\n")
        self.on_event(event)


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


def steps_done(folder: Path, config: RunConfig) -> int:
    """Of the run in `folder`, 0 if there is none; refused if it is another run."""
    state = _read_state(folder / "state.pt", mapped=True)
    if state is None:
        return 0
    check_same_run(folder, config)
    return int(state["step"])


def _read_state(path: Path, *, mapped: bool = False) -> dict[str, Any] | None:
    """What `_save` wrote; `mapped` reads only what is looked at."""
    if not path.exists():
        return None
    mend = "delete it to begin anew, or give another run folder"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (RuntimeError, ValueError, OSError, EOFError, pickle.UnpicklingError):
        raise ModelError(f"{path} is damaged, it cannot be read: {mend}") from None
    needed = {"step", "module", "average", "optimiser"}
    if not isinstance(state, dict) or not needed <= set(state):
        raise ModelError(f"{path} is damaged, it lacks {', '.join(sorted(needed))}: {mend}")
    return state


def resume(
    folder: Path, module: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer
) -> int:
    """Take over the state in `folder`, if there is one; the steps it has done."""
    path = folder / "state.pt"
    state = _read_state(path)
    if state is None:
        return 0
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


def check_same_run(folder: Path, config: RunConfig) -> None:
    """A run may be given other steps or rates on the way, but not other data."""
    path = folder / "config.yaml"
    try:
        before = yaml.safe_load(path.read_text())
        changed = [n for n in ("kind", "preset", "seed") if before[n] != getattr(config, n)]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ModelError(
            f"what the run in {folder} was given is not known, got {type(error).__name__} "
            f"from {path.name}: write its kind, preset and seed there, or give a new run folder"
        ) from None
    if changed:
        name = changed[0]
        raise RequestError(
            f"{folder} holds a run with another {name}: got {getattr(config, name)}, right is "
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
