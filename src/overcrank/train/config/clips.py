"""Real clips that a run learns from."""

from typing import Annotated

from pydantic import Field

from overcrank.train.config.base import Strict

Probability = Annotated[float, Field(ge=0, le=1)]


class Clips(Strict):
    """A folder that `overcrank prepare` wrote; clips that fit no stage are left out."""

    folder: str
    share: float = Field(default=1.0, gt=0, le=1)
    """Of the clips in an autoencoder's batches; the others show scenes."""
    enlarge: float = Field(default=1.0, ge=1, le=8)
    """Clips that are too small are enlarged by this factor at most."""
    jitter: Probability = 0.0
    """Of clips that are long enough, so many are played at half their rate, every second frame."""
