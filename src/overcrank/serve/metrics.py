"""Numbers for Prometheus, from the store: of all workers, also of those on other machines."""

from datetime import UTC, datetime
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from overcrank.serve.store import Store
from overcrank.serve.tables import Job, Status

_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)


class Metrics:
    """What has happened since the server started; looked up when it is asked for."""

    def __init__(self, store: Store) -> None:
        self._store, self._lock = store, Lock()
        self._since = datetime.now(UTC)
        self._seen: set[str] = set()
        """What ended at just that time and was counted."""
        self._registry = registry = CollectorRegistry()
        self._waiting = Gauge(
            "overcrank_jobs", "Jobs that wait or run.", ["status"], registry=registry
        )
        self._ended = Counter(
            "overcrank_jobs_ended", "Jobs that ended.", ["status"], registry=registry
        )
        self._seconds = Histogram(
            "overcrank_stage_seconds",
            "Seconds of a clip by stage.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._first = Histogram(
            "overcrank_first_frame_seconds",
            "Seconds from taking a job to its first frames.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._factor = Histogram(
            "overcrank_realtime_factor",
            "Seconds of video for each second of work.",
            buckets=(0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 8, 13),
            registry=registry,
        )

    def text(self) -> bytes:
        """In Prometheus' format."""
        with self._lock:
            for status, count in self._store.counts().items():
                self._waiting.labels(status).set(count)
            ended = self._store.ended_since(self._since)
            for job in ended:
                if job.id not in self._seen:
                    self._observe(job)
            if ended and ended[-1].ended_at is not None:
                self._since = ended[-1].ended_at
                self._seen = {job.id for job in ended if job.ended_at == self._since}
            return generate_latest(self._registry)

    def _observe(self, job: Job) -> None:
        self._ended.labels(job.status).inc()
        if job.status != Status.COMPLETED or job.report is None:
            return
        for stage, seconds in job.report["seconds"].items():
            self._seconds.labels(stage).observe(seconds)
        self._first.observe(job.report["first_frame"])
        self._factor.observe(job.report["realtime_factor"])
