"""What a run learns from: stages, cached latents, scenes, film."""

import math
from typing import Self

from pydantic import Field, model_validator

from overcrank.errors import RequestError
from overcrank.train.config.base import Count, Pixels, Shaped, Share, Step, Strict

MOST_DROPPED = 0.2
"""Of the tokens of a clip. Source: LTX-Video, arXiv:2501.00103, section 2.3."""


class Stage(Shaped):
    """From step `start` on, batches have this shape; stages of one start take turns.

    An autoencoder's clips smaller than 128 are random crops of 128 x 128.
    """

    start: Step = 0
    """The step it begins with; the first stage has 0."""
    batch: int = Field(ge=1, le=65536, examples=[16])
    """Clips in one step, on all processes together."""
    tokens: Count | None = None
    """Budget of a sample: where a clip has more tokens, others are left out in each step, so that
    stages of different shapes cost the same. A transformer's only."""
    near_noise: Share = 0.0
    """Of its clips, a share whose noise levels are drawn higher: there it is decided what is where,
    and of small clips little is seen there else. A transformer's only."""
    below: float = Field(default=1.0, gt=0, le=1)
    """The noise levels of most of its clips end here: for a second pass, which begins no higher. A
    transformer's only."""

    @model_validator(mode="after")
    def _drops_few(self) -> Self:
        has = self.clip.latent.tokens
        least = math.ceil((1 - MOST_DROPPED) * has)
        if self.tokens is not None and self.tokens < least:
            raise RequestError(
                f"a stage of {self.frames} frames of {self.size} pixels has {has} tokens, of which "
                f"{MOST_DROPPED:.0%} are dropped at most, got tokens: {self.tokens}: right is "
                f"{least} or more, or fewer frames or pixels"
            )
        return self


class Latents(Shaped):
    """Clips that are rendered and encoded once and then seen many times."""

    clips: Count | None = None
    """Of the toybox; of prepared clips there are as many as fit."""
    first: Step = 0
    """Number of the first one: caches that overlap show the same scenes."""
    frames: int = Field(default=121, ge=1, le=8193)
    """8n + 1 of them, at least as many as the stages take."""
    size: Pixels = 128
    """As that of the stages that learn from them."""
    captions: int = Field(default=2, ge=1, le=64)
    """Paraphrases per clip."""
    folder: str | None = None
    """Where they are kept; `latents` in the run's folder if not given."""


class Scenes(Strict):
    """What the clips show: solids, and with probability `figures` figures of a pack."""

    figures: Share = 0.0
    """Probability of a figure."""
    pack: str | None = None
    """A file as docs/figures.md says; the shipped one, of 32 figures, if not given."""
    stories: Share = 0.0
    """Probability of two steps, "rolls in, then bounces", of solids and of figures; the second
    begins after 2.2 seconds."""
    pairs: Share = 0.0
    """Probability that what has no story shows two actors; else six in ten scenes show one."""


class FilmShare(Strict):
    """Real footage among an autoencoder's clips: a file as docs/film.md says."""

    file: str = Field(examples=["film.safetensors"])
    """What `examples/build_film.py` wrote."""
    share: Share = 0.15
    """Of the clips in a batch of each stage that is no larger than the film."""
