"""Numbers on the command line; typer's own refusals do not say what was given."""

import typer


def whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError as error:
        raise typer.BadParameter(f"got {text!r}: try a whole number") from error


def number(text: str) -> float:
    """Any number."""
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"got {text!r}: try a number") from error
