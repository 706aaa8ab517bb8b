"""One network, one file: safetensors with the architecture in its metadata.

Metadata: format_version, component ("vae" or "transformer"), config (JSON of the config
dataclass), dtype_note, content_hash; for the transformer latent_hash, the hash of the encoder
whose latents it was trained on. Weights are stored in float16 or float32 and always loaded as
float32; loads are strict, and nothing is ever unpickled.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, overload

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from overcrank.errors import ModelError
from overcrank.transformer import Transformer, TransformerConfig
from overcrank.vae import VAE, VAEConfig
from overcrank.weights.files import FORMAT_VERSION, why_unreadable, write_atomically

Component = Literal["vae", "transformer"]

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
"""What is loaded."""


def save_component(
    path: str | Path,
    component: Component,
    module: VAE | Transformer,
    *,
    dtype: torch.dtype = torch.float16,
    extra: Mapping[str, str] = {},
) -> None:
    """Store a network in one step: the old file stays until the new one is complete.

    `dtype` is float16 or float32. Numbers that it cannot hold are refused.
    """
    if dtype not in (torch.float16, torch.float32):
        raise ModelError(f"weights cannot be stored in {dtype}: right is float16 or float32")
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in module.state_dict().items()
    }
    overflowing = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if overflowing:
        raise ModelError(
            f"weights are not finite in {dtype}: got {_some(overflowing)}: "
            "store float32, or an earlier step of the training"
        )
    metadata = {
        "format_version": str(FORMAT_VERSION),
        "component": component,
        "config": json.dumps(module.config.to_dict()),
        "dtype_note": f"stored as {str(dtype).removeprefix('torch.')}, loaded as float32",
        "content_hash": content_hash(module),
        **extra,
    }
    with write_atomically(Path(path)) as temporary:
        save_file(tensors, temporary, metadata)
        temporary.chmod(0o644)  # save_file leaves it readable for its owner alone


def content_hash(module: torch.nn.Module) -> str:
    """sha256 of names, shapes and float16-rounded numbers, so that storing does not change it."""
    return _hash(module.state_dict())


def latent_hash(vae: VAE) -> str:
    """As `content_hash`, of what decides the latents: encoder and statistics, not the decoder.

    A decoder may be trained further without making the transformer's latents stale.
    """
    state = vae.state_dict()
    return _hash({name: state[name] for name in state if not name.startswith("decoder.")})


def _hash(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        numbers = tensor.detach().to("cpu", torch.float16).contiguous()
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(numbers.numpy().astype("<f2", copy=False).tobytes())
    return digest.hexdigest()


@overload
def load_component(path: str | Path, component: Literal["vae"]) -> VAE: ...
@overload
def load_component(path: str | Path, component: Literal["transformer"]) -> Transformer: ...
def load_component(path: str | Path, component: Component) -> VAE | Transformer:
    """Load a network in float32 on the CPU, in evaluation mode.

    Refused by name: what is missing, surplus, of another shape, damaged, or of another kind.
    """
    metadata = read_metadata(path, component)
    module = _build(path, component, metadata)
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise _unreadable(Path(path)) from error
    _check_tensors(path, module.state_dict(), stored)
    tensors = {name: tensor.float() for name, tensor in stored.items()}
    module.load_state_dict(tensors, assign=True)
    if content_hash(module) != metadata["content_hash"]:
        raise ModelError(
            f"{path} is damaged: its weights do not have the content hash it states, "
            f"{metadata['content_hash'][:16]}...: copy or download it again"
        )
    return module.eval()


def read_metadata(path: str | Path, component: Component | None = None) -> dict[str, str]:
    """The metadata of a stored network; `component` None takes either kind."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _unreadable(Path(path)) from error
    needed = {"format_version", "component", "config", "content_hash"}
    if not needed <= set(metadata):
        raise ModelError(
            f"{path} does not say what it is: metadata lacks "
            f"{', '.join(sorted(needed - set(metadata)))}: right is a file that overcrank wrote"
        )
    if metadata["format_version"] != str(FORMAT_VERSION):
        raise ModelError(
            f"{path} has a format this version does not read: got format_version "
            f"{metadata['format_version']}, right is {FORMAT_VERSION}"
        )
    if metadata["component"] not in ([component] if component else ["vae", "transformer"]):
        raise ModelError(
            f"{path} holds another network: got {metadata['component']!r}, "
            f"right is {component or 'vae or transformer'}"
        )
    return metadata


def _build(
    path: str | Path, component: Component, metadata: Mapping[str, str]
) -> VAE | Transformer:
    """The network on the meta device: no memory, no random numbers."""
    try:
        config = json.loads(metadata["config"])
        with torch.device("meta"):
            if component == "vae":
                return VAE(VAEConfig.from_dict(config))
            return Transformer(TransformerConfig.from_dict(config))
    except (
        ModelError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        reason = str(error).partition("\n")[0]  # torch adds a trace of its own
        raise ModelError(
            f"{path} describes no {component} that can be built: {reason}: "
            "right is the config of this version of overcrank"
        ) from error


def _check_tensors(
    path: str | Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> None:
    missing = [name for name in expected if name not in found]
    surplus = [name for name in found if name not in expected]
    shapes = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    dtypes = [
        f"{name} in {tensor.dtype}" for name, tensor in found.items() if tensor.dtype not in DTYPES
    ]
    for problem, names in (
        ("lacks", missing),
        ("has surplus tensors", surplus),
        ("has", shapes),
        ("has", dtypes),
    ):
        if names:
            raise ModelError(
                f"{path} does not fit its own config: it {problem} {_some(names)}: "
                f"right are {len(expected)} tensors of floats, named and shaped as the "
                "config says"
            )


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _unreadable(path: Path) -> ModelError:
    return ModelError(
        f"{path} cannot be used as weights: it is {why_unreadable(path)}: right is a .safetensors "
        "file that overcrank wrote; pickled weights (.pt, .ckpt, .bin) are never opened"
    )
