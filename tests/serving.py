"""A server in a process of its own, as users start it."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx

PATIENCE = 120.0


@dataclass
class Server:
    """One that takes jobs."""

    process: subprocess.Popen[bytes]
    http: httpx.Client
    folder: Path

    def post(self, **fields: Any) -> dict[str, Any]:
        """A job for these fields."""
        answer = self.http.post("/v1/videos", json={"prompt": "a red ball", **fields})
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def get(self, name: str) -> dict[str, Any]:
        """A job as it is now."""
        told: dict[str, Any] = self.http.get(f"/v1/videos/{name}").json()
        return told

    def wait(self, name: str) -> dict[str, Any]:
        """A job that has ended."""
        until = monotonic() + PATIENCE
        while monotonic() < until:
            told = self.get(name)
            if told["status"] not in ("queued", "in_progress"):
                return told
            sleep(0.05)
        raise AssertionError(told)


@contextmanager
def serving(model: Path, folder: Path, *words: str) -> Iterator[Server]:
    """Started, and ready; terminated in the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = "from overcrank.cli import main; main()"
    places = ("--model", str(model), "--folder", str(folder), "--port", str(port))
    command = [sys.executable, "-c", program, "serve", *places, *words]
    log = folder.with_suffix(".log")
    with (
        log.open("ab") as out,
        subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True) as process,
    ):
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as http:
                _until_ready(process, http, log)
                yield Server(process, http, folder)
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(PATIENCE)


def _until_ready(process: subprocess.Popen[bytes], http: httpx.Client, log: Path) -> None:
    until = monotonic() + PATIENCE
    while monotonic() < until and process.poll() is None:
        try:
            if http.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        sleep(0.1)
    raise AssertionError(log.read_text())
