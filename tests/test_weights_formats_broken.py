"""Files that are broken or hostile: one paragraph each, nothing executed, little memory."""

import json
import os
import pickle
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from overcrank.errors import ModelError
from overcrank.weights.convert import convert, open_checkpoint
from tiny_checkpoints import contents, write_tiny

Spoil = Callable[[Path], object]


def assert_refused(path: Path, what: str) -> None:
    """One paragraph of three parts, at once, without much memory."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=what) as caught:
        open_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.count(": ") >= 1
    assert len(message) < 1200
    assert time.perf_counter() - start < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB


def change_json(path: Path, key: str, **values: Any) -> None:
    """Change fields of a network in the embedded config."""
    tensors, metadata = contents(path)
    config = json.loads(metadata["config"])
    config[key] |= values
    save_file(tensors, path, metadata | {"config": json.dumps(config)})


def change_metadata(path: Path, config: str) -> None:
    tensors, metadata = contents(path)
    save_file(tensors, path, metadata | {"config": config})


def change_tensors(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors, metadata = contents(path)
    change(tensors)
    save_file(tensors, path, metadata)


def write_header(path: Path, header: object, length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text)


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def rename(tensors: dict[str, torch.Tensor]) -> None:
    name = "model.diffusion_model.patchify_proj.weight"
    tensors["model.diffusion_model.patchify_proj.wait"] = tensors.pop(name)


def to_diffusers_names(tensors: dict[str, torch.Tensor]) -> None:
    name = "model.diffusion_model.patchify_proj.weight"
    tensors["model.diffusion_model.proj_in.weight"] = tensors.pop(name)


def to_integers(tensors: dict[str, torch.Tensor]) -> None:
    name = "vae.encoder.conv_in.conv.weight"
    tensors[name] = tensors[name].to(torch.int8)


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("second.safetensors"))
    path.with_name("second.safetensors").symlink_to(path)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def sparse(path: Path) -> None:
    """A file of a terabyte that claims a header of as much; it takes no room on the disk."""
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 1 << 39) + b"{")
        file.truncate(1 << 40)


def twice(tensors: dict[str, torch.Tensor]) -> None:
    tensors["encoder.conv_in.conv.weight"] = tensors["vae.encoder.conv_in.conv.weight"].clone()


HUGE = {"a": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 4]}}
BROKEN: dict[str, tuple[Spoil, str]] = {
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-1000]), "cut short"),
    "header only": (lambda path: path.write_bytes(path.read_bytes()[:5000]), "cut short"),
    "noise": (lambda path: path.write_bytes(bytes(range(256)) * 40), "not a safetensors"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps(Bomb(path.parent / "b"))), "a pickle"),
    "zip": (lambda path: torch.save({"weight": torch.ones(2)}, path), "zip archive"),
    "lfs": (lambda path: path.write_text("version https://git-lfs.github.com\n"), "git-lfs"),
    "integers": (lambda path: change_tensors(path, to_integers), "in torch.int8"),
    "renamed": (lambda path: change_tensors(path, rename), "lacks patchify_proj.weight"),
    "diffusers' name": (lambda path: change_tensors(path, to_diffusers_names), "proj_in.weight"),
    "two prefixes": (lambda path: change_tensors(path, twice), "two tensors for one place"),
    "nothing": (lambda path: save_file({}, path), "none at all"),
    "empty config": (lambda path: change_metadata(path, ""), "must be a JSON object"),
    "config without networks": (lambda path: change_metadata(path, "{}"), "does not describe"),
    "config is a list": (lambda path: change_metadata(path, "[1]"), "got list"),
    "deep config": (lambda path: change_metadata(path, "[" * 100_000), "must be a JSON object"),
    "header beyond the file": (lambda path: write_header(path, {}, 1 << 60), "not a safet|cut sh"),
    "header of a terabyte": (sparse, "header claims 549,755,813,888 bytes"),
    "huge shape": (lambda path: write_header(path, HUGE), "cut short or damaged"),
    "header is a list": (lambda path: write_header(path, [1]), "not a safetensors"),
    "deep header": (lambda path: write_header(path, b'{"a":' * 50_000), "cut short or damaged"),
    "loop of links": (loop, "not readable"),
    "pipe": (pipe, "a pipe or device"),
    "unknown norm": (
        lambda path: change_json(path, "transformer", standardization_norm="layer_norm"),
        "standardization_norm is layer_norm: right is 'rms_norm'",
    ),
    "unknown rope": (
        lambda path: change_json(path, "transformer", rope_type="split"),
        "rope_type is split",
    ),
    "wrong width": (
        lambda path: change_json(path, "transformer", cross_attention_dim=7),
        "cross_attention_dim is 7",
    ),
    "too many layers": (
        lambda path: change_json(path, "transformer", num_layers=10**9),
        "layers must be a whole number",
    ),
    "layers that are not there": (
        lambda path: change_json(path, "transformer", num_layers=300),
        "lacks transformer_blocks.2",
    ),
    "layers in words": (
        lambda path: change_json(path, "transformer", num_layers="two"),
        "got 'two'",
    ),
    "unknown block": (
        lambda path: change_json(path, "vae", encoder_blocks=[["attn_res_x", {"num_layers": 2}]]),
        "a block of the encoder is .'attn_res_x'",
    ),
    "unknown option": (
        lambda path: change_json(
            path, "vae", decoder_blocks=[["res_x", {"num_layers": 1, "x": 1}]]
        ),
        "a block of the decoder",
    ),
    "other padding": (
        lambda path: change_json(path, "vae", spatial_padding_mode="reflect"),
        "spatial_padding_mode is reflect: right is 'zeros'",
    ),
    "quantising convolution": (
        lambda path: change_json(path, "vae", use_quant_conv=True),
        "use_quant_conv is True",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_refused_in_one_paragraph(kind: str, tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "ltxv.safetensors")
    spoil, what = BROKEN[kind]
    spoil(path)
    assert_refused(path, what)
    assert not (tmp_path / "b").exists()  # what a pickle would have made


def change_file(name: str, change: Callable[[dict[str, Any]], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        values = json.loads((folder / name).read_text())
        change(values)
        (folder / name).write_text(json.dumps(values))

    return spoil


def loop_of_folders(folder: Path) -> None:
    folder.rename(folder.with_name("aside"))
    folder.symlink_to(folder.with_name("second"))
    folder.with_name("second").symlink_to(folder)


def wide_json(folder: Path) -> None:
    with (folder / "vae" / "config.json").open("wb") as file:
        file.truncate(1 << 40)


def to_pickled(folder: Path) -> None:
    for path in (folder / "transformer").glob("*.safetensors*"):
        path.unlink()
    torch.save({}, folder / "transformer" / "diffusion_pytorch_model.bin")


INDEX = "transformer/diffusion_pytorch_model.safetensors.index.json"
FOLDERS: dict[str, tuple[Spoil, str]] = {
    "no networks": (
        lambda f: [f.joinpath(p, "config.json").unlink() for p in ("vae", "transformer")],
        "no folder of diffusers",
    ),
    "pickled weights": (to_pickled, "holds no weights: .*bin"),
    "shard elsewhere": (
        change_file(
            INDEX, lambda v: v["weight_map"].update({"proj_out.bias": "../../x.safetensors"})
        ),
        "names no shards",
    ),
    "shard missing": (
        lambda f: next((f / "transformer").glob("*-00001-*")).unlink(),
        "no such file",
    ),
    "stray in the index": (
        change_file(
            INDEX, lambda v: v["weight_map"].update(x=next(iter(v["weight_map"].values())))
        ),
        "does not fit its shards",
    ),
    "another network": (
        change_file("vae/config.json", lambda v: v.update(_class_name="AutoencoderKL")),
        "describes another network: got _class_name 'AutoencoderKL'",
    ),
    "unknown field": (
        change_file("vae/config.json", lambda v: v.update(attention="yes")),
        "attention is yes",
    ),
    "lists of different lengths": (
        change_file("vae/config.json", lambda v: v.update(layers_per_block=[1])),
        "do not fit together",
    ),
    "zero width": (
        change_file("vae/config.json", lambda v: v.update(block_out_channels=[0, 0, 0, 0, 0])),
        "do not fit together",
    ),
    "words for numbers": (
        change_file("transformer/config.json", lambda v: v.update(num_layers="2")),
        "got '2'",
    ),
    "config cut short": (lambda f: (f / "vae" / "config.json").write_text("{"), "cannot be read"),
    "config of a terabyte": (wide_json, "allowed are"),
    "odd origin": (lambda f: (f / "origin.json").write_text('{"source": 1}'), "says nothing about"),
    "loop of links": (loop_of_folders, "not readable"),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_broken_folder_is_refused_in_one_paragraph(kind: str, tmp_path: Path) -> None:
    source = write_tiny(tmp_path / "ltxv.safetensors")
    convert(source, tmp_path / "model", "diffusers", shard_bytes=20_000)
    spoil, what = FOLDERS[kind]
    spoil(tmp_path / "model")
    assert_refused(tmp_path / "model", what)


def test_writing_to_loaded_weights_leaves_the_file_alone(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "ltxv.safetensors")
    before = path.read_bytes()
    vae = open_checkpoint(path).build_vae()
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.zero_()
    assert path.read_bytes() == before
