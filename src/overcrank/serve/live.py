"""The socket of a live session: bytes of video one way, wishes the other."""

import asyncio
import base64
import binascii
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError

from overcrank.errors import OvercrankError
from overcrank.media import codec_of
from overcrank.serve import talk
from overcrank.serve.desk import Desk
from overcrank.serve.refusals import Refused, first_of
from overcrank.serve.sessions import Sessions
from overcrank.serve.tables import Live
from overcrank.serve.uploads import as_png
from overcrank.serve.window import HEAD, part_name

LOOK = 0.02
"""Seconds between two looks at what is new."""


class Viewer:
    """One socket that watches one session."""

    def __init__(self, socket: WebSocket, desk: Desk) -> None:
        self._socket, self._desk = socket, desk
        self._sessions = Sessions(desk.store)
        self._name, self._owns = "", False

    async def run(self) -> None:
        """From the first message to the end of the session or of the viewer."""
        await self._socket.accept()
        try:
            await self._begin(talk.FIRST.validate_json(await self._heard()))
            await self._both()
            await self._socket.close()
        except WebSocketDisconnect:
            pass
        except ValidationError as error:
            await self._refuse("invalid_message", *first_of(error.errors()))
        except Refused as error:
            await self._refuse(error.code, str(error), error.param)
        except OvercrankError as error:
            await self._refuse("invalid_request", str(error), None)
        finally:
            if self._owns:
                await run_in_threadpool(self._sessions.end, self._name)

    async def _both(self) -> None:
        """Send and hear, until the session has ended or the viewer has gone."""
        send, hear = asyncio.create_task(self._send()), asyncio.create_task(self._hear())
        try:
            await asyncio.wait({send, hear}, return_when=asyncio.FIRST_COMPLETED)
            if hear.done():
                hear.result()  # raises where the viewer has gone; else it said stop
            await send
        finally:
            send.cancel()
            hear.cancel()

    async def _heard(self) -> str:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        text: str | None = message.get("text")
        if text is None:
            length = len(message.get("bytes") or b"")
            raise Refused(
                400, "invalid_message", f"a message is JSON as text, got {length} bytes: send text"
            )
        if len(text) > talk.LONGEST:
            raise Refused(413, "too_large", f"a message is too long, got {len(text)} characters")
        return text

    async def _refuse(self, code: str, message: str, param: str | None) -> None:
        error = {"type": "error", "code": code, "message": message, "param": param}
        with suppress(RuntimeError, WebSocketDisconnect):
            await self._socket.send_json(error)
            await self._socket.close(1008)

    async def _begin(self, first: talk.Start | talk.Join) -> None:
        if isinstance(first, talk.Join):
            if await run_in_threadpool(self._sessions.get, first.id) is None:
                raise Refused.missing(f"there is no session {first.id[:80]!r}", "id")
            self._name = first.id
            return
        live = self._new(first)
        await run_in_threadpool(self._desk.begin, live)
        self._name, self._owns = live.id, True

    def _new(self, first: talk.Start) -> Live:
        fields = first.wish().decided(self._desk.advice)
        now = datetime.now(UTC)
        return Live(
            id=f"live_{secrets.token_hex(16)}",
            created_at=now,
            seen_at=now,
            prompt=fields.pop("prompt"),
            seed=fields.pop("seed"),
            request=fields,
        )

    async def _hear(self) -> None:
        """Wishes, until the viewer leaves."""
        while True:
            said = talk.LATER.validate_json(await self._heard())
            if not self._owns:
                if not isinstance(said, talk.Credits):
                    raise Refused(
                        403, "not_yours", f"only who began a session may {said.type} it: leave it"
                    )
                continue
            if isinstance(said, talk.Turn) and said.type == "stop":
                await run_in_threadpool(self._sessions.end, self._name)
                return
            await run_in_threadpool(self._sessions.wish, self._name, **await self._news(said))

    async def _news(
        self, said: talk.Prompt | talk.Seed | talk.Picture | talk.Credits | talk.Turn
    ) -> dict[str, Any]:
        if isinstance(said, talk.Prompt):
            return {"prompt": said.prompt}
        if isinstance(said, talk.Seed):
            return {"seed": said.seed}
        if isinstance(said, talk.Turn):
            return {"paused": said.type == "pause"}
        if isinstance(said, talk.Picture):
            return {"pictures": await run_in_threadpool(self._keep_picture, said.data)}
        return {"credit": said.seconds}

    def _keep_picture(self, data: str) -> int:
        """Its number."""
        try:
            content = base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise Refused(
                400, "invalid_picture", f"a picture is base64, got {data[:20]!r}: {error}"
            ) from None
        live = self._sessions.get(self._name)
        number = 1 if live is None else live.pictures + 1
        (self._folder / f"picture-{number}.png").write_bytes(as_png(content))
        return number

    @property
    def _folder(self) -> Path:
        return self._desk.settings.live / self._name

    async def _send(self) -> None:
        """Bytes and news, until the session ends."""
        part, window = -1, -1
        while True:
            live = await run_in_threadpool(self._sessions.get, self._name)
            if live is None:
                return
            if live.parts and part < 0:
                part = max(0, live.parts - 1) if not self._owns else 0
                await self._greet(live)
            if live.windows != window and live.worker is not None:
                window = live.windows
                news = {"number": window, "prompt": live.prompt, "seed": live.seed}
                await self._socket.send_json({"type": "window", "seconds": live.made, **news})
            while 0 <= part < live.parts:
                await self._socket.send_bytes(
                    await run_in_threadpool((self._folder / part_name(part)).read_bytes)
                )
                part += 1
            if live.ended:
                await self._socket.send_json({"type": "ended", "message": live.error})
                return
            await asyncio.sleep(LOOK)

    async def _greet(self, live: Live) -> None:
        """What a player needs before anything else."""
        head = await run_in_threadpool((self._folder / HEAD).read_bytes)
        mime = f'video/mp4; codecs="{codec_of(head)}"'
        rate = live.request["frame_rate"]
        await self._socket.send_json(
            {"type": "session", "id": live.id, "mime": mime, "fps": rate, "parts": live.parts}
        )
        await self._socket.send_bytes(head)
