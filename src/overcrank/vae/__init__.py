"""The video autoencoder."""

from overcrank.vae.autoencoder import VAE, Posterior, Statistics
from overcrank.vae.config import Block, VAEConfig
from overcrank.vae.presets import PRESETS

__all__ = ["PRESETS", "VAE", "Block", "Posterior", "Statistics", "VAEConfig"]
