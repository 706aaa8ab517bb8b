"""The jobs, in a database that several processes share.

A worker holds a job for a short time only (a lease) and asks again and again for more; what a
worker that has died held is given to the next one. Every change locks its row and says which state
it expects, so that no two workers hold one job and nothing that has ended begins again.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, or_, select
from sqlalchemy.exc import ArgumentError, IntegrityError, OperationalError
from sqlalchemy.orm import sessionmaker

from overcrank.errors import RequestError
from overcrank.serve.schema_version import bring_up_to_date
from overcrank.serve.tables import Job, Status

LEASE = timedelta(seconds=10)
MOST_ATTEMPTS = 5
"""A job that workers have died of so often without coming any further has failed."""


GOING = (Status.QUEUED, Status.IN_PROGRESS)


class Full(Exception):  # noqa: N818
    """There is no room for another job: of anybody, or of its owner."""

    def __init__(self, most: int, *, own: bool) -> None:
        super().__init__(most, own)
        self.most, self.own = most, own


class Store:
    """Jobs by their state; safe to use from many processes."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self.reading = sessionmaker(self._engine, expire_on_commit=False)
        writing = self._engine.execution_options(writing=True)
        self.changing = sessionmaker(writing, expire_on_commit=False)
        try:
            bring_up_to_date(self._engine)
        except OperationalError as error:
            raise RequestError(
                f"the database of the jobs cannot be opened, got {_plain(url)} ({error.orig}): "
                "start it, or leave --database out"
            ) from None

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def add(self, job: Job, most: int, share: int | None = None) -> Job:
        """Take a job in, or find the one with its idempotency key.

        Raises `Full` where `most` wait already, or `share` of its owner wait or run.
        """
        try:
            with self.changing.begin() as session:
                if job.key is not None:
                    found = session.scalar(select(Job).where(Job.key == job.key))
                    if found is not None:
                        return found
                count = select(func.count())
                if (session.scalar(count.where(Job.status == Status.QUEUED)) or 0) >= most:
                    raise Full(most, own=False)
                going = count.where(Job.owner == job.owner, Job.status.in_(GOING))
                if share is not None and (session.scalar(going) or 0) >= share:
                    raise Full(share, own=True)
                session.add(job)
        except IntegrityError:  # the same key, at the same time
            with self.reading() as session:
                return session.scalars(select(Job).where(Job.key == job.key)).one()
        return job

    def get(self, name: str) -> Job | None:
        """As it is now."""
        with self.reading() as session:
            return session.get(Job, name)

    def page(
        self, owner: str, after: str | None, limit: int, *, newest_first: bool = True
    ) -> Sequence[Job]:
        """An owner's jobs by their age, those after the job `after`."""
        order = Job.created_at.desc() if newest_first else Job.created_at
        query = select(Job).where(Job.owner == owner).order_by(order, Job.id).limit(limit)
        with self.reading() as session:
            last = None if after is None else session.get(Job, after)
            if last is not None:
                later = Job.created_at > last.created_at
                earlier = Job.created_at < last.created_at
                query = query.where(earlier if newest_first else later)
            return session.scalars(query).all()

    def place(self, job: Job) -> int:
        """How many jobs come before one that waits."""
        before = or_(
            Job.priority > job.priority,
            (Job.priority == job.priority) & (Job.created_at < job.created_at),
        )
        query = select(func.count()).where(Job.status == Status.QUEUED, before)
        with self.reading() as session:
            return session.scalar(query) or 0

    def counts(self) -> dict[str, int]:
        """How many jobs wait, and how many run."""
        query = select(Job.status, func.count()).group_by(Job.status)
        with self.reading() as session:
            found = dict(session.execute(query).tuples().all())
        return {status: found.get(status, 0) for status in GOING}

    def ended_since(self, time: datetime) -> Sequence[Job]:
        """Jobs that ended at that time or later, in this order."""
        with self.reading() as session:
            return session.scalars(
                select(Job).where(Job.ended_at >= time).order_by(Job.ended_at)
            ).all()

    def soonest(self) -> float | None:
        """Seconds until the first of the running jobs ends, where that is known."""
        query = select(func.min(Job.eta)).where(Job.status == Status.IN_PROGRESS)
        with self.reading() as session:
            return session.scalar(query)

    def lease(self, worker: str) -> Job | None:
        """The next job: one that waits, or one whose worker has not been heard of."""
        now = datetime.now(UTC)
        free = or_(
            Job.status == Status.QUEUED,
            (Job.status == Status.IN_PROGRESS) & (Job.leased_until < now),
        )
        turn = (Job.priority.desc(), Job.created_at)
        with self.changing.begin() as session:
            job = session.scalar(
                select(Job).where(free).order_by(*turn).limit(1).with_for_update(skip_locked=True)
            )
            if job is None:
                return None
            if job.attempts >= MOST_ATTEMPTS:
                _end(job, Status.FAILED, error=_gave_up(job))
                return None
            if job.status == Status.QUEUED and job.deadline is not None and job.deadline < now:
                _end(job, Status.FAILED, error=_too_late(job))
                return None
            job.status, job.worker, job.leased_until = Status.IN_PROGRESS, worker, now + LEASE
            job.attempts += 1
            job.started_at = job.started_at or now
            return job

    def keep(self, name: str, worker: str, **news: Any) -> bool:
        """Hold a job for longer, and write what is new of it; False: it shall be stopped.

        `done` never falls; where it rises, earlier deaths are forgiven.
        """
        mine = (Job.id == name, Job.worker == worker, Job.status == Status.IN_PROGRESS)
        with self.changing.begin() as session:
            job = session.scalar(select(Job).where(*mine).with_for_update())
            if job is None or job.cancel:
                return False
            if news.get("done", 0.0) > job.done:
                job.attempts = 0
            for field, value in news.items():
                setattr(job, field, max(value, job.done) if field == "done" else value)
            job.leased_until = datetime.now(UTC) + LEASE
            return True

    def end(self, name: str, worker: str, status: Status, **news: Any) -> bool:
        """A job that this worker holds is over; False: it held none."""
        mine = (Job.id == name, Job.worker == worker, Job.status == Status.IN_PROGRESS)
        with self.changing.begin() as session:
            job = session.scalar(select(Job).where(*mine).with_for_update())
            if job is None:
                return False
            _end(job, status, **news)
            return True

    def give_back(self, is_gone: Callable[[str], bool]) -> None:
        """What workers held that are known to be gone is free now, not when its time is over."""
        running = select(Job).where(Job.status == Status.IN_PROGRESS).with_for_update()
        with self.changing.begin() as session:
            for job in session.scalars(running):
                if job.worker is not None and is_gone(job.worker):
                    job.leased_until = datetime.now(UTC) - LEASE

    def cancel(self, name: str) -> Job | None:
        """Stop a job: at once if it waits, else within a step; one that has ended stays."""
        with self.changing.begin() as session:
            job = session.scalar(select(Job).where(Job.id == name).with_for_update())
            if job is None:
                return None
            if job.status == Status.QUEUED:
                _end(job, Status.CANCELLED)
            elif job.status == Status.IN_PROGRESS:
                job.cancel = True
            return job

    def delete(self, name: str) -> bool:
        """Forget a job that has ended; False: there is none."""
        with self.changing.begin() as session:
            job = session.get(Job, name)
            if job is None or not Status(job.status).is_end:
                return False
            session.delete(job)
            return True


def _end(job: Job, status: Status, **news: Any) -> None:
    job.status, job.stage, job.eta = status, status.value, None
    job.ended_at, job.leased_until = datetime.now(UTC), None
    if status == Status.COMPLETED:
        job.done = 1.0
    for field, value in news.items():
        setattr(job, field, value)


def _gave_up(job: Job) -> dict[str, Any]:
    return {
        "code": "gave_up",
        "message": f"the job ended with its worker {job.attempts} times: ask for a smaller clip",
    }


def _too_late(job: Job) -> dict[str, Any]:
    assert job.deadline is not None
    return {
        "code": "deadline",
        "message": f"the job had not begun by its deadline, {job.deadline.isoformat()}: ask again, "
        "with more time",
    }


def _engine(url: str) -> Engine:
    try:
        engine = create_engine(url)
    except (ArgumentError, ModuleNotFoundError) as error:
        raise RequestError(
            f"a database is an SQLAlchemy URL whose driver is installed, got {_plain(url)} "
            f"({error}): try sqlite:////srv/jobs.sqlite, or pip install 'overcrank[postgres]'"
        ) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _settle)
        event.listen(engine, "begin", _begin)
    return engine


def _plain(url: str) -> str:
    """Without its password."""
    return re.sub(r"(://[^:/@]*:).*@", r"\1***@", url)


def _begin(connection: Connection) -> None:
    """Who will write says so first: two that read before they write would wait for each other."""
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _settle(connection: Any, _: object) -> None:
    """Readers do not wait for a writer; a writer waits for another; nothing begins by itself."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for setting in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()
