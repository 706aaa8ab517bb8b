"""What is old goes, and the oldest when there is too much: on disk and in the database."""

import asyncio
import logging
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from stat import S_ISREG

from overcrank.serve.sessions import Sessions
from overcrank.serve.settings import Settings
from overcrank.serve.store import Store

log = logging.getLogger("overcrank.serve")

EVERY = 30.0
"""Seconds between two looks."""
STRAY = timedelta(minutes=10)
"""A folder that belongs to nobody may be one that is just being made; not after so long."""


class Sweep:
    """Of one server."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store

    async def run(self) -> None:
        """Again and again."""
        while True:
            try:
                await asyncio.to_thread(self.once)
            except Exception:  # such as a disk that does not answer: the next look may be luckier
                log.exception("sweeping")
            await asyncio.sleep(EVERY)

    def once(self) -> None:
        """Jobs past their time, then the oldest until there is room, then what nobody owns."""
        now, keep = datetime.now(UTC), self._settings.keep
        ended = self._store.ended_since(datetime.min.replace(tzinfo=UTC))
        old = [job.id for job in ended if job.ended_at is not None and job.ended_at < now - keep]
        for name in old:
            self._forget(name)
        left = [job.id for job in ended if job.id not in old]
        used = size_of(self._settings.clips)
        while left and used > self._settings.quota:
            used -= size_of(self._settings.clips / left[0])
            self._forget(left.pop(0))
        self._strays(now)

    def _forget(self, name: str) -> None:
        if self._store.delete(name):
            shutil.rmtree(self._settings.clips / name, ignore_errors=True)

    def _strays(self, now: datetime) -> None:
        """Folders of jobs and sessions that are no more."""
        sessions = Sessions(self._store)
        for folder in self._settings.clips.glob("*"):
            if self._store.get(folder.name) is None and _older(folder, now - STRAY):
                shutil.rmtree(folder, ignore_errors=True)
        for folder in self._settings.live.glob("*"):
            live = sessions.get(folder.name)
            if (live is None or live.ended) and _older(folder, now - STRAY):
                shutil.rmtree(folder, ignore_errors=True)


def size_of(folder: Path) -> int:
    """Bytes of all files in it."""
    total = 0
    for path in folder.rglob("*"):
        try:
            found = path.stat()
            total += found.st_size if S_ISREG(found.st_mode) else 0
        except FileNotFoundError:  # somebody tidied up
            continue
    return total


def _older(folder: Path, than: datetime) -> bool:
    try:
        return datetime.fromtimestamp(folder.stat().st_mtime, UTC) < than
    except FileNotFoundError:
        return False
