"""overcrank serve: clips over HTTP."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from overcrank.cli import wish
from overcrank.cli.values import number, whole
from overcrank.errors import RequestError

LOCAL = ("127.0.0.1", "localhost", "::1")
"""Addresses that only this machine can reach."""
KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than clients keep theirs (5 in httpx), so that
none sends a request over one that is being closed."""


def serve_command(
    model: wish.Source = "pocket",
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(parser=whole, metavar="INT", help="The port.")] = 8000,
    folder: Annotated[
        Path, typer.Option(help="Where clips and jobs are kept; made if it is missing.")
    ] = Path("outputs/serve"),
    database: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Of the jobs; by default SQLite in the folder."),
    ] = None,
    workers: Annotated[
        int, typer.Option(parser=whole, metavar="INT", help="Processes, each with the model.")
    ] = 1,
    queue: Annotated[
        int, typer.Option(parser=whole, metavar="INT", help="Jobs that may wait.")
    ] = 32,
    together: Annotated[
        int,
        typer.Option(parser=whole, metavar="INT", help="Clips that a worker makes at a time."),
    ] = 1,
    per_key: Annotated[
        int, typer.Option(parser=whole, metavar="INT", help="Jobs that one key may have at a time.")
    ] = 8,
    keep_days: Annotated[
        float, typer.Option(parser=number, metavar="NUMBER", help="How long clips are kept.")
    ] = 30.0,
    quota_gb: Annotated[
        float,
        typer.Option(parser=number, metavar="NUMBER", help="Beyond it, the oldest clips go."),
    ] = 20.0,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name of this server; may be repeated."),
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="The file of API keys, if they are needed.")
    ] = None,
    new_key: Annotated[
        str | None, typer.Option(metavar="NAME", help="Add a key to --keys, print it, and end.")
    ] = None,
    dtype: wish.DType = "auto",
) -> None:
    """Serve clips over HTTP."""
    if new_key is not None:
        _add_key(keys, new_key)
        return
    for name, value, low, high in (
        ("--port", port, 1, 65535),
        ("--workers", workers, 1, 64),
        ("--queue", queue, 1, 100_000),
        ("--together", together, 1, 64),
        ("--per-key", per_key, 1, 100_000),
        ("--keep-days", keep_days, 0.001, 100_000),
        ("--quota-gb", quota_gb, 0.001, 1_000_000),
    ):
        if not low <= value <= high:
            raise RequestError(f"{name} is a number from {low} to {high}, got {value}: choose one")
    if host not in LOCAL and keys is None:
        raise RequestError(
            f"a server that others can reach needs keys, got --host {host} and no --keys: make "
            "some with --keys FILE --new-key NAME, then give --keys FILE"
        )
    try:
        import uvicorn

        from overcrank.serve.logs import log_lines
        from overcrank.serve.run import build
    except ModuleNotFoundError as error:
        raise RequestError(
            f"serving needs more packages, got no {error.name}: pip install 'overcrank[serve]'"
        ) from None
    from overcrank.serve.settings import Settings

    settings = Settings(
        folder=folder,
        model=model,
        dtype=dtype,
        database=database,
        workers=workers,
        queue=queue,
        together=together,
        per_key=per_key,
        keep=timedelta(days=keep_days),
        quota=int(quota_gb * 1e9),
        hosts=(*(allow_host or ()), host),
        keys=keys,
    )
    app = build(settings)
    log_lines()
    print(f"overcrank serves {settings.name} at http://{host}:{port}", file=sys.stderr)
    uvicorn.run(app, host=host, port=port, log_config=None, timeout_keep_alive=KEEP_ALIVE)


def _add_key(path: Path | None, name: str) -> None:
    from overcrank.serve.keys import add_key

    if path is None:
        raise RequestError(f"a key is kept in a file, got --new-key {name} alone: add --keys FILE")
    print(add_key(path, name))
    print(f"this is told once; {path} has its hash", file=sys.stderr)
