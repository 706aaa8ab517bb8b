"""What is old goes, what is asked for stays."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from overcrank.serve.settings import Settings
from overcrank.serve.store import Store
from overcrank.serve.sweep import Sweep
from overcrank.serve.tables import Job, Status

DAY = timedelta(days=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(folder=tmp_path, keep=7 * DAY, quota=2500)


@pytest.fixture
def store(settings: Settings) -> Store:
    return Store(settings.url)


def add(settings: Settings, store: Store, name: str, age: timedelta | None, size: int) -> Path:
    """A job with a clip; an `age` of None is one that runs."""
    job = Job(id=name, created_at=datetime.now(UTC), request={})
    if age is not None:
        job.status, job.ended_at = Status.COMPLETED, datetime.now(UTC) - age
    store.add(job, most=100)
    clip = settings.clips / name / "clip.mp4"
    clip.parent.mkdir(parents=True)
    clip.write_bytes(bytes(size))
    return clip


def test_jobs_go_when_their_time_is_over(settings: Settings, store: Store) -> None:
    old, new = add(settings, store, "old", 8 * DAY, 10), add(settings, store, "new", 6 * DAY, 10)
    Sweep(settings, store).once()
    assert not old.parent.exists()
    assert store.get("old") is None
    assert new.exists()


def test_the_oldest_go_where_there_is_no_room(settings: Settings, store: Store) -> None:
    clips = [add(settings, store, str(days), days * DAY, 1000) for days in (3, 2, 1)]
    running = add(settings, store, "running", None, 1000)
    Sweep(settings, store).once()
    assert [clip.exists() for clip in clips] == [False, False, True]
    assert running.exists()


def test_folders_that_nobody_owns_go_after_a_while(settings: Settings, store: Store) -> None:
    for place in (settings.clips, settings.live):
        for name in ("young", "old"):
            (place / name).mkdir(parents=True)
        long_ago = (datetime.now(UTC) - DAY).timestamp()
        os.utime(place / "old", (long_ago, long_ago))
    Sweep(settings, store).once()
    for place in (settings.clips, settings.live):
        assert (place / "young").exists()
        assert not (place / "old").exists()
