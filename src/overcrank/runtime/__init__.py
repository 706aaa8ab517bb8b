"""How things run, and nothing about what they compute: device, precision, time and memory."""

from overcrank.runtime.device import Hardware, choose, keep_freed_memory, precision, processor
from overcrank.runtime.stages import Stages, free_memory, peak_memory, peak_memory_of

__all__ = [
    "Hardware",
    "Stages",
    "choose",
    "free_memory",
    "keep_freed_memory",
    "peak_memory",
    "peak_memory_of",
    "precision",
    "processor",
]
