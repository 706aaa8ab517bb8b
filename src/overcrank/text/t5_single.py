"""A T5 encoder in one file: safetensors as ComfyUI has it, or GGUF as llama.cpp has it.

Such files say nothing of the architecture that the shapes of their tensors would not say.
Tensors are called here as `transformers` calls them.
"""

import importlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from overcrank.errors import ModelError

Shapes = Mapping[str, tuple[int, ...]]

GGUF_NAMES = (
    (r"^token_embd", "shared"),
    (r"^enc\.output_norm", "encoder.final_layer_norm"),
    (r"^enc\.blk\.", "encoder.block."),
    (r"\.attn_rel_b\.", ".layer.0.SelfAttention.relative_attention_bias."),
    (r"\.attn_norm\.", ".layer.0.layer_norm."),
    (r"\.attn_([qkvo])\.", r".layer.0.SelfAttention.\1."),
    (r"\.ffn_norm\.", ".layer.1.layer_norm."),
    (r"\.ffn_gate\.", ".layer.1.DenseReluDense.wi_0."),
    (r"\.ffn_up\.", ".layer.1.DenseReluDense.wi_1."),
    (r"\.ffn_down\.", ".layer.1.DenseReluDense.wo."),
)
"""Name in GGUF -> name in transformers, in this order. Source: llama.cpp, tensor mapping."""


def shapes(path: Path) -> Shapes:
    """The shape of every tensor of the encoder; nothing else of the file is read."""
    if path.suffix == ".gguf":
        found = {_renamed(each.name): _shape(each) for each in _gguf_tensors(path)}
    else:
        with safe_open(path, framework="pt") as file:
            names = _encoder_names(file.keys())
            found = {own: tuple(file.get_slice(names[own]).get_shape()) for own in names}
    if "shared.weight" not in found:
        raise ModelError(
            f"{str(path)!r} holds no T5, got no tensor shared.weight: "
            "give a file with a T5 encoder, such as t5xxl_fp16.safetensors"
        )
    return found


def architecture(found: Shapes) -> dict[str, Any]:
    """What transformers' T5Config has to be told."""
    attention = "encoder.block.0.layer.0.SelfAttention"
    feed_forward = "encoder.block.0.layer.1.DenseReluDense"
    gated = f"{feed_forward}.wi_0.weight" in found
    vocabulary, width = found["shared.weight"]
    buckets, heads = found[f"{attention}.relative_attention_bias.weight"]
    return {
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": found[f"{attention}.q.weight"][0] // heads,
        "d_ff": found[f"{feed_forward}.{'wi_0' if gated else 'wi'}.weight"][0],
        "num_layers": len({name.split(".")[2] for name in found if ".block." in name}),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu" if gated else "relu",
    }


def tensors(path: Path, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """The tensors of the encoder one by one in `dtype`, so that two copies never coexist."""
    if path.suffix == ".gguf":
        gguf = importlib.import_module("gguf")
        for each in _gguf_tensors(path):
            numbers = np.array(gguf.dequantize(each.data, each.tensor_type), dtype=np.float32)
            yield _renamed(each.name), torch.from_numpy(numbers).reshape(_shape(each)).to(dtype)
        return
    with safe_open(path, framework="pt") as file:
        stored = set(file.keys())
        for own, name in _encoder_names(stored).items():
            tensor = file.get_tensor(name)
            scale = f"{name.removesuffix('weight')}scale_weight"  # of numbers in 8 bits
            if scale in stored:
                tensor = tensor.float() * file.get_tensor(scale).float()
            yield own, tensor.to(dtype)


def _encoder_names(names: Any) -> dict[str, str]:
    """Name of each of the encoder's tensors -> its name in a file that may hold more."""
    found = (
        re.fullmatch(r"(?:.*\.)?((?:shared|encoder\.(?:block|final)\S*)\.weight)", name)
        for name in names
    )
    return {match[1]: match[0] for match in found if match}


def _gguf_tensors(path: Path) -> Any:
    gguf = importlib.import_module("gguf")
    return gguf.GGUFReader(str(path)).tensors


def _shape(tensor: Any) -> tuple[int, ...]:
    """GGUF lists the fastest axis first."""
    return tuple(int(size) for size in reversed(tensor.shape))


def _renamed(name: str) -> str:
    for pattern, ours in GGUF_NAMES:
        name = re.sub(pattern, ours, name)
    return name
