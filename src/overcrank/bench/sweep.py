"""All that is measured, in turns: what disturbs one setting disturbs all."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from overcrank.bench.beside import Beside
from overcrank.bench.clips import SLOW, SLOW_TURNS, Setting, clip, settings, warm
from overcrank.bench.record import Record, Task
from overcrank.bench.work import kinds, operations
from overcrank.errors import RequestError
from overcrank.pipeline import Pipeline
from overcrank.runtime import Hardware
from overcrank.runtime.machine import multiplications

CALLS = 4
"""Of each network beside diffusers, in a turn."""


class Sweep:
    """A model in every setting of `clips.AXES`, in its own precision and in float32."""

    def __init__(self, pipe: Pipeline, base: Setting, rounds: int) -> None:
        self.base, self.rounds = base, rounds
        self.pipes = {"": pipe}
        if pipe.hardware.dtype != torch.float32 and pipe.model.release is None:
            # Networks of our own are float32 in any case; published ones as their files are.
            self.pipes["float32"] = Pipeline(
                pipe.model, device=pipe.hardware.device, dtype=torch.float32
            )
        self.settings = {
            name: found for name, found in settings(base).items() if found[1].dtype in self.pipes
        }
        self._warm: set[str] = set()
        self._beside: Beside | None = None

    @property
    def total(self) -> int:
        """Tasks there are at most."""
        return self.rounds * (len(self.settings) + 1 + len(self.pipes)) + len(self.settings) + 3

    def tasks(self, record: Record) -> Iterator[Task]:
        """In order: what is measured once, then turn by turn."""
        pipe = self.pipes[""]
        for name in self.settings:
            yield Task(f"memory {name}", 0, partial(self._warmed, name))
        yield Task("operations", 0, partial(operations, pipe, self.base))
        watched = self.pipes if pipe.hardware.device.type == "cpu" else {}
        for name, each in watched.items():
            yield Task(f"kinds {name}".strip(), 0, partial(kinds, each, self.base))
        for turn in range(self.rounds):
            for each in self.pipes.values():
                yield Task(_peak(each.hardware), turn, partial(multiplications, each.hardware))
            for name in self.settings:
                first = record.samples.get(name, [{"seconds": 0.0}])[0]
                if turn < SLOW_TURNS or first["seconds"] < SLOW:
                    yield Task(name, turn, partial(self._clip, name, turn + 1))
            yield Task("beside", turn, self._calls)

    def _clip(self, name: str, turn: int) -> dict[str, float]:
        if name not in self._warm:
            self._warmed(name)
        setting = self.settings[name][1]
        return clip(self.pipes[setting.dtype], setting, turn)

    def _warmed(self, name: str) -> int | None:
        self._warm.add(name)
        setting = self.settings[name][1]
        return warm(self.pipes[setting.dtype], setting)

    def _calls(self) -> dict[str, Any] | None:
        """None where diffusers is not installed."""
        try:
            self._beside = self._beside or Beside(self.pipes[""], self.base)
        except RequestError:
            return None
        return self._beside.calls(CALLS)


def _peak(hardware: Hardware) -> str:
    return f"peak {str(hardware.dtype).removeprefix('torch.')}"
