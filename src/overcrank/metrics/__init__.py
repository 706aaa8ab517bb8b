"""Pure measures, used by training, evaluation and self-checks."""

from overcrank.metrics.coverage import density_and_coverage
from overcrank.metrics.frechet import check_enough, clips_needed, frechet, frechet_distance, moments
from overcrank.metrics.mobilenet import load_features
from overcrank.metrics.perceptual import Features, perceptual_distance
from overcrank.metrics.pixels import psnr
from overcrank.metrics.rates import Rate, difference, mean_of, student, wilson
from overcrank.metrics.wavelet import haar3d

__all__ = [
    "Features",
    "Rate",
    "check_enough",
    "clips_needed",
    "density_and_coverage",
    "difference",
    "frechet",
    "frechet_distance",
    "haar3d",
    "load_features",
    "mean_of",
    "moments",
    "perceptual_distance",
    "psnr",
    "student",
    "wilson",
]
