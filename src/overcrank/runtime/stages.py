"""What a run costs: seconds for each stage, and the peak of memory."""

import ctypes
import gc
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import torch

from overcrank.runtime.device import Hardware, precision

Item = TypeVar("Item")


class Stages:
    """Runs each stage of a clip in the right precision and adds up its seconds."""

    def __init__(self, hardware: Hardware, names: tuple[str, ...]) -> None:
        self.hardware = hardware
        self.seconds = dict.fromkeys(names, 0.0)

    @contextmanager
    def stage(self, name: str, *, mixed: bool = True) -> Iterator[None]:
        """Time what is inside, until the device has finished it; not `mixed` is all float32."""
        start = perf_counter()
        hardware = self.hardware if mixed else replace(self.hardware, dtype=torch.float32)
        try:
            with precision(hardware):
                yield
            if self.hardware.device.type == "cuda":
                torch.cuda.synchronize(self.hardware.device)
        finally:
            self.seconds[name] += perf_counter() - start

    def each(self, name: str, items: Iterator[Item]) -> Iterator[Item]:
        """The same items; only the time it takes to make them counts."""
        end = object()
        while True:
            with self.stage(name):
                item = next(items, end)
            if item is end:
                return
            yield item  # type: ignore[misc]  # `end` never gets here


def peak_memory(hardware: Hardware) -> int:
    """Bytes: of this process since it began, or of the accelerator if there is one."""
    if hardware.device.type == "cuda":
        return torch.cuda.max_memory_allocated(hardware.device)
    peak = _proc("self/status", "VmHWM")
    if peak is not None:
        return peak
    # On Linux this would begin with the peak of the process that started this one.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def peak_memory_of(run: Callable[[], object], device: torch.device) -> int | None:
    """Bytes at most while it runs, of the accelerator if there is one, else of this process; None
    where the system cannot begin anew. What was freed and kept for later is given back first."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device)
    forget = Path("/proc/self/clear_refs")
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is None or not os.access(forget, os.W_OK):
        run()
        return None
    gc.collect()
    trim(0)
    forget.write_text("5")  # source: proc(5): the peak is what is resident now
    run()
    return _proc("self/status", "VmHWM")


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had there, caches that give way included; None: not known."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    return _proc("meminfo", "MemAvailable")


def _proc(file: str, name: str) -> int | None:
    """A number of bytes that Linux tells; None elsewhere."""
    path = Path("/proc", file)
    if not path.exists():
        return None
    lines = path.read_text().splitlines()
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith(f"{name}:")), None)
