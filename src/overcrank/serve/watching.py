"""Looking on while a job goes on: its bytes, and what is told of it."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count

from fastapi.concurrency import run_in_threadpool

from overcrank.serve.desk import Desk
from overcrank.serve.files import JobFiles
from overcrank.serve.refusals import Broken
from overcrank.serve.schema import VideoJob
from overcrank.serve.tables import Status

LOOK = 0.02
"""Seconds between two looks at the bytes of a clip."""
TELL = 0.1
"""Seconds between two looks at the row of a job."""
AT_ONCE = 1 << 18
"""Bytes."""


async def follow(desk: Desk, name: str) -> AsyncIterator[bytes]:
    """The bytes of a clip, as they are written, until the job ends."""
    files, place = await run_in_threadpool(desk.files, name), 0
    status: Status | None = None
    for look in count():
        # Whether it has ended is asked first: what is there then is all there will be. It is asked
        # less often than there may be bytes, since the worker needs the cores.
        if look % (TELL // LOOK) == 0:
            status = (await run_in_threadpool(desk.job, name)).status
        while part := await run_in_threadpool(_read, files, place):
            place += len(part)
            yield part
        if status == Status.COMPLETED:
            return
        if status is not None and status.is_end:
            raise Broken(f"{name} is {status}")
        await asyncio.sleep(LOOK)


def _read(files: JobFiles, place: int) -> bytes:
    for path in (files.part, files.clip):
        try:
            with path.open("rb") as file:
                file.seek(place)
                return file.read(AT_ONCE)
        except FileNotFoundError:
            continue
    return b""


async def events(desk: Desk, name: str) -> AsyncIterator[str]:
    """`video` with the job whenever it has changed; the stream ends with the job."""
    before = None
    while True:
        job = await run_in_threadpool(desk.job, name)
        if job != before:
            before = job
            yield _event(job)
        if job.status.is_end:
            return
        await asyncio.sleep(TELL)


def _event(job: VideoJob) -> str:
    return f"event: video\ndata: {job.model_dump_json()}\n\n"
