"""Where to compute, and in which precision."""

import ctypes
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from overcrank.errors import RequestError

KEPT = 2**28
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT = 2**25
"""Source: glibc, malloc.h and mallopt(3). Larger blocks are given back; this is its maximum."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Hardware:
    """A device, and the precision of the large multiplications there."""

    device: torch.device
    dtype: torch.dtype

    def place(self, module: nn.Module) -> None:
        """Move a network there, ready to run; its weights stay as precise as they are.

        On CPUs, 3-D convolutions are faster with channels last.
        """
        module.to(self.device).eval()
        if self.device.type == "cpu":
            for parameter in module.parameters():
                if parameter.ndim == 5:
                    parameter.data = parameter.data.to(memory_format=torch.channels_last_3d)


def choose(device: str | torch.device | None, dtype: str | torch.dtype) -> Hardware:
    """Check a choice of device and precision; None and "auto" leave it to us.

    On a CPU, "auto" is bfloat16 only where the processor multiplies it natively: elsewhere it is
    many times slower than float32.
    """
    where = _device(device)
    if dtype == "auto":
        fast = where.type == "cuda" or (where.type == "cpu" and _cpu_multiplies_bfloat16())
        return Hardware(where, torch.bfloat16 if fast else torch.float32)
    chosen = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if chosen is None or chosen not in DTYPES.values():
        raise RequestError(f"a dtype is auto, float32 or bfloat16, got {dtype!r}: try dtype='auto'")
    return Hardware(where, chosen)


def keep_freed_memory() -> None:
    """Have the C library reuse what is freed instead of giving it back to the system.

    Large tensors come and go in every layer; each time, the system would map and clear their pages
    anew. For the whole process: glibc keeps up to `KEPT` bytes, other libraries are left alone.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)


@contextmanager
def precision(hardware: Hardware) -> Iterator[None]:
    """Compute without gradients; in bfloat16, layers that need float32 keep it."""
    mixed = hardware.dtype != torch.float32
    with torch.no_grad(), torch.autocast(hardware.device.type, hardware.dtype, enabled=mixed):
        yield


def processor(device: str | torch.device) -> str:
    """The name of what computes there; empty where the system does not tell it."""
    where = torch.device(device)
    if where.type == "cuda":
        return torch.cuda.get_device_name(where)
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.+)$", info.read_text(), re.M) if info.exists() else []
    return next(iter(names), "")


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise RequestError(
            f"the device cannot be used, got {device!r}: try 'cpu', or 'cuda' on a machine with one"
        ) from error
    return chosen


def _cpu_multiplies_bfloat16() -> bool:
    # The names are torch's own, and not the same in all releases.
    return any(
        getattr(torch.cpu, name, bool)()
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
