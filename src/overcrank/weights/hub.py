"""Checkpoints by their id on the Hugging Face hub: downloaded once, then from its cache.

`huggingface_hub` resumes what was cut off and honours HF_HOME, HF_TOKEN and HF_HUB_OFFLINE.
Only safetensors, GGUF and JSON files are ever asked for, and text encoders not unless wanted.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from overcrank.errors import ModelError
from overcrank.weights.presets import preset_names

_ID = re.compile(
    r"(?:hf://)?(?P<repo>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})"
    r"(?:/(?P<file>[\w./ -]+\.(?:safetensors|gguf)))?(?:@(?P<revision>[\w./-]+))?"
)
_FOLDER = ("model_index.json", "model.json", "origin.json", "scheduler/*.json")
_NETWORKS = tuple(
    f"{prefix}{name}"
    for prefix in ("vae/", "transformer/")
    for name in ("config.json", "*.safetensors", "*.safetensors.index.json")
)
_OWN = ("config.json", "vae.safetensors", "transformer.safetensors", "unread.safetensors")
_TEXT = ("text_encoder/*.json", "text_encoder/*.safetensors", "tokenizer/*")
_LICENCES = ("LICENSE*", "*license.txt", "*License*.txt")


@dataclass(frozen=True, slots=True)
class HubId:
    """OWNER/NAME, with a file in it and a revision if they are given."""

    repo: str
    file: str | None = None
    revision: str | None = None

    @classmethod
    def parse(cls, source: str) -> "HubId | None":
        """Read `OWNER/NAME[/FILE.safetensors][@REVISION]`, with or without hf://."""
        found = _ID.fullmatch(source)
        if found is None or ".." in source:
            return None
        return cls(found["repo"], found["file"], found["revision"])


def hub_id_of(source: str | Path) -> HubId | None:
    """The id that a source is, unless a file or folder of that name is there."""
    return None if os.path.lexists(source) else HubId.parse(str(source))


def local(source: str | Path, *, kind: str = "model", progress: bool = False) -> Path:
    """A file or folder that is there, or was fetched from the hub; anything else is refused.

    `kind` names it in the refusal: presets are models.
    """
    if os.path.lexists(source):  # a loop of links is something too
        return Path(source)
    name = HubId.parse(str(source))
    if name is None:
        presets = f"a preset ({', '.join(preset_names()) or 'none is installed'}), "
        raise ModelError(
            f"there is no such {kind}: got {str(source)[:200]!r}: right is "
            f"{presets if kind == 'model' else ''}a file, a folder, or a hub id "
            "such as OWNER/NAME or OWNER/NAME/FILE.safetensors"
        )
    return fetch(name, progress=progress)


def fetch(
    source: str | HubId,
    *,
    offline: bool = False,
    text_encoder: bool = False,
    progress: bool = False,
) -> Path:
    """A local file or folder with the checkpoint: from the cache, or downloaded into it.

    With `progress` the bars of `huggingface_hub` show on stderr. `offline` asks the cache only.
    """
    name = HubId.parse(source) if isinstance(source, str) else source
    if name is None:
        raise ModelError(
            f"this is no id of the hub: got {str(source)[:200]!r}: right is "
            "OWNER/NAME, OWNER/NAME/FILE.safetensors, either with @REVISION"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    wanted = [name.file, *_LICENCES] if name.file else [*_FOLDER, *_NETWORKS, *_OWN, *_LICENCES]
    if text_encoder and not name.file:
        wanted += _TEXT
    unreachable: tuple[type[Exception], ...] = (
        LocalEntryNotFoundError,
        HfHubHTTPError,
        *_connection_errors(),
    )
    try:
        with _bars(progress):
            folder = Path(
                snapshot_download(
                    name.repo,
                    revision=name.revision,
                    allow_patterns=wanted,
                    local_files_only=offline,
                )
            )
    except GatedRepoError as error:
        raise ModelError(
            f"{name.repo} is not open to everybody: got {_first_line(error)}: accept its terms "
            "on the hub, and give a token in HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"the hub has no {name.repo}: got {_first_line(error)}: check the id, or give a token "
            "in HF_TOKEN if it is private"
        ) from error
    except unreachable as error:
        raise ModelError(
            f"{name.repo} is not in the cache and cannot be downloaded: got "
            f"{_first_line(error)}: connect to the network, or give a file or folder on this "
            "machine"
        ) from error
    except (HFValidationError, ValueError) as error:
        raise ModelError(
            f"the hub cannot be asked for {name.repo}: got {_first_line(error)}: right is an id "
            "such as OWNER/NAME, or a file or folder on this machine"
        ) from error
    path = folder / name.file if name.file else folder
    if not path.exists() or (path.is_dir() and not any(path.rglob("*.safetensors"))):
        raise ModelError(
            f"{name.repo} has no such weights in the cache: got {name.file or 'a folder'} without "
            "weights: name a file, OWNER/NAME/FILE.safetensors, or connect to the network"
        )
    return path


def _connection_errors() -> tuple[type[Exception], ...]:
    """What the hub's library lets through when a download breaks: its HTTP library has changed."""
    found: list[type[Exception]] = [OSError]
    for name in ("httpx2", "httpx"):
        with suppress(ImportError):
            found.append(import_module(name).HTTPError)
    return tuple(found)


@contextmanager
def _bars(shown: bool) -> Iterator[None]:
    """The library prints nothing that was not asked for."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    disabled = are_progress_bars_disabled()
    if not shown:
        disable_progress_bars()
    try:
        yield
    finally:
        if not disabled:
            enable_progress_bars()


def _first_line(error: BaseException) -> str:
    line = str(error).strip().partition("\n")[0].removeprefix("Got: ")
    return line or type(error).__name__
