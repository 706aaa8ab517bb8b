"""An endless clip: windows that each go on from the frames before them.

A window knows the last 9 frames of the one before as its own first frames (prefix conditioning), so
that pictures and motion go on; only what comes after them is new. A prompt counts from the next
window on. Frames that are known whole would speak against it, so that window hears of them only
faintly: what the prompt does not name stays about where it was, and the old picture dissolves into
the new one.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from time import sleep

import torch
from torch import Tensor

from overcrank.conditioning import Clip
from overcrank.media import fragments, head_and_rest
from overcrank.moment import Moment
from overcrank.pipeline import Pipeline
from overcrank.request import Request
from overcrank.serve.files import write_whole
from overcrank.serve.sessions import Sessions
from overcrank.serve.tables import Live

KNOWN = 9
"""Frames that a window takes over from the one before."""
FAINT = 0.1
"""The strength of these frames where the prompt is a new one."""
DISSOLVE = 8
"""Frames in which the old picture then gives way."""
IDLE = 0.02
"""Seconds between two looks at the wishes of who watches."""
HEAD = "head.part"
"""What every player needs first."""
KEPT = 120
"""Parts that stay on disk for those who come late."""


class Over(Exception):  # noqa: N818
    """Nobody watches any more."""


class Window:
    """A worker's hold on one session."""

    def __init__(self, pipe: Pipeline, sessions: Sessions, live: Live, folder: Path) -> None:
        assert live.worker is not None
        self._pipe, self._sessions, self._folder = pipe, sessions, folder
        self._name, self._worker = live.id, live.worker
        self._now, self._pictures, self._prompt = live, 0, live.prompt
        self._part, self._frames = 0, 0

    def run(self) -> None:
        """Until it is over."""
        rate = self._now.request["frame_rate"]
        tags = {"overcrank": "generated"}
        try:
            with closing(self._chunks(rate)) as chunks:
                for piece in fragments(chunks, rate, metadata=tags):
                    self._write(piece)
        except Over:
            pass

    def _chunks(self, rate: float) -> Generator[Tensor]:
        """New frames of one window after another."""
        before: Tensor | None = None
        while True:
            self._wait()
            request, skip = self._request(before)
            turns = skip > 0 and self._now.prompt != self._prompt
            self._prompt = self._now.prompt
            seen: list[Tensor] = [] if before is None else [before]
            with closing(self._pipe.run(request)) as stream:
                for chunk in stream:
                    fresh = chunk[skip:]
                    skip = max(0, skip - len(chunk))
                    if len(fresh):
                        if turns:
                            assert before is not None
                            fresh, turns = dissolved(before[-1], fresh), False
                        seen.append(fresh)
                        self._frames += len(fresh)
                        yield fresh
                        self._tell(made=self._frames / rate)
            before = torch.cat(seen)[-KNOWN:]
            live = self._now
            self._tell(windows=live.windows + 1, seed=live.seed + 1)

    def _request(self, before: Tensor | None) -> tuple[Request, int]:
        """The next window, and how many of its frames are known already."""
        live = self._now
        request = Request(
            **live.request, prompt=live.prompt, seed=live.seed, on_moment=self._still_watched
        )
        if live.pictures > self._pictures:
            self._pictures = live.pictures
            picture = self._folder / f"picture-{live.pictures}.png"
            return replace(request, image=picture), 0
        if before is None or len(before) < KNOWN:
            return request, 0
        strength = 1.0 if live.prompt == self._prompt else FAINT
        return replace(request, conditions=[Clip(frames=before, strength=strength)]), KNOWN

    def _wait(self) -> None:
        """Until the player has room and nobody has paused it."""
        while True:
            self._tell()
            if not self._now.paused and self._now.made < self._now.credit:
                return
            sleep(IDLE)

    def _still_watched(self, _: Moment) -> None:
        self._tell()

    def _tell(self, **news: object) -> None:
        live = self._sessions.keep(self._name, self._worker, **news)
        if live is None:
            raise Over
        self._now = live

    def _write(self, piece: bytes) -> None:
        """A part of the stream; those who come late begin with the head and a newer one."""
        if self._part == 0:
            head, piece = head_and_rest(piece)
            write_whole(self._folder / HEAD, head)
        write_whole(self._folder / part_name(self._part), piece)
        self._part += 1
        self._tell(parts=self._part)
        if self._part > KEPT:
            (self._folder / part_name(self._part - KEPT - 1)).unlink(missing_ok=True)


def dissolved(old_HWC: Tensor, new_THWC: Tensor) -> Tensor:
    """Frames (uint8) that begin as a picture and end as themselves."""
    count = min(DISSOLVE, len(new_THWC))
    share_T111 = torch.arange(1, count + 1)[:, None, None, None] / (count + 1)
    mixed_THWC = torch.lerp(old_HWC[None].float(), new_THWC[:count].float(), share_T111)
    return torch.cat([mixed_THWC.round().to(new_THWC.dtype), new_THWC[count:]])


def part_name(number: int) -> str:
    """Of a file of fragments."""
    return f"{number:06d}.part"
