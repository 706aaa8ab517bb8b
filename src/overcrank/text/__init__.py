"""Text encoders behind one interface: prompts in, token embeddings and a keep-mask out."""

from overcrank.text.cache import CachedEncoder
from overcrank.text.encoder import TextEmbedding, TextEncoder, is_text
from overcrank.text.enhance import PromptEnhancer
from overcrank.text.small import SmallEncoder
from overcrank.text.store import EmbeddingStore, default_folder
from overcrank.text.t5 import T5Encoder

__all__ = [
    "CachedEncoder",
    "EmbeddingStore",
    "PromptEnhancer",
    "SmallEncoder",
    "T5Encoder",
    "TextEmbedding",
    "TextEncoder",
    "default_folder",
    "is_text",
]
