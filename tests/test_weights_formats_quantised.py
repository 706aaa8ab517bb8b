"""float8 and GGUF: weights that become numbers as they are read."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from overcrank.errors import ModelError
from overcrank.transformer import Transformer, TransformerConfig
from overcrank.weights.convert import convert, open_checkpoint
from tiny_checkpoints import assert_bit_equal, contents, lightricks_tensors, tiny

CONFIG = TransformerConfig(layers=2, heads=32, head_width=2, text_width=32, causal_positions=True)


def write_float8(path: Path, scale: Callable[[Tensor], Tensor] | None = None) -> dict[str, Tensor]:
    """As the official files: matrices of the blocks in float8, without scales unless asked for."""
    source = tiny()
    tensors = lightricks_tensors(source)
    for name, tensor in list(tensors.items()):
        if "transformer_blocks" in name and tensor.ndim == 2 and name.endswith("weight"):
            if scale is not None:
                tensors[name.removesuffix("weight") + "scale_weight"] = scale(tensor)
            scaled = tensor.float() if scale is None else tensor / scale(tensor).reshape(-1, 1)
            tensors[name] = scaled.to(torch.float8_e4m3fn)
    save_file(tensors, path, dict(source.origin.metadata))
    return tensors


MATRIX = "transformer_blocks.0.attn1.to_q.weight"


def test_float8_without_scales_stands_for_the_numbers_it_holds(tmp_path: Path) -> None:
    stored = write_float8(tmp_path / "a.safetensors")[f"model.diffusion_model.{MATRIX}"]
    built = open_checkpoint(tmp_path / "a.safetensors").build_transformer()
    got = built.state_dict()[MATRIX]
    assert stored.dtype == torch.float8_e4m3fn
    assert got.dtype == torch.bfloat16
    assert got.float().equal(stored.float())


@pytest.mark.parametrize(
    "scale", [lambda t: t.float().abs().max() / 448, lambda t: t.float().abs().amax(1) / 448]
)
def test_float8_with_scales_is_number_times_scale(
    scale: Callable[[Tensor], Tensor], tmp_path: Path
) -> None:
    tensors = write_float8(tmp_path / "a.safetensors", scale)
    name = f"model.diffusion_model.{MATRIX}"
    factor = tensors[name.removesuffix("weight") + "scale_weight"]
    expected = tensors[name].float() * factor.reshape(-1, 1)
    found = open_checkpoint(tmp_path / "a.safetensors")
    got = found.build_transformer(torch.float32).state_dict()[MATRIX]
    assert got.equal(expected)
    assert convert(found, tmp_path / "own", "overcrank").remarks == (
        "weights in eight bits were multiplied out by their scales",
    )


def test_a_scale_that_fits_neither_tensor_nor_rows_is_refused(tmp_path: Path) -> None:
    write_float8(tmp_path / "a.safetensors", lambda t: t.float().abs().max())
    tensors, metadata = contents(tmp_path / "a.safetensors")
    tensors["model.diffusion_model.transformer_blocks.0.attn1.to_q.scale_weight"] = torch.ones(5)
    save_file(tensors, tmp_path / "b.safetensors", metadata)
    with pytest.raises(ModelError, match="scale of transformer_blocks.0.attn1.to_q.weight"):
        open_checkpoint(tmp_path / "b.safetensors").build_transformer()


def test_float8_comes_back_bit_equal_by_way_of_every_format(tmp_path: Path) -> None:
    write_float8(tmp_path / "a.safetensors")
    convert(tmp_path / "a.safetensors", tmp_path / "diffusers", "diffusers")
    convert(tmp_path / "diffusers", tmp_path / "own", "overcrank")
    convert(tmp_path / "own", tmp_path / "back.safetensors", "lightricks")
    expected = contents(tmp_path / "a.safetensors")[0]
    assert_bit_equal(contents(tmp_path / "back.safetensors")[0], expected)


def write_gguf(path: Path, architecture: str = "ltxv") -> Transformer:
    """As published: matrices in Q8_0, vectors and tables in float32."""
    gguf: Any = pytest.importorskip("gguf")
    torch.manual_seed(0)
    network = Transformer(CONFIG)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, tensor in network.state_dict().items():
        numbers = tensor.numpy()
        if tensor.ndim == 2 and "table" not in name:
            kind = gguf.GGMLQuantizationType.Q8_0
            packed = gguf.quants.quantize(numbers, kind)
            writer.add_tensor(name, packed, raw_dtype=kind)
        else:
            writer.add_tensor(name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return network


def test_a_gguf_transformer_opens_dequantised(tmp_path: Path) -> None:
    network = write_gguf(tmp_path / "a.gguf")
    found = open_checkpoint(tmp_path / "a.gguf", causal_positions=True)
    assert found.format == "gguf"
    got = found.build_transformer()
    assert got.config == CONFIG
    for name, expected in network.state_dict().items():
        assert (got.state_dict()[name] - expected).abs().max() <= expected.abs().max() / 127, name
    vector = "transformer_blocks.1.scale_shift_table"
    assert got.state_dict()[vector].equal(network.state_dict()[vector])


def test_a_gguf_transformer_can_be_converted(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf")
    done = convert(tmp_path / "a.gguf", tmp_path / "b.safetensors", "lightricks", dtype=torch.half)
    assert "quantised weights were dequantised" in done.remarks
    assert "leaves no trace" in done.remarks[0]
    stored = contents(tmp_path / "b.safetensors")[0]
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}


def header(tensors: int, fields: int, body: bytes = b"") -> bytes:
    return struct.pack("<4sIQQ", b"GGUF", 3, tensors, fields) + body


def field(kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", 1) + b"a" + struct.pack("<I", kind) + value


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"GGUF", "ends within its header"),
        (struct.pack("<4sIQQ", b"GGUF", 9, 0, 0), "version 9"),
        (header(1 << 60, 0), "too many"),
        (header(0, 1 << 60), "too many"),
        (header(0, 1, struct.pack("<Q", 1 << 60)), "a text of"),
        (header(0, 1, field(9, struct.pack("<IQ", 4, 1 << 60))), "a list of"),
        (header(0, 1, field(9, struct.pack("<IQ", 9, 3))), "a list of lists"),
        (header(0, 1, field(77, b"")), "a value of kind 77"),
        (header(0, 0), "general.architecture None"),
    ],
)
def test_a_hostile_gguf_header_is_refused(content: bytes, what: str, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    (tmp_path / "a.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=what):
        open_checkpoint(tmp_path / "a.gguf")


def test_a_gguf_that_is_cut_short_or_of_another_model_is_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf")
    (tmp_path / "b.gguf").write_bytes((tmp_path / "a.gguf").read_bytes()[:-5000])
    with pytest.raises(ModelError, match="cannot be read as GGUF"):
        open_checkpoint(tmp_path / "b.gguf")
    write_gguf(tmp_path / "c.gguf", "llama")
    with pytest.raises(ModelError, match="'llama': right is 'ltxv'"):
        open_checkpoint(tmp_path / "c.gguf")
