"""Logs as lines of JSON, each request with a name that its answer bears too."""

import json
import logging
import re
import secrets
import sys
from time import perf_counter
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from overcrank.serve.refusals import Broken

HEADER = "x-request-id"
_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)

log = logging.getLogger("overcrank.requests")


class Lines(logging.Formatter):
    """One JSON object a line; what is given as `extra={"more": {...}}` joins it."""

    def format(self, record: logging.LogRecord) -> str:
        """Source: Python's logging."""
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "more", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


def told(record: logging.LogRecord) -> bool:
    """A filter: a viewer who is cut off on purpose is news in one line, not a trace."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, Broken):
        record.msg, record.args, record.exc_info = "a viewer is cut off: %s", (error,), None
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True


def log_lines() -> None:
    """All of this process to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    handler.addFilter(told)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("uvicorn.access").disabled = True  # `RequestLog` says more
    logging.getLogger("alembic").setLevel(logging.WARNING)


class RequestLog:
    """A line for every request when it is answered, with its name, status and milliseconds."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Source: ASGI 3.0."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        name = given if _NAME.fullmatch(given) else secrets.token_hex(8)
        status, begun = 0, perf_counter()

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (HEADER.encode(), name.encode())]
            await send(message)

        try:
            await self._app(scope, receive, named)
        finally:
            more = {
                "request": name,
                "method": scope.get("method", "WS"),
                "path": scope["path"],
                "status": status,
                "ms": round(1000 * (perf_counter() - begun), 1),
                "owner": scope.get("state", {}).get("owner", ""),
            }
            log.info("%s %s", more["method"], more["path"], extra={"more": more})
