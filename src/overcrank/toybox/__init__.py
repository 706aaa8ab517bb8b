"""A world of toys: scenes, captions, clips and the truth about them, made by procedure."""

from overcrank.toybox.caption import caption
from overcrank.toybox.render import render
from overcrank.toybox.scene import Actor, Scene, sample_scene
from overcrank.toybox.truth import Truth, truth

__all__ = ["Actor", "Scene", "Truth", "caption", "render", "sample_scene", "truth"]
