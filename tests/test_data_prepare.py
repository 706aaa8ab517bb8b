"""Real videos become clips in shards: what is kept, what is dropped and why, and that both last."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from overcrank.data.prepare import prepare
from overcrank.media import read_frames, write_mp4

Lines = list[dict[str, Any]]


def pan(seed: int, frames: int = 12, size: tuple[int, int] = (64, 64), step: int = 1) -> Tensor:
    """A view of coloured squares that moves `step` pixels a frame; another seed looks different."""
    dice = torch.Generator().manual_seed(seed)
    height, width = size[0] // 16, (size[1] + frames * step) // 16 + 1
    view = torch.randint(0, 2, (height, width, 3), generator=dice).mul(200).add(40)
    view = view.to(torch.uint8).repeat_interleave(16, 0).repeat_interleave(16, 1)
    return torch.stack([view[:, i * step : i * step + size[1]] for i in range(frames)])


def video(path: Path, *shots: Tensor, rate: float = 10.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(path, shots, rate, metadata={}, threads=1)
    return path


def manifest(out: Path) -> Lines:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def outcome(out: Path) -> list[tuple[str, str]]:
    """Of each line: the source, and the key or the reason."""
    return [(line["source"], line.get("key") or line["reason"]) for line in manifest(out)]


def everything(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*.*"))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shots with a caption, one shot without, and a file that is no video."""
    source = tmp_path / "source"
    video(source / "a.mp4", pan(1), pan(2))
    video(source / "deep" / "b.mp4", pan(3))
    (source / "a.txt").write_text("squares move\n", encoding="utf-8")
    (source / "noise.mp4").write_bytes(bytes(range(256)))
    return source


def test_a_folder_becomes_shards_a_manifest_and_a_sheet(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = prepare(folder, out)
    assert (done["kept"], done["without_caption"]) == (3, 1)
    assert done["dropped"] == {"unreadable": 1}
    assert outcome(out) == [
        ("a.mp4", "00000000"),
        ("a.mp4", "00000001"),
        ("deep/b.mp4", "00000002"),
        ("noise.mp4", "unreadable"),
    ]
    with tarfile.open(out / "clips-000000.tar") as tar:
        names = tar.getnames()
        tar.extractall(tmp_path / "clips", filter="data")
    assert names == [f"0000000{i}.{kind}" for i in range(3) for kind in ("json", "mp4")]
    said = json.loads((tmp_path / "clips" / "00000001.json").read_text())
    assert (said["format_version"], said["caption"], said["start"]) == (1, "squares move", 1.2)
    frames, rate = read_frames(tmp_path / "clips" / "00000001.mp4")
    assert (tuple(frames.shape), rate) == ((12, 64, 64, 3), 10.0)
    assert (frames.float() - pan(2).float()).abs().mean() < 10
    with Image.open(out / "contact-sheet.webp") as sheet:
        assert sheet.size == (480, 160)
    assert sorted(file.name for file in out.iterdir()) == [
        "clips-000000.tar",
        "contact-sheet.webp",
        "manifest.jsonl",
        "prepare.json",
    ]
