"""The stages of a run on the terminal, while it goes on."""

import sys

import rich.progress as bars
from rich.console import Console


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
