"""Two reports side by side: what is different, and by more than chance."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from overcrank.errors import RequestError
from overcrank.evaluate.distance import check_comparable
from overcrank.evaluate.leaves import PARTS, Leaf, leaves, shown, words
from overcrank.evaluate.page import headline, video
from overcrank.evaluate.tables import table
from overcrank.metrics import difference
from overcrank.pages import page, section, short, tiles
from overcrank.weights.files import write_atomically

LESS_IS_BETTER = frozenset(
    {
        *("seconds", "peak_memory", "distance", "below_round_trip", "unsure"),
        *("artefacts", "flicker", "flicker_share", "perceptual", "seams", "grid"),
    }
)
"""Numbers with one of these names anywhere in their path; of the others more is better."""
NEITHER = frozenset(
    {
        *("true_clips", "random_weights", "chance", "noise_floor", "n", "items"),
        *("first_delta", "last_delta", "values_to_one", "bytes_to_one", "bytes_to_one_h264"),
    }
)
"""Not the model's own, or neither good nor bad: shown, and not judged."""


@dataclass(frozen=True, slots=True)
class Change:
    """A number in both reports: `by` is the second minus the first, low and high its interval."""

    first: Leaf
    second: Leaf
    by: float
    low: float | None
    high: float | None

    @property
    def verdict(self) -> str:
        """better or worse where the interval leaves out zero, empty where chance may explain it."""
        path = set(self.first.path)
        if self.low is None or self.high is None or self.low <= 0 <= self.high or path & NEITHER:
            return ""
        return "better" if (self.by > 0) != bool(path & LESS_IS_BETTER) else "worse"

    def signed(self, value: float) -> str:
        """A difference as text."""
        if self.first.is_rate:
            return f"{100 * value:+.1f} points"
        return f"{'+' if value >= 0 else '-'}{short(abs(value))}"

    @property
    def span(self) -> str:
        """The interval as text, empty if there is none."""
        if self.low is None or self.high is None:
            return ""
        return f"{self.signed(self.low)} to {self.signed(self.high)}"

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "name": ".".join(self.first.path),
            "first": self.first.value,
            "second": self.second.value,
            "difference": self.by,
            "low": self.low,
            "high": self.high,
            "verdict": self.verdict,
        }


def read_report(folder: Path) -> dict[str, Any]:
    """The report.json that an evaluation left in a folder."""
    path = folder / "report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        version = report["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"this is no report, got {str(folder)!r} ({error}): give a folder that "
            "`overcrank eval` wrote, or a model"
        ) from None
    if version != 2:
        raise RequestError(
            f"the report is of another version, got format_version {version} in {str(path)!r}: "
            "measure again"
        )
    return dict(report)


def changes(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Change]:
    """Of every number that both reports have, in the order of the first."""
    found = []
    for part in PARTS:
        others = {x.path: x for x in leaves(second.get(part, {}), (part,))}
        for one in leaves(first.get(part, {}), (part,)):
            other = others.get(one.path)
            if other is not None:
                found.append(_change(one, other))
    return found


def _change(one: Leaf, other: Leaf) -> Change:
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return Change(one, other, other.value - one.value, None, None)
    by = difference((other.value, other.low, other.high), (one.value, one.low, one.high))
    return Change(one, other, *by)


def write_comparison(
    folder: Path, names: tuple[str, str], folders: tuple[Path, Path]
) -> tuple[dict[str, Any], list[Change]]:
    """Write index.html and report.json of two evaluations into a folder, and return them."""
    reports = read_report(folders[0]), read_report(folders[1])
    if reports[0]["suite"] != reports[1]["suite"]:
        raise RequestError(
            f"the reports are of different suites, got {reports[0]['suite']['name']!r} and "
            f"{reports[1]['suite']['name']!r}: measure both with the same --suite"
        )
    _check_distances(*reports)
    found = changes(*reports)
    result = {
        "format_version": 2,
        "compared": list(names),
        "models": [report["model"] for report in reports],
        "settings": [report["setting"] for report in reports],
        "changes": [change.to_dict() for change in found],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    heads = [
        (f"{name}: {key}", value)
        for name, report in zip(names, reports, strict=True)
        for key, value in headline(report)
    ]
    main = _clips(names, reports, folders) + "".join(
        section(PARTS[part], _table(names, [x for x in found if x.first.path[0] == part]))
        for part in PARTS
        if any(x.first.path[0] == part for x in found)
    )
    content = page(f"{names[0]} beside {names[1]}", tiles(heads), main)
    with write_atomically(folder / "index.html") as temporary:
        temporary.write_text(content, encoding="utf-8")
    return result, found


def _check_distances(first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    """Refuse reports whose distances are different measures."""
    one, other = (report.get("text", {}).get("distance", {}) for report in (first, second))
    for name in one.keys() & other.keys():
        if isinstance(one[name], dict) and isinstance(other[name], dict):
            check_comparable(one[name], other[name])


def _table(names: tuple[str, str], found: list[Change]) -> str:
    rows = []
    for change in found:
        name = escape(", ".join(words(part) for part in change.first.path[1:]))
        mark = f'<b class="{change.verdict}">{change.verdict}</b>'
        by = f"{change.signed(change.by)} <small>{change.span}</small> {mark}"
        rows.append([name, shown(change.first), shown(change.second), by])
    return table(["", *names, "difference"], rows)


def _clips(
    names: tuple[str, str],
    reports: tuple[Mapping[str, Any], Mapping[str, Any]],
    folders: tuple[Path, Path],
) -> str:
    """The first clips of both, side by side."""
    pairs = list(zip(*(report.get("text", {}).get("clips", []) for report in reports), strict=True))
    rows = [
        [
            escape(pair[0]["caption"]),
            *(video(folder / clip["made"]) for folder, clip in zip(folders, pair, strict=True)),
        ]
        for pair in pairs
    ]
    return section("Clips", table(["", *names], rows)) if rows else ""
