"""Text encoders behind one interface: prompts in, token embeddings and a keep-mask out."""

from overcrank.text.cache import CachedEncoder
from overcrank.text.encoder import TextEmbedding, TextEncoder, is_text
from overcrank.text.minilm import MiniLMEncoder
from overcrank.text.t5 import T5Encoder

__all__ = [
    "CachedEncoder",
    "MiniLMEncoder",
    "T5Encoder",
    "TextEmbedding",
    "TextEncoder",
    "is_text",
]
