"""Parts are made by processes of this machine."""

import os
import shutil
import signal
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

import torch

from overcrank.data.prepare.parts import Judge, keep_crash, make_part, making_of
from overcrank.data.prepare.sources import Source
from overcrank.data.prepare.tally import Tally, note
from overcrank.errors import RunError

SOON = 0.5
"""Seconds between two looks at what other processes have done."""


def in_processes(parts: dict[Path, Source], judge: Judge, processes: int, tally: Tally) -> None:
    """Make the parts that are not there, one by one or several at once."""
    if processes == 1:
        for folder, source in parts.items():
            if not folder.exists():
                make_part(source, judge, folder, partial(tally.share_of, folder))
                tally.add(folder)
        return
    for stale in {folder.parent for folder in parts}:
        for making in stale.glob("*.making"):
            shutil.rmtree(making)
    while todo := {folder: source for folder, source in parts.items() if not folder.exists()}:
        try:
            _in_pool(todo, judge, processes, tally)
        except BrokenProcessPool:
            _one_by_one({f: s for f, s in todo.items() if making_of(f).exists()}, judge, tally)


def make_and_note(source: Source, judge: Judge, folder: Path) -> None:
    """In another process: which share is done stands in a file beside the part."""
    torch.set_num_threads(1)  # there are several
    make_part(source, judge, folder, partial(note, folder))


def _one_by_one(suspects: dict[Path, Source], judge: Judge, tally: Tally) -> None:
    """A process died at one of these: each gets its own, so that the others are not lost."""
    if not suspects:
        raise RunError(
            "a process ended before it did anything, got no reason from the system: "
            "is there memory enough? try fewer processes"
        )
    for folder, source in suspects.items():
        try:
            _in_pool({folder: source}, judge, 1, tally)
        except BrokenProcessPool:
            keep_crash(folder)
            tally.add(folder)


def _in_pool(todo: dict[Path, Source], judge: Judge, processes: int, tally: Tally) -> None:
    # Not forked: this process may have threads, whose locks a copy would never get.
    workers = min(processes, len(todo))
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin)
    try:
        futures = {pool.submit(make_and_note, source, judge, f): f for f, source in todo.items()}
        waiting = set(futures)
        while waiting:
            finished, waiting = wait(waiting, SOON, FIRST_COMPLETED)
            for future in finished:
                future.result()
                tally.add(futures[future])
            tally.look_at(futures[future] for future in waiting if future.running())
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Of each process: an end with this one's."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """One that was killed cannot tell the others, which would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
