"""What is trained of a network that exists: small additions instead of its weights."""

from typing import Annotated

from pydantic import Field

from overcrank.train.config.base import Count, Strict

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


class Lora(Strict):
    """Low-rank additions to the linear layers of `start_from`, which stays as it is.

    Defaults as Lightricks' LTX-Video-Trainer. Its IC-LoRAs have rank 128 and also the targets
    ff.net.0.proj and ff.net.2.
    """

    rank: Count = 64
    """Of the additions: numbers that each layer's input is squeezed into."""
    alpha: float = Field(default=64.0, gt=0)
    """What is added counts alpha / rank times."""
    targets: Annotated[list[str], Field(min_length=1)] = ATTENTION
    """Ends of the names of layers in the blocks."""
