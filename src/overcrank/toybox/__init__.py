"""A world of toys: scenes, captions, clips and the truth about them, made by procedure."""

from overcrank.toybox.caption import caption
from overcrank.toybox.render import render
from overcrank.toybox.scene import Actor, Scene, sample_scene
from overcrank.toybox.truth import Truth, actor_mask, truth

__all__ = ["Actor", "Scene", "Truth", "actor_mask", "caption", "render", "sample_scene", "truth"]
