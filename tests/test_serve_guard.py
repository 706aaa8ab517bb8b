"""Hosts, origins, keys, and pictures from strangers."""

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import httpx
import PIL.Image
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from command_line import overcrank
from overcrank.errors import RequestError
from overcrank.serve.guard import Guard
from overcrank.serve.keys import Keys, add_key
from overcrank.serve.refusals import Refused
from overcrank.serve.uploads import as_png


def client(hosts: tuple[str, ...] = (), keys: Keys | None = None) -> TestClient:
    async def hello(_: Any) -> PlainTextResponse:
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/", hello), Route("/healthz", hello)])
    app.add_middleware(Guard, hosts=hosts, keys=keys)
    return TestClient(app, base_url="http://localhost:8000")


def asked(client: TestClient, path: str = "/", **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer: Any = client.get(path, headers=sent)
    return answer


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:80", "Home"])
def test_our_own_names_are_let_in(host: str) -> None:
    assert asked(client(("home",)), host=host).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", ""])
def test_a_name_that_points_here_is_not_enough(host: str) -> None:
    answer = asked(client(), host=host)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "host"


def test_only_our_own_page_may_ask() -> None:
    assert asked(client(), origin="http://localhost:8000").status_code == 200
    for origin in ("http://evil.example", "null", "http://localhost:9000"):
        answer = asked(client(), origin=origin)
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "origin"


def test_answers_tell_browsers_to_be_strict() -> None:
    headers = asked(client()).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]


def test_keys_are_asked_for_and_kept_as_hashes(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = add_key(file, "anna")
    assert key not in file.read_text()
    assert file.stat().st_mode & 0o77 == 0
    other = add_key(file, "bert")
    guarded = client(keys=Keys.read(file))
    assert asked(guarded).status_code == 401
    assert asked(guarded, "/healthz").status_code == 200
    assert asked(guarded, authorization=f"Bearer {key}x").status_code == 401
    assert asked(guarded, authorization=f"Basic {key}").status_code == 401
    for each in (key, other):
        assert asked(guarded, authorization=f"Bearer {each}").status_code == 200
    assert asked(guarded, cookie=f"a=b; overcrank_key={key}").status_code == 200
    assert Keys.read(file).owner_of(other) == "bert"


@pytest.mark.parametrize("content", ["", "[]", '{"anna": 3}'])
def test_a_file_that_holds_no_keys_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(RequestError, match="--new-key NAME"):
        Keys.read(file)


def test_the_command_makes_keys_and_wants_them_where_others_can_reach_it(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    made = overcrank("serve", "--keys", file, "--new-key", "anna")
    assert made.code == 0
    assert Keys.read(file).owner_of(made.out.strip()) == "anna"
    bare = overcrank("serve", "--host", "0.0.0.0", "--folder", tmp_path)
    assert bare.code == 2
    assert "needs keys" in bare.err
    assert overcrank("serve", "--port", "70000").code == 2

    folder = tmp_path / "never"
    wrong = overcrank("serve", "--database", "nonsense", "--folder", folder)
    assert wrong.code == 2
    assert not folder.exists()
    assert json.loads(file.read_text()).keys() == {"anna"}


def encoded(size: tuple[int, int], kind: str = "PNG", mode: str = "RGB") -> bytes:
    memory = io.BytesIO()
    PIL.Image.new(mode, size, 0).save(memory, kind)
    return memory.getvalue()


def opened(content: bytes) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(as_png(content)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_pictures_of_common_kinds_are_read(kind: str) -> None:
    picture = opened(encoded((40, 30), kind))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (40, 30))


def test_what_is_transparent_is_white_and_what_is_large_made_smaller() -> None:
    assert opened(encoded((8, 8), mode="RGBA")).getpixel((0, 0)) == (255, 255, 255)
    assert opened(encoded((5000, 100))).size == (2048, 41)


def bomb() -> bytes:
    """A small file that says it is a picture of 3,600 megapixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    rows = zlib.compress(bytes(10_000_000), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "damaged or none"),
        (b"hello", "damaged or none"),
        (encoded((40, 30))[:60], "damaged or none"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "damaged or none"),
        (b"#EXTM3U\nhttp://localhost/secret\n", "damaged or none"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "damaged or none"),
        (bomb(), "megapixels"),
    ],
)
def test_what_is_no_picture_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(Refused, match=said):
        as_png(content)
