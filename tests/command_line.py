"""The command line, run in this process."""

import contextlib
import io
from typing import NamedTuple

from overcrank.cli import main


class Done(NamedTuple):
    """Exit code, and what went to stdout and stderr."""

    code: int
    out: str
    err: str


def overcrank(*words: object) -> Done:
    """Run it with these words."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    return Done(code, out.getvalue(), err.getvalue())
