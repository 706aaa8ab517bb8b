"""How things run, and nothing about what they compute: device, precision, time and memory."""

from overcrank.runtime.device import Hardware, choose, precision
from overcrank.runtime.stages import Stages, peak_memory

__all__ = ["Hardware", "Stages", "choose", "peak_memory", "precision"]
