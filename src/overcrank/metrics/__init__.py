"""Pure measures, used by training, evaluation and self-checks."""

from overcrank.metrics.pixels import psnr
from overcrank.metrics.rates import Rate, wilson
from overcrank.metrics.wavelet import haar3d

__all__ = ["Rate", "haar3d", "psnr", "wilson"]
