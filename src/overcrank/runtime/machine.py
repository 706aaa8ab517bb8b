"""What this machine is, and how fast it multiplies."""

import platform
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from overcrank.runtime.device import Hardware, precision, processor
from overcrank.runtime.stages import free_memory
from overcrank.vae.conv import convolve

SIZE, TIMES = 2048, 5
"""Of the matrices that are multiplied, and how often."""
WIDTH, CELLS = 128, (4, 32, 32)
"""Channels, frames, height and width where the default model's decoder does half of its work."""


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
    return 2 * SIZE**3 / _seconds(lambda: one @ other)


def convolutions(hardware: Hardware) -> dict[str, float]:
    """Floating-point operations a second of a decoder's flat convolution, the median of some: as
    the one of two axes that is used on a CPU, and as the one of three axes that it stands for."""
    conv = nn.Conv3d(WIDTH, WIDTH, (1, 3, 3), padding=(0, 1, 1)).requires_grad_(False)
    hardware.place(conv)
    x_BCTHW = torch.randn(1, WIDTH, *CELLS, device=hardware.device)
    x_BCTHW = x_BCTHW.to(hardware.dtype, memory_format=torch.channels_last_3d)
    with precision(hardware):
        seconds = {
            "two axes": _seconds(lambda: convolve(conv, x_BCTHW)),
            "three axes": _seconds(lambda: conv(x_BCTHW)),
        }
    operations = 2 * WIDTH * x_BCTHW.numel() * 9
    return {name: operations / each for name, each in seconds.items()}


def _seconds(run: Callable[[], Tensor]) -> float:
    """The median of some, after one that warms up."""
    seconds = []
    for _ in range(TIMES + 1):
        begin = perf_counter()
        result = run()
        float(result[(0,) * result.ndim])  # waits for the device
        seconds.append(perf_counter() - begin)
    return median(seconds[1:])
