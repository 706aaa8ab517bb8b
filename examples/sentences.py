"""What the small text encoder reads while it learns; for distil_text.py."""

import random
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from dictionary import Dictionary, Meaning

from overcrank.data.world import World
from overcrank.toybox import voices
from overcrank.toybox.caption import NOUNS
from overcrank.toybox.figure_pack import shipped_pack
from overcrank.toybox.scene import COLOURS, GROUNDS, SKIES

REPLACED = 0.4
FROM_DICTIONARY = 0.3
FIRST = 10**7
"""The number of the first scene."""
SLOTS = ("colour", "quality", "shape", "thing", "verb", "ground", "way", "time")

Item = tuple[str, str]
"""What the student reads, and what the teacher reads in its place."""
FORMS: Mapping[str, Callable[[str], str]] = {
    "": str,
    "s": voices.third,
    "ing": voices.participle,
}


class Words:
    """What is replaced in captions, and by what."""

    def __init__(self, meanings: Mapping[str, Mapping[str, Meaning]]) -> None:
        self.meanings = meanings
        self.lists = {slot: sorted(words) for slot, words in meanings.items()}
        self.common = {
            slot: sorted(word for word, meaning in words.items() if meaning.times)
            for slot, words in meanings.items()
        }
        self.known: dict[str, tuple[str, str]] = {}
        for words in (COLOURS, *voices.COLOURS.values()):
            self.known |= dict.fromkeys(words, ("colour", ""))
        qualities = ("small", "large", "big", "striped", "dotted")
        for words in (qualities, *voices.SIZES.values(), *voices.TEXTURES.values()):
            self.known |= dict.fromkeys(words, ("quality", ""))
        for words in (*NOUNS.values(), *voices.SHAPES.values()):
            self.known |= dict.fromkeys(words, ("thing", ""))
        for words in voices.MOTIONS.values():
            for form, inflect in FORMS.items():
                self.known |= {inflect(word): ("verb", form) for word in words}
        for word in (*GROUNDS, *(word for words in voices.GROUNDS.values() for word in words)):
            self.known[re.sub("^an? ", "", word)] = ("ground", "")
        for way in ("left", "right", "to the left", "to the right", "slowly"):
            self.known[way] = ("way", "")
        self.known |= dict.fromkeys(("sunset", "night", "noon", "twilight"), ("time", ""))
        self.known |= {f"{word} sky": ("time", "") for word in SKIES}
        phrases = sorted(self.known, key=len, reverse=True)
        self.pattern = re.compile(rf"\b({'|'.join(map(re.escape, phrases))})\b|(\S+)")

    def items(self, text: str, dice: random.Random) -> Iterator[Item]:
        """The words of a caption, some of them others."""
        for found in self.pattern.finditer(text):
            word = found[0]
            if found[1] is None or dice.random() >= REPLACED:
                yield word, word
                continue
            slot, form = self.known[found[1]]
            slot = "shape" if slot == "thing" and dice.random() < 0.5 else slot
            lists = self.common if dice.random() < 0.5 else self.lists
            other = dice.choice(lists[slot])
            stands = self.stands_for(slot, other, dice)
            yield FORMS[form](other), FORMS[form](stands)

    def stands_for(self, slot: str, word: str, dice: random.Random) -> str:
        """The word itself, or a common one that explains it."""
        meaning = self.meanings[slot][word]
        if dice.random() < meaning.itself:
            return word
        names, weights = zip(*meaning.others, strict=True)
        return str(dice.choices(names, weights)[0])


def sentences(wordnet: Path, words: Words) -> Iterator[list[Item]]:
    """Any number of them, the same each time."""
    world = World(shipped_pack(), figures=0.35, stories=0.2)
    examples = [text for text in Dictionary(wordnet).examples() if 2 < len(text.split()) < 22]
    for number in range(10**9):
        dice = random.Random(f"overcrank distil {number}")
        if dice.random() < FROM_DICTIONARY:
            yield [(word, word) for word in dice.choice(examples).lower().split()]
            continue
        caption = world.caption(world.scene(FIRST + number), number)
        yield list(words.items(caption, dice))
