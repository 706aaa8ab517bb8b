"""A training run: one YAML file, strictly read.

`--set optim.lr=1e-4` changes a value by its dotted name. Presets are YAML files in the package.
"""

from overcrank.train.config.adapt import Lora
from overcrank.train.config.base import Strict
from overcrank.train.config.clips import Clips
from overcrank.train.config.data import FilmShare, Latents, Scenes, Stage
from overcrank.train.config.decoder import DecoderShape
from overcrank.train.config.joint import Joint
from overcrank.train.config.learn import Conditions, Distil, Optim
from overcrank.train.config.losses import VAELoss
from overcrank.train.config.read import read_config
from overcrank.train.config.run import RunConfig
from overcrank.train.config.samples import Samples

__all__ = [
    "Clips",
    "Conditions",
    "DecoderShape",
    "Distil",
    "FilmShare",
    "Joint",
    "Latents",
    "Lora",
    "Optim",
    "RunConfig",
    "Samples",
    "Scenes",
    "Stage",
    "Strict",
    "VAELoss",
    "read_config",
]
