"""The video autoencoder."""

from overcrank.vae.autoencoder import VAE, Posterior, Statistics
from overcrank.vae.config import Block, VAEConfig
from overcrank.vae.presets import PRESETS
from overcrank.vae.preview import cell_colours

__all__ = ["PRESETS", "VAE", "Block", "Posterior", "Statistics", "VAEConfig", "cell_colours"]
