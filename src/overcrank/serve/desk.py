"""Where jobs are taken in, asked after and called off."""

from collections.abc import Callable
from copy import copy
from time import monotonic, sleep
from typing import Any, Self

from fastapi.concurrency import run_in_threadpool

from overcrank.serve.asked import Asked
from overcrank.serve.files import JobFiles
from overcrank.serve.refusals import Refused
from overcrank.serve.schema import VideoJob, VideoPage, new_job
from overcrank.serve.sessions import Sessions
from overcrank.serve.settings import Settings
from overcrank.serve.shown import check_places
from overcrank.serve.store import Full, Store
from overcrank.serve.tables import Job, Live, Status
from overcrank.weights import ModelFiles
from overcrank.weights.advice import Advice

GONE = 5.0
"""Seconds that a job may take to stop before it is deleted: a denoising step, as a rule."""


class Desk:
    """Between the routes and the store."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings, self.store = settings, store
        self._model = ModelFiles.find(settings.model)
        self.owner = ""
        self.ready: Callable[[], bool] = lambda: False
        """Whether somebody takes jobs."""

    def seen_by(self, owner: str) -> Self:
        """With the jobs of one owner and no others; where nobody needs a key, all are of nobody."""
        other = copy(self)
        other.owner = owner
        return other

    @property
    def advice(self) -> Advice:
        """How the model wants to be run."""
        return self._model.advice

    async def take(self, asked: Asked, key: str | None) -> VideoJob:
        """A job for a wish, or the one that was made with the same key."""
        return await run_in_threadpool(self._take, asked, key)

    def _take(self, asked: Asked, key: str | None) -> VideoJob:
        wish = asked.wish
        if wish.model not in (None, self.settings.name):
            raise Refused.missing(
                f"this server has one model, got {wish.model[:80]!r}: ask for {self.settings.name} "
                "or leave it out",
                "model",
            )
        fields, shown = wish.decided(self._model.advice), asked.shown()
        check_places(shown, fields["num_frames"])
        fields["conditions"] = [each.described() for each in shown]
        job = new_job(fields, wish, self.owner, key)
        files = JobFiles(self.settings.clips / job.id)
        for each in shown:
            files.make()
            files.shown(each.name).write_bytes(each.png)
        try:
            kept = self.store.add(job, self.settings.queue, self._share())
        except Full as full:
            files.remove()
            raise self._full(full) from None
        if kept is not job:
            files.remove()
        drawn = {"seed": kept.request["seed"]} if wish.seed is None else {}
        if kept is not job and kept.request != {**job.request, **drawn}:
            raise Refused(
                409,
                "idempotency_key",
                f"an Idempotency-Key stands for one request, got another with {key!r}: "
                "take a new key",
                param="Idempotency-Key",
            )
        return self._told(kept)

    def begin(self, live: Live) -> None:
        """A live session, which has a worker of its own while it goes on."""
        sessions = Sessions(self.store)
        if sessions.running() >= self.settings.workers:
            raise Refused(
                429,
                "busy",
                f"every worker has a live session, got {self.settings.workers}: join one, or try "
                "again later",
                retry_after=10,
            )
        (self.settings.live / live.id).mkdir(parents=True)
        sessions.add(live)

    def job(self, name: str) -> VideoJob:
        """As it is now."""
        return self._told(self._found(name))

    def page(self, after: str | None, limit: int, *, newest_first: bool) -> VideoPage:
        """Some of all jobs, those after a named one (an empty name is none)."""
        if after:
            self._found(after)
        jobs = self.store.page(self.owner, after or None, limit + 1, newest_first=newest_first)
        told = [self._told(job) for job in jobs[:limit]]
        return VideoPage(
            data=told,
            first_id=told[0].id if told else None,
            last_id=told[-1].id if told else None,
            has_more=len(jobs) > limit,
        )

    def cancel(self, name: str) -> VideoJob:
        """Stop a job."""
        self._found(name)
        job = self.store.cancel(name)
        if job is None:
            raise _unknown(name)
        if job.status == Status.CANCELLED:
            self.files(name).remove()
        return self._told(job)

    def delete(self, name: str) -> None:
        """Stop a job if it goes on, and forget it."""
        self.cancel(name)
        until = monotonic() + GONE
        while not self.store.delete(name):
            if monotonic() > until:
                raise Refused(
                    409, "still_running", f"{name} is being stopped: delete it in a moment"
                )
            sleep(0.02)
        JobFiles(self.settings.clips / name).remove()

    def files(self, name: str) -> JobFiles:
        """What a job has on disk."""
        return JobFiles(self.settings.clips / self._found(name).id)

    def described(self) -> dict[str, Any]:
        """The model that is served."""
        advice = self._model.advice
        return {
            "id": self.settings.name,
            "object": "model",
            "created": 0,
            "owned_by": "overcrank",
            "defaults": {
                "width": advice.size.width,
                "height": advice.size.height,
                "num_frames": advice.size.frames,
                "fps": advice.frame_rate,
                "steps": advice.walk.steps,
                "guided_steps": (advice.guided or advice.walk).steps,
                "guidance": getattr(advice.walk.guidance, "scale", 1.0),
            },
        }

    def _found(self, name: str) -> Job:
        job = self.store.get(name)
        if job is None or job.owner != self.owner:
            raise _unknown(name)
        return job

    def _told(self, job: Job) -> VideoJob:
        place = self.store.place(job) if job.status == Status.QUEUED else None
        return VideoJob.of(job, self.settings, place)

    def _share(self) -> int | None:
        """Jobs that one key may have at a time."""
        return self.settings.per_key if self.owner else None

    def _full(self, full: Full) -> Refused:
        """With the seconds until a place may be free: those that the running clips need."""
        code, what = (
            ("key_limit", f"one key has at most {full.most} jobs that wait or run, got one more")
            if full.own
            else ("queue_full", f"the queue is full, got {full.most} jobs that wait")
        )
        wait = self.store.soonest() or 5.0
        return Refused(429, code, f"{what}: try again later", retry_after=wait)


def _unknown(name: str) -> Refused:
    return Refused.missing(f"there is no video {name[:80]!r}: GET /v1/videos lists them", "id")
