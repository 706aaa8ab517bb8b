"""Parts are made by Ray: on all machines of a cluster, or on this one.

The machines share the folders of the sources and of what comes out, under the same names.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from overcrank.data.prepare.parts import Judge, keep_crash, making_of
from overcrank.data.prepare.pool import SOON, make_and_note
from overcrank.data.prepare.sources import Source
from overcrank.data.prepare.tally import Tally
from overcrank.errors import RequestError, RunError

STORE = 80 << 20
"""Bytes of Ray's memory for objects, about the least it takes: clips go through files."""


def on_ray(parts: dict[Path, Source], judge: Judge, processes: int, tally: Tally) -> None:
    """Make the parts that are not there, a task a file.

    `processes` is what this machine gets if Ray is not running; a cluster counts its own cores.
    """
    ray = check_ray()
    todo = {folder: source for folder, source in parts.items() if not folder.exists()}
    with _running(ray, processes):
        # A file at which a process dies twice is taken to be the reason.
        make = ray.remote(num_cpus=1, max_retries=1)(make_and_note)
        folders = {
            make.remote(replace(source, path=source.path.absolute()), judge, folder.absolute()): (
                folder
            )
            for folder, source in todo.items()
        }
        waiting = list(folders)
        while waiting:
            finished, waiting = ray.wait(waiting, timeout=SOON)
            for task in finished:
                try:
                    ray.get(task)
                except ray.exceptions.WorkerCrashedError as error:
                    if not making_of(folders[task]).exists():
                        raise RunError(
                            "a process of Ray ended before it did anything, got no reason: "
                            "is there memory enough? try fewer cores"
                        ) from error
                    keep_crash(folders[task])
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from None
                tally.add(folders[task])
            tally.look_at(folders[task] for task in waiting)


def check_ray() -> Any:
    """The module; raises RequestError if it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    try:
        import ray
    except ImportError as error:
        raise RequestError(
            f"the engine is not installed, got ray ({error}): pip install 'overcrank[ray]', "
            "or use the engine processes"
        ) from error
    return ray


@contextmanager
def _running(ray: Any, processes: int) -> Iterator[None]:
    """The Ray that runs already, that of RAY_ADDRESS, or one of our own."""
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    own = {} if address else {"num_cpus": processes, "object_store_memory": STORE}
    try:
        with _path_for_workers():
            ray.init(
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **own,
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise RequestError(
            f"Ray cannot be started, got {address or 'no RAY_ADDRESS'} ({error}): set RAY_ADDRESS "
            "to a cluster that runs, or to nothing"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _path_for_workers() -> Iterator[None]:
    """Ray's processes on this machine import from where this one does."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
