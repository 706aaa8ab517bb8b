"""A small text encoder: MiniLM's states of short prompts, from 6 M weights of our own.

Two layers of the kind of BERT (Devlin et al., "BERT", arXiv:1810.04805) on a factorised table of
word pieces. They were taught MiniLM's states, times its scale, by examples/distil_text.py, and that
rare words of the dictionary stand where common ones do. Matrices are kept in eight bits a weight.

Axes: B batch, L text tokens, D width, V pieces, R rank of the table, F width inside a layer,
H heads, K width of one; a packed matrix has R rows, C columns.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from overcrank.errors import ModelError
from overcrank.text.encoder import TextEmbedding, tokenize

WIDTH, INNER, HEADS = 384, 1536, 12
RANK = 96
LONGEST = 128
FILE = Path(__file__).with_name("small.safetensors")
LARGEST = 127
"""Weights of a row are whole numbers of its scale from -127 to 127."""
_STEPS = ".steps"
_EPSILON = 1e-12


class SmallNetwork(nn.Module):
    """Piece ids (B, L) and a keep-mask (B, L) to states (B, L, D)."""

    def __init__(self, pieces: int, layers: int) -> None:
        super().__init__()
        self.table = nn.Embedding(pieces, RANK)
        self.widen = nn.Linear(RANK, WIDTH)
        self.places = nn.Embedding(LONGEST, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=_EPSILON)
        self.layers = nn.ModuleList(SmallLayer() for _ in range(layers))

    def forward(self, ids_BL: Tensor, keep_BL: Tensor) -> Tensor:
        """States at padding mean nothing."""
        places_LD = self.places.weight[: ids_BL.shape[1]]
        x_BLD: Tensor = self.norm(self.widen(self.table(ids_BL)) + places_LD)
        for layer in self.layers:
            x_BLD = layer(x_BLD, keep_BL)
        return x_BLD


class SmallLayer(nn.Module):
    """Attention, then a layer of the same for each token; each added, then normed."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.norm_attention = nn.LayerNorm(WIDTH, eps=_EPSILON)
        self.up = nn.Linear(WIDTH, INNER)
        self.down = nn.Linear(INNER, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=_EPSILON)

    def forward(self, x_BLD: Tensor, keep_BL: Tensor) -> Tensor:
        """Tokens look at the kept ones."""
        heads_3BHLK = self.qkv(x_BLD).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        q_BHLK, k_BHLK, v_BHLK = heads_3BHLK.unbind()
        seen_BHLK = F.scaled_dot_product_attention(
            q_BHLK, k_BHLK, v_BHLK, attn_mask=keep_BL[:, None, None]
        )
        x_BLD = self.norm_attention(x_BLD + self.out(seen_BHLK.transpose(1, 2).flatten(2)))
        return self.norm(x_BLD + self.down(F.gelu(self.up(x_BLD))))


class SmallEncoder:
    """The network's states on the CPU, at most 128 tokens."""

    name = "overcrank-small"
    width = WIDTH

    def __init__(self, path: Path = FILE) -> None:
        pieces, weights = _read(path)
        self._tokenizer = make_tokenizer(pieces)
        layers = {key.split(".")[1] for key in weights if key.startswith("layers.")}
        self._network = SmallNetwork(len(pieces), len(layers))
        self._network.load_state_dict(weights)
        self._network.eval().requires_grad_(False)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        """Embed the prompts; float32 on the CPU."""
        ids_BL, keep_BL = tokenize(self._tokenizer, prompts, LONGEST)
        states_BLD = self._network(ids_BL, keep_BL)
        return TextEmbedding(states_BLD * keep_BL.unsqueeze(-1), keep_BL)


def make_tokenizer(pieces: Sequence[str]) -> Any:
    """That of BERT in lower case, with a vocabulary of its own."""
    import tokenizers
    import transformers

    ids = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100)
    )
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(
        ("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"])
    )
    wrap: Any = transformers.PreTrainedTokenizerFast
    return wrap(
        tokenizer_object=tokenizer,
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
    )


def write_small(network: SmallNetwork, pieces: Sequence[str], path: Path) -> None:
    """Matrices in eight bits a weight, with a float32 scale for each row."""
    tensors = {}
    for name, value in network.state_dict().items():
        if value.ndim == 2:
            tensors[name + _STEPS], tensors[name] = pack(value)
        else:
            tensors[name] = value.contiguous()
    save_file(tensors, path, {"pieces": json.dumps(list(pieces), ensure_ascii=False)})


def pack(matrix_RC: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers from -127 to 127, int8 (R, C), and what one is in each row, (R, 1)."""
    scale_R1 = (matrix_RC.abs().amax(1, keepdim=True) / LARGEST).clamp_min(1e-9)
    return (matrix_RC / scale_R1).round().to(torch.int8), scale_R1


def unpack(steps_RC: Tensor, scale_R1: Tensor) -> Tensor:
    """The matrix again, in float32."""
    return steps_RC.float() * scale_R1


def _read(path: Path) -> tuple[list[str], Mapping[str, Tensor]]:
    """The vocabulary and the weights in float32."""
    try:
        with safe_open(path, "pt") as file:
            pieces = json.loads((file.metadata() or {})["pieces"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise ModelError(
            f"the small text encoder cannot be read: got {path} ({error}): make it with "
            "examples/distil_text.py"
        ) from error
    weights = {}
    for name, value in tensors.items():
        if name + _STEPS in tensors:
            weights[name] = unpack(tensors[name + _STEPS], value)
        elif not name.endswith(_STEPS):
            weights[name] = value
    return pieces, weights
