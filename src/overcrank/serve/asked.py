"""What a client sent, as a request for a clip."""

import json
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import UploadFile

from overcrank.serve.refusals import Refused
from overcrank.serve.schema import VideoRequest
from overcrank.serve.shown import Shown
from overcrank.serve.uploads import as_png

MOST_BYTES = 32 << 20
"""Of a request, its picture included."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A wish, and the bytes of the picture it begins with."""

    wish: VideoRequest
    picture: bytes | None

    def shown(self) -> list[Shown]:
        """All pictures of the clip, decoded."""
        first = [] if self.picture is None else [Shown(as_png(self.picture))]
        return first + [Shown.of(condition) for condition in self.wish.conditions]


async def read_asked(request: Request) -> Asked:
    """JSON, or a form whose field `input_reference` is a picture."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > MOST_BYTES:
        raise _too_long(int(length))
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        return await _form(request)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise _too_long(len(body))
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(
            400,
            "invalid_request",
            f"the body is JSON or a form, got {bytes(body[:40])!r} ({error}): "
            'try {"prompt": "a red ball"}',
        ) from None
    return Asked(VideoRequest.model_validate(fields), None)


async def _form(request: Request) -> Asked:
    async with request.form(max_files=1, max_fields=40, max_part_size=MOST_BYTES) as form:
        fields: dict[str, str] = {}
        picture = None
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name != "input_reference":
                    raise Refused(
                        400,
                        "invalid_request",
                        f"a form has one file, input_reference, got {name[:40]!r}: rename it",
                        param=name,
                    )
                picture = await value.read()
            else:
                fields[name] = value
        return Asked(VideoRequest.model_validate(fields), picture)


def _too_long(length: int) -> Refused:
    return Refused(
        413,
        "too_large",
        f"a request has at most {MOST_BYTES >> 20} MiB, got {length >> 20}: send a smaller picture",
    )
