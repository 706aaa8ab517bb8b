"""Real videos and pictures become clips in shards: see docs/prepare.md."""

from overcrank.data.prepare.captions import PROMPT as CAPTION_PROMPT
from overcrank.data.prepare.captions import Captioner
from overcrank.data.prepare.run import prepare
from overcrank.data.prepare.scores import sharpness
from overcrank.data.prepare.settings import Scorer, Settings

__all__ = ["CAPTION_PROMPT", "Captioner", "Scorer", "Settings", "prepare", "sharpness"]
