"""T5 through transformers, with a tiny random T5 and a word tokenizer made here."""

import importlib.util
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import T5EncoderModel

from nano_model import nano_model
from overcrank.errors import ModelError
from overcrank.text import T5Encoder
from tiny_t5 import WORDS, save_t5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 two layers deep and 32 wide, in the sub-folders that diffusers uses."""
    return save_t5(tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> T5Encoder:
    return T5Encoder(folder)


def test_t5_adds_the_end_token_and_cuts_padding_to_the_longest_prompt(encoder: T5Encoder) -> None:
    embedding = encoder.encode(["a red ball bounces", " a ball "])
    assert embedding.embeds_BLD.shape == (2, 5, encoder.width)
    assert embedding.keep_BL.sum(dim=1).tolist() == [5, 3]


def test_padding_does_not_reach_the_words(encoder: T5Encoder) -> None:
    """The mask is given to T5 itself, as the official code does."""
    padded = encoder.encode(["a ball", "a red ball bounces"]).rows()[0]
    torch.testing.assert_close(padded, encoder.encode(["a ball"]).rows()[0])


def test_embeddings_are_the_last_hidden_states(encoder: T5Encoder, folder: Path) -> None:
    model = T5EncoderModel.from_pretrained(folder / "text_encoder").eval()
    expected = model(input_ids=torch.tensor([[3, 4, 5, 1]])).last_hidden_state
    torch.testing.assert_close(encoder.encode(["a red ball"]).embeds_BLD, expected)
    assert expected.std() > 0.1


def test_t5_in_bfloat16_still_hands_out_float32(folder: Path) -> None:
    embedding = T5Encoder(folder, dtype=torch.bfloat16).encode(["a red ball"])
    assert embedding.embeds_BLD.dtype == torch.float32


def test_a_prompt_beyond_256_tokens_is_cut_and_says_so(encoder: T5Encoder) -> None:
    with pytest.warns(UserWarning, match="up to 256 tokens"):
        assert encoder.encode(["ball " * 300]).keep_BL.shape == (1, 256)


def test_all_files_may_lie_side_by_side(folder: Path, tmp_path: Path) -> None:
    for file in [*(folder / "text_encoder").iterdir(), *(folder / "tokenizer").iterdir()]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert T5Encoder(tmp_path).width == 32


def test_loading_t5_prints_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    T5Encoder(folder)
    assert capfd.readouterr() == ("", "")


def test_the_weights_wait_until_they_are_needed_and_can_be_dropped(folder: Path) -> None:
    encoder = T5Encoder(folder)
    assert not encoder.loaded
    first = encoder.encode(["a red ball"])
    assert encoder.loaded
    encoder.drop()
    assert not encoder.loaded
    assert torch.equal(encoder.encode(["a red ball"]).embeds_BLD, first.embeds_BLD)


def test_the_same_files_elsewhere_are_the_same_encoder(folder: Path, tmp_path: Path) -> None:
    for file in [*(folder / "text_encoder").iterdir(), *(folder / "tokenizer").iterdir()]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert T5Encoder(tmp_path).identity == T5Encoder(folder).identity


def test_other_weights_are_another_encoder(folder: Path, tmp_path: Path) -> None:
    single = single_file(folder, tmp_path)
    before = T5Encoder(single).identity
    tensors = load_file(single)
    tensors["encoder.final_layer_norm.weight"] *= 1.5
    save_file(tensors, single)
    assert T5Encoder(single).identity != before


def single_file(folder: Path, target: Path, **changes: torch.Tensor) -> Path:
    """The encoder as ComfyUI keeps it, with a tokenizer beside it."""
    tensors = load_file(folder / "text_encoder" / "model.safetensors")
    save_file(tensors | changes, target / "t5.safetensors")
    for file in (folder / "tokenizer").iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target / "t5.safetensors"


def test_a_single_file_gives_the_same_embeddings(
    encoder: T5Encoder, folder: Path, tmp_path: Path
) -> None:
    got = T5Encoder(single_file(folder, tmp_path)).encode(["a red ball bounces", "a ball"])
    expected = encoder.encode(["a red ball bounces", "a ball"])
    assert torch.equal(got.embeds_BLD, expected.embeds_BLD)


def test_the_tokenizer_of_a_single_file_may_lie_elsewhere(
    encoder: T5Encoder, folder: Path, tmp_path: Path
) -> None:
    tensors = load_file(folder / "text_encoder" / "model.safetensors")
    save_file(
        {f"text_encoders.t5xxl.{name}": tensors[name] for name in tensors},
        tmp_path / "a.safetensors",
    )
    got = T5Encoder(tmp_path / "a.safetensors", tokenizer=folder).encode(["a red ball"])
    assert torch.equal(got.embeds_BLD, encoder.encode(["a red ball"]).embeds_BLD)


def test_weights_of_eight_bits_are_read_with_their_scale(
    encoder: T5Encoder, folder: Path, tmp_path: Path
) -> None:
    name = "encoder.block.0.layer.0.SelfAttention.q.weight"
    weight = load_file(folder / "text_encoder" / "model.safetensors")[name]
    scale = weight.abs().max() / 448
    small = (weight / scale).to(torch.float8_e4m3fn)
    changes = {name: small, name.replace("weight", "scale_weight"): scale.reshape(())}
    got = T5Encoder(single_file(folder, tmp_path, **changes)).encode(["a red ball"]).embeds_BLD
    expected = encoder.encode(["a red ball"]).embeds_BLD
    assert 0 < (got - expected).norm() / expected.norm() < 0.05


def test_a_gguf_file_gives_the_same_embeddings(
    encoder: T5Encoder, folder: Path, tmp_path: Path
) -> None:
    gguf = pytest.importorskip("gguf")
    write_gguf(gguf, folder, tmp_path / "t5.gguf")
    got = T5Encoder(tmp_path / "t5.gguf", tokenizer=folder).encode(["a red ball"]).embeds_BLD
    expected = encoder.encode(["a red ball"]).embeds_BLD
    assert (got - expected).norm() / expected.norm() <= 1e-5


GGUF_NAMES = {
    "shared": "token_embd",
    "encoder.final_layer_norm": "enc.output_norm",
    "layer.0.SelfAttention.relative_attention_bias": "attn_rel_b",
    "layer.0.layer_norm": "attn_norm",
    "layer.1.layer_norm": "ffn_norm",
    **{f"layer.0.SelfAttention.{name}": f"attn_{name}" for name in "qkvo"},
    "layer.1.DenseReluDense.wi_0": "ffn_gate",
    "layer.1.DenseReluDense.wi_1": "ffn_up",
    "layer.1.DenseReluDense.wo": "ffn_down",
}


def write_gguf(gguf: Any, folder: Path, path: Path) -> None:
    """The tiny T5 in the format of llama.cpp."""
    writer = gguf.GGUFWriter(str(path), "t5encoder")
    writer.add_context_length(512)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_key_length(8)
    writer.add_value_length(8)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_relative_attn_buckets_count(32)
    writer.add_vocab_size(len(WORDS))
    for name, tensor in load_file(folder / "text_encoder" / "model.safetensors").items():
        if name.startswith("encoder.embed_tokens"):
            continue
        new = name.replace("encoder.block.", "enc.blk.")
        for ours, theirs in GGUF_NAMES.items():
            new = new.replace(f"{ours}.weight", f"{theirs}.weight")
        writer.add_tensor(new, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("name", ["gone.safetensors", "gone.gguf", "text.txt"])
def test_a_file_that_is_not_there_or_is_none_of_ours_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.txt").touch()
    with pytest.raises(ModelError, match="no T5 can be loaded: .*give a folder or hub id"):
        T5Encoder(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\xff" * 64])
def test_a_damaged_single_file_is_refused(folder: Path, tmp_path: Path, content: bytes) -> None:
    single_file(folder, tmp_path).write_bytes(content)
    with pytest.raises(ModelError, match="no T5 can be loaded"):
        T5Encoder(tmp_path / "t5.safetensors")


def test_another_single_file_is_named_before_a_tokenizer_is_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "rand.safetensors"
    save_file({"a.weight": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match=r"rand\.safetensors' holds no T5, got no tensor shared"):
        T5Encoder(path)


def test_a_tokenizer_that_is_nowhere_is_refused_with_the_name_of_the_encoder(
    folder: Path, tmp_path: Path
) -> None:
    path = single_file(folder, tmp_path)
    shutil.rmtree(tmp_path / "tokenizer", ignore_errors=True)
    for name in ("tokenizer.json", "spiece.model"):
        (tmp_path / name).unlink(missing_ok=True)
    with pytest.raises(ModelError, match=r"no T5 can be loaded from '.*t5\.safetensors': .*hub"):
        T5Encoder(path)


def test_a_single_file_that_lacks_a_tensor_is_refused(folder: Path, tmp_path: Path) -> None:
    path = single_file(folder, tmp_path)
    tensors = load_file(path)
    del tensors["encoder.block.1.layer.1.DenseReluDense.wo.weight"]
    save_file(tensors, path)
    with pytest.raises(ModelError, match="no T5 can be loaded"):
        T5Encoder(path).load()


def test_a_folder_that_lacks_a_tensor_is_refused(folder: Path, tmp_path: Path) -> None:
    """Transformers itself would fill the gap with random numbers."""
    for file in [*(folder / "text_encoder").iterdir(), *(folder / "tokenizer").iterdir()]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["encoder.block.1.layer.1.DenseReluDense.wo.weight"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"which lacks encoder\.block\.1"):
        T5Encoder(tmp_path).load()


def test_a_tokenizer_that_needs_another_package_says_which(folder: Path, tmp_path: Path) -> None:
    if all(importlib.util.find_spec(name) for name in ("sentencepiece", "google")):
        pytest.skip("it is installed")
    (tmp_path / "spiece.model").write_bytes(b"pieces")
    with pytest.raises(ModelError, match=r"needs a package .*pip install .*sentencepiece protobuf"):
        T5Encoder(folder, tokenizer=tmp_path)


def test_a_hub_id_that_is_not_in_the_cache_is_refused_without_a_network() -> None:
    with pytest.raises(ModelError, match="no T5 can be loaded: 'nobody/nothing' .*hub"):
        T5Encoder("nobody/nothing")


def test_a_folder_without_t5_is_refused_with_what_would_be_right(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no T5 can be loaded: got .*text_encoder/"):
        T5Encoder(tmp_path)


def test_pickled_t5_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    for file in [*(folder / "text_encoder").iterdir(), *(folder / "tokenizer").iterdir()]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        T5Encoder(tmp_path)


def test_a_model_finds_on_the_disk_what_its_t5_read_before(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = replace(nano_model(32), open_text_encoder=partial(T5Encoder, folder))
    again = replace(model)  # which has read nothing yet
    first, second = model.text_encoder, again.text_encoder
    assert first is not None
    assert second is not None
    embedding = first.encode(["a red ball"])
    second.prepare(["a red ball"])
    assert torch.equal(second.encode(["a red ball"]).embeds_BLD, embedding.embeds_BLD)
    assert isinstance(second.encoder, T5Encoder)
    assert not second.encoder.loaded
