"""What a training shows on the terminal: a live view, or plain lines where nobody watches."""

from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from overcrank.cli.train_plan import duration

if TYPE_CHECKING:
    from overcrank.train import RunConfig

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 60
"""Columns of a sparkline."""
KEEP = 0.9
"""Of the smoothed loss at each new number."""


class TrainView:
    """Shows the events of a run; a context in which it may keep a part of the terminal."""

    def __init__(self, config: "RunConfig", console: Console) -> None:
        self.config, self.console = config, console
        self.begins: dict[str, Any] = {}
        self.numbers: dict[str, Any] = {}
        """Of the newest step."""
        self.held_out: dict[str, tuple[float, float]] = {}
        """By name: the newest, and the one before it."""
        self.losses: deque[float] = deque(maxlen=10 * WIDTH)
        self._live: Live | None = None
        if console.is_terminal and not console.quiet:
            # No thread and no redirection: processes that load batches are forked from this one.
            self._live = Live(
                console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, event: dict[str, Any]) -> None:
        """Take in an event, a dictionary of what a run reports."""
        if self._live is None:
            self.console.print(line(event), markup=False, highlight=False, soft_wrap=True)
            return
        if "trains" in event:
            self.begins = event
        if "loss" in event:
            self._follow(event["loss"])
            self.numbers = event
        elif any(name.startswith("held_out") for name in event):
            for name, value in event.items():
                if name != "step":
                    self.held_out[name] = (value, self.held_out.get(name, (value,))[0])
        else:
            self._live.console.print(line(event), markup=False, highlight=False)
        self._live.update(self.picture(), refresh=True)

    def picture(self) -> RenderableType:
        """Everything that stays in view."""
        parts: list[RenderableType] = []
        if self.numbers:
            parts += [self._progress(), self._now(), self._curve()]
        if self.held_out:
            parts.append(self._unseen())
        return Group(*parts)

    def _follow(self, loss: float) -> None:
        before = self.losses[-1] if self.losses else loss
        self.losses.append(KEEP * before + (1 - KEEP) * loss)

    def _progress(self) -> Table:
        done, steps = self.numbers["step"], self.config.steps
        left = duration((steps - done) * self.numbers.get("seconds", 0.0))
        row = Table.grid(padding=(0, 1))
        row.add_row(
            f"step {done:,} of {steps:,}",
            ProgressBar(total=steps, completed=done, width=WIDTH - 20),
            f"{100 * done / steps:.1f} %",
            "done" if done == steps else f"{left} to go",
        )
        return row

    def _now(self) -> Table:
        now, known = self.numbers, ("loss", "norm", "lr", "seconds")
        seconds = now.get("seconds")
        cells = {"loss": now["loss"], "smoothed": self.losses[-1], "lr": now.get("lr")}
        cells |= {"gradient": now.get("norm"), "s/step": seconds}
        if seconds:
            cells["clips/s"] = self.config.stage(now["step"] - 1).batch / seconds
        cells |= {name: value for name, value in now.items() if name not in ("step", *known)}
        return _cells({name: short(value) for name, value in cells.items() if value is not None})

    def _curve(self) -> Text:
        return Text(sparkline(list(self.losses)), "cyan").append("  smoothed loss", "dim")

    def _unseen(self) -> Table:
        """By size of the clips, a row each: the newest numbers, green where they got better."""
        rows: dict[str, list[Text]] = {}
        for name, (value, before) in self.held_out.items():
            row, _, column = name.removeprefix("held_out_").rpartition("_")
            better = value > before if "psnr" in name else value < before
            colour = "green" if better else "yellow" if value != before else ""
            cell = Text.assemble((f"{column} ", "dim"), (short(value), colour))
            rows.setdefault(row, []).append(cell)
        table = Table.grid(padding=(0, 2))
        for row, cells in rows.items():
            table.add_row(f"held out {row}".strip(), *cells)
        return table


def sparkline(values: list[float]) -> str:
    """Values as bars of eight heights, several as their mean where there are many."""
    if not values:
        return ""
    size = -(-len(values) // WIDTH)
    groups = [values[i : i + size] for i in range(0, len(values), size)]
    means = [sum(group) / len(group) for group in groups]
    low, high = min(means), max(means)
    most = len(BARS) - 1
    return "".join(BARS[round(most * (m - low) / (high - low or 1))] for m in means)


def line(event: dict[str, Any]) -> str:
    """What a run reports, in one line."""
    if "trains" in event:
        left = event["steps"] - event["done"]
        return (
            f"training {event['trains']}, {event['parameters']:,} parameters, on "
            f"{event['device']}: {left} steps to do, in {event['folder']}"
        )
    if "lost" in event:
        return (
            f"stopped at step {event['step']}: the last {event['lost']} steps are lost; "
            f"the same command goes on from step {event['step'] - event['lost']}"
        )
    return "  ".join(f"{name} {short(value)}" for name, value in event.items())


def short(value: Any) -> str:
    """A number in four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cells(numbers: dict[str, str]) -> Table:
    """Names above numbers."""
    table = Table.grid(padding=(0, 2))
    table.add_row(*(Text(name, "dim") for name in numbers))
    table.add_row(*numbers.values())
    return table
