"""A server with its workers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from overcrank.serve.app import create_app
from overcrank.serve.desk import Desk
from overcrank.serve.settings import Settings
from overcrank.serve.store import Store
from overcrank.serve.sweep import Sweep
from overcrank.serve.worker import Workers


def build(settings: Settings) -> FastAPI:
    """The app; workers start and end with it."""
    if settings.database is None:
        settings.folder.mkdir(parents=True, exist_ok=True)
    store = Store(settings.url)  # one that is refused leaves no folder
    settings.folder.mkdir(parents=True, exist_ok=True)
    desk, sweep = Desk(settings, store), Sweep(settings, store)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        workers = Workers(settings, store)
        desk.ready = lambda: workers.ready
        tasks = [asyncio.create_task(each) for each in (workers.watch(), sweep.run())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.to_thread(workers.stop)
            store.close()

    return create_app(desk, lifespan)
