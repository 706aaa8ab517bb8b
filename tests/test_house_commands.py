"""What the pages tell people to type exists: each command, each flag, each make target."""

import os
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [page for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md") if page.exists()]
PAGES += sorted((ROOT / "docs").glob("*.md"))


def commands() -> list[list[str]]:
    """Every line of a shell block, as words; a `$ ` in front and `\\` at the end are understood."""
    text = "\n".join(page.read_text() for page in PAGES)
    blocks = re.findall(r"^```(?:sh|bash|shell|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [
        words
        for line in lines
        for part in re.split(r"&&|;|\|", line.removeprefix("$ "))
        if (words := shlex.split(part, comments=True))
    ]


def flags_by_command() -> dict[str, set[str]]:
    flags: dict[str, set[str]] = defaultdict(set)
    for words in commands():
        if Path(words[0]).name == "overcrank" and len(words) > 1:
            command = "" if words[1].startswith("-") else words[1]
            flags[command] |= {word.partition("=")[0] for word in words if word.startswith("-")}
    return flags


def test_every_make_target_in_the_pages_exists() -> None:
    named = {word for words in commands() if words[0] == "make" for word in words[1:]}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in named if "=" not in word} <= targets


@pytest.mark.parametrize("command", sorted(flags_by_command()))
def test_every_command_in_the_pages_exists_with_its_flags(command: str) -> None:
    code = "import sys; from overcrank.cli import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, *([command] if command else []), "--help"],
        env={**os.environ, "COLUMNS": "240", "NO_COLOR": "1", "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    known = set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", done.stdout))
    used = {flag.replace("_", "-") for flag in flags_by_command()[command]}
    assert used <= known
