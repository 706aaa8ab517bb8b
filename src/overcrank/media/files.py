"""Questions to the file system before any work begins, and files that appear whole or not."""

import os
import secrets
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path

from overcrank.errors import MediaError, RequestError


def readable_file(path: str | PathLike[str], kind: str) -> Path:
    """The path of an existing, non-empty regular file; `kind` names it in the refusal."""
    right = f"give the path of {kind} file"
    if not str(path):
        raise MediaError(f"{kind} cannot be read: got an empty path; {right}")
    file = Path(path)
    try:
        if not file.exists():
            raise MediaError(f"{kind} cannot be read: there is no file {file}; {right}")
        if not file.is_file():
            raise MediaError(f"{kind} cannot be read: {file} is not a regular file; {right}")
        if file.stat().st_size == 0:
            raise MediaError(f"{kind} cannot be read: {file} is empty; {right}")
    except OSError as error:
        raise MediaError(f"{kind} cannot be read: {file} ({error.strerror}); {right}") from error
    return file


def check_output(path: str | PathLike[str]) -> Path:
    """The file that will be written, links followed; refuses one that could not be.

    Nothing is left behind, and no folder is made: its name may be a slip.
    """
    if not isinstance(path, str | PathLike):
        raise RequestError(f"a clip goes to a path, got {path!r}: try 'clip.mp4'")
    if Path(path).suffix.lower() != ".mp4":
        raise MediaError(
            f"a clip is written as mp4, got {os.fspath(path)!r}: "
            "give a name with something before .mp4, such as clip.mp4"
        )
    try:
        target = Path(os.path.realpath(path))
        str(target).encode()  # players and the log could not name it
        if target.is_dir():
            raise MediaError(
                f"a clip needs a file to go to, got the folder {target}: try {target / 'clip.mp4'}"
            )
        if target.exists() and not target.is_file():
            raise MediaError(
                f"a clip goes to a regular file, got {target}, which is none: give another name"
            )
        with suppress(FileNotFoundError):
            target.lstat()  # a name that no file can have is told here
        if not target.parent.exists():
            given = Path(path).parent
            folder = target.parent if os.path.lexists(given) else given  # the end of a link
            raise MediaError(
                f"the folder of the clip is missing, got {os.fspath(path)!r}: "
                f"make the folder first: mkdir -p {shlex.quote(str(folder))}"
            )
        # Asking for permission is not enough: root may write anywhere, except where nobody can.
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaError(
            f"the output cannot be written, got {os.fspath(path)!r} ({reason}): "
            "give a path in a folder that you may write to"
        ) from error
    return target


@contextmanager
def published(target: Path) -> Iterator[Path]:
    """A path beside the target to write to, which takes the target's name on success only."""
    temporary = target.with_name(f".overcrank-{secrets.token_hex(6)}.part")
    try:
        yield temporary
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
