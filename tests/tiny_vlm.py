"""A vision-language model of 70 kB with random weights: LLaVA's parts, letters as its words."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}:"
)
WORDS = ["<pad>", "<s>", "</s>", "<unk>", "<image>", *map(chr, range(32, 127))]


def write_vlm(folder: Path, template: str | None = TEMPLATE) -> Path:
    """As `transformers` writes it."""
    words = {word: number for number, word in enumerate(WORDS)}
    letters = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    letters.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=letters,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )
    side = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            **side, num_attention_heads=2, image_size=16, patch_size=8, projection_dim=16
        ),
        text_config=LlamaConfig(
            **side,
            vocab_size=len(words),
            num_attention_heads=2,
            num_key_value_heads=2,
            pad_token_id=words["<pad>"],
            bos_token_id=words["<s>"],
            eos_token_id=words["</s>"],
        ),
        image_token_index=words["<image>"],
        image_seq_length=4,
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():  # else it says the same of all pictures
        for parameter in model.parameters():
            parameter.mul_(20 if parameter.ndim > 1 else 1)
    model.save_pretrained(folder)
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
        ),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    processor.save_pretrained(folder)
    return folder
