"""The video autoencoder: 32 x 32 x 8 pixels to one latent cell of 128 numbers, and back.

Axes: B batch, C channels, F H W frames and pixels of a video, T H W of a latent grid.
Source: HaCohen et al., "LTX-Video", arXiv:2501.00103, section 2.1.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from overcrank.errors import ModelError, SizeError
from overcrank.shapes import ClipSize
from overcrank.vae.config import VAEConfig
from overcrank.vae.conv import Memory
from overcrank.vae.decoder import Decoder
from overcrank.vae.encoder import Encoder
from overcrank.vae.preview import Preview

CELLS_AT_ONCE = 128
"""Of a stream: fewer are slower, since each piece reads all weights; more fill the caches."""


@dataclass(frozen=True, slots=True)
class Posterior:
    """Gaussian over raw (un-normalised) latents with one log-variance per cell."""

    mean_BCTHW: Tensor
    log_var_B1THW: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw; the generator's device decides where its noise is made."""
        device = self.mean_BCTHW.device if generator is None else generator.device
        noise = torch.randn(
            self.mean_BCTHW.shape, generator=generator, dtype=torch.float32, device=device
        )
        return self.mean_BCTHW + torch.exp(0.5 * self.log_var_B1THW) * noise.to(self.mean_BCTHW)

    def kl(self) -> Tensor:
        """Mean divergence from N(0, 1) per latent value, in nats. Kingma & Welling, 1312.6114."""
        mean, log_var = self.mean_BCTHW.float(), self.log_var_B1THW.float()
        return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean()


class Statistics(nn.Module):
    """Per-channel mean and standard deviation of the latent means; buffers named as published."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean-of-means", torch.zeros(channels))
        self.register_buffer("std-of-means", torch.ones(channels))

    @property
    def mean(self) -> Tensor:
        """(C,)"""
        return self.get_buffer("mean-of-means")

    @property
    def std(self) -> Tensor:
        """(C,)"""
        return self.get_buffer("std-of-means")

    def normalise(self, latent_BCTHW: Tensor) -> Tensor:
        """Raw latent -> about zero mean and unit variance in every channel."""
        return (latent_BCTHW - _per_channel(self.mean)) / _per_channel(self.std)

    def restore(self, latent_BCTHW: Tensor) -> Tensor:
        """Inverse of `normalise`."""
        return latent_BCTHW * _per_channel(self.std) + _per_channel(self.mean)


class VAE(nn.Module):
    """Encoder, decoder and latent statistics.

    Everything outside this room sees normalised latents only.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.per_channel_statistics = Statistics(config.latent_channels)
        if config.preview:
            self.colours = Preview(config.latent_channels)
        if config.linear_trunk:
            _start_linear(self)

    def posterior(self, video_BCFHW: Tensor) -> Posterior:
        """Pixels in [-1, 1] -> distribution of raw latents. Raises SizeError off the grid."""
        if video_BCFHW.ndim != 5 or video_BCFHW.shape[1] != 3:
            raise SizeError(
                f"a video tensor is (B, 3, F, H, W), got {tuple(video_BCFHW.shape)}: "
                "put colours second, then frames, height, width"
            )
        ClipSize(*video_BCFHW.shape[2:])
        moments = self.encoder(video_BCFHW)
        channels = self.config.latent_channels
        return Posterior(moments[:, :channels], moments[:, channels:].clamp(-30.0, 20.0))

    def encode(self, video_BCFHW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Pixels in [-1, 1] -> normalised latents: the mean, or a draw if a generator is given."""
        posterior = self.posterior(video_BCFHW)
        raw = posterior.mean_BCTHW if generator is None else posterior.sample(generator)
        return self.per_channel_statistics.normalise(raw)

    def decode(
        self,
        latent_BCTHW: Tensor,
        sigma: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Normalised latents with noise level sigma (B,) -> pixels, about [-1, 1].

        sigma None means clean latents. `generator` draws the noise that some decoders inject.
        """
        raw = self.per_channel_statistics.restore(latent_BCTHW)
        return self.decoder(raw, self._sigma(latent_BCTHW, sigma), generator=generator)

    def decode_stream(
        self,
        latent_BCTHW: Tensor,
        sigma: Tensor | None = None,
        chunk: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Tensor]:
        """The frames of `decode`, first to last, `chunk` latent frames at a time.

        None: the first two alone, since someone waits for them, then about `CELLS_AT_ONCE` cells.
        Exact, since a causal decoder needs nothing later than the chunk it decodes.
        """
        raw = self.per_channel_statistics.restore(latent_BCTHW)
        sigma_B = self._sigma(latent_BCTHW, sigma)
        memory: Memory = {}
        frames, cells = raw.shape[2], raw.shape[3] * raw.shape[4]
        for piece in raw.split(pieces(frames, cells) if chunk is None else chunk, dim=2):
            yield self.decoder(piece, sigma_B, memory=memory, generator=generator)

    def preview(self, latent_BCTHW: Tensor) -> Tensor:
        """Normalised latents -> the colour of each cell, (B, 3, T, H, W), about [-1, 1].

        Linear and instant; refused by an autoencoder that carries no map for it.
        """
        if not self.config.preview:
            raise ModelError(
                "this autoencoder has no map from latents to colours: got one without, as all "
                "published ones are: decode the latents, or let `fit_preview` learn a map"
            )
        return self.colours(latent_BCTHW)

    def fit_preview(self, latent_NC: Tensor, colour_N3: Tensor) -> None:
        """Learn the map of `preview` from normalised latents of N cells and their colours.

        `cell_colours` gives the colours of a video; the map is stored with the weights.
        """
        self.colours = Preview(self.config.latent_channels).to(latent_NC.device)
        self.colours.fit(latent_NC, colour_N3)
        self.config = replace(self.config, preview=True)

    def _sigma(self, latent_BCTHW: Tensor, sigma: Tensor | None) -> Tensor | None:
        if sigma is None and self.config.denoises:
            return latent_BCTHW.new_zeros(len(latent_BCTHW))
        return sigma


def pieces(frames: int, cells: int) -> list[int]:
    """Latent frames of each piece of a stream, where a latent frame has so many cells."""
    each, alone = max(1, CELLS_AT_ONCE // cells), min(frames, 2)
    whole, rest = divmod(frames - alone, each)
    return [1] * alone + [each] * whole + [rest] * (rest > 0)


def _per_channel(values_C: Tensor) -> Tensor:
    return values_C[:, None, None, None]


@torch.no_grad()
def _start_linear(vae: VAE) -> None:
    """Residual branches start at zero and the ends orthogonal: training begins as linear coding."""
    if next(vae.parameters()).is_meta:
        return
    branch_ends = (
        *("conv2.conv.weight", "conv2.conv.bias"),
        *("scale_shift_table", "embedder.linear_2.weight"),
    )
    for name, parameter in vae.named_parameters():
        if name.endswith(branch_ends):
            parameter.zero_()
    for side in (vae.encoder, vae.decoder):
        for conv in (side.conv_in.conv, side.conv_out.conv):
            centre = torch.empty(conv.weight.shape[:2])
            nn.init.orthogonal_(centre)
            conv.weight.zero_()
            time, height, width = (size // 2 for size in conv.kernel_size)
            conv.weight[:, :, time, height, width] = centre
            assert conv.bias is not None
            conv.bias.zero_()
    log_var = vae.encoder.conv_out.conv.bias
    assert log_var is not None
    log_var[-1] = -6.0
