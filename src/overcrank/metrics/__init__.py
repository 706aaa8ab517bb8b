"""Pure measures of pixels, used by training, evaluation and self-checks."""

from overcrank.metrics.pixels import psnr
from overcrank.metrics.wavelet import haar3d

__all__ = ["haar3d", "psnr"]
