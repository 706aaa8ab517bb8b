"""How the autoencoder and the transformer learn together."""

from pydantic import Field

from overcrank.train.config.base import Count, Share, Strict


class Joint(Strict):
    """What the two networks do to each other."""

    share: float = Field(default=0.1, ge=0)
    """Of the diffusion loss in what the encoder learns: the norm of its gradient on the latents is
    at most this part of the reconstruction's. 0 keeps it out; 1e9 lets everything in, and the
    latents collapse."""
    draws: Count = 1
    """Noise levels that the transformer learns from, of each clip: a clip is encoded once, which
    for short clips costs more than the transformer."""
    handed: Share = 0.25
    """Of samples whose decoder is given what the transformer makes of noisier latents."""
    handed_from: float = Field(default=0.3, ge=0, le=1)
    """The highest noise level of those."""
