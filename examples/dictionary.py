"""WordNet's files, and which common words explain a rarer one; for distil_text.py."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

Key = tuple[str, str]
"""Part of speech (n v a r) and place in its file: a sense."""

PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
_TYPES = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
_THINGS = {"06", "13", "17", "25"}  # artifact, food, object, shape
_GROUNDS = {"06", "15", "17", "27"}  # artifact, location, object, substance
_TIMES = {"19", "28"}  # phenomenon, time
_VERBS = {"30", "38", "42"}  # change, motion, stative
_SAYS_NOTHING = """
a an the of or and to in on by for with as is be that which having being from at it one not
into made used especially usually etc other than its who whose are so any very more most some
such cause someone something become through this was has have but where when no if go move make
do act take put get change object thing relating covered marked color colour various
something's somebody person kind sort part way shade tone light dark pale deep clear vivid
strong moderate primary
"""
_EMPTY = frozenset(_SAYS_NOTHING.split())
_SHAPES = (
    r"shape|spher|ball\b|cyl|con(e|ical)\b|cub(e|ic)|rectang|ring\b|circular|tube\b|tubular|faces"
    r"|point(ed)?\b|pyramid|round"
)
_SURE, _KNOWN = 20, 3
_WORD = re.compile(r"[a-z]+(?:[ -][a-z]+)?")


@dataclass(frozen=True, slots=True)
class Sense:
    """Words that mean the same, what explains them, and senses that are wider or near."""

    words: tuple[str, ...]
    gloss: str
    near: tuple[Key, ...]
    file: str


@dataclass(frozen=True, slots=True)
class Meaning:
    """A word that WordNet's texts have so many times stands for itself with probability `itself`,
    else for one of `others` (weighted)."""

    times: int
    itself: float
    others: tuple[tuple[str, float], ...]


class Dictionary:
    """The senses of WordNet 3.0, by word, the most frequent first."""

    def __init__(self, folder: Path) -> None:
        self.senses: dict[Key, Sense] = {}
        self.keys: defaultdict[str, list[Key]] = defaultdict(list)
        self.count: Counter[tuple[str, str]] = Counter()
        self.stems: dict[str, str] = {}
        for name, part in PARTS.items():
            for line in _lines(folder / f"data.{name}"):
                self._read_sense(part, line)
            for line in _lines(folder / f"index.{name}"):
                words = line.split()
                places = words[int(words[3]) + 6 :]
                self.keys[words[0].replace("_", " ")] += [(part, place) for place in places]
            for line in _lines(folder / f"{name}.exc"):
                form, stem, *_ = line.split()
                self.stems.setdefault(form, stem)
        self.read = Counter(word for text in self.examples() for word in _letters(text))
        for line in _lines(folder / "cntlist.rev"):
            sense, _, times = line.split()
            word, _, kind = sense.partition("%")
            self.count[word.replace("_", " "), _TYPES[kind[0]]] += int(times)

    def _read_sense(self, part: str, line: str) -> None:
        head, _, gloss = line.partition(" | ")
        fields = head.split()
        last = 4 + 2 * int(fields[3], 16)
        words = (re.sub(r"\(.*\)", "", word) for word in fields[4:last:2])
        pointers = fields[last + 1 : last + 1 + 4 * int(fields[last])]
        near = zip(pointers[::4], pointers[1::4], pointers[2::4], strict=True)
        self.senses[part, fields[0]] = Sense(
            tuple(word.replace("_", " ").lower() for word in words),
            gloss.strip(),
            tuple((kind, place) for mark, place, kind in near if mark in "@&"),
            fields[1],
        )

    def examples(self) -> Iterator[str]:
        """Definitions and sentences."""
        for sense in self.senses.values():
            definition, *sentences = re.split(r'; (?=")', sense.gloss)
            yield re.sub(r"\(.*?\)", "", definition).strip()
            yield from (sentence.strip(' ";') for sentence in sentences)

    def is_usual(self, form: str) -> bool:
        """Whether the dictionary uses it, itself or in another form."""
        stem = self.stem(form)
        return bool(self.read[form] or self.read[stem] or self._times(stem, "nvar"))

    def words(self, slot: str) -> dict[str, Key]:
        """Words that can stand in a slot, with the sense that they have there."""
        fits = {
            "colour": self._is_colour,
            "quality": lambda key: key[0] == "a",
            "shape": self._is_shape,
            "thing": lambda key: key[0] == "n" and self.senses[key].file in _THINGS,
            "verb": lambda key: key[0] == "v" and self.senses[key].file in _VERBS,
            "ground": lambda key: key[0] == "n" and self.senses[key].file in _GROUNDS,
            "way": lambda key: key[0] == "r",
            "time": lambda key: key[0] == "n" and self.senses[key].file in _TIMES,
        }[slot]
        found = {}
        for word, keys in self.keys.items():
            fitting = [key for key in keys if fits(key)]
            if not fitting or not _WORD.fullmatch(word) or len(word) < 3:
                continue
            if slot == "shape":  # a ball is one, too, where it is a game first
                fitting.sort(key=lambda key: self.senses[key].file != "25")
            rare = self.count[word, fitting[0][0]] == 0
            if slot == "colour" or not (rare and (" " in word or slot == "quality")):
                found[word] = fitting[0]
        return found

    def meanings(self, slot: str, likeness: Callable[[str, str], float]) -> dict[str, Meaning]:
        """What each word of a slot stands for."""
        words = self.words(slot)
        return {word: self._meaning(word, key, words, likeness) for word, key in words.items()}

    def stem(self, word: str) -> str:
        """ "surfaces" -> "surface"."""
        tries = [word, self.stems.get(word, "")]
        for ending, instead in (
            *(("ies", "y"), ("s", ""), ("es", ""), ("ing", ""), ("ing", "e")),
            *(("ed", ""), ("ed", "e"), ("ish", ""), ("al", ""), ("ical", "e")),
        ):
            if word.endswith(ending):
                tries.append(word.removesuffix(ending) + instead)
        return next((each for each in tries if each in self.keys), word)

    def _meaning(
        self, word: str, key: Key, slot: dict[str, Key], likeness: Callable[[str, str], float]
    ) -> Meaning:
        """From words that are more common: synonyms, words of the gloss, wider words."""
        sense, part = self.senses[key], key[0]
        parts = "na" if self._is_colour(key) else part
        own = self._times(word, parts)
        gloss = re.sub(r"\(.*?\)", "", sense.gloss.split(";")[0])
        explaining = {self.stem(each) for each in re.findall("[a-z]+", gloss.lower())}
        wider = {each for near in sense.near for each in self.senses[near].words[:2]}
        score = {}
        for other in {*sense.words, *explaining, *wider} - _EMPTY - {word}:
            times = self._times(other, parts)
            if other in slot and times >= _KNOWN and times > own and _WORD.fullmatch(other):
                likes = likeness(gloss, other) + 0.5 * likeness(word, other)
                score[other] = likes + 0.06 * math.log(times) + 0.3 * (other in sense.words)
        best = sorted(score, key=score.__getitem__, reverse=True)[:4]
        weights = [math.exp((score[other] - score[best[0]]) / 0.12) for other in best]
        others = tuple(
            (other, weight / sum(weights)) for other, weight in zip(best, weights, strict=True)
        )
        return Meaning(own, _itself(own) if others else 1.0, others)

    def _times(self, word: str, parts: str) -> int:
        return sum(self.count[word, part] for part in parts)

    def _is_colour(self, key: Key) -> bool:
        """Of an attribute or a quality whose definition, or that of a wider sense, says so."""
        sense = self.senses[key]
        named = any(
            re.search(r"\bcolou?r\b|\bshade of\b", _definition(each.gloss))
            for each in (sense, *(self.senses[near] for near in sense.near))
        )
        black = re.search(r"\b(black|white|grey|gray)$", _definition(sense.gloss))
        return bool(named or black) and key[0] in "na" and sense.file in ("00", "07")

    def _is_shape(self, key: Key) -> bool:
        """A shape, or a thing whose definition tells of its shape."""
        sense = self.senses[key]
        told = re.search(_SHAPES, _definition(sense.gloss))
        return key[0] == "n" and (sense.file == "25" or (bool(told) and sense.file in _THINGS))


def _itself(times: int) -> float:
    """How often a word stands for itself: nearly always if it is common."""
    if times >= _SURE:
        return 0.95
    return 0.4 if times >= 8 else 0.2


def _definition(gloss: str) -> str:
    return gloss.partition('; "')[0]


def _letters(text: str) -> list[str]:
    return re.findall("[a-z]+", text.lower())


def _lines(path: Path) -> Iterator[str]:
    """Without the licence, whose lines begin with two spaces."""
    with path.open(encoding="latin1") as file:
        yield from (line for line in file if not line.startswith("  "))
