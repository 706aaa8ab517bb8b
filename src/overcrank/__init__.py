"""overcrank makes video faster than it plays.

pipe = overcrank.load("pocket")
pipe("a red ball bounces on a blue floor").save("ball.mp4")
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overcrank.conditioning import Clip, Image, Reference
    from overcrank.flow import Guidance, GuidanceByLevel
    from overcrank.pipeline import Pipeline, load
    from overcrank.request import Request
    from overcrank.video import Video

__version__ = "0.1.0"

__all__ = [
    "Clip",
    "Guidance",
    "GuidanceByLevel",
    "Image",
    "Pipeline",
    "Reference",
    "Request",
    "Video",
    "load",
]

_HOMES = {
    "Clip": "conditioning",
    "Guidance": "flow",
    "GuidanceByLevel": "flow",
    "Image": "conditioning",
    "Pipeline": "pipeline",
    "Reference": "conditioning",
    "Request": "request",
    "Video": "video",
    "load": "pipeline",
}


def __getattr__(name: str) -> object:
    # torch takes seconds to import; `overcrank --help` should not.
    if name not in _HOMES:
        raise AttributeError(f"module 'overcrank' has no attribute {name!r}")
    return getattr(import_module(f"overcrank.{_HOMES[name]}"), name)
