"""Models of `transformers` by name: a folder, or an id on the hub; what is neither is refused."""

import re
from pathlib import Path

from safetensors import SafetensorError

from overcrank.errors import ModelError
from overcrank.text.t5_files import quiet_hub

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?<!\.safetensors)(?<!\.gguf)")

UNUSABLE = (OSError, ValueError, LookupError, RuntimeError, ImportError, SafetensorError)
"""What transformers raises for models that are damaged, of another kind, or not there."""


def check_there(source: str | Path, what: str, right: str) -> None:
    """Refuse at once what is no folder and no hub id, or cannot be had from the hub.

    transformers would ask for each of its files by itself, and wait for each.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    if str(source) and Path(source).is_dir():
        return
    if Path(source).exists() or not _HUB_ID.fullmatch(str(source)):
        raise ModelError(
            f"no {what} can be loaded: got {str(source)!r}, which is no folder: {right}"
        )
    try:
        with quiet_hub():
            snapshot_download(str(source), allow_patterns=["config.json"])
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise refusal(source, error, what, right) from error


def refusal(source: str | Path, error: Exception, what: str, right: str) -> ModelError:
    """What transformers said, in one line."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].removeprefix("Got: ")
    return ModelError(f"no {what} can be loaded: got {str(source)!r} ({reason}): {right}")
