"""Real clips that a run learns from."""

from typing import Annotated, Literal

from pydantic import Field

from overcrank.train.config.base import Strict

Probability = Annotated[float, Field(ge=0, le=1)]


class Clips(Strict):
    """A folder that `overcrank prepare` wrote; clips that fit no stage are left out."""

    folder: str = Field(examples=["clips"])
    """What `overcrank prepare` wrote."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Of the clips in an autoencoder's batches; the others show scenes."""
    enlarge: float = Field(default=1.0, ge=1, le=8)
    """Clips that are too small are enlarged by this factor at most."""
    jitter: Probability = 0.0
    """Of clips that are long enough, so many are played at half their rate, every second frame."""
    crop: Literal["centre", "random"] = "centre"
    """What a transformer sees of frames of another shape; an autoencoder's crops are random."""
    allow_empty: bool = False
    """A transformer may learn from clips without a caption."""
    trigger: str | None = Field(default=None, min_length=1)
    """A word before every caption."""
