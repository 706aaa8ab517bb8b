"""Broken and hostile files through the commands: one paragraph, exit code 2, nothing written."""

import resource
from pathlib import Path

import pytest

from command_line import Done
from command_line import overcrank as command
from overcrank.weights import convert
from test_weights_formats_broken import BROKEN, FOLDERS
from tiny_checkpoints import write_tiny

HOSTILE = (
    *("empty", "truncated", "noise", "pickle", "zip", "integers", "renamed", "empty config"),
    *("header of a terabyte", "huge shape", "deep header", "loop of links", "pipe"),
)
"""What can be wrong with any kind of file."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    return write_tiny(folder / "whole.safetensors", "0.9.8-distilled")  # it has a second pass


def assert_refused(done: Done, what: str) -> None:
    assert (done.code, done.out) == (2, ""), done
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1  # one paragraph
    assert done.err.count(":") >= 2
    assert "Traceback" not in done.err
    assert len(done.err) < 1500
    assert what in done.err or "|" in what


def grown(before: int) -> int:
    """KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


@pytest.mark.parametrize("kind", BROKEN)
def test_commands_refuse_a_broken_file(kind: str, tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "ltxv.safetensors")
    BROKEN[kind][0](path)
    there = sorted(tmp_path.iterdir())
    command("inspect", "pocket", "--no-statistics")  # what is imported once is not counted
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clip = tmp_path / "clip.mp4"
    for words in (
        ["inspect", path],
        ["convert", path, tmp_path / "other.safetensors"],
        ["generate", "a red ball", "-o", clip, "--model", path],
        ["verify", path, "--against", "diffusers"],
    ):
        assert_refused(command(*words), str(path))
    assert (
        sorted(tmp_path.iterdir()) == there
    )  # no clip, no conversion, nothing that a pickle makes
    assert grown(before) < 300 << 10


@pytest.mark.parametrize("kind", FOLDERS)
def test_commands_refuse_a_broken_folder(kind: str, tmp_path: Path) -> None:
    source = write_tiny(tmp_path / "ltxv.safetensors")
    folder = tmp_path / "model"
    convert(source, folder, "diffusers", shard_bytes=20_000)
    FOLDERS[kind][0](folder)
    assert_refused(command("inspect", folder), "|")
    clip = tmp_path / "clip.mp4"
    assert_refused(command("generate", "a red ball", "-o", clip, "--model", folder), "|")
    assert not clip.exists()


@pytest.mark.parametrize("flag", ["--vae", "--upscaler", "--lora", "--text-encoder"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_files_beside_the_model_are_refused_too(
    flag: str, kind: str, whole: Path, tmp_path: Path
) -> None:
    path = write_tiny(tmp_path / "beside.safetensors")
    BROKEN[kind][0](path)
    clip = tmp_path / "clip.mp4"
    words = ["generate", "a", "-o", clip, "--model", whole, "--guidance-scale", 1]
    assert_refused(command(*words, flag, path), "|")
    assert not clip.exists()


def test_our_own_folder_that_is_damaged_is_refused(tmp_path: Path) -> None:
    folder = convert(write_tiny(tmp_path / "a.safetensors"), tmp_path / "own", "overcrank").path
    weights = folder / "transformer.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 255
    weights.write_bytes(content)
    for words in (["inspect", folder], ["generate", "a", "-o", "a.mp4", "--model", folder]):
        assert_refused(command(*words), str(weights))
