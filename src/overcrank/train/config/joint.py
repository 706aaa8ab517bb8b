"""How the autoencoder and the transformer learn together."""

from pydantic import Field

from overcrank.train.config.base import Share, Strict


class Joint(Strict):
    """What the two networks do to each other."""

    share: float = Field(default=0.1, ge=0)
    """Of the diffusion loss in what the encoder learns: the norm of its gradient on the latents is
    at most this part of the reconstruction's. 0 keeps it out; 1e9 lets everything in, and the
    latents collapse."""
    handed: Share = 0.25
    """Of samples whose decoder is given what the transformer makes of noisier latents."""
    handed_from: float = Field(default=0.3, ge=0, le=1)
    """The highest noise level of those."""
