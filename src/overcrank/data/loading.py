"""The processes that prepare batches and clips."""

import signal
import traceback
from collections.abc import Iterable, Iterator
from typing import TypeVar

from overcrank.errors import MediaError, ModelError, RequestError

Item = TypeVar("Item")


def stay(_worker: int) -> None:
    """End with the process that asked for the data, not before it.

    A cluster or a terminal signals the whole group of processes. What is under way is then
    finished or given up by the one that asked, which needs its data for the first.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def loaded(loader: Iterable[Item]) -> Iterator[Item]:
    """What a loader gives; an error of ours in one of its processes is that error here, too.

    torch puts that process's traceback into the message, of which the last paragraph is ours.
    """
    try:
        yield from loader
    except BaseException as error:
        # Its frames hold the loader's processes, which end with it and heed no signal: `stay`.
        traceback.clear_frames(error.__traceback__)
        _, split, said = str(error).rpartition(f".{type(error).__name__}: ")
        if split and isinstance(error, MediaError | ModelError | RequestError):
            raise type(error)(said.strip()) from None
        raise
