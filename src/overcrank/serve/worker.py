"""A process that owns a model: it takes job after job until it is told to stop."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event as EventType
from threading import Event, Lock
from time import monotonic, sleep

import torch

from overcrank.errors import OvercrankError, RunError
from overcrank.pipeline import Pipeline
from overcrank.request import Request
from overcrank.serve.files import JobFiles
from overcrank.serve.logs import log_lines
from overcrank.serve.making import Making
from overcrank.serve.pace import Pace
from overcrank.serve.sessions import Sessions
from overcrank.serve.settings import Settings
from overcrank.serve.store import Store
from overcrank.serve.tables import Job, Live, Status
from overcrank.serve.together import Together
from overcrank.serve.window import Window

IDLE = 0.02
"""Seconds between two looks at the queue."""
LOOK = 0.5
"""Seconds between two looks at the workers."""
WARM_UP = "a red ball"
"""Of a clip that nobody sees: the first one takes longer than all others."""
GRACE = 30.0
"""Seconds that jobs may take to end before the server does."""

log = logging.getLogger("overcrank.serve")


@dataclass(frozen=True, slots=True)
class Worker:
    """One of them, seen from the server."""

    number: int
    process: BaseProcess
    ready: EventType
    """Set when it takes jobs."""

    @property
    def name(self) -> str:
        """How the store knows it."""
        return _name(self.number, self.process.pid)


class Workers:
    """The workers of a server: as many as it was told, always."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        store.give_back(_is_gone)  # of a server before this one
        self._all = [start_worker(settings, n) for n in range(settings.workers)]

    @property
    def ready(self) -> bool:
        """Whether one of them takes jobs."""
        return any(each.ready.is_set() and each.process.is_alive() for each in self._all)

    async def watch(self) -> None:
        """Put a new worker in the place of one that has ended, and its job at the head."""
        while True:
            for worker in list(self._all):
                if not worker.process.is_alive():
                    log.error("%s ended with %s", worker.name, worker.process.exitcode)
                    await asyncio.to_thread(self._store.give_back, worker.name.__eq__)
                    self._all[worker.number] = start_worker(self._settings, worker.number)
            await asyncio.sleep(LOOK)

    def stop(self) -> None:
        """Let each finish the job it has, for a while; what is not finished goes on later."""
        for worker in self._all:
            worker.process.terminate()
        until = monotonic() + GRACE
        for worker in self._all:
            worker.process.join(max(0.0, until - monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
                self._store.give_back(worker.name.__eq__)


def start_worker(settings: Settings, number: int) -> Worker:
    """A worker in a process of its own, which ends with this one."""
    context = get_context("spawn")
    ready = context.Event()
    arguments = (settings, number, os.getpid(), ready)
    process = context.Process(target=_main, args=arguments, name=f"worker-{number}")
    process.start()
    return Worker(number, process, ready)


def _name(number: int, pid: int | None) -> str:
    return f"{socket.gethostname()}/{pid}/{number}"


def _is_gone(name: str) -> bool:
    """Whether a worker ran on this machine and does no more."""
    host, pid, _ = name.rsplit("/", 2)
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it belongs to somebody else
        pass
    return False


def _main(settings: Settings, number: int, parent: int, ready: EventType) -> None:
    log_lines()
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server decides
    threads = settings.threads or max(1, torch.get_num_threads() // settings.workers)
    torch.set_num_threads(threads)
    pipe = Pipeline.from_pretrained(settings.model, dtype=settings.dtype)
    pipe.generate(Request(WARM_UP, num_inference_steps=1, num_frames=9))
    if settings.together > 1:
        pipe.network = Together(pipe.transformer, settings.together)
        if pipe.student is not None:
            pipe.student = Together(pipe.student, settings.together)
    ready.set()
    store, name, looking = Store(settings.url), _name(number, os.getpid()), Lock()

    def go_on() -> bool:
        return not stop.is_set() and os.getppid() == parent

    if settings.together == 1:  # torch takes half as long again beside a first thread that computed
        _take_jobs(pipe, store, name, settings, looking, go_on)
        return

    def make_clips() -> None:
        torch.set_num_threads(threads)  # holds for one thread only
        try:
            _take_jobs(pipe, store, name, settings, looking, go_on)
        finally:
            stop.set()  # where one fails, the process ends

    with ThreadPoolExecutor(settings.together) as seats:
        for seat in [seats.submit(make_clips) for _ in range(settings.together)]:
            seat.result()


def _take_jobs(
    pipe: Pipeline,
    store: Store,
    name: str,
    settings: Settings,
    looking: Lock,
    go_on: Callable[[], bool],
) -> None:
    """One after another; of several threads one looks for all, `looking`."""
    sessions, pace = Sessions(store), Pace()
    while go_on():
        with looking:
            live = sessions.lease(name)
            job = store.lease(name) if live is None else None
            if live is None and job is None:
                sleep(IDLE)
        if live is not None:
            show(pipe, sessions, live, settings)
        elif job is not None:
            work_on(pipe, store, job, settings, pace)


def show(pipe: Pipeline, sessions: Sessions, live: Live, settings: Settings) -> None:
    """One session, to its end; its files go with it."""
    folder, error = settings.live / live.id, None
    try:
        Window(pipe, sessions, live, folder).run()
    except OvercrankError as wrong:
        error = str(wrong)
    except Exception:
        log.exception("session %s", live.id)
        error = "the session failed, and it is not your fault: the log says why"
    sessions.end(live.id, error)


def work_on(pipe: Pipeline, store: Store, job: Job, settings: Settings, pace: Pace) -> None:
    """One job; what is wrong with it is told in its row."""
    making = Making(pipe, store, job, JobFiles(settings.clips / job.id), pace)
    try:
        making.run(settings.keep_every)
    except (OvercrankError, MemoryError) as error:
        code = "generation_failed" if isinstance(error, RunError) else "invalid_request"
        _fail(store, job, code, str(error))
    except Exception:
        log.exception("job %s", job.id)
        _fail(store, job, "internal", "the job failed, and it is not your fault: the log says why")


def _fail(store: Store, job: Job, code: str, message: str) -> None:
    assert job.worker is not None
    store.end(job.id, job.worker, Status.FAILED, error={"code": code, "message": message})
