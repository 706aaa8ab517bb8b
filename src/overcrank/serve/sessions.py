"""Live sessions in the database that jobs are in: what viewers wish, and how far workers are.

The wishes of viewers and the work of the worker meet in one row: neither waits for the other.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import or_, select

from overcrank.serve.store import LEASE, Store
from overcrank.serve.tables import Live

ALONE = timedelta(seconds=5)
"""A session that nobody has watched for so long ends."""


class Sessions:
    """Of one store."""

    def __init__(self, store: Store) -> None:
        self._session, self._change = store.reading, store.changing

    def add(self, live: Live) -> None:
        """One that waits for a worker."""
        with self._change.begin() as session:
            session.add(live)

    def get(self, name: str) -> Live | None:
        """As it is now."""
        with self._session() as session:
            return session.get(Live, name)

    def running(self) -> int:
        """How many have not ended."""
        with self._session() as session:
            return len(session.scalars(select(Live.id).where(~Live.ended)).all())

    def wish(self, name: str, **news: Any) -> None:
        """What a viewer wants; that somebody watches is said with it."""
        with self._change.begin() as session:
            live = session.get(Live, name)
            if live is not None:
                for field, value in {**news, "seen_at": datetime.now(UTC)}.items():
                    setattr(live, field, value)

    def lease(self, worker: str) -> Live | None:
        """A session without a worker; those that lost theirs, or that nobody watches, end."""
        now = datetime.now(UTC)
        with self._change.begin() as session:
            free = or_(Live.worker.is_(None), Live.leased_until < now)
            for live in session.scalars(select(Live).where(~Live.ended, free).with_for_update()):
                if live.worker is not None:  # whose stream nobody else can go on with
                    live.error = "the worker of the session has died: begin another"
                if live.worker is not None or live.seen_at < now - ALONE:
                    live.ended = True
                    continue
                live.worker, live.leased_until = worker, now + LEASE
                return live
        return None

    def keep(self, name: str, worker: str, **news: Any) -> Live | None:
        """Hold a session for longer and tell what is new; None: it is over, or somebody else's."""
        now = datetime.now(UTC)
        mine = (Live.id == name, Live.worker == worker, ~Live.ended)
        with self._change.begin() as session:
            live = session.scalar(select(Live).where(*mine).with_for_update())
            if live is None:
                return None
            for field, value in news.items():
                setattr(live, field, value)
            live.leased_until = now + LEASE
            if live.seen_at < now - ALONE:
                live.ended = True
                return None
            return live

    def end(self, name: str, error: str | None = None) -> None:
        """Over, whoever says so."""
        with self._change.begin() as session:
            live = session.get(Live, name)
            if live is not None:
                live.ended, live.error = True, error or live.error
