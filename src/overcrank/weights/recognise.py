"""Which release a file is, from what it says about itself."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from overcrank.errors import ModelError
from overcrank.flow import ScheduleKind
from overcrank.weights.releases import ALLOWED, RELEASES, Pass, Release, Scale, TwoPasses, VAELayout

RELEASE_KEY = "overcrank.release"
"""Metadata that our own converter adds: the name of the release, for formats that lose the rest."""

_SCALES: dict[tuple[int, int], Scale] = {(28, 2048): "2b", (48, 4096): "13b"}
_KINDS: dict[str, ScheduleKind] = {
    "Uniform": "uniform",
    "SD3": "shifted",
    "LinearQuadratic": "linear-quadratic",
}
_MOST_LEVELS = 1_000
_VERSION = re.compile(r"(?<!\d)0(?:\.9(?:\.(\d))?|9(\d))(?!\d)")
_SCALE = re.compile(r"(?<!\d)(2|13)b(?![a-z])", re.IGNORECASE)
_DISTILLED = re.compile(r"(?<![a-z])(dev|distilled)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a file says about itself; None: it says nothing."""

    scale: Scale | None = None
    """None also for a width and depth that no release has."""
    vae: VAELayout | None = None
    causal_positions: bool | None = None
    kind: ScheduleKind | None = None
    terminal: float | None = None
    allowed: tuple[float, ...] | None = None
    """Noise levels a distilled model was trained for; empty: it states that there are none."""
    stochastic: bool | None = None
    declared: str | None = None
    """The release's name, from `RELEASE_KEY`."""

    @classmethod
    def of_file(cls, metadata: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> "Facts":
        """Of a Lightricks single file: safetensors metadata, and shapes by tensor name.

        Names may lack their prefixes, as they do where a network has a file of its own.
        """
        facts = cls(scale=_scale(shapes), vae=_vae_layout(shapes), declared=_declared(metadata))
        if "config" not in metadata:
            return facts
        config = _object("config", _parsed(metadata["config"]))
        if "transformer" in config:
            transformer = _object("transformer", config["transformer"])
            flag = transformer.get("causal_temporal_positioning", False)
            facts = replace(facts, causal_positions=_flag("causal_temporal_positioning", flag))
            facts = replace(facts, allowed=_levels(config.get("allowed_inference_steps")))
        if config.get("scheduler") is not None:
            scheduler = _object("scheduler", config["scheduler"])
            sampler = "SD3" if scheduler.get("shifting") else str(scheduler.get("sampler"))
            facts = replace(
                facts,
                kind=_KINDS.get(sampler),
                terminal=_terminal(scheduler.get("target_shift_terminal")),
            )
        return facts

    @classmethod
    def of_folder(
        cls,
        transformer: Mapping[str, Any],
        vae: Mapping[str, Any],
        scheduler: Mapping[str, Any],
        declared: str | None = None,
    ) -> "Facts":
        """Of the configs in a diffusers folder."""
        keys = ("num_layers", "num_attention_heads", "attention_head_dim")
        sizes = (transformer.get(key) for key in keys)
        layers, heads, head_width = (n if type(n) is int else 0 for n in sizes)
        layout: VAELayout = "0.9.1" if vae.get("timestep_conditioning") else "0.9.0"
        if "LTXVideo095DownBlock3D" in str(vae.get("down_block_types")):
            layout = "0.9.5"
        dynamic = scheduler.get("use_dynamic_shifting")
        return cls(
            scale=_SCALES.get((layers, heads * head_width)),
            vae=layout if vae else None,
            kind=None if dynamic is None else "shifted" if dynamic else "linear-quadratic",
            terminal=_terminal(scheduler.get("shift_terminal")),
            # False is what diffusers writes where nobody thought of it.
            stochastic=True if scheduler.get("stochastic_sampling") is True else None,
            declared=declared,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The release a file is run as, its own schedule and levels included."""

    release: Release
    causal_positions: bool
    """What the file says, else what the release has."""
    alternatives: tuple[str, ...] = ()
    """Releases that behave otherwise, and that the file could be as well."""
    remarks: tuple[str, ...] = ()
    """Sentences for the user about what was not certain."""


def identify(facts: Facts, *, name: str = "") -> Finding:
    """The release that contradicts the facts least.

    `name`, of a file, folder or hub id, is asked only where the facts leave several.
    """
    contradictions = {row.name: _contradictions(row, facts) for row in RELEASES.values()}
    fewest = min(len(found) for found in contradictions.values())
    fitting = [row for row in RELEASES.values() if len(contradictions[row.name]) == fewest]
    called = [row for row in fitting if _is_called(row, name)]
    chosen, *others = called or fitting
    alternatives = tuple(row.name for row in others if not row.behaves_like(chosen))
    remarks = []
    if fewest:
        remarks.append(
            f"the file is no published release: {', '.join(contradictions[chosen.name])}: "
            f"it is run as {chosen.name}, with what it states itself"
        )
    if alternatives:
        remarks.append(
            f"the file does not say whether it is {chosen.name} or {' or '.join(alternatives)}: "
            f"it is run as {chosen.name}; a file name that contains the right one would decide"
        )
    causal = facts.causal_positions
    return Finding(
        release=_adapted(chosen, facts),
        causal_positions=chosen.causal_positions if causal is None else causal,
        alternatives=alternatives,
        remarks=tuple(remarks),
    )


def _contradictions(row: Release, facts: Facts) -> list[str]:
    schedule = row.one.schedule
    found = [
        f"{what} is {stated}, not {right}"
        for what, stated, right in (
            ("its declared release", facts.declared, row.name),
            ("its size", facts.scale, row.scale),
            ("its autoencoder", facts.vae, row.vae),
            ("causal_temporal_positioning", facts.causal_positions, row.causal_positions),
            ("its scheduler", facts.kind, schedule.kind),
            ("stochastic sampling", facts.stochastic, row.one.stochastic),
        )
        if stated is not None and stated != right
    ]
    if None not in (facts.allowed, row.lists_levels) and bool(facts.allowed) != row.lists_levels:
        found.append(f"allowed_inference_steps are {'given' if facts.allowed else 'missing'}")
    if facts.allowed and not row.distilled and row.lists_levels is None:
        found.append("allowed_inference_steps are given")
    return found


def _is_called(row: Release, name: str) -> bool:
    """Whether each part that a name states is the row's; a name that states none calls nobody."""
    name = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    version, scale, kind = (p.search(name) for p in (_VERSION, _SCALE, _DISTILLED))
    if not version and not kind:
        return False
    return (
        (version is None or row.version == f"0.9.{version[1] or version[2] or 0}")
        and (scale is None or row.scale == f"{scale[1]}b")
        and (kind is None or row.distilled == (kind[1].lower() == "distilled"))
    )


def _adapted(row: Release, facts: Facts) -> Release:
    def with_file(walk: Pass) -> Pass:
        schedule = walk.schedule
        if facts.kind is not None:
            schedule = replace(schedule, kind=facts.kind, terminal=facts.terminal)
        if facts.allowed:
            kept = schedule.levels if set(schedule.levels) <= set(facts.allowed) else ()
            schedule = replace(schedule, allowed=facts.allowed, levels=kept)
        steps = walk.steps if schedule.default_steps is None else schedule.default_steps
        return replace(walk, schedule=schedule, steps=steps)

    two: TwoPasses | None = row.two
    if two is not None:
        two = replace(two, first=with_file(two.first), second=with_file(two.second))
    return replace(row, one=with_file(row.one), two=two)


def _scale(shapes: Mapping[str, tuple[int, ...]]) -> Scale | None:
    blocks = {m[1] for name in shapes if (m := re.search(r"transformer_blocks\.(\d+)\.", name))}
    widths = [s[-1] for n, s in shapes.items() if n.endswith(".attn1.to_q.weight") and len(s) == 2]
    return _SCALES.get((len(blocks), widths[0])) if widths else None


def _vae_layout(names: Iterable[str]) -> VAELayout | None:
    """By structure, not by width."""
    bare = {name.removeprefix("vae.") for name in names}
    if "encoder.down_blocks.1.conv.conv.weight" in bare:
        return "0.9.5"
    if "decoder.last_scale_shift_table" in bare:
        return "0.9.1"
    return "0.9.0" if "decoder.conv_in.conv.weight" in bare else None


def _declared(metadata: Mapping[str, str]) -> str | None:
    name = metadata.get(RELEASE_KEY)
    if name is not None and name not in RELEASES:
        raise ModelError(
            f"{RELEASE_KEY} in the metadata names no release, got {name[:80]!r}: "
            f"right is one of {', '.join(RELEASES)}"
        )
    return name


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"config in the metadata cannot be read: got {text[:80]!r}: it must be a JSON object"
        ) from error


def _object(what: str, value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise ModelError(
        f"{what} in the metadata must be a JSON object, got {type(value).__name__}: "
        "right is what Lightricks' files have there"
    )


def _flag(what: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ModelError(
        f"{what} in the metadata must be true or false, got {str(value)[:80]}: "
        "right is what Lightricks' files have there"
    )


def _terminal(value: object) -> float | None:
    if value is None:
        return None
    number = _level(value)
    if number is None or number == 1:
        raise ModelError(
            f"the last level of the schedule must be between 0 and 1, got {str(value)[:80]}: "
            "right is 0.1 or null"
        )
    return number


def _levels(value: object) -> tuple[float, ...]:
    if value is None:
        return ()
    found = [_level(each) for each in value] if isinstance(value, list) else []
    levels = tuple(level for level in found if level is not None)
    falls = all(now > after for now, after in pairwise(levels))
    if not 1 <= len(found) <= _MOST_LEVELS or len(levels) != len(found) or not falls:
        raise ModelError(
            "allowed_inference_steps in the metadata must fall and lie above 0, up to 1, got "
            f"{str(value)[:80]}: right is {list(ALLOWED)}"
        )
    return levels


def _level(value: object) -> float | None:
    """A number above 0 and up to 1; None for anything else, a number that is none among them."""
    return float(value) if isinstance(value, int | float) and 0 < value <= 1 else None
