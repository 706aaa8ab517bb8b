"""The stages of a run on the terminal, while it goes on."""

import sys
from time import monotonic
from typing import Any, Self

import rich.progress as bars
from rich.console import Console

SECONDS = 5.0
"""Between lines where there is no terminal."""


class Progress:
    """A line on stderr with the stage and a bar, until it is closed; nothing where stderr is no
    terminal."""

    def __init__(self) -> None:
        self._bars = bars.Progress(
            bars.SpinnerColumn(),
            bars.TextColumn("{task.description:8}"),
            bars.BarColumn(),
            bars.TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bars.add_task("", total=None)
        self._bars.start()

    def close(self) -> None:
        """Take the line away."""
        self._bars.stop()

    def stage(self, name: str) -> None:
        """A stage of unknown length begins."""
        self._bars.reset(self._task, description=name, total=None)

    def on_part(self, done: int, total: int) -> None:
        """So much of the stage is done."""
        self._bars.update(self._task, completed=done, total=total)

    def on_step(self, step: int, total: int) -> None:
        """A denoising step is done; after the last one the decoder begins."""
        if step == total:
            self.stage("decode")
        else:
            self._bars.update(self._task, description="denoise", completed=step, total=total)


def parts_shown() -> "PartBars | PartLines":
    """Shows events {"part", "done", "total"} on stderr while it is open."""
    console = Console(stderr=True)
    return PartBars(console) if console.is_terminal else PartLines(console)


class PartBars(bars.Progress):
    """A bar for each part, with the time that is left."""

    def __init__(self, console: Console) -> None:
        columns = ("{task.description:14}", bars.BarColumn(), bars.MofNCompleteColumn())
        super().__init__(*columns, bars.TimeRemainingColumn(), console=console, transient=True)
        self._places: dict[str, bars.TaskID] = {}

    def show(self, event: dict[str, Any]) -> None:
        name = event["part"]
        if name not in self._places:
            self._places[name] = self.add_task(name, total=event["total"])
        self.update(self._places[name], completed=event["done"])


class PartLines:
    """A line every few seconds, and at the end of each part, where nobody watches."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, event: dict[str, Any]) -> None:
        now, done, total = monotonic(), event["done"], event["total"]
        if done == total or now - self._said > SECONDS:
            self._said = now
            self._console.print(f"{event['part']} {done} of {total}", highlight=False)
