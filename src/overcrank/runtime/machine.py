"""What this machine is, and how fast it multiplies."""

import platform
from statistics import median
from time import perf_counter
from typing import Any

import torch

from overcrank.runtime.device import Hardware, processor
from overcrank.runtime.stages import free_memory

SIZE, TIMES = 2048, 5
"""Of the matrices that are multiplied, and how often."""


def describe(hardware: Hardware) -> dict[str, Any]:
    """Names and numbers as plain data; memory is in bytes, None where the system does not tell."""
    return {
        "device": str(hardware.device),
        "processor": processor(hardware.device),
        "threads": torch.get_num_threads(),
        "free_memory": free_memory(hardware.device),
        "dtype": str(hardware.dtype).removeprefix("torch."),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def multiplications(hardware: Hardware) -> float:
    """Floating-point operations a second of large matrices in this precision, the median of some.

    What a linear layer could reach at most; takes a fraction of a second on most machines.
    """
    one, other = torch.randn(2, SIZE, SIZE, device=hardware.device).to(hardware.dtype)
    seconds = []
    for _ in range(TIMES + 1):
        begin = perf_counter()
        float((one @ other)[0, 0])  # waits for the device
        seconds.append(perf_counter() - begin)
    return 2 * SIZE**3 / median(seconds[1:])
