"""Pure measures, used by training, evaluation and self-checks."""

from overcrank.metrics.mobilenet import load_features
from overcrank.metrics.perceptual import Features, perceptual_distance
from overcrank.metrics.pixels import psnr
from overcrank.metrics.rates import Rate, mean_of, newcombe, wilson
from overcrank.metrics.wavelet import haar3d

__all__ = [
    "Features",
    "Rate",
    "haar3d",
    "load_features",
    "mean_of",
    "newcombe",
    "perceptual_distance",
    "psnr",
    "wilson",
]
