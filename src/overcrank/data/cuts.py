"""Where a shot ends and the next begins: PySceneDetect on thumbnails, frame by frame."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np

from overcrank.errors import RequestError

THUMBNAIL = (32, 18)
"""Width and height. Larger ones find fewer of the shots that are there (docs/log.md)."""

AHEAD = 2
"""Frames before and after one that it is compared with. Source: PySceneDetect, AdaptiveDetector."""

Frame = TypeVar("Frame")


def with_cuts(
    frames: Iterable[Frame], thumbnail_of: Callable[[Frame], np.ndarray]
) -> Iterator[tuple[Frame, np.ndarray, bool]]:
    """Each frame, its thumbnail, uint8 (18, 32, 3) RGB, and whether another shot begins with it.

    The same object twice is a frame that is held: it is looked at once, and begins nothing. Runs
    AHEAD frames ahead of what it gives. Slow fades are not found.
    """
    seen = _Detector()
    waiting: deque[tuple[Frame, np.ndarray, int]] = deque()  # with the number of its picture
    number, picture = -1, np.zeros(0)
    for frame in frames:
        if not waiting or frame is not waiting[-1][0]:
            number, picture = number + 1, thumbnail_of(frame)
            seen.show(picture, times=1 if number else 1 + AHEAD)
        waiting.append((frame, picture, number))
        yield from seen.decided(waiting, before=number - AHEAD)
    if waiting:  # as if the last frame stood still: a cut just before the end is seen, too
        seen.show(picture, times=AHEAD)
        yield from seen.decided(waiting, before=number)


def check_detector() -> None:
    """Raises RequestError if PySceneDetect is not installed."""
    try:
        import scenedetect  # noqa: F401
    except ImportError as error:
        raise RequestError(
            f"videos are cut into shots by PySceneDetect, got none that can be used ({error}): "
            "pip install 'overcrank[prepare]'"
        ) from error


class _Detector:
    """PySceneDetect's AdaptiveDetector, and which pictures it said a shot begins with."""

    def __init__(self) -> None:
        from scenedetect.detectors import AdaptiveDetector

        self._detector = AdaptiveDetector(window_width=AHEAD, min_scene_len=0)
        self._shown = 0
        self._begins: set[int] = set()

    def show(self, picture: np.ndarray, times: int) -> None:
        """The first one stands still before the beginning: its frames have numbers below 0."""
        from scenedetect import FrameTimecode

        for _ in range(times):
            now = FrameTimecode(self._shown, fps=1.0)
            found = self._detector.process_frame(now, np.ascontiguousarray(picture[..., ::-1]))
            self._begins.update(cut.frame_num - AHEAD for cut in found)
            self._shown += 1

    def decided(
        self, waiting: "deque[tuple[Frame, np.ndarray, int]]", before: int
    ) -> Iterator[tuple[Frame, np.ndarray, bool]]:
        """What can be given: pictures up to this number. A picture begins a shot once."""
        while waiting and waiting[0][2] <= before:
            frame, picture, number = waiting.popleft()
            yield frame, picture, number in self._begins
            self._begins.discard(number)
