"""What was measured so far: a file beside the page, so that a run can stop and go on."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from overcrank.errors import MediaError
from overcrank.weights.files import write_atomically

OnTask = Callable[[int, int], None]
"""Called with (done, total) before each."""


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to measure; those of the same name make a list, in the order of their turns."""

    name: str
    turn: int
    run: Callable[[], Any]


class Record:
    """Samples by the name of their task, and what they are samples of."""

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        """Go on with the file if it is there; one about something else is refused."""
        self.path = path
        self.data: dict[str, Any] = {"about": dict(about), "sessions": [], "samples": {}}
        if not path.exists():
            return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            sort = {key: found[key] for key in self.data}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MediaError(
                f"{path} holds no measurements: got {error!r:.80}: delete it, or give another -o"
            ) from error
        if sort["about"] != json.loads(json.dumps(about)):
            raise MediaError(
                f"{path} holds measurements of something else, got {sort['about']}, here it is "
                f"{about}: delete it, or give another -o"
            )
        self.data = sort

    @property
    def samples(self) -> dict[str, list[Any]]:
        """Of each task, in the order of their turns."""
        samples: dict[str, list[Any]] = self.data["samples"]
        return samples

    def take(
        self, tasks: Iterator[Task], total: int, seconds: float, on_task: OnTask
    ) -> dict[str, Any] | None:
        """Run what is not there yet, for about so many seconds at most; all there is, or None if
        something is left to do. Everything is kept, whatever ends it."""
        begin = perf_counter()
        try:
            for done, task in enumerate(tasks):
                if len(self.samples.get(task.name, [])) > task.turn:
                    continue
                if perf_counter() - begin > seconds:
                    return None
                on_task(done, total)
                self.samples.setdefault(task.name, []).append(task.run())
        finally:
            self._save()
        return self.data

    def session(self, **values: Any) -> None:
        """When it was, and how busy the machine was meanwhile."""
        self.data["sessions"].append(values)
        self._save()

    def _save(self) -> None:
        with write_atomically(self.path) as temporary:
            temporary.write_text(json.dumps(self.data, indent=1), encoding="utf-8")
