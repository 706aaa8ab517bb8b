"""Model files: what is stored, how it is checked, and how a model is opened."""

from overcrank.weights.card import Card, Defaults
from overcrank.weights.inspect import describe
from overcrank.weights.model import Model, open_model, preset_names, save_model
from overcrank.weights.store import content_hash, latent_hash, load_component, save_component

__all__ = [
    "Card",
    "Defaults",
    "Model",
    "content_hash",
    "describe",
    "latent_hash",
    "load_component",
    "open_model",
    "preset_names",
    "save_component",
    "save_model",
]
