"""What overcrank raises when the caller can do something about it.

    OvercrankError
    ├── RequestError        the request is wrong (also a ValueError)
    │   └── SizeError       a clip, latent or batch size that cannot be
    ├── ModelError          a model file or folder cannot be used
    ├── MediaError          a picture or video cannot be read or written
    │   └── SoundOnlyError  a video has no picture
    └── RunError            the request was right, but the run failed

Messages have three parts: what is wrong, what was given, what would be right.
The command line shows them without a traceback and ends with exit code 2, or 1 for a RunError.
"""

import difflib
import inspect
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, get_args

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class OvercrankError(Exception):
    """Root of all errors that a caller can mend."""


class RequestError(OvercrankError, ValueError):
    """The request asks for something that cannot be."""


class SizeError(RequestError):
    """A width, height, frame count or shape does not fit."""


class ModelError(OvercrankError):
    """A model file or folder is missing, damaged, or not what it claims to be."""


class MediaError(OvercrankError):
    """A picture or video cannot be read, or an output cannot be written."""


class SoundOnlyError(MediaError):
    """A file has sound and no picture."""


class RunError(OvercrankError):
    """The request was right, but what came out cannot be used."""


def in_words(method: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Refuse arguments that a method does not have in words, with the nearest one it has.

    Of `**extras: Unpack[SomeTypedDict]`, which would let any name pass, the keys count.
    """
    signature = inspect.signature(method)
    known: list[str] = []
    for parameter in list(signature.parameters.values())[1:]:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            known += get_args(parameter.annotation)[0].__annotations__
        else:
            known.append(parameter.name)

    @wraps(method)
    def checked(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        unknown = next((name for name in kwargs if name not in known), None)
        if unknown is not None:
            near = [name for name in known if unknown in name]
            near = near or difflib.get_close_matches(unknown, known, 1)
            raise RequestError(
                f"no argument has this name, got {unknown}: "
                + (f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}")
            )
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise RequestError(
                f"the arguments do not fit, got: {error}: give {', '.join(known)}, each once"
            ) from None
        return method(*args, **kwargs)

    return checked
