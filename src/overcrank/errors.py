"""What overcrank raises when the caller can do something about it.

    OvercrankError
    ├── RequestError        the request is wrong (also a ValueError)
    │   └── SizeError       a clip, latent or batch size that cannot be
    ├── ModelError          a model file or folder cannot be used
    ├── MediaError          a picture or video cannot be read or written
    └── RunError            the request was right, but the run failed

Messages have three parts: what is wrong, what was given, what would be right.
The command line shows them without a traceback and ends with exit code 2, or 1 for a RunError.
"""


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


class RunError(OvercrankError):
    """The request was right, but what came out cannot be used."""
