"""Checkpoints by their hub id: from the cache, and what is said without a network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from overcrank.errors import ModelError
from overcrank.weights.convert import convert
from overcrank.weights.hub import HubId
from tiny_checkpoints import tiny, write_tiny


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Lightricks/LTX-Video", HubId("Lightricks/LTX-Video")),
        ("hf://a/b", HubId("a/b")),
        ("a/b@main", HubId("a/b", None, "main")),
        ("a/b/c.safetensors", HubId("a/b", "c.safetensors")),
        ("a/b/d/c.gguf@v1", HubId("a/b", "d/c.gguf", "v1")),
        ("nano", None),
        ("a/b/c.pt", None),
        ("a/../b", None),
        ("../a/b.safetensors", None),
        ("a/b/../../c.safetensors", None),
        ("", None),
    ],
)
def test_an_id_is_a_repository_a_file_and_a_revision(source: str, expected: HubId | None) -> None:
    assert HubId.parse(source) == expected


def cached(home: Path, repo: str) -> Path:
    """The folder of a snapshot in the cache of the hub's library."""
    folder = home / "hub" / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    return snapshot


def opened(home: Path, source: str, **environment: str) -> str:
    """What opening says, in a process of its own: the library reads its settings once."""
    code = (
        "import sys\n"
        "from overcrank.errors import ModelError\n"
        "from overcrank.weights.convert import open_checkpoint\n"
        "try:\n"
        "    found = open_checkpoint(sys.argv[1])\n"
        "    print(found.format, found.origin.source, [n.component for n in found.networks])\n"
        "except ModelError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, source],
        env={**os.environ, "HF_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_what_is_in_the_cache_opens_offline(tmp_path: Path) -> None:
    snapshot = cached(tmp_path, "somebody/ltx")
    write_tiny(snapshot / "ltxv.safetensors")
    found = opened(tmp_path, "somebody/ltx/ltxv.safetensors", HF_HUB_OFFLINE="1")
    assert found == "lightricks somebody/ltx/ltxv.safetensors ['vae', 'transformer']\n"
    convert(tiny(), cached(tmp_path, "somebody/folder"), "diffusers")
    assert opened(tmp_path, "somebody/folder", HF_HUB_OFFLINE="1").startswith("diffusers")


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path) -> None:
    for environment in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        said = opened(tmp_path, "somebody/ltx", **environment)
        assert said.startswith("somebody/ltx is not in the cache and cannot be downloaded: got")
        assert said.count("\n") == 1


def test_a_name_that_is_nothing_is_refused() -> None:
    from overcrank.weights.convert import open_checkpoint

    with pytest.raises(ModelError, match="there is no such model: got 'no such thing'"):
        open_checkpoint("no such thing")
