"""The toybox: a procedural, captioned world, and the truth about it."""

from overcrank.toybox.bench import BenchItem, bench
from overcrank.toybox.caption import caption
from overcrank.toybox.render import render
from overcrank.toybox.scene import Actor, Scene, sample_scene
from overcrank.toybox.truth import Truth, truth

__all__ = ["Actor", "BenchItem", "Scene", "Truth", "bench", "caption", "render", "sample_scene", "truth"]
