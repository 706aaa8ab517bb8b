"""Real videos and pictures become clips in shards: see docs/prepare.md."""

from overcrank.data.prepare.run import prepare
from overcrank.data.prepare.scores import sharpness
from overcrank.data.prepare.settings import Scorer, Settings

__all__ = ["Scorer", "Settings", "prepare", "sharpness"]
