"""Who may talk to the server: checked before anything else, for pages and sockets alike.

A server that listens on the loopback address only is still reached by every page that is open in
a browser on that machine, and by names that an attacker lets point there. Hence the Host of a
request must be one of ours, and its Origin, which browsers send and pages cannot forge, the same.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from overcrank.serve.keys import Keys

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

OPEN = ("/healthz", "/readyz")
"""Paths that answer without a key: what watches over a server has none."""

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "media-src 'self' blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
}
"""The page uses nothing from elsewhere, and nobody may frame it."""


class Guard:
    """Lets requests through whose Host, Origin and key are right; `keys` None: nobody needs one."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str], keys: Keys | None) -> None:
        self._app, self._keys = app, keys
        self._hosts = {host.lower() for host in (*LOOPBACK, *hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Source: ASGI 3.0."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refused = self._refused(scope)
        if refused is None:
            await self._app(scope, receive, _hardened(send))
        elif scope["type"] == "http":
            await refused(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "not allowed"})

    def _refused(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if _name(host) not in self._hosts:
            return _answer(403, "host", f"this server has another name, got {host[:80]!r}")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return _answer(403, "origin", f"another page may not ask, got {origin[:80]!r}")
        if self._keys is None or scope["path"] in OPEN:
            return None
        owner = self._keys.owner_of(_key(headers))
        if owner is None:
            return _answer(401, "api_key", "a key is needed: send Authorization: Bearer KEY")
        scope.setdefault("state", {})["owner"] = owner
        return None


def _name(host: str) -> str:
    """Without the port; IPv6 addresses keep their brackets."""
    name, _, port = host.rpartition(":")
    return (name if name and port.isdigit() else host).lower()


def _key(headers: Headers) -> str:
    kind, _, key = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return key.strip()
    # Browsers give sockets and pictures no headers, but they do send what a page has stored.
    for cookie in headers.get("cookie", "").split(";"):
        name, _, value = cookie.strip().partition("=")
        if name == "overcrank_key":
            return value
    return ""


def _answer(status: int, code: str, message: str) -> JSONResponse:
    kind = "authentication_error" if status == 401 else "permission_error"
    error = {"type": kind, "code": code, "message": message, "param": None}
    return JSONResponse({"error": error}, status)


def _hardened(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message.get("headers", [])}
            more = [
                (name.encode(), value.encode())
                for name, value in HEADERS.items()
                if name.encode() not in given
            ]
            message["headers"] = [*message.get("headers", []), *more]
        await send(message)

    return with_headers
