"""Errors as OpenAI's API writes them: {"error": {"type", "code", "message", "param"}}."""

from typing import Any, Self

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from overcrank.errors import OvercrankError


class Wrong(BaseModel):
    """What is wrong."""

    type: str
    code: str
    message: str
    param: str | None


class Answer(BaseModel):
    """Every answer that is no success."""

    error: Wrong


ANSWERS: dict[int | str, dict[str, Any]] = {
    status: {"model": Answer} for status in (400, 401, 403, 404, 409, 413, 429, 503)
}
"""For the description of the API."""


class Refused(Exception):  # noqa: N818
    """An answer that is no success."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.retry_after = status, code, param, retry_after

    @classmethod
    def missing(cls, message: str, param: str) -> Self:
        """There is no such thing."""
        return cls(404, "not_found", message, param=param)


class Broken(Exception):  # noqa: N818
    """The clip ended before its end: the connection is cut, so that the client knows."""


def refusing(app: FastAPI) -> None:
    """Answer every error in one shape."""

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        headers = {}
        if error.retry_after is not None:
            headers["Retry-After"] = str(max(1, round(error.retry_after)))
        return _answer(error.status, error.code, str(error), error.param, headers)

    @app.exception_handler(OvercrankError)
    async def wrong(_: Request, error: OvercrankError) -> JSONResponse:
        return _answer(400, "invalid_request", str(error))

    @app.exception_handler(ValidationError)
    async def body(_: Request, error: ValidationError) -> JSONResponse:
        return _answer(400, "invalid_request", *first_of(error.errors()))

    @app.exception_handler(RequestValidationError)
    async def query(_: Request, error: RequestValidationError) -> JSONResponse:
        return _answer(400, "invalid_request", *first_of(error.errors()))

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
        return _answer(error.status_code, code, str(error.detail), headers=error.headers)


def first_of(errors: Any) -> tuple[str, str | None]:
    """The first of what a schema found wrong: a sentence and the field."""
    first = errors[0]
    places = [str(place) for place in first["loc"] if place not in ("body", "query", "header")]
    given = repr(first.get("input"))[:80]
    param = ".".join(places) or None
    what = f"{param}: " if param else ""
    return f"{what}{first['msg']}, got {given}", param


def _answer(
    status: int, code: str, message: str, param: str | None = None, headers: Any = None
) -> JSONResponse:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    kind = "rate_limit_error" if status == 429 else kind
    error = {"type": kind, "code": code, "message": message, "param": param}
    return JSONResponse({"error": error}, status, headers=headers)
