"""Does a clip show what its caption asks for? Counted by the recogniser, on bench-v1.

A caption is held to the facts that it names, no others; of each fact the recogniser says if the
clip shows it, or that it is not sure, which counts as not found. "Order of events" is not asked:
bench-v1 has no stories of two steps (`evaluate.figures` asks for some).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, permutations
from math import prod
from typing import Any

import torch
from torch import Tensor

from overcrank.evaluate.shown import Question, Shown
from overcrank.metrics import Rate
from overcrank.pipeline import Pipeline
from overcrank.toybox.bench import BenchItem, bench
from overcrank.toybox.recogniser import NAMES, Answer, Reading, Recogniser
from overcrank.toybox.scene import HELD_OUT
from overcrank.toybox.wording import Fact
from overcrank.transformer import Transformer
from overcrank.vae import VAE

CALLED = {
    **{name: name for name in ("colour", "shape", "motion", "size", "texture")},
    "depth": "position",
    "actors": "count",
    **{name: name for name in ("ground", "sky", "camera")},
}
"""Name of a fact -> what a report calls it. "position" is in front of, or behind, another actor."""
PAIRED = ("colour", "shape", "motion")
KINDS = ("held out", "not held out")
CROWDS = ("one actor", "two actors")
RELIED_ON = ("colour", "shape", "motion", "actors", "ground", "sky")
"""Facts of which the recogniser is sure in nearly every true clip: those that "all facts" are."""
ALL_OF = {n: f"all facts, {word}" for n, word in enumerate(CROWDS, 1)}

Found = dict[Fact, Answer | None]
"""What the recogniser answers where a fact is asked for; None where there is no such actor."""


class Adherence:
    """Measure: how often a clip shows what its caption names, by fact, wording and combination.

    Beside it the same of the true clips in the same size, through `round_trip` too if that is
    given (uint8 frames -> uint8 frames through the model's autoencoder), and the rate of guessing.
    """

    def __init__(
        self, recogniser: Recogniser, round_trip: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.recogniser = recogniser
        self.round_trip = round_trip
        self._ledgers: dict[str, Ledger] = {}
        self._seen: set[object] = set()

    def see(self, shown: Shown) -> None:
        """Read a clip, and, the first time its scene is asked for, the true clip."""
        question = shown.question
        groups = ["clips", question.wording]
        groups.append(KINDS[not question.item.scene.held_out])
        groups.append(CROWDS[len(question.item.scene.actors) - 1])
        found = match(question, self.recogniser.read(shown.frames, shown.frame_rate))
        for group in groups:
            self._ledger(group).add(question, found)
        if shown.scene_key not in self._seen:
            self._seen.add(shown.scene_key)
            for name, reading in self._read_true(shown).items():
                self._ledger(name).add(question, match(question, reading))

    def result(self) -> dict[str, Any]:
        """By what is asked: hits, total, rate, low and high (95 %), the part that was unsure and
        the part that guessing finds; for "clips" and the groups they fall into, for the pairs
        that no training scene holds and all others, for the true clips and their round trips,
        each of which is counted once. Guessing is of facts whose actors are known."""
        tables = {name: ledger.table() for name, ledger in self._ledgers.items()}
        groups = ("clips", "true_clips", "round_trips")
        own = {name: tables.pop(name) for name in groups if name in tables}
        scenes = {name: tables.pop(name) for name in (*CROWDS, *KINDS) if name in tables}
        pairs = self._ledger("clips").pairs()
        return {**own, "wordings": tables, "scenes": scenes, "pairs": pairs}

    def _ledger(self, name: str) -> "Ledger":
        return self._ledgers.setdefault(name, Ledger())

    def _read_true(self, shown: Shown) -> dict[str, Reading]:
        frames, rate = shown.true_frames, shown.frame_rate
        found = {"true_clips": self.recogniser.read(frames, rate)}
        if self.round_trip is not None:
            found["round_trips"] = self.recogniser.read(self.round_trip(frames), rate)
        return found


def match(question: Question, reading: Reading) -> Found:
    """What is answered to each fact. No caption says who is on the left: actors are matched with
    the solids that are read in the order that finds most of the facts, left to right at first."""
    actors = range(len(question.item.scene.actors))
    places = max(len(actors), len(reading.solids))
    best: Found = {}
    for order in permutations(range(places), len(actors)):
        found = {fact: _answer(fact, order, reading) for fact in question.facts}
        if not best or _hits(found) > _hits(best):
            best = found
    return best


def _answer(fact: Fact, order: Sequence[int], reading: Reading) -> Answer | None:
    if fact.actor is None:
        return getattr(reading, fact.name)
    place = order[fact.actor]
    if place >= len(reading.solids):
        return None
    return getattr(reading.solids[place], fact.name)


def _hits(found: Found) -> int:
    return sum(_shows(fact, answer) for fact, answer in found.items())


def _shows(fact: Fact, answer: Answer | None) -> bool:
    return answer is not None and answer.name == fact.value


@dataclass(slots=True)
class Ledger:
    """Counts what was found, of what was asked, under the names of a report."""

    hits: Counter[str] = field(default_factory=Counter)
    unsure: Counter[str] = field(default_factory=Counter)
    total: Counter[str] = field(default_factory=Counter)
    guessed: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, question: Question, found: Found) -> None:
        """Count each fact, each pair of an actor's colour, shape and motion, and all that can be
        relied on together."""
        for fact in found:
            self._count(CALLED[fact.name], found, [fact])
        for actor in range(len(question.item.scene.actors)):
            own = [fact for fact in found if fact.actor == actor and fact.name in PAIRED]
            for one, other in combinations(own, 2):
                name = f"{one.name} and {other.name}"
                self._count(name, found, [one, other])
                known = {(one.value, other.value), (other.value, one.value)} & HELD_OUT
                self._count(f"{KINDS[not known]}: {name}", found, [one, other])
        relied = [fact for fact in found if fact.name in RELIED_ON]
        self._count(ALL_OF[len(question.item.scene.actors)], found, relied)

    def table(self) -> dict[str, dict[str, float]]:
        """All of it but the pairs by themselves, facts first."""
        order = [*CALLED.values(), *(f"{a} and {b}" for a, b in combinations(PAIRED, 2))]
        order += ALL_OF.values()
        return {name: self._row(name) for name in order if self.total[name]}

    def pairs(self) -> dict[str, dict[str, dict[str, float]]]:
        """The pairs that no training scene holds, and all others."""
        return {
            kind: {
                name.removeprefix(f"{kind}: "): self._row(name)
                for name in self.total
                if name.startswith(f"{kind}: ")
            }
            for kind in KINDS
        }

    def _count(self, name: str, found: Found, facts: Sequence[Fact]) -> None:
        answers = [found[fact] for fact in facts]
        self.total[name] += 1
        self.hits[name] += all(map(_shows, facts, answers))
        self.unsure[name] += any(answer is not None and answer.name is None for answer in answers)
        self.guessed[name] += prod(chance(fact.name) for fact in facts)

    def _row(self, name: str) -> dict[str, float]:
        total = self.total[name]
        return {
            **Rate(self.hits[name], total).to_dict(),
            "unsure": self.unsure[name] / total,
            "chance": self.guessed[name] / total,
        }


def chance(name: str) -> float:
    """Of finding a fact by guessing among the names for it; of two actors one is in front.

    It takes for granted which actor is meant. `match` may choose between two orders, so the facts
    of two actors are guessed more often than this says.
    """
    return 1 / 2 if name == "depth" else 1 / len(NAMES[name])


def single_actor_items(count: int) -> Sequence[BenchItem]:
    """The first `count` items of bench-v1 with one actor."""
    return [item for item in bench() if len(item.scene.actors) == 1][:count]


def without_knowledge(pipe: Pipeline) -> Pipeline:
    """A model of the same architecture with random weights, the same ones each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = replace(
            pipe.model,
            vae=VAE(pipe.vae.config),
            transformer=Transformer(pipe.transformer.config),
        )
    return Pipeline(model, device=pipe.hardware.device, dtype=pipe.hardware.dtype)
