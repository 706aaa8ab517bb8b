"""How far work has come that takes long and is no step of a run."""

import time
from collections.abc import Callable
from typing import Any

EVERY = 1.0
"""Seconds from one telling to the next."""


class Pace:
    """Tells of such work at once, then about every second, and at its end.

    An event has `doing`, `done`, `of`, the `elapsed` seconds, and as soon as they are known the
    `rate` a second and the seconds that are `left`.
    """

    def __init__(self, tell: Callable[[dict[str, Any]], None], doing: str) -> None:
        self.tell, self.doing = tell, doing
        self._before: int | None = None
        """What was done before it began."""
        self._began = self._told = 0.0

    def __call__(self, done: int, total: int) -> None:
        """So much of it is done."""
        now = time.perf_counter()
        if self._before is None:
            self._before, self._began = done, now
        elif done < total and now - self._told < EVERY:
            return
        self._told = now
        event = {"doing": self.doing, "done": done, "of": total, "elapsed": now - self._began}
        if done > self._before:
            rate = (done - self._before) / max(1e-9, now - self._began)
            event |= {"rate": rate, "left": (total - done) / rate}
        self.tell(event)
