"""How far a clip is and how long it will take, from how long others took."""

from collections.abc import Callable
from time import monotonic

from overcrank.shapes import ClipSize

NEWEST = 0.3
"""How much the newest measurement counts."""


class Pace:
    """Of one worker, for one clip after another.

    The seconds of a step for each token, and of decoding for each pixel, are measured as clips are
    made. Before the first one a step and the whole decoding count alike, and nobody knows how long
    they take.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._of_token: float | None = None
        self._of_pixel: float | None = None

    def begin(self, size: ClipSize, steps: int) -> None:
        """A clip of this size."""
        self._tokens, self._frames = size.latent.tokens, size.frames
        self._pixels = size.frames * size.height * size.width
        self._steps, self._stepped, self._decoded = steps, 0, 0
        self._last = self._clock()

    def stepped(self, step: int, total: int) -> None:
        """So many steps are done."""
        seconds = self._since() / max(1, step - self._stepped) / self._tokens
        self._of_token = _learnt(self._of_token, seconds)
        self._steps, self._stepped = total, step

    def decoded(self, frames: int) -> None:
        """So many frames are decoded."""
        share = (frames - self._decoded) / self._frames
        self._of_pixel = _learnt(self._of_pixel, self._since() / share / self._pixels)
        self._decoded = frames

    @property
    def done(self) -> float:
        """The part of the seconds that have passed, 0 to 1."""
        step, decoding = self._costs()
        passed = self._stepped * step + self._decoded / self._frames * decoding
        return passed / (self._steps * step + decoding)

    @property
    def left(self) -> float | None:
        """Seconds until the end; None where no clip was finished yet."""
        if self._of_token is None or self._of_pixel is None:
            return None
        step, decoding = self._costs()
        return (self._steps - self._stepped) * step + (1 - self._decoded / self._frames) * decoding

    def _costs(self) -> tuple[float, float]:
        """Seconds of a step and of decoding the clip."""
        if self._of_token is None or self._of_pixel is None:
            return 1.0, 1.0
        return self._of_token * self._tokens, self._of_pixel * self._pixels

    def _since(self) -> float:
        before, self._last = self._last, self._clock()
        return self._last - before


def _learnt(before: float | None, now: float) -> float:
    return now if before is None else before + NEWEST * (now - before)
