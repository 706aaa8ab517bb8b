"""The command line, run in this process."""

import contextlib
import io

from overcrank.cli import main


def overcrank(*words: object) -> tuple[int, str, str]:
    """Exit code, and what went to stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    return code, out.getvalue(), err.getvalue()
