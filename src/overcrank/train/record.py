"""What a run leaves beside its state: configuration, log, and what the objective exports."""

import fcntl
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from torch import Tensor, nn
from torch.utils.data import Dataset

from overcrank.errors import ModelError, RequestError
from overcrank.train.config import RunConfig
from overcrank.train.health import part_seen, reference, remarks
from overcrank.train.report import write_report
from overcrank.train.state import steps_in
from overcrank.weights.files import write_atomically

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
        self.done = self.kept = self.timed = begin
        self.since = time.perf_counter()
        self.log = folder / "metrics.jsonl"
        self.first = begin + 1
        self.before: dict[str, float] = {}
        """Numbers of the evaluation before the next one."""

    @contextmanager
    def of_run(self, device: str) -> Iterator[None]:
        """Say what is going to be done, and how many steps are lost if it is interrupted.

        Raises RequestError if another run is at work in the folder.
        """
        with _alone_in(self.folder):
            for leftover in self.folder.glob(".*.tmp"):  # of a run that was killed
                leftover.unlink()
            config = yaml.safe_dump(self.config.model_dump(), sort_keys=False)
            _rewrite(self.folder / "config.yaml", config)
            _forget_later(self.log, self.done)
            self._announce(device)
            try:
                yield
            except KeyboardInterrupt:
                self.on_event({"step": self.done, "lost": self.done - self.kept})
                raise

    def _announce(self, device: str) -> None:
        self.device = device
        learnt = [p.numel() for p in self.objective.module.parameters() if p.requires_grad]
        self.on_event(
            {
                "trains": self.config.title,
                "parameters": sum(learnt),
                "device": device,
                "steps": self.config.steps,
                "done": self.done,
                "folder": str(self.folder),
            }
        )

    def step(self, done: int, numbers: dict[str, Tensor], rate: float) -> None:
        """Note a step that is done; of the first and the last, and every few, its numbers."""
        self.done = done
        if done % self.config.log_every == 0 or done in (self.first, self.config.steps):
            now = time.perf_counter()
            seconds = round((now - self.since) / (done - self.timed), 4)
            self.since, self.timed = now, done
            rounded = {name: round(value.item(), 5) for name, value in numbers.items()}
            self._write({**rounded, "lr": float(f"{rate:.4g}"), "seconds": seconds})

    def evaluate(self, network: nn.Module) -> None:
        """Numbers on held-out data, for the moving average."""
        numbers = self.objective.evaluate(network, self.folder, self.done)
        if numbers:
            self._write(numbers)
        bands, part = reference(self.config.model_dump()), part_seen(network)
        for said in remarks(numbers, self.before, bands, self.done, part):
            self.on_event({"step": self.done, "health": said})
        self.before = numbers
        self._rest()

    def export(self, network: nn.Module) -> None:
        """The weights that others use."""
        self.objective.export(network, self.folder)

    def saved(self) -> None:
        """Note that the run's state is on the disk: no step until here is lost any more."""
        self.kept = self.done
        try:
            write_report(self.folder, self.device)
        except OSError as error:  # the state is there, and the page can be made later
            self.on_event({"step": self.done, "no_report": error.strerror or str(error)})
        self._rest()

    def _rest(self) -> None:
        """What was done since the last step is no step's time."""
        self.since, self.timed = time.perf_counter(), self.done

    def _write(self, numbers: dict[str, float]) -> None:
        """A number that no sample of the step has, a mean of nothing, is left out."""
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        event = {"step": self.done, **finite}
        with self.log.open("a") as file:
            file.write(json.dumps(event) + "\n")
        self.on_event(event)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """As long as this lasts, no other run is let into the folder."""
    place = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RequestError(
                f"another run is at work in {folder}: got a second one: wait until it ends, or "
                "give this one a folder of its own"
            ) from None
        yield
    finally:
        os.close(place)


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


def steps_done(folder: Path, config: RunConfig) -> int:
    """Of the run in `folder`, 0 if there is none; refused if it is another run."""
    done = steps_in(folder)
    if done:
        _check_same_run(folder, config)
    return done


def _check_same_run(folder: Path, config: RunConfig) -> None:
    """A run may be given other steps or rates on the way, but not other data."""
    path = folder / "config.yaml"
    try:
        before = yaml.safe_load(path.read_text())
        now = {"kind": config.kind, "preset": config.preset, "seed": config.seed}
        if config.preset is None and config.start_from is not None:
            del now["preset"]  # the file that it starts from decides
        changed = [name for name, value in now.items() if before[name] != value]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ModelError(
            f"what the run in {folder} was given is not known, got {type(error).__name__} "
            f"from {path.name}: write its kind, preset and seed there, or give a new run folder"
        ) from None
    if changed:
        name = changed[0]
        raise RequestError(
            f"{folder} holds a run with another {name}: got {now[name]}, right is "
            f"{before[name]}: give a new run folder to begin anew"
        )


def _forget_later(path: Path, step: int) -> None:
    """Drop log lines of steps that will be run again, and what a crash cut off."""
    if path.exists():
        before = path.read_text().splitlines() if step else []  # with nothing saved, all again
        lines = [line for line in before if _is_until(line, step)]
        _rewrite(path, "".join(line + "\n" for line in lines))


def _rewrite(path: Path, text: str) -> None:
    """In one step, so that a run that is killed here finds the old file or the new one."""
    with write_atomically(path) as temporary:
        temporary.write_text(text)


def _is_until(line: str, step: int) -> bool:
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False
