"""Where the files of a T5 encoder lie, what they hold, and how they become a model.

A folder or hub repository as diffusers keeps it, a single safetensors file as ComfyUI uses it, or
a GGUF file; the last two come without a tokenizer, which is then taken from elsewhere.
"""

import hashlib
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from overcrank.errors import ModelError
from overcrank.text.t5_single import architecture, shapes, tensors

OFFICIAL = "PixArt-alpha/PixArt-XL-2-1024-MS"
TOKENIZER_FILES = ("tokenizer.json", "spiece.model")

SAMPLES, SAMPLE_BYTES = 256, 4096
"""What of a file of weights is hashed: reading ten gigabytes takes longer than encoding."""


@dataclass(frozen=True, slots=True)
class T5Files:
    """One encoder on the disk."""

    weights: Path
    """A folder with config.json and safetensors, a .safetensors file, or a .gguf file."""
    tokenizer: Path
    """A folder."""

    @classmethod
    def locate(cls, source: str | Path, tokenizer: str | Path | None) -> "T5Files":
        """Find, or fetch from the hub, what `source` names; `tokenizer` likewise, if it is given.

        Nothing but safetensors, GGUF and tokenizer files is fetched or looked at.
        """
        path = Path(source)
        if path.is_dir():
            weights = path / "text_encoder" if (path / "text_encoder").is_dir() else path
        elif path.is_file() and path.suffix in (".safetensors", ".gguf"):
            architecture(shapes(path))  # refused before a tokenizer is looked for elsewhere
            weights, path = path, path.parent
        elif path.exists() or path.suffix in (".safetensors", ".gguf"):
            raise ModelError(
                f"there is no such file of safetensors or GGUF: got {str(source)!r}: {RIGHT}"
            )
        else:
            patterns = [f"text_encoder/*{end}" for end in (".json", ".safetensors")]
            path = _from_hub(str(source), [*patterns, "tokenizer/*"])
            weights = path / "text_encoder"
        if weights.is_dir():
            for pattern in ("config.json", "*.safetensors"):
                if not any(weights.glob(pattern)):
                    raise ModelError(f"got {str(source)!r}, without any {pattern}: {RIGHT}")
        if tokenizer is not None:
            own = Path(tokenizer)
            return cls(weights, _tokenizer_in(own if own.is_dir() else None, str(tokenizer)))
        return cls(weights, _tokenizer_in(path, OFFICIAL if weights.is_file() else None))

    @property
    def identity(self) -> str:
        """A hash that tells encoders apart without reading all of them.

        Sizes, 256 evenly spaced pieces of every file of weights, and the tokenizer.
        """
        digest = hashlib.sha256()
        if self.weights.is_dir():
            parts = [self.weights / "config.json", *sorted(self.weights.glob("*.safetensors"))]
        else:
            parts = [self.weights]
        for path in [*parts, *(self.tokenizer / name for name in TOKENIZER_FILES)]:
            if path.is_file():
                _hash_file(digest, path)
        return digest.hexdigest()

    def check_packages(self) -> None:
        """Raise ImportError where the tokenizer is a kind of file that needs more than is there.

        The official one is such a file; transformers would name a package that does not help.
        """
        if not (self.tokenizer / "tokenizer.json").is_file():
            for package in ("sentencepiece", "google.protobuf"):
                importlib.import_module(package)

    def config(self) -> Any:
        """The architecture, as transformers has it."""
        from transformers import T5Config

        config_class: Any = T5Config
        if self.weights.is_dir():
            return config_class.from_pretrained(self.weights, local_files_only=True)
        return config_class(**architecture(shapes(self.weights)))

    def model(self, dtype: torch.dtype) -> Any:
        """The encoder in `dtype` on the CPU."""
        from transformers import T5EncoderModel

        model_class: Any = T5EncoderModel
        if self.weights.is_dir():
            model, report = model_class.from_pretrained(
                self.weights,
                local_files_only=True,
                use_safetensors=True,  # what comes from outside is never unpickled
                dtype=dtype,
                output_loading_info=True,
            )
            if report["missing_keys"]:  # transformers would go on with random numbers
                lacking = ", ".join(sorted(report["missing_keys"])[:3])
                raise ModelError(f"got {str(self.weights)!r}, which lacks {lacking}: {RIGHT}")
            return model
        with torch.device("meta"):
            model = model_class(self.config())
        loaded = dict(tensors(self.weights, dtype))
        loaded["encoder.embed_tokens.weight"] = loaded["shared.weight"]
        model.load_state_dict(loaded, assign=True)
        model.tie_weights()
        return model


RIGHT = (
    "give a folder or hub id with text_encoder/ in safetensors and tokenizer/, such as "
    f"{OFFICIAL}, or a single file .safetensors or .gguf"
)


def _tokenizer_in(path: Path | None, hub: str | None) -> Path:
    """The folder of a tokenizer in or under `path`, or else of a repository on the hub."""
    for folder in [] if path is None else [path / "tokenizer", path]:
        if any((folder / name).is_file() for name in TOKENIZER_FILES):
            return folder
    if hub is None:
        raise ModelError(f"got {str(path)!r}, without a tokenizer: {RIGHT}")
    return _tokenizer_in(_from_hub(hub, ["tokenizer/*"]), None)


def _from_hub(source: str, patterns: list[str]) -> Path:
    """The local folder of a hub repository; what is in the cache already is not fetched again."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    try:
        with quiet_hub():
            return Path(huggingface_hub.snapshot_download(source, allow_patterns=patterns))
    except (OSError, ValueError, HfHubHTTPError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{source!r} is neither a folder nor a file, and cannot be had from the hub "
            f"({reason}): {RIGHT}"
        ) from error


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Silence loading reports and progress bars, and leave the settings as they were."""
    import huggingface_hub
    import transformers

    hub: Any = huggingface_hub.utils
    logging: Any = transformers.utils.logging
    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    had_hub_bars = not hub.are_progress_bars_disabled()
    hub_verbosity = hub.logging.get_verbosity()
    hub.logging.set_verbosity_error()  # a line for each time it tries once more
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        hub.logging.set_verbosity(hub_verbosity)
        if had_bars:
            logging.enable_progress_bar()
        if had_hub_bars:
            hub.enable_progress_bars()


def _hash_file(digest: Any, path: Path) -> None:
    size = path.stat().st_size
    digest.update(f"{path.name} {size}\n".encode())
    with path.open("rb") as file:
        if size <= SAMPLES * SAMPLE_BYTES:
            digest.update(file.read())
            return
        for sample in range(SAMPLES):
            file.seek((size - SAMPLE_BYTES) * sample // (SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
