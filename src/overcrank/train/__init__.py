"""Training: objectives and the loop."""

from overcrank.train.config import RunConfig, read_config
from overcrank.train.loop import train
from overcrank.train.record import Event, steps_done
from overcrank.train.start import build_objective
from overcrank.train.workers import Workers, join_workers

__all__ = [
    "Event",
    "RunConfig",
    "Workers",
    "build_objective",
    "join_workers",
    "read_config",
    "steps_done",
    "train",
]
