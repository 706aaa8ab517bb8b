"""How a run learns: optimiser, conditions, distillation."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from overcrank.errors import RequestError
from overcrank.train.config.base import Count, Share, Step, Strict


class Optim(Strict):
    """AdamW with warm-up, a constant rate, and a linear fall to zero over the last steps."""

    lr: float = Field(gt=0, examples=["1.0e-3"])
    """The learning rate between warm-up and fall."""
    betas: tuple[Share, Share] = (0.9, 0.99)
    """How much of the moments of earlier steps is kept."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Times the rate, so much of each weight is taken away at a step."""
    clip: float = Field(default=1.0, gt=0)
    """A gradient longer than this is shortened to it."""
    warmup: Step = 200
    """Steps in which the rate rises from 0."""
    fall: Step = 0
    """Steps at the end in which it falls to 0."""
    ema: Share = 0.999
    """Of the moving average of the weights, which is exported: what is kept at each step."""
    fan_in: Count | None = None
    """Matrices with more inputs than this learn at a rate that falls as 1 / inputs, so that one
    step changes every layer's output by about as much. Yang et al., arXiv:2203.03466, table 8."""
    pace: dict[str, Annotated[float, Field(gt=0)]] = Field(default={})
    """Factors on the rate of parts, by the beginnings of their parameters' names, such as
    {transformer: 3.0} in a joint run."""


class Conditions(Strict):
    """Probabilities of what a sample is given besides noise."""

    drop_text: float = Field(default=0.1, ge=0, le=1)
    """The empty prompt instead of the caption."""
    first_frame: float = Field(default=0.3, ge=0, le=1)
    """The first latent frame: image-to-video."""
    beginning: float = Field(default=0.0, ge=0, le=1)
    """Some latent frames from the first on."""
    later_frame: float = Field(default=0.0, ge=0, le=1)
    """A picture of a later frame, as extra tokens; of batches, not of samples."""
    ending: float = Field(default=0.0, ge=0, le=1)
    """The frames from a later one on, as `Clip(at=...)` gives them; of batches, where the clip has
    17 frames or more and is not cut shorter."""
    reference: float = Field(default=0.0, ge=0, le=1)
    """A video of the same size, as extra tokens at the same places; of batches, and 1 for an
    IC-LoRA."""
    control: Literal["edges"] = "edges"
    """What the reference is made of: src/overcrank/data/controls.py."""
    own_levels: float = Field(default=0.0, ge=0, le=1)
    """A noise level for each latent frame instead of one for the clip."""

    @model_validator(mode="after")
    def _leaves_room(self) -> Self:
        if self.first_frame + self.beginning > 1:
            raise RequestError(
                "a sample is given its first frame or its beginning, not both: got "
                f"{self.first_frame} and {self.beginning}, right is a sum of at most 1"
            )
        return self


class Distil(Strict):
    """What a few-step student of the network `start_from` learns to do."""

    levels: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        default=[1.0, 0.88, 0.7, 0.42], min_length=1
    )
    """The noise level that each step begins with, before `end` squeezes them."""
    end: Share = 0.05
    """Where the decoder takes over."""
    guidance: float = Field(default=3.0, ge=1)
    """Of the teacher."""
    every: Count = 3
    """The student learns at one step in so many, its shadow at all."""

    @model_validator(mode="after")
    def _levels_fall(self) -> Self:
        if self.levels != sorted(set(self.levels), reverse=True):
            raise RequestError(
                f"the levels of a student fall, got {self.levels}: put them in order"
            )
        return self
