"""How things run, and nothing about what they compute: device, precision, time and memory."""

from overcrank.runtime.device import Hardware, choose, precision, processor
from overcrank.runtime.stages import Stages, free_memory, peak_memory

__all__ = ["Hardware", "Stages", "choose", "free_memory", "peak_memory", "precision", "processor"]
