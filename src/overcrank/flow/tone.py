"""What keeps upscaled latents like the ones they were made from.

Rank-agnostic: (batch, channels, ...), statistics over everything that follows the channels.
Source: Lightricks LTX-Video, `adain_filter_latent` and `tone_map_latents`.
"""

from torch import Tensor


def adain(x: Tensor, reference: Tensor, factor: float = 1.0) -> Tensor:
    """x with the mean and spread of `reference` in every channel; `factor` 0 leaves it as it is.

    A channel whose spread cannot be matched, since it does not vary, is only moved to the mean.
    Source: Huang & Belongie, "Arbitrary style transfer", arXiv:1703.06868, equation 8.
    """
    mean, spread = _statistics(x)
    wanted_mean, wanted_spread = _statistics(reference)
    ratio = (wanted_spread / spread).nan_to_num(1.0, posinf=1.0)
    return x.lerp((x - mean) * ratio + wanted_mean, factor)


def tone_map(x: Tensor, compression: float) -> Tensor:
    """Values far from zero pulled towards it, by up to 0.6; `compression` in [0, 1], 0 is none."""
    k = 0.75 * compression
    return x * (1 - 0.8 * k * (4 * k * (x.abs() - 1)).sigmoid())


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    dims = tuple(range(2, x.ndim))
    one_value = x[0, 0].numel() == 1  # whose standard deviation is not a number, with a warning
    spread = x.new_zeros(()) if one_value else x.std(dims, keepdim=True)
    return x.mean(dims, keepdim=True), spread
