"""What people call figures, and how one stands to another."""

import random

from overcrank.toybox.rigs import AIRBORNE_KINDS, SIDES, Figure

EVERYDAY: dict[str, tuple[str, ...]] = {
    "rabbit": ("bunny", "bunny rabbit", "white rabbit"),
    "fox": ("fox head", "orange fox"),
    "frog": ("frog head", "green frog"),
    "cat": ("kitty", "kitten", "pussycat"),
    "dog": ("puppy", "doggy", "pup"),
    "cow": ("dairy cow", "black and white cow"),
    "elephant": ("grey elephant",),
    "dinosaur": ("dino", "green dinosaur", "long-necked dinosaur", "brontosaurus"),
    "duck": ("mallard",),
    "turtle": ("tortoise", "green turtle"),
    "red car": ("car", "automobile", "small car"),
    "bus": ("coach", "orange bus"),
    "tractor": ("farm tractor", "green tractor"),
    "steam engine": ("train", "steam train", "locomotive", "steam locomotive"),
    "butterfly": ("orange butterfly",),
    "bee": ("honeybee", "bumblebee"),
    "helicopter": ("chopper", "orange helicopter"),
    "flying saucer": ("UFO", "spaceship", "alien spaceship"),
    "ghost": ("spook", "white ghost"),
    "whale": ("blue whale",),
    "octopus": ("orange octopus",),
    "tropical fish": ("fish", "blue fish"),
    "soccer ball": ("football",),
    "doughnut": ("donut", "chocolate donut"),
    "birthday cake": ("cake", "cake with candles"),
    "cactus": ("green cactus",),
    "teddy bear": ("teddy", "stuffed bear", "toy bear"),
    "robot": ("robot head", "toy robot"),
    "sunflower": ("yellow flower", "flower"),
}
"""The name of a figure -> what else it is called. Those that are missing have one name."""

_BESIDE = 0.2
"""How far apart in x two figures are that stand side by side."""


def called(figure: Figure, rng: random.Random) -> str:
    """Its name, or in half of the cases another if it has one."""
    others = EVERYDAY.get(figure.name, ())
    return rng.choice(others) if others and rng.random() < 0.5 else figure.name


def relation(one: Figure, other: Figure, rng: random.Random) -> str:
    """How `one` stands to `other`, as long as both are seen."""
    if set(SIDES) & {*one.motions, *other.motions}:
        return "in front of" if one.z < other.z else "behind"
    if abs(one.x - other.x) < _BESIDE:
        return "near"
    side = "left" if one.x < other.x else "right"
    return rng.choice(("next to", "beside", f"to the {side} of", f"on the {side} of"))


def preposition(figures: tuple[Figure, ...]) -> str:
    """On the ground, or above it if all of them are."""
    return "above" if all(figure.kind in AIRBORNE_KINDS for figure in figures) else "on"
