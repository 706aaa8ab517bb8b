"""Pure measures, used by training, evaluation and self-checks."""

from overcrank.metrics.mobilenet import load_features
from overcrank.metrics.perceptual import Features, perceptual_distance
from overcrank.metrics.pixels import psnr
from overcrank.metrics.rates import Rate, wilson
from overcrank.metrics.wavelet import haar3d

__all__ = [
    "Features",
    "Rate",
    "haar3d",
    "load_features",
    "perceptual_distance",
    "psnr",
    "wilson",
]
