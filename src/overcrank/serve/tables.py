"""The database of jobs. What a table holds is changed by a migration only."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Double, Index, String, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column


class Status(StrEnum):
    """Where a job is; the last three are ends."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_end(self) -> bool:
        """Whether nothing will change any more."""
        return self not in (Status.QUEUED, Status.IN_PROGRESS)


class Moments(TypeDecorator[datetime]):
    """Points in time, UTC; some databases forget which zone they were given."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _: Any) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _: Any) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class Table(MappedAsDataclass, DeclarativeBase, kw_only=True):
    """All tables."""


class Job(Table):
    """One clip that somebody asked for."""

    __tablename__ = "jobs"
    __table_args__ = (Index("jobs_in_turn", "status", "priority", "created_at"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(Moments)
    request: Mapped[dict[str, Any]] = mapped_column(JSON)
    """As it was asked for, with what a model advises filled in."""
    owner: Mapped[str] = mapped_column(String(64), default="")
    """Whose API key it was; empty where nobody needs one."""
    priority: Mapped[int] = mapped_column(default=0)
    """Higher ones first."""
    deadline: Mapped[datetime | None] = mapped_column(Moments, default=None)
    """What has not begun by then is not begun."""
    key: Mapped[str | None] = mapped_column(String(320), default=None, unique=True)
    """The idempotency key: asked again with it, the job is found instead of made anew."""
    status: Mapped[str] = mapped_column(String(16), default=Status.QUEUED)
    stage: Mapped[str] = mapped_column(String(16), default="queued")
    done: Mapped[float] = mapped_column(Double, default=0.0)
    """The part that is done, 0 to 1, never falling."""
    eta: Mapped[float | None] = mapped_column(Double, default=None)
    """Seconds that are left, when `done` was written."""
    cancel: Mapped[bool] = mapped_column(default=False)
    """Whether whoever works on it shall stop."""
    worker: Mapped[str | None] = mapped_column(String(128), default=None)
    leased_until: Mapped[datetime | None] = mapped_column(Moments, default=None)
    """A worker that has not been heard of by then has lost the job."""
    attempts: Mapped[int] = mapped_column(default=0)
    """How often it was begun since it last came any further."""
    started_at: Mapped[datetime | None] = mapped_column(Moments, default=None)
    ended_at: Mapped[datetime | None] = mapped_column(Moments, default=None)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON, default=None)
    report: Mapped[dict[str, Any] | None] = mapped_column(JSON, default=None)
    """Seconds by stage and the recipe, of a completed job."""


class Live(Table):
    """An endless clip that somebody watches while it is made."""

    __tablename__ = "live"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(Moments)
    request: Mapped[dict[str, Any]] = mapped_column(JSON)
    """What stays the same from window to window."""
    prompt: Mapped[str] = mapped_column()
    """Of the next window."""
    seed: Mapped[int] = mapped_column(BigInteger)
    """Of the next window; each takes the one after it."""
    seen_at: Mapped[datetime] = mapped_column(Moments)
    """When somebody watched last."""
    pictures: Mapped[int] = mapped_column(default=0)
    """How many pictures were sent; the newest begins the next window if it is not shown yet."""
    paused: Mapped[bool] = mapped_column(default=False)
    credit: Mapped[float] = mapped_column(Double, default=0.0)
    """Seconds of video, from the beginning, that the player has room for."""
    ended: Mapped[bool] = mapped_column(default=False)
    error: Mapped[str | None] = mapped_column(default=None)
    worker: Mapped[str | None] = mapped_column(String(128), default=None)
    leased_until: Mapped[datetime | None] = mapped_column(Moments, default=None)
    windows: Mapped[int] = mapped_column(default=0)
    """How many were made."""
    parts: Mapped[int] = mapped_column(default=0)
    """How many files of fragments there are."""
    made: Mapped[float] = mapped_column(Double, default=0.0)
    """Seconds of video."""
