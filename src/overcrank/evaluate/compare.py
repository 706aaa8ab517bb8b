"""Two reports side by side: what is different, and by more than chance."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from overcrank.errors import RequestError
from overcrank.evaluate.directions import Direction, away_from_one, direction, is_timed
from overcrank.evaluate.distance import check_comparable
from overcrank.evaluate.leaves import PARTS, Leaf, leaves, shown, words
from overcrank.evaluate.page import headline, video
from overcrank.evaluate.report import FORMAT_VERSION
from overcrank.evaluate.tables import table
from overcrank.metrics import difference
from overcrank.pages import page, section, short, tiles
from overcrank.weights.files import write_atomically

KIND = "comparison"
"""What report.json says of itself that is not about one model."""
MACHINE = ("device", "processor", "dtype", "threads")
"""What times depend on; if it differs, they are not judged."""
BY_CHANCE = 0.05
"""Part of the intervals of 95 % that leave out zero though nothing is different."""


@dataclass(frozen=True, slots=True)
class Change:
    """A number in both reports: `by` is the second minus the first, low and high its interval."""

    first: Leaf
    second: Leaf
    by: float
    low: float | None = None
    high: float | None = None
    direction: Direction = Direction.NONE

    @property
    def is_judged(self) -> bool:
        """Whether it has an interval, and one way is better."""
        return self.low is not None and self.direction is not Direction.NONE

    @property
    def verdict(self) -> str:
        """better or worse where the interval leaves out zero, empty where chance may explain it."""
        if not self.is_judged or _may_be_zero(self.low, self.high):
            return ""
        gain = -self.by if self.direction is Direction.LESS else self.by
        if self.direction is Direction.NEAR_ONE:
            nearer = difference(away_from_one(self.first), away_from_one(self.second))
            gain = 0.0 if _may_be_zero(*nearer[1:]) else nearer[0]
        return {True: "better", False: "worse"}[gain > 0] if gain else ""

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
            "direction": self.direction.value,
            "verdict": self.verdict,
        }


def _may_be_zero(low: float | None, high: float | None) -> bool:
    return low is None or high is None or low <= 0 <= high


def read_report(folder: Path) -> dict[str, Any]:
    """The report.json that an evaluation of one model left in a folder."""
    path = folder / "report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        version, kind = report["format_version"], report.get("kind")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RequestError(
            f"this is no report, got {str(folder)!r} ({error}): give a folder that "
            "`overcrank eval` wrote, or a model"
        ) from None
    if kind == KIND:
        raise RequestError(
            f"a comparison cannot be compared, got {str(folder)!r}: give the report of one model, "
            f"such as {folder / 'first'} if both were measured for it"
        )
    if version != FORMAT_VERSION:
        raise RequestError(
            f"the report is of another version, got format_version {version} in {str(path)!r}, "
            f"right is {FORMAT_VERSION}: measure again"
        )
    needed = {"model": str, "suite": dict, "setting": dict, "hardware": dict, "recogniser": str}
    odd = [name for name, kind in needed.items() if not isinstance(report.get(name), kind)]
    odd += [part for part in PARTS if not isinstance(report.get(part, {}), dict)]
    if odd:
        raise RequestError(
            f"the report is damaged, got {str(path)!r} without a right {', '.join(odd)}: "
            "measure again"
        )
    return dict(report)


def check_suites(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Refuse to compare suites that differ, naming where."""
    names = dict.fromkeys((*one, *other))
    odd = [
        f"{name} {one.get(name)} and {other.get(name)}"
        for name in names
        if one.get(name) != other.get(name)
    ]
    if odd:
        raise RequestError(
            f"the reports are of different suites, got {', '.join(odd)}: measure both with the "
            "same --suite and --items"
        )


def check_recognisers(one: str, other: str) -> None:
    """Refuse to compare what different recognisers read; they are named by their sha256."""
    if one != other:
        raise RequestError(
            f"the reports were made with different recognisers, got {one[:12]} and {other[:12]}: "
            "measure both again"
        )


def check_folder(folder: Path, sources: Sequence[Path]) -> None:
    """Refuse to write a comparison over one of the reports it is made of, or over another one."""
    if folder.resolve() in [source.resolve() for source in sources]:
        raise RequestError(
            f"the comparison would overwrite a report that it is made of, got {str(folder)!r} for "
            "both: name another folder with -o"
        )
    path = folder / "report.json"
    if not path.exists():
        return
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        held = None
    if not isinstance(held, dict) or held.get("kind") != KIND:
        raise RequestError(
            f"the folder holds a report that is no comparison, got {str(folder)!r}: name another "
            "folder with -o"
        )


def changes(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Change]:
    """Of every number that both reports have, in the order of the first."""
    found, same_machine = [], not _machines(first, second)
    for part in PARTS:
        others = {x.path: x for x in leaves(second.get(part, {}), (part,))}
        for one in leaves(first.get(part, {}), (part,)):
            if one.path in others:
                judged = same_machine or not is_timed(one.path)
                way = direction(one.path) if judged else Direction.NONE
                found.append(_change(one, others[one.path], way))
    return found


def _change(one: Leaf, other: Leaf, way: Direction) -> Change:
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return Change(one, other, other.value - one.value, direction=way)
    by = difference((other.value, other.low, other.high), (one.value, one.low, one.high))
    return Change(one, other, *by, direction=way)


def _machines(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """What is different in the machines, in words."""
    one, other = first["hardware"], second["hardware"]
    return [
        f"{name} {one.get(name)} and {other.get(name)}"
        for name in MACHINE
        if one.get(name) != other.get(name)
    ]


def write_comparison(
    folder: Path, names: tuple[str, str], folders: tuple[Path, Path]
) -> tuple[dict[str, Any], list[Change]]:
    """Write index.html and report.json of two evaluations into a folder, and return them."""
    reports = read_report(folders[0]), read_report(folders[1])
    check_suites(reports[0]["suite"], reports[1]["suite"])
    check_recognisers(reports[0]["recogniser"], reports[1]["recogniser"])
    _check_distances(*reports)
    check_folder(folder, folders)
    found = changes(*reports)
    result = {
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "compared": list(names),
        "models": [report["model"] for report in reports],
        "settings": [report["setting"] for report in reports],
        "hardware": [report["hardware"] for report in reports],
        "changes": [change.to_dict() for change in found],
    }
    contents = {
        "index.html": _page(names, reports, folders, found),
        "report.json": json.dumps(result, indent=2) + "\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        with write_atomically(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return result, found


def _check_distances(first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    """Refuse reports whose distances are different measures."""
    one, other = (report.get("text", {}).get("distance", {}) for report in (first, second))
    for name in one.keys() & other.keys():
        if isinstance(one[name], dict) and isinstance(other[name], dict):
            check_comparable(one[name], other[name])


def _page(
    names: tuple[str, str],
    reports: tuple[Mapping[str, Any], Mapping[str, Any]],
    folders: tuple[Path, Path],
    found: list[Change],
) -> str:
    heads = [
        (f"{name}: {key}", value)
        for name, report in zip(names, reports, strict=True)
        for key, value in headline(report)
    ]
    told = "".join(f"<p>{escape(line)}</p>" for line in summary(found, *reports))
    differ = [change for change in found if change.verdict]
    others = "".join(
        section(PARTS[part], _table(names, rows))
        for part in PARTS
        if (rows := [x for x in found if x.first.path[0] == part and not x.verdict])
    )
    main = section("What differs", _table(names, differ)) if differ else ""
    main += _clips(names, reports, folders)
    main += f"<details><summary>All other numbers</summary>{others}</details>" if others else ""
    return page(f"{names[0]} beside {names[1]}", told + tiles(heads), main)


def summary(
    found: Sequence[Change], first: Mapping[str, Any], second: Mapping[str, Any]
) -> Iterator[str]:
    """What a reader is to know first, a paragraph each."""
    judged = [change for change in found if change.is_judged]
    better, worse = (sum(x.verdict == word for x in judged) for word in ("better", "worse"))
    yield (
        f"{len(judged)} numbers are judged: those with an interval of which one way is better. By "
        f"more than chance, the second is better in {better} and worse in {worse}; by chance alone "
        f"about {BY_CHANCE * len(judged):.1f} would differ (5 %)."
    )
    if not better + worse:
        yield "Nothing differs by more than chance."
    machines = _machines(first, second)
    if machines:
        yield (
            f"The machines differ, with {', '.join(machines)}: "
            "seconds and realtime factors are shown, and not judged."
        )


def _table(names: tuple[str, str], found: list[Change]) -> str:
    rows = []
    for change in found:
        name = escape(", ".join(words(part) for part in change.first.path))
        mark = f'<b class="{change.verdict}">{change.verdict}</b>'
        by = f"{change.signed(change.by)} <small>{change.span}</small> {mark}"
        rows.append([name, shown(change.first), shown(change.second), by])
    return table(["", *names, "difference"], rows)


def _clips(
    names: tuple[str, str],
    reports: tuple[Mapping[str, Any], Mapping[str, Any]],
    folders: tuple[Path, Path],
) -> str:
    """The first clips, side by side, where both are still there."""
    made = []
    for report, folder in zip(reports, folders, strict=True):
        clips = report.get("text", {}).get("clips", [])
        paths = {(x["item"], x["caption"]): folder / x["made"] for x in clips}
        made.append({key: path for key, path in paths.items() if path.is_file()})
    rows = [
        [escape(key[1]), video(path), video(made[1][key])]
        for key, path in made[0].items()
        if key in made[1]
    ]
    return section("Clips", table(["", *names], rows)) if rows else ""
