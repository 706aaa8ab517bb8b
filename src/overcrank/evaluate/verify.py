"""All comparisons in a row, and the page that shows them."""

import platform
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

import torch

from overcrank import __version__
from overcrank.errors import ModelError
from overcrank.evaluate.parity import Row, clips, compare, golden
from overcrank.evaluate.twins import check_installed, installed
from overcrank.weights import Checkpoint
from overcrank.weights.synthetic import reduced_release

LAYOUTS = ("ltxv-2b-0.9", "ltxv-2b-0.9.1", "ltxv-2b-0.9.5", "ltxv-13b-0.9.8-dev")
"""Releases that stand for all kinds of blocks; later ones are built like the last two."""

INTRODUCTION = """\
# Parity

Our numbers beside those of independent implementations with the same random weights: every kind of
block of every published layout, at reduced width, and whole clips. Written by

```sh
overcrank verify --write docs/parity.md
```

with {environment}.
`diffusers` is Hugging Face's implementation, `ltx-video` is Lightricks' own (`pip install
--no-deps ltx-video`). Each number is the norm of the difference over the norm of the independent
result, both in float32, where at most 1e-5 is allowed and 1e-4 for a whole clip, and the largest
of all places where a stage stands. *bfloat16* is our own bfloat16 beside the same float32
results: what the format costs. Every compared output has a standard deviation of at least 0.1.
"""

DECISIONS = """\
## Where implementations disagree, and what ours does

* **Noise for the decoder** is put on normalised latents, as Lightricks' code does; diffusers puts
  it on raw ones. Clips are compared without it.
* **Pictures and clips that condition** are encoded to the mean of the encoder; both others draw a
  sample. The comparison makes the encoder certain through its weights.
* **Pictures are scaled** by Pillow, which averages; Lightricks' pipeline scales by plain
  interpolation. Blur and H.264 come after the picture was fitted to the clip, not before.
* **A condition of strength below 1** caps the clock of its tokens exactly at 1 - strength, and
  they set out from there. In both others they keep still until the level has fallen below that,
  and take the level's clock then. Conditions that overlap replace one another.
* **Rescale 0 is none**, as in diffusers; in Lightricks' configurations 1 is none.
* **A plain number for guidance** is classifier-free guidance of that scale and nothing else, also
  for a release that would skip layers; leave it out to get the release's own. With two passes,
  steps, sigmas and guidance of a request are those of the first; the second is the release's.
* **Skipped layers** are skipped for every clip of a batch; Lightricks' mask hits the wrong clips
  where there is more than one.
* **The rotary embedding** is multiplied in float32, as in diffusers; Lightricks' code does it in
  the precision of the network. In float32 they are the same.
* **The text mask** reaches T5 and the cross-attention, as in Lightricks' code; diffusers' first
  pipeline keeps it from T5. One T5 is told from another by a hash of samples of its files.
* **Positions** are causal where the file says so. diffusers does not store it: 0.9.0 is compared
  through its first pipelines, 0.9.5 through its condition pipeline.
* **Random numbers** come from a counter and a seed, the same on every device; nobody else's seed
  gives the same clip. The comparison hands everybody the same noise.
* **Frames of two passes** are clipped and then scaled to the size asked for, as in Lightricks'
  code.
"""


def verify(
    found: Checkpoint | None = None,
    against: Sequence[str] | None = None,
    *,
    on_row: Callable[[Row], None] = lambda _: None,
) -> list[Row]:
    """Compare with golden numbers and with other implementations; None: those installed.

    With a checkpoint its own weights are compared, else random ones of every layout, and clips.
    """
    names = installed() if against is None else list(against)
    check_installed(names)
    if found is not None and found.finding is None:
        raise ModelError(
            f"nobody else implements {found.path}: got a model of our small family: right is a "
            "published checkpoint, or none"
        )
    rows = []
    for row in _rows(found, names):
        rows.append(row)
        on_row(row)
    return rows


def _rows(found: Checkpoint | None, names: Sequence[str]) -> Iterator[Row]:
    yield from golden()
    for name in names:
        if found is not None:
            yield from compare(found.name, found, name)
            continue
        for layout in LAYOUTS:
            yield from compare(layout, reduced_release(layout), name)
        yield from clips(name)


def page(rows: Sequence[Row]) -> str:
    """docs/parity.md."""
    lines = [INTRODUCTION.format(environment=_environment(rows))]
    for layout in dict.fromkeys(row.layout for row in rows):
        lines += [f"## {_title(layout)}", "", *_table([r for r in rows if r.layout == layout]), ""]
    return "\n".join([*lines, DECISIONS])


def _title(layout: str) -> str:
    return "Numbers that need nothing installed" if layout == "any" else layout


def _table(rows: Sequence[Row]) -> Iterator[str]:
    names = list(dict.fromkeys(row.against for row in rows))
    yield f"| stage | {' | '.join(names)} | bfloat16 |"
    yield "|---" * (len(names) + 2) + "|"
    for stage in dict.fromkeys(row.stage for row in rows):
        cells = {row.against: row for row in rows if row.stage == stage}
        rounded = [row.bfloat16 for row in cells.values() if row.bfloat16 is not None]
        shown = [f"{cells[name].float32:.1e}" if name in cells else "" for name in names]
        yield f"| {stage} | {' | '.join(shown)} | {f'{max(rounded):.1e}' if rounded else ''} |"


def _environment(rows: Sequence[Row]) -> str:
    packages = dict.fromkeys(["torch", *(r.against for r in rows if r.layout != "any")])
    found = [f"overcrank {__version__}", *(f"{name} {_version(name)}" for name in packages)]
    return f"{', '.join(found)} on {platform.machine()}"


def _version(package: str) -> str:
    if package == "torch":
        return torch.__version__
    try:
        return version(package)
    except PackageNotFoundError:
        return "of an unknown version"
