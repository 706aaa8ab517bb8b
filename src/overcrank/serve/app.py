"""The HTTP API: routes, and nothing else."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Header, Query, Request, Response, WebSocket
from fastapi.openapi.utils import get_openapi
from fastapi.requests import HTTPConnection
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles

from overcrank import __version__
from overcrank.serve.asked import read_asked
from overcrank.serve.desk import Desk
from overcrank.serve.guard import Guard
from overcrank.serve.keys import Keys
from overcrank.serve.live import Viewer
from overcrank.serve.logs import RequestLog
from overcrank.serve.metrics import Metrics
from overcrank.serve.refusals import ANSWERS, Refused, refusing
from overcrank.serve.schema import VideoJob, VideoPage, VideoRequest
from overcrank.serve.watching import events, follow

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
PAGE = Path(__file__).parent / "page"
BINARY = {"type": "string", "format": "binary", "description": "The picture to begin with."}
Variant = Literal["video", "thumbnail", "spritesheet", "preview"]


def mine(connection: HTTPConnection) -> Desk:
    """The desk as the owner of the request's key sees it."""
    desk: Desk = connection.app.state.desk
    return desk.seen_by(connection.scope.get("state", {}).get("owner", ""))


Mine = Annotated[Desk, Depends(mine)]


def create_app(desk: Desk, lifespan: Lifespan | None = None) -> FastAPI:
    """The app of a desk; `lifespan` starts and stops what works for it."""
    app = FastAPI(
        title="overcrank",
        version=__version__,
        lifespan=lifespan,
        responses=ANSWERS,
        docs_url=None,  # it would load from elsewhere
        redoc_url=None,
    )
    keys = None if desk.settings.keys is None else Keys.read(desk.settings.keys)
    app.add_middleware(Guard, hosts=desk.settings.hosts, keys=keys)
    app.add_middleware(RequestLog)
    metrics = Metrics(desk.store)
    refusing(app)
    _jobs(app)
    _watching(app)
    app.state.desk = desk

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        """What is served."""
        return {"object": "list", "data": [desk.described()]}

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        """The page of the server."""
        return FileResponse(PAGE / "index.html")

    @app.get("/docs", include_in_schema=False)
    def described() -> FileResponse:
        """The API, to read."""
        return FileResponse(PAGE / "api.html")

    app.mount("/page", StaticFiles(directory=PAGE))

    @app.get("/metrics", include_in_schema=False)
    def prometheus() -> Response:
        """Numbers for Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        """Whether this process answers."""
        return {"status": "ok"}

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        """Whether a worker takes jobs; 503 until then."""
        if not desk.ready():
            raise Refused(503, "not_ready", "no worker is ready: try again in a few seconds")
        return {"status": "ready"}

    description = _described(app)
    app.openapi = lambda: description  # type: ignore[method-assign]  # as FastAPI's manual says
    return app


def _described(app: FastAPI) -> dict[str, Any]:
    """The description of the API: what FastAPI finds, but errors are ours."""
    schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
    for path in schema["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    body = VideoRequest.model_json_schema()
    form = {**body, "properties": {**body["properties"], "input_reference": BINARY}}
    kinds = {"application/json": body, "multipart/form-data": form}
    schema["paths"]["/v1/videos"]["post"]["requestBody"] = {
        "required": True,
        "content": {kind: {"schema": each} for kind, each in kinds.items()},
    }
    return schema


def _jobs(app: FastAPI) -> None:
    """Asking for clips, asking after them, calling them off."""

    @app.post("/v1/videos", status_code=200)
    async def create(
        request: Request,
        desk: Mine,
        idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
    ) -> VideoJob:
        """Ask for a clip; JSON, or a form with a picture `input_reference`."""
        asked = await read_asked(request)
        return await desk.take(asked, idempotency_key)

    @app.get("/v1/videos")
    def page(
        desk: Mine,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Literal["asc", "desc"] = "desc",
    ) -> VideoPage:
        """Jobs by their age."""
        return desk.page(after, limit, newest_first=order == "desc")

    @app.get("/v1/videos/{name}")
    def get(name: str, desk: Mine) -> VideoJob:
        """One job as it is now."""
        return desk.job(name)

    @app.post("/v1/videos/{name}/cancel")
    def cancel(name: str, desk: Mine) -> VideoJob:
        """Stop a job; within a denoising step if it has begun."""
        return desk.cancel(name)

    @app.delete("/v1/videos/{name}")
    def delete(name: str, desk: Mine) -> dict[str, Any]:
        """Stop a job, and forget it and its files."""
        desk.delete(name)
        return {"id": name, "object": "video.deleted", "deleted": True}


def _watching(app: FastAPI) -> None:
    """What jobs make, while they make it."""

    @app.get("/v1/videos/{name}/content")
    def content(name: str, desk: Mine, variant: Variant = "video") -> Response:
        """The clip, from its first frame on while it is made; or a picture of it."""
        files = desk.files(name)
        if variant != "video":
            path = files.picture(variant)
            if not path.exists():
                raise Refused.missing(f"the {variant} of {name} is not there yet", "variant")
            return FileResponse(path, media_type="image/webp")
        if files.clip.exists():
            return FileResponse(files.clip, media_type="video/mp4")
        if (status := desk.job(name).status).is_end and not files.clip.exists():
            raise Refused.missing(f"there is no clip of {name}: it is {status}", "id")
        return StreamingResponse(follow(desk, name), media_type="video/mp4")

    @app.websocket("/v1/live")
    async def live(socket: WebSocket, desk: Mine) -> None:
        """An endless clip that heeds what is said to it."""
        await Viewer(socket, desk).run()

    @app.get("/v1/videos/{name}/events")
    def watch(name: str, desk: Mine) -> Response:
        """What changes of a job, until it ends: server-sent events."""
        desk.job(name)
        return StreamingResponse(events(desk, name), media_type="text/event-stream")
