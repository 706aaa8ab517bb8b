"""The frame of a page, and what goes into it: sections, tiles of numbers, pictures as bytes."""

import base64
import io
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path

from PIL import Image

PICTURE_WIDTH = 1024
"""Larger pictures are made smaller."""


def page(title: str, header: str, main: str) -> str:
    """A whole page with its style and script inside; `header` and `main` are HTML."""
    here = resources.files("overcrank.pages")
    style, script = (here / "page.css").read_text(), (here / "page.js").read_text()
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f"<header><h1>{escape(title)}</h1>{header}</header>"
        f"<main>{main}</main><script>{script}</script></body></html>\n"
    )


def section(title: str, content: str) -> str:
    """A heading and HTML below it."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def tiles(pairs: Sequence[tuple[str, str]]) -> str:
    """What matters most, in a few large numbers: (name, value) as plain text."""
    cells = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in pairs)
    return f'<dl class="tiles">{cells}</dl>'


def picture(path: Path) -> str:
    """A picture file as the source of an <img>, at most `PICTURE_WIDTH` wide."""
    with Image.open(path) as image:
        image.thumbnail((PICTURE_WIDTH, 4 * PICTURE_WIDTH))
        memory = io.BytesIO()
        image.convert("RGB").save(memory, "WEBP", quality=80)
    return embedded(memory.getvalue(), "image/webp")


def embedded(content: bytes, kind: str) -> str:
    """Bytes of a media type as a URL that needs no other file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
