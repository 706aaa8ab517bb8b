"""Training: objectives and the loop."""

from overcrank.train.config import RunConfig, read_config
from overcrank.train.loop import train
from overcrank.train.start import build_objective

__all__ = ["RunConfig", "build_objective", "read_config", "train"]
