"""A T5 with random weights and a tokenizer of a few words, in the folders that diffusers uses."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

WORDS = ["<pad>", "</s>", "<unk>", "a", "red", "ball", "bounces", "green", "square"]


def save_t5(path: Path, width: int = 32) -> Path:
    """Two layers deep; sub-folders text_encoder and tokenizer."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(WORDS),
        d_model=width,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
    )
    T5EncoderModel(config).save_pretrained(path / "text_encoder")
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(path / "tokenizer")
    return path
