"""The video transformer: one network for text-to-video and image-to-video."""

from overcrank.transformer.config import PRESETS, TransformerConfig
from overcrank.transformer.model import Transformer
from overcrank.transformer.positions import token_positions

__all__ = ["PRESETS", "Transformer", "TransformerConfig", "token_positions"]
