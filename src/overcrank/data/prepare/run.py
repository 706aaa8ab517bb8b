"""From a folder or list to shards: the flow of `overcrank prepare`."""

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import torch

from overcrank.data.cuts import check_detector
from overcrank.data.prepare.parts import keep_record, key_of, make_part, making_of
from overcrank.data.prepare.settings import Scorer, Settings
from overcrank.data.prepare.shards import assemble
from overcrank.data.prepare.sources import Source, find_sources, is_known, is_picture
from overcrank.errors import MediaError, RequestError, RunError
from overcrank.media import published

SUMMARY = "prepare.json"
PARTS = ".parts"
FORMAT_VERSION = 1

SOON = 0.5
"""Seconds between two looks at what other processes have done."""

OnFile = Callable[[int, int, int, int], None]
"""Files done, of all, bytes done, of all, also while a file is worked on.

What a run that was stopped has done counts from the start.
"""


def prepare(
    source: Path | str,
    out: Path | str,
    settings: Settings | None = None,
    *,
    scorer: Scorer | None = None,
    processes: int = 1,
    on_file: OnFile | None = None,
) -> dict[str, Any]:
    """Prepare the videos and pictures of a folder or list; what is in `prepare.json` comes back.

    The same call again goes on after a run that was stopped. What comes out does not depend on
    the number of processes. Raises RequestError for what cannot be asked, MediaError for a folder
    that cannot be written; a file that cannot be read is a line of the manifest.
    """
    settings = settings or Settings()
    if processes < 1:
        raise RequestError(f"processes are at least 1, got {processes}: try one a core")
    if settings.min_score is not None and scorer is None:
        raise RequestError(
            f"a score needs a scorer, got min_score {settings.min_score} alone: give one, or none"
        )
    if scorer is not None and not getattr(scorer, "__qualname__", "<").isidentifier():
        raise RequestError(
            f"a scorer is a function that other processes can import, got {scorer!r}: "
            "define it with a name at the top of a module"
        )
    target = Path(out)
    sources = find_sources(Path(source))
    if any(is_known(each.path) and not is_picture(each.path) for each in sources):
        check_detector()
    keys = [key_of(each, settings, scorer) for each in sources]
    summary = {
        "format_version": FORMAT_VERSION,
        "settings": asdict(settings),
        "input": _hash_of(keys),
        "files": len(sources),
    }
    done = _opened(target, Path(source), summary)
    if done is not None:
        return done
    # A file that a list names twice is one part; the second is found to look like the first.
    parts = [(target / PARTS / key, each) for key, each in zip(keys, sources, strict=True)]
    _make_parts(dict(parts), (settings, scorer), processes, on_file)
    summary |= assemble(parts, target, settings.shard_mib << 20)
    with published(target / SUMMARY) as temporary:
        temporary.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(target / PARTS)
    return summary


def _hash_of(keys: list[str]) -> str:
    return hashlib.sha256("".join(keys).encode()).hexdigest()


def _opened(out: Path, source: Path, summary: dict[str, Any]) -> dict[str, Any] | None:
    """Make the folder, or see that it is ours; what is in it, if the same was prepared before."""
    if out.resolve().is_relative_to(source.resolve()):
        raise RequestError(
            f"clips go outside of the folder they come from, got {out} inside {source}: "
            "give another folder"
        )
    try:
        if (out / SUMMARY).is_file():
            before: dict[str, Any] = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
            if {name: before.get(name) for name in summary} == summary:
                return before
            raise RequestError(
                f"{out} holds clips of other files or settings, got those of {source}: "
                "give a new folder, or remove that one"
            )
        if out.exists() and not (out / PARTS).is_dir() and any(out.iterdir()):
            raise RequestError(
                f"clips go to a folder of their own, got {out} with other files in it: "
                "give a new one"
            )
        (out / PARTS).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        if isinstance(error, RequestError):
            raise
        raise MediaError(
            f"clips cannot be written, got {out} ({error}): give a folder that can be made and used"
        ) from error
    return None


class _Tally:
    """Tells how much is done, in files and bytes."""

    def __init__(self, parts: dict[Path, Source], on_file: OnFile | None) -> None:
        self._sizes = {folder: _size(source.path) for folder, source in parts.items()}
        self._on_file = on_file
        self._shares = dict.fromkeys(parts, 0.0)
        self._files, self._bytes, self._total = 0, 0.0, sum(self._sizes.values())
        self.add(*(folder for folder in parts if folder.exists()))

    def add(self, *folders: Path) -> None:
        """These are done."""
        self._files += len(folders)
        self.share(dict.fromkeys(folders, 1.0))

    def share_of(self, folder: Path, share: float) -> None:
        """So much of one is done."""
        self.share({folder: share})

    def share(self, shares: dict[Path, float]) -> None:
        """So much of these is done."""
        for folder, share in shares.items():
            self._bytes += (share - self._shares[folder]) * self._sizes[folder]
            self._shares[folder] = share
        if self._on_file is not None:
            self._on_file(self._files, len(self._sizes), round(self._bytes), self._total)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _make_parts(
    parts: dict[Path, Source],
    given: tuple[Settings, Scorer | None],
    processes: int,
    on_file: OnFile | None,
) -> None:
    """Those that are there were made by a run that was stopped."""
    tally = _Tally(parts, on_file)
    if processes == 1:
        for folder, source in parts.items():
            if not folder.exists():
                make_part(source, *given, folder, partial(tally.share_of, folder))
                tally.add(folder)
        return
    for stale in {folder.parent for folder in parts}:
        for making in stale.glob("*.making"):
            shutil.rmtree(making)
    while todo := {folder: source for folder, source in parts.items() if not folder.exists()}:
        try:
            _in_pool(todo, given, processes, tally)
        except BrokenProcessPool:
            _one_by_one({f: s for f, s in todo.items() if making_of(f).exists()}, given, tally)


def _one_by_one(
    suspects: dict[Path, Source], given: tuple[Settings, Scorer | None], tally: _Tally
) -> None:
    """A process died at one of these: each gets its own, so that the others are not lost."""
    if not suspects:
        raise RunError(
            "a process ended before it did anything, got no reason from the system: "
            "is there memory enough? try fewer processes"
        )
    for folder, source in suspects.items():
        try:
            _in_pool({folder: source}, given, 1, tally)
        except BrokenProcessPool:
            making = making_of(folder)
            keep_record([{"reason": "unreadable", "detail": "the decoder crashed"}], making)
            making.replace(folder)
            tally.add(folder)


def _in_pool(
    todo: dict[Path, Source],
    given: tuple[Settings, Scorer | None],
    processes: int,
    tally: _Tally,
) -> None:
    # Not forked: this process may have threads, whose locks a copy would never get.
    workers = min(processes, len(todo))
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin)
    try:
        futures = {pool.submit(_make, source, *given, f): f for f, source in todo.items()}
        waiting = set(futures)
        while waiting:
            finished, waiting = wait(waiting, SOON, FIRST_COMPLETED)
            for future in finished:
                future.result()
                tally.add(futures[future])
            running = (futures[future] for future in waiting if future.running())
            tally.share({folder: _share_of(folder) for folder in running})
    finally:
        pool.shutdown(cancel_futures=True)


def _make(source: Source, settings: Settings, scorer: Scorer | None, folder: Path) -> None:
    """In another process: which share is done stands in a file beside the part."""
    note = folder.with_name(f"{folder.name}.share")
    make_part(source, settings, scorer, folder, lambda share: _write(note, f"{share:.4f}"))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _share_of(folder: Path) -> float:
    note = folder.with_name(f"{folder.name}.share")
    try:
        return float(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not begun, or just being written
        return 0.0


def _begin() -> None:
    """Of each process: one thread, as there are several of them, and an end with this one's."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """One that was killed cannot tell the others, which would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
