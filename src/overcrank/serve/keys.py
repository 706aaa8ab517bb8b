"""API keys: a file holds their hashes, never the keys."""

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from overcrank.errors import RequestError

PREFIX = "ock_"
NAME = re.compile(r"[\w-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Keys:
    """Names and the SHA-256 of their keys. Keys are random, so that no slower hash is needed."""

    hashes: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Self:
        """A JSON object of names and hashes, as `add_key` writes it."""
        try:
            hashes = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise RequestError(
                f"the API keys cannot be read, got {path} ({error}): make the file with "
                f"overcrank serve --new-key NAME --keys {path}"
            ) from None
        if not isinstance(hashes, dict) or not all(isinstance(h, str) for h in hashes.values()):
            raise RequestError(
                f"API keys are an object of names and hashes, got something else in {path}: "
                f"make the file with overcrank serve --new-key NAME --keys {path}"
            )
        return cls(hashes)

    def owner_of(self, key: str) -> str | None:
        """Whose key this is; takes as long for a wrong one."""
        given, owner = _hash(key), None
        for name, known in self.hashes.items():
            if hmac.compare_digest(given, known):
                owner = name
        return owner


def add_key(path: Path, name: str) -> str:
    """A new key, told once; only its hash is kept. Another of this name is replaced."""
    if not NAME.fullmatch(name):
        raise RequestError(
            f"the name of a key has 1 to 64 letters, digits, - and _, got {name!r}: try anna"
        )
    hashes = Keys.read(path).hashes if path.exists() else {}
    key = PREFIX + secrets.token_urlsafe(24)
    temporary = path.with_suffix(".tmp")
    temporary.touch(0o600)
    temporary.write_text(json.dumps({**hashes, name: _hash(key)}, indent=2))
    temporary.replace(path)
    return key


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
