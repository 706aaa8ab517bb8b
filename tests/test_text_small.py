"""The small encoder: how it is kept and read."""

from pathlib import Path

import pytest
import torch

from overcrank.errors import ModelError
from overcrank.text.small import (
    SmallEncoder,
    SmallNetwork,
    make_tokenizer,
    pack,
    unpack,
    write_small,
)


def test_a_matrix_comes_back_to_half_a_step() -> None:
    matrix_RC = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    matrix_RC[1] = 0
    steps_RC, scale_R1 = pack(matrix_RC)
    assert (steps_RC.shape, steps_RC.dtype) == ((3, 64), torch.int8)
    assert scale_R1.shape == (3, 1)
    again_RC = unpack(steps_RC, scale_R1)
    assert ((again_RC - matrix_RC).abs() <= 0.51 * scale_R1).all()
    torch.testing.assert_close(unpack(*pack(again_RC)), again_RC, atol=1e-6, rtol=0)


def test_a_network_is_read_as_it_was_written(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "ball", "##s"]
    network = SmallNetwork(len(pieces), 1).eval()
    write_small(network, pieces, tmp_path / "own.safetensors")
    kept = {k: unpack(*pack(v)) if v.ndim == 2 else v for k, v in network.state_dict().items()}
    network.load_state_dict(kept)
    ids_BL = torch.tensor([[2, 4, 5, 4, 5, 3]])
    assert make_tokenizer(pieces)("Balls balls")["input_ids"] == ids_BL[0].tolist()
    with torch.no_grad():
        states_BLD = network(ids_BL, torch.ones_like(ids_BL).bool())
    read = SmallEncoder(tmp_path / "own.safetensors").encode(["Balls balls"])
    torch.testing.assert_close(read.embeds_BLD, states_BLD, atol=1e-4, rtol=0)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    with pytest.raises(ModelError, match="make it with examples/distil_text.py"):
        SmallEncoder(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be read"):
        SmallEncoder(path)
