"""Counter-based noise: each value depends on what it is for, not on what was drawn before it.

The same seed gives the same noise on every device, in every batch and for every length: a longer
clip keeps the noise of its beginning. Made on the CPU from raw Philox output and our own
normal transform, so that no library's choice of algorithm can change it.
Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

import hashlib
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def gaussian(
    seed: int, purpose: str, shape_per_frame: tuple[int, ...], frames: int, *, step: int = 0
) -> Tensor:
    """Standard normal noise, float32 (frames, *shape_per_frame), on the CPU.

    A value depends on (seed, purpose, step), its frame and its position in the frame.
    """
    key = _key(seed, purpose, step)
    count = math.prod(shape_per_frame)
    noise = np.empty((frames, count), dtype=np.float32)
    for frame in range(frames):
        noise[frame] = _normals(key, frame, count)
    return torch.from_numpy(noise).reshape(frames, *shape_per_frame)


def _key(seed: int, purpose: str, step: int) -> NDArray[np.uint64]:
    digest = hashlib.sha256(f"{seed}\n{step}\n{purpose}".encode()).digest()
    return np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)


def _normals(key: NDArray[np.uint64], frame: int, count: int) -> NDArray[np.float64]:
    """Box and Muller's transform: two words make two normals."""
    pairs = (count + 1) // 2
    # The counter's low words count blocks, so frames can never overlap.
    counter = np.array([0, 0, 0, frame], dtype=np.uint64)
    words = np.random.Philox(key=key, counter=counter).random_raw(2 * pairs).reshape(pairs, 2)
    unit = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    radius = np.sqrt(-2 * np.log1p(-unit[:, 0]))
    angle = 2 * np.pi * unit[:, 1]
    both = np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=1)
    return both.reshape(-1)[:count]
