"""Parts become shards: tar files as WebDataset reads them, a manifest, a contact sheet."""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from overcrank.data.prepare.parts import PREVIEW, Entry, read_record
from overcrank.data.prepare.sources import Source
from overcrank.media import published

MANIFEST = "manifest.jsonl"
SHEET = "contact-sheet.webp"
SHARD = "clips-{:06d}.tar"

ALIKE = 15
"""Clips are near-duplicates if at most this many of the 192 bits of their looks differ ..."""
BANDS = 16
"""... so that at least one of sixteen bands of 12 bits is equal, by which they are found ..."""
SAME_COLOUR = 16
"""... and if the mean colours differ by at most this, of 255: flat pictures have the same bits."""

ON_SHEET = 64
ACROSS = 8


@dataclass(frozen=True, slots=True)
class Sample:
    """A kept clip: its line of the manifest, the file with its pixels and its preview."""

    entry: Entry
    pixels: Path
    preview: Path

    @property
    def size(self) -> int:
        """Bytes, about, in a shard."""
        return self.pixels.stat().st_size + 3072


class Looks:
    """The clips that were kept, to find one that looks the same."""

    def __init__(self) -> None:
        self._bands: dict[tuple[int, int], list[tuple[int, Sequence[int], str]]] = {}

    def twin_or_keep(self, entry: Entry, key: str) -> str | None:
        """The key of a kept clip that looks like this one; if there is none, keep this one."""
        look, colour = int(entry["look"], 16), entry["colour"]
        bands = [(i, look >> 12 * i & 0xFFF) for i in range(BANDS)]
        for band in bands:
            for other, other_colour, other_key in self._bands.get(band, ()):
                near = max(abs(a - b) for a, b in zip(colour, other_colour, strict=True))
                if (look ^ other).bit_count() <= ALIKE and near <= SAME_COLOUR:
                    return other_key
        for band in bands:
            self._bands.setdefault(band, []).append((look, colour, key))
        return None


def assemble(
    lines: list[Entry], samples: list[Sample], out: Path, shard_bytes: int
) -> dict[str, Any]:
    """Write everything that comes out; the counts of what was kept and dropped."""
    for stale in out.glob(SHARD.replace("{:06d}", "*")):  # of a run that was stopped here
        stale.unlink()
    for number, shard in enumerate(_in_shards(samples, shard_bytes)):
        name = SHARD.format(number)
        for sample in shard:
            sample.entry["shard"] = name
        _write_shard(shard, out / name)
    with published(out / MANIFEST) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if samples:
        with published(out / SHEET) as temporary:
            _sheet(samples).save(temporary, format="WEBP", quality=80)
    dropped = Counter(line["reason"] for line in lines if "reason" in line)
    return {
        "kept": len(samples),
        "without_caption": sum(sample.entry["caption"] is None for sample in samples),
        "seconds": round(sum(sample.entry.get("seconds", 0) for sample in samples), 2),
        "dropped": dict(sorted(dropped.items())),
    }


def sort_out(parts: Iterable[tuple[Path, Source]]) -> tuple[list[Entry], list[Sample]]:
    """The lines of the manifest, without duplicates a sample each, which may still get captions."""
    lines: list[Entry] = []
    samples: list[Sample] = []
    looks = Looks()
    for folder, source in parts:
        for found in read_record(folder):
            entry = {"source": source.name, **found}
            lines.append(entry)
            member = entry.pop("member", None)
            if member is None:
                continue
            key = f"{len(samples):08d}"
            twin = looks.twin_or_keep(entry, key)
            if twin is not None:
                entry |= {"reason": "duplicate", "detail": f"looks like {twin}"}
                continue
            entry |= {"key": key, "caption": source.caption}
            pixels = folder / member
            samples.append(Sample(entry, pixels, pixels.with_suffix(".preview")))
    return lines, samples


def _in_shards(samples: list[Sample], shard_bytes: int) -> Iterator[list[Sample]]:
    shard: list[Sample] = []
    room = shard_bytes
    for sample in samples:
        if shard and sample.size > room:
            yield shard
            shard, room = [], shard_bytes
        shard.append(sample)
        room -= sample.size
    if shard:
        yield shard


def _write_shard(samples: list[Sample], path: Path) -> None:
    """Members in the order of the keys, without owner and time: equal input gives equal bytes."""
    with (
        published(path) as temporary,
        tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for sample in samples:
            key = sample.entry["key"]
            said = {name: value for name, value in sample.entry.items() if name != "shard"}
            text = json.dumps({"format_version": 1, **said}).encode()
            for suffix, content in ((".json", text), (sample.pixels.suffix, None)):
                data = sample.pixels.read_bytes() if content is None else content
                member = tarfile.TarInfo(key + suffix)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def _sheet(samples: list[Sample]) -> Image.Image:
    """The middle frames of some clips, evenly chosen, in the order of their keys."""
    count = min(len(samples), ON_SHEET)
    chosen = [samples[len(samples) * i // count] for i in range(count)]
    pictures: list[Image.Image] = []
    for sample in chosen:
        with Image.open(sample.preview, formats=("PNG",)) as preview:
            pictures.append(preview.copy())
    rows = [pictures[begin : begin + ACROSS] for begin in range(0, count, ACROSS)]
    heights = [max(picture.height for picture in row) for row in rows]
    sheet = Image.new("RGB", (len(rows[0]) * PREVIEW, sum(heights)), "white")
    for number, (row, height) in enumerate(zip(rows, heights, strict=True)):
        for column, picture in enumerate(row):
            left = column * PREVIEW + (PREVIEW - picture.width) // 2
            top = sum(heights[:number]) + (height - picture.height) // 2
            sheet.paste(picture, (left, top))
    return sheet
