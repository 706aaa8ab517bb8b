"""The rules of the house: who knows whom, how long a file is, what the tree weighs."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "overcrank"

GROUND = {"errors", "shapes", "noise", "flow", "moment"}
NETWORKS = {"text", "transformer", "vae", "toybox"}
TOOLS = {"data", "metrics", "conditioning", "runtime", "weights", "media", "pages"}
CLIP = {"request", "walks", "plan", "estimate", "denoise", "video", "pipeline"}
CALLERS = {"train", "serve", "evaluate", "bench"}

BELOW_TOOLS = GROUND | NETWORKS
BELOW_CLIP = BELOW_TOOLS | TOOLS
FRONT_DOOR = BELOW_CLIP | CLIP
BELOW_CALLERS = FRONT_DOOR | {"__init__"}

MAY_KNOW: dict[str, set[str]] = {
    "errors": set(),
    "shapes": {"errors"},
    "moment": set(),
    "noise": {"errors", "shapes"},
    "flow": {"errors"},
    **dict.fromkeys(NETWORKS, GROUND),
    **dict.fromkeys(TOOLS, BELOW_TOOLS),
    # Files of pixels are all that media knows of; what takes pictures or clips in goes through it.
    "media": {"errors"},
    "pages": {"errors"},
    "conditioning": BELOW_TOOLS | {"media"},
    "data": BELOW_TOOLS | {"media", "metrics"},
    "request": BELOW_CLIP,
    "walks": BELOW_CLIP | {"request"},
    "plan": BELOW_CLIP | {"request", "walks"},
    "estimate": BELOW_CLIP | {"walks", "plan"},
    "denoise": BELOW_CLIP | {"request", "walks", "plan"},
    "video": BELOW_CLIP,
    "pipeline": BELOW_CLIP | {"request", "plan", "estimate", "denoise", "video"},
    **dict.fromkeys(CALLERS, BELOW_CALLERS),
    "bench": BELOW_CALLERS | {"evaluate"},  # for the wrappers of other implementations
    "cli": BELOW_CALLERS | CALLERS,
    "__init__": FRONT_DOOR,
    "__main__": {"cli"},
}
"""Room -> the rooms it may import from, besides itself."""

LONGEST = 400
LONGER_FOR_A_REASON: dict[str, str] = {}
"""Source file -> why it is longer than LONGEST lines."""

WEIGHTS = {".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".gguf", ".npz", ".onnx"}
MEBIBYTE = 1 << 20


def sources() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def room_of(module: tuple[str, ...]) -> str:
    return module[0] if module else "__init__"


def imported_rooms(file: Path) -> Iterator[str]:
    """Each room that a file imports from anywhere in it, also inside functions."""
    here = file.relative_to(SOURCE.parent).with_suffix("").parts
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            yield from (room_of(tuple(name[1:])) for name in names if name[0] == "overcrank")
        elif isinstance(node, ast.ImportFrom):
            base = list(here[: len(here) - node.level]) if node.level else []
            name = base + (node.module or "").split(".")
            if name[0] != "overcrank":
                continue
            if len(name) > 1:
                yield name[1]
            else:  # from overcrank import something: a room, or a name of the front door
                found = {alias.name for alias in node.names} - {"__version__"}
                yield from (each if each in MAY_KNOW else "__init__" for each in found)


def test_every_room_stands_in_the_table() -> None:
    rooms = {file.relative_to(SOURCE).with_suffix("").parts[0] for file in sources()}
    assert rooms <= MAY_KNOW.keys()


def test_a_room_knows_only_the_rooms_below_it() -> None:
    stray = [
        f"{file.relative_to(SOURCE)} imports {known}"
        for file in sources()
        for room in [file.relative_to(SOURCE).with_suffix("").parts[0]]
        for known in imported_rooms(file)
        if known != room and known not in MAY_KNOW[room]
    ]
    assert stray == []


def test_no_source_file_is_long() -> None:
    lengths = {
        str(file.relative_to(SOURCE)): len(file.read_text().splitlines()) for file in sources()
    }
    assert {
        name: length
        for name, length in lengths.items()
        if length > LONGEST and name not in LONGER_FOR_A_REASON
    } == {}


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # from an empty folder, so that stray files would show
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_importing_every_module_does_nothing_visible(tmp_path: Path) -> None:
    names = [
        ".".join(file.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
        for file in sources()
        if file.name != "__main__.py" and "migrations" not in file.parts  # alembic runs those
    ]
    done = run_python(
        f"import importlib\nfor name in {names}: importlib.import_module(name)", tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_stays_light(tmp_path: Path) -> None:
    """Video, text and command line libraries wait until they are needed."""
    code = """
import sys, overcrank
from overcrank import *
print(sorted({"av", "transformers", "diffusers", "typer", "huggingface_hub"} & sys.modules.keys()))
"""
    done = run_python(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_tree_is_light(tracked: list[Path]) -> None:
    assert sum(file.stat().st_size for file in tracked) <= 50 * MEBIBYTE


def test_the_weights_are_light(tracked: list[Path]) -> None:
    weights = [file for file in tracked if file.suffix in WEIGHTS and file.stem != "figures"]
    assert sum(file.stat().st_size for file in weights) <= 40_000_000


def test_no_file_names_a_place_on_one_machine(tracked: list[Path]) -> None:
    folders = "work|home|root|Users"
    place = re.compile(rf"(?<![\w.:/])/(?:{folders})/\w")
    named = []
    for file in tracked:
        content = file.read_bytes()
        if b"\0" not in content:  # text
            found = place.findall(content.decode(errors="replace"))
            named += [f"{file.relative_to(ROOT)}: {each}" for each in found]
    assert named == []


def test_packages_come_from_wherever_the_user_has_them() -> None:
    """No registry is named: a mirror or an offline folder must do as well."""
    for name in ("pyproject.toml", "constraints.txt", "Makefile", ".ci/run"):
        assert not re.search(
            r"index-url|find-links|https?://\S*(simple|whl)", (ROOT / name).read_text()
        )


def test_version_and_changelog_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    front_door = re.search(
        r'^__version__ = "(.+)"', (SOURCE / "__init__.py").read_text(), re.MULTILINE
    )
    assert newest is not None
    assert front_door is not None
    assert newest.group(1) == front_door.group(1) == project["version"]
