"""What a training shows on the terminal: a live view, or plain lines where nobody watches."""

from collections import deque
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from overcrank.cli.train_plan import duration, steps

if TYPE_CHECKING:
    from overcrank.train import RunConfig

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 60
"""Columns of a sparkline."""
LONG = 5.0
"""Seconds of other work than steps that are worth a line."""
KEEP = 0.9
"""Of the smoothed loss at each new number."""


class TrainView:
    """Shows the events of a run; it may keep a part of the terminal until it is closed."""

    def __init__(self, config: "RunConfig", console: Console) -> None:
        self.config, self.console = config, console
        self.numbers: dict[str, Any] = {}
        """Of the newest step."""
        self.held_out: dict[str, tuple[float, float]] = {}
        """By name: the newest, and the one before it."""
        self.doing: dict[str, Any] | None = None
        """The newest event of work that is no step and goes on."""
        self._said = 0.0
        """Seconds into such work, when a line last told of it."""
        self.losses: deque[float] = deque(maxlen=10 * WIDTH)
        self._live: Live | None = None
        if console.is_terminal and not console.quiet:
            # No thread and no redirection: processes that load batches are forked from this one.
            self._live = Live(
                console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            )
            self._live.start()

    def close(self) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()

    def show(self, event: dict[str, Any]) -> None:
        """Take in an event, a dictionary of what a run reports."""
        if self._live is None:
            if "doing" not in event or self._is_due(event):
                self.console.print(line(event), markup=False, highlight=False, soft_wrap=True)
            return
        self.doing = event if "doing" in event and event["done"] < event["of"] else None
        if "loss" in event:
            self._follow(event["loss"])
            self.numbers = event
        elif any(name.startswith("held_out") for name in event):
            for name, value in event.items():
                if name != "step":
                    self.held_out[name] = (value, self.held_out.get(name, (value,))[0])
        elif self.doing is None and event.get("elapsed", LONG) >= LONG:
            self._live.console.print(line(event), markup=False, highlight=False)
        self._live.update(self.picture(), refresh=True)

    def picture(self) -> RenderableType:
        """Everything that stays in view."""
        parts: list[RenderableType] = []
        if self.numbers:
            parts += [self._progress(), self._now(), self._curve()]
        if self.held_out:
            parts.append(self._unseen())
        if self.doing:
            parts.append(self._beside())
        return Group(*parts)

    def _is_due(self, event: dict[str, Any]) -> bool:
        """Of lines that stay, a few are enough: the first, and more while the work takes long."""
        elapsed = event["elapsed"]
        if elapsed > 0 and elapsed - self._said < max(LONG, elapsed / 10):
            return event["done"] == event["of"] and elapsed >= LONG
        self._said = elapsed
        return True

    def _follow(self, loss: float) -> None:
        before = self.losses[-1] if self.losses else loss
        self.losses.append(KEEP * before + (1 - KEEP) * loss)

    def _progress(self) -> Table:
        done, last = self.numbers["step"], self.config.steps
        left = duration((last - done) * self.numbers.get("seconds", 0.0))
        row = Table.grid(padding=(0, 1))
        row.add_row(
            f"step {done:,} of {last:,}",
            ProgressBar(total=last, completed=done, width=WIDTH - 20),
            f"{100 * done / last:.1f} %",
            "done" if done == last else f"{left} to go",
        )
        return row

    def _beside(self) -> Table:
        """Work that is no step, and how far it has come."""
        assert self.doing is not None
        bar = ProgressBar(total=self.doing["of"], completed=self.doing["done"], width=20)
        row = Table.grid(padding=(0, 1))
        row.add_row(bar, line(self.doing))
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
            f"{event['device']}: {steps(left)} to do, in {event['folder']}"
        )
    if "doing" in event:
        return _doing(event)
    if "lost" in event:
        return (
            f"stopped at step {event['step']}: {steps(event['lost'])} since the last save lost; "
            f"the same command goes on from step {event['step'] - event['lost']}"
        )
    return "  ".join(f"{name} {short(value)}" for name, value in event.items())


def _doing(event: dict[str, Any]) -> str:
    """Work that is no step."""
    text = f"{event['doing']}: {event['done']:,} of {event['of']:,}"
    if "rate" not in event:
        return text
    left = "done" if event["done"] == event["of"] else f"{duration(event['left'])} to go"
    return f"{text}, {short(event['rate'])} a second, {left}"


def short(value: Any) -> str:
    """A number in four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cells(numbers: dict[str, str]) -> Table:
    """Names above numbers."""
    table = Table.grid(padding=(0, 2))
    table.add_row(*(Text(name, "dim") for name in numbers))
    table.add_row(*numbers.values())
    return table
