"""One network, one file: safetensors with the architecture in its metadata.

Metadata: format_version, component ("vae" or "transformer"), config (JSON of the config
dataclass), dtype_note, content_hash, latent_hash: of an autoencoder its own, of a transformer that
of the autoencoder whose latents it was trained on. Weights are stored in float16 or float32, or
matrices in eight bits (a converted checkpoint keeps its own dtypes), and loaded as float32 unless
another dtype is asked for; loads are strict, and nothing is ever unpickled.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, overload

import torch
from safetensors.torch import save_file
from torch import Tensor

from overcrank.errors import ModelError
from overcrank.transformer import Transformer, TransformerConfig
from overcrank.vae import VAE, VAEConfig
from overcrank.weights.files import FORMAT_VERSION, write_atomically
from overcrank.weights.float8 import computable, in_steps, split_scales
from overcrank.weights.mapped import Tensors, open_file

Component = Literal["vae", "transformer"]

DTYPES = (torch.float8_e4m3fn, torch.float16, torch.bfloat16, torch.float32)
"""What is loaded."""

_PIECE = 1 << 20
"""Numbers that are hashed at once, so that a large tensor needs no large copy."""


_SAMPLES = 256
"""Numbers in a row, where not all of a tensor are hashed."""


class Stored(Protocol):
    """What is known of a tensor before it is read."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> torch.dtype: ...


def save_component(
    path: str | Path,
    component: Component,
    module: VAE | Transformer,
    *,
    dtype: torch.dtype = torch.float16,
    extra: Mapping[str, str] = {},
) -> None:
    """Store a network in one step: the old file stays until the new one is complete.

    `dtype` is float16, float32, or int8: matrices of a transformer in eight bits, the rest in
    float16. Numbers that it cannot hold are refused.
    """
    if dtype not in (torch.int8, torch.float16, torch.float32):
        raise ModelError(f"weights cannot be stored in {dtype}: right is int8, float16 or float32")
    plain = torch.float16 if dtype == torch.int8 else dtype
    tensors = {
        name: tensor.detach().to("cpu", plain).contiguous()
        for name, tensor in module.state_dict().items()
    }
    overflowing = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if overflowing:
        raise ModelError(
            f"weights are not finite in {dtype}: got {some(overflowing)}: "
            "store float32, or an earlier step of the training"
        )
    state = module.state_dict()
    if dtype == torch.int8:
        stored, read = in_steps({n: t.detach() for n, t in state.items() if _is_matrix(n, t)})
        tensors |= stored
        state = {**state, **read}
    note = f"stored as {str(dtype).removeprefix('torch.')}, loaded as float32"
    metadata = {
        **own_metadata(component, module.config.to_dict(), state, note),
        **extra,
    }
    with write_atomically(Path(path)) as temporary:
        save_file(tensors, temporary, metadata)
        temporary.chmod(0o644)  # save_file leaves it readable for its owner alone


def _is_matrix(name: str, tensor: Tensor) -> bool:
    return name.endswith(".weight") and tensor.ndim == 2


def own_metadata(
    component: Component, config: Mapping[str, Any], state: Mapping[str, Tensor], note: str
) -> dict[str, str]:
    """What every stored network says of itself."""
    latents = {"latent_hash": hash_latents(state)} if component == "vae" else {}
    return {
        **latents,
        "format_version": str(FORMAT_VERSION),
        "component": component,
        "config": json.dumps(config),
        "dtype_note": note,
        "content_hash": hash_tensors(state),
    }


def content_hash(module: torch.nn.Module) -> str:
    """sha256 of names, shapes and float16-rounded numbers, so that storing does not change it."""
    return hash_tensors(module.state_dict())


def sampled_hash(module: torch.nn.Module) -> str:
    """As `content_hash`, of some numbers of every tensor: all of a large model take minutes.

    Those at its beginning, middle and end, so that few pages of a file are read.
    """
    return f"sampled-{hash_tensors({n: _sample(t) for n, t in module.state_dict().items()})}"


def _sample(tensor: Tensor) -> Tensor:
    numbers, middle = tensor.detach().reshape(-1), tensor.numel() // 2
    return torch.cat((numbers[:_SAMPLES], numbers[middle:][:_SAMPLES], numbers[-_SAMPLES:]))


def latent_hash(vae: VAE) -> str:
    """As `content_hash`, of what decides the latents: encoder and statistics.

    The decoder and the map of previews may change without making the transformer's latents stale.
    """
    return hash_latents(vae.state_dict())


def hash_latents(state: Mapping[str, Tensor]) -> str:
    """`latent_hash` of the tensors of an autoencoder."""
    return _hash(state, [name for name in state if not name.startswith(("decoder.", "colours."))])


def hash_tensors(state: Mapping[str, Tensor]) -> str:
    """`content_hash` of tensors, which are read one by one."""
    return _hash(state, state)


def _hash(state: Mapping[str, Tensor], names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(names):
        tensor = state[name].detach()
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        for piece in tensor.reshape(-1).split(_PIECE):
            numbers = piece.to("cpu", torch.float16).contiguous()
            digest.update(numbers.numpy().astype("<f2", copy=False).data)
    return digest.hexdigest()


@overload
def load_component(
    path: str | Path, component: Literal["vae"], *, dtype: torch.dtype | None = torch.float32
) -> VAE: ...
@overload
def load_component(
    path: str | Path,
    component: Literal["transformer"],
    *,
    dtype: torch.dtype | None = torch.float32,
) -> Transformer: ...
def load_component(
    path: str | Path, component: Component, *, dtype: torch.dtype | None = torch.float32
) -> VAE | Transformer:
    """Load a network on the CPU, in evaluation mode, in `dtype`; None keeps what is stored.

    Refused by name: what is missing, surplus, of another shape, damaged, or of another kind.
    """
    metadata = read_metadata(path, component)
    module = _build(path, component, metadata)
    stored, scales = split_scales(open_file(path).entries)
    check_tensors(path, module.state_dict(), stored, scales)
    module.load_state_dict(dict(Tensors(computable(stored, scales, dtype))), assign=True)
    exact = dtype == torch.float32 or (dtype is None and not scales)
    known = module.state_dict() if exact else Tensors(computable(stored, scales, torch.float32))
    if hash_tensors(known) != metadata["content_hash"]:
        raise ModelError(
            f"{path} is damaged: its weights do not have the content hash it states, "
            f"{metadata['content_hash'][:16]}...: copy or download it again"
        )
    return module.eval()


def read_metadata(path: str | Path, component: Component | None = None) -> dict[str, str]:
    """The metadata of a stored network; `component` None takes either kind."""
    metadata = dict(open_file(path).metadata)
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
    try:
        config = json.loads(metadata["config"])
    except (ValueError, RecursionError) as error:
        raise _indescribable(path, component, error) from error
    return build_on_meta(path, component, config)


def build_on_meta(
    path: str | Path, component: Component, config: Mapping[str, Any]
) -> VAE | Transformer:
    """The network on the meta device: no memory, no random numbers."""
    try:
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
        AssertionError,
    ) as error:
        raise _indescribable(path, component, error) from error


def _indescribable(path: str | Path, component: Component, error: Exception) -> ModelError:
    reason = str(error).partition("\n")[0]  # torch adds a trace of its own
    return ModelError(
        f"{path} describes no {component} that can be built: {reason}: "
        "right is the config of this version of overcrank"
    )


def check_tensors(
    path: str | Path,
    expected: Mapping[str, Stored],
    found: Mapping[str, Stored],
    scales: Collection[str] = (),
) -> None:
    """Refuse by name what is missing, surplus, of another shape, or neither floats nor scaled."""
    missing = [name for name in expected if name not in found]
    surplus = [name for name in found if name not in expected]
    shapes = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    dtypes = [
        f"{name} in {tensor.dtype}"
        for name, tensor in found.items()
        if tensor.dtype not in (*DTYPES, *[torch.int8] * (name in scales))
    ]
    for problem, names in (
        ("lacks", missing),
        ("has surplus tensors", surplus),
        ("has", shapes),
        ("has", dtypes),
    ):
        if names:
            raise ModelError(
                f"{path} does not fit its own config: it {problem} {some(names)}: "
                f"right are {len(expected)} tensors of floats, named and shaped as the "
                "config says"
            )


def some(names: Iterable[str]) -> str:
    """The first three, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
