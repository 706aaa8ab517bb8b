"""The published layouts at reduced width, with random weights, as Lightricks would store them."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from overcrank.weights.checkpoint import Checkpoint
from overcrank.weights.mapped import Tensors
from overcrank.weights.synthetic import reduced_release

LAYOUTS = {
    "0.9.0": "ltxv-2b-0.9",
    "0.9.1": "ltxv-2b-0.9.1",
    "0.9.5": "ltxv-2b-0.9.5",
    "0.9.8-distilled": "ltxv-2b-0.9.8-distilled",
    "13b": "ltxv-13b-0.9.8-dev",
}
UNREAD = ("mean-of-stds", "mean-of-stds_over_std-of-means", "channel")


def tiny(
    layout: str = "0.9.5", *, width: int = 8, dtype: torch.dtype = torch.bfloat16
) -> Checkpoint:
    """All kinds of blocks of a release: 2 or 3 transformer blocks of 2 or 4 heads."""
    return reduced_release(LAYOUTS[layout], width=width, dtype=dtype)


def lightricks_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """By the names of a single file, some of them in float32, with the tensors nobody reads."""
    tensors = {
        prefix + name: tensor.float() if "scale_shift_table" in name else tensor
        for network, prefix in (
            (checkpoint.transformer, "model.diffusion_model."),
            (checkpoint.vae, "vae."),
        )
        if network is not None
        for name, tensor in Tensors(network.entries).items()
    }
    numbers = torch.arange(128.0)
    return tensors | {f"vae.per_channel_statistics.{name}": numbers + 1 for name in UNREAD}


def write_tiny(path: Path, layout: str = "0.9.5", *, only: str = "") -> Path:
    """A file as Lightricks', written without any of our writers."""
    checkpoint = tiny(layout)
    tensors = {k: v for k, v in lightricks_tensors(checkpoint).items() if k.startswith(only)}
    metadata = {**checkpoint.origin.metadata, "modelspec.author": "somebody"}
    save_file(tensors, path, metadata)
    return path


def contents(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def assert_bit_equal(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        assert got[name].dtype == tensor.dtype, name
        assert got[name].shape == tensor.shape, name
        assert (
            got[name]
            .contiguous()
            .view(-1)
            .view(torch.uint8)
            .equal(tensor.contiguous().view(-1).view(torch.uint8))
        ), name


def embedded(path: Path) -> dict[str, object]:
    return json.loads(contents(path)[1]["config"])
