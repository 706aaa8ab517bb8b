"""What a decoder is, beyond the preset or the file that it comes from."""

from dataclasses import replace

from overcrank.train.config.base import Strict
from overcrank.vae import VAEConfig


class DecoderShape(Strict):
    """Changes to the architecture of the autoencoder's decoder."""

    noise: bool = False
    """Inject noise into its residual blocks, as much as each channel learns
    to use: none at first."""
    causal: bool | None = None
    """A frame depends on earlier latents only, so that it can be streamed. If it is not given, as
    the preset or the file has it."""

    def of(self, config: VAEConfig) -> VAEConfig:
        """The architecture with these changes."""
        causal = config.causal_decoder if self.causal is None else self.causal
        blocks = tuple(
            replace(block, noise=block.noise or (self.noise and block.kind == "res_x"))
            for block in config.decoder_blocks
        )
        return replace(config, causal_decoder=causal, decoder_blocks=blocks)
