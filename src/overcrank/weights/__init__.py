"""Model files: what is stored, how it is checked, and how a model is opened."""

from overcrank.weights.card import Card, Defaults
from overcrank.weights.checkpoint import Checkpoint, Network
from overcrank.weights.convert import TARGETS, Conversion, Target, convert, open_checkpoint
from overcrank.weights.fit import check_fit
from overcrank.weights.inspect import describe
from overcrank.weights.model import Model, save_model
from overcrank.weights.opening import (
    Extras,
    LoRAFile,
    ModelFiles,
    load_network,
    open_model,
    read_weighted,
)
from overcrank.weights.presets import preset_names
from overcrank.weights.report import describe_checkpoint
from overcrank.weights.store import content_hash, latent_hash, load_component, save_component
from overcrank.weights.synthetic import random_release

__all__ = [
    "TARGETS",
    "Card",
    "Checkpoint",
    "Conversion",
    "Defaults",
    "Extras",
    "LoRAFile",
    "Model",
    "ModelFiles",
    "Network",
    "Target",
    "check_fit",
    "content_hash",
    "convert",
    "describe",
    "describe_checkpoint",
    "latent_hash",
    "load_component",
    "load_network",
    "open_checkpoint",
    "open_model",
    "preset_names",
    "random_release",
    "read_weighted",
    "save_component",
    "save_model",
]
