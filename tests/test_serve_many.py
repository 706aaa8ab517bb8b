"""Many clients, many jobs, and clients that do not keep to any rule."""

import asyncio
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from nano_model import save_nano
from serving import PATIENCE, Server, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("many")
    with serving(save_nano(folder / "nano"), folder / "data", "--queue", "64") as started:
        yield started


def memory_of(server: Server) -> int:
    """Bytes of the server and its workers that are in memory."""
    group, total = server.process.pid, 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            total += 4096 * int(fields[21])
    return total


def test_two_hundred_clients_at_once_lose_no_job(server: Server) -> None:
    async def client(http: httpx.AsyncClient, number: int) -> str:
        body = {"prompt": f"ball {number}", "num_frames": 9, "seed": number}
        until = monotonic() + 4 * PATIENCE
        while monotonic() < until:
            answer = await http.post("/v1/videos", json=body)
            if answer.status_code == 200:
                break
            assert answer.status_code == 429
            await asyncio.sleep(random.uniform(0.2, 1.0))
        name: str = answer.json()["id"]
        status = "queued"
        while status in ("queued", "in_progress") and monotonic() < until:
            status = (await http.get(f"/v1/videos/{name}")).json()["status"]
            await asyncio.sleep(0.5)
        assert status == "completed"
        content = await http.get(f"/v1/videos/{name}/content")
        assert content.content[4:8] == b"ftyp"
        return name

    async def everybody() -> list[str]:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(
            base_url=server.http.base_url, timeout=PATIENCE, limits=limits
        ) as http:
            return await asyncio.gather(*(client(http, number) for number in range(200)))

    names = asyncio.run(everybody())
    assert len(set(names)) == 200
    listed: set[str] = set()
    after = None
    while True:
        page = server.http.get("/v1/videos", params={"limit": 100, "after": after or ""}).json()
        listed |= {job["id"] for job in page["data"]}
        after = page["last_id"]
        if not page["has_more"]:
            break
    assert set(names) <= listed


def test_memory_stays_flat_over_many_jobs(server: Server) -> None:
    def some(count: int) -> None:
        names = []
        for seed in range(count):
            names.append(server.post(seed=seed, num_frames=9)["id"])
            if len(names) == 40:
                server.wait(names[-1])
                names.clear()
        if names:
            server.wait(names[-1])

    some(100)
    before = memory_of(server)
    some(400)
    assert memory_of(server) < before + (64 << 20)


def wild_body(dice: random.Random) -> tuple[dict[str, Any], bytes]:
    """Headers and a body that no client of ours would send."""
    noise = dice.randbytes(dice.randrange(400))
    kind = dice.choice(
        ["application/json", "multipart/form-data", "multipart/form-data; boundary=x", "text/x", ""]
    )
    form = (
        b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na ball\r\n'
        b'--x\r\nContent-Disposition: form-data; name="input_reference"; '
        b'filename="../../../etc/passwd"\r\nContent-Type: image/png\r\n\r\n'
    )
    bodies = [
        noise,
        b"{" * dice.randrange(3000),
        b'{"prompt": "' + noise.hex().encode() + b'", "num_frames": 1e999}',
        b'{"prompt": "a", "seed": ' + b"9" * dice.randrange(1, 5000) + b"}",
        b'{"prompt": ["a"], "width": {"a": 1}}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "a\\u0000b"}',
        form + noise + b"\r\n--x--\r\n",
        form + noise,
    ]
    return {"content-type": kind}, dice.choice(bodies)


def test_a_thousand_malformed_requests_crash_nothing(server: Server, tmp_path: Path) -> None:
    dice = random.Random(0)
    before = {path for path in server.folder.parent.rglob("*") if server.folder not in path.parents}
    statuses = set()
    for _ in range(700):
        headers, body = wild_body(dice)
        statuses.add(server.http.post("/v1/videos", content=body, headers=headers).status_code)
    assert max(statuses) < 500
    url = f"ws://{server.http.base_url.host}:{server.http.base_url.port}/v1/live"

    async def frames() -> None:
        for _ in range(300):
            try:
                async with connect(url) as socket:
                    if dice.random() < 0.3:
                        await socket.send('{"type": "start", "prompt": "a ball"}')
                    _, body = wild_body(dice)
                    await socket.send(body if dice.random() < 0.5 else body.decode("latin-1"))
                    await asyncio.wait_for(socket.recv(), 5)
            except (WebSocketException, TimeoutError):
                pass

    asyncio.run(frames())
    assert server.process.poll() is None
    after = {path for path in server.folder.parent.rglob("*") if server.folder not in path.parents}
    assert after == before
    for job in server.http.get("/v1/videos", params={"limit": 100}).json()["data"]:
        server.http.delete(f"/v1/videos/{job['id']}")
    assert server.wait(server.post()["id"])["status"] == "completed"


def test_no_request_that_the_schema_allows_or_forbids_breaks_the_server(server: Server) -> None:
    schema = str(server.http.base_url.join("/openapi.json"))
    checks = "not_a_server_error,status_code_conformance,content_type_conformance"
    words = [
        "run",
        schema,
        "--checks",
        checks,
        "--max-examples",
        "40",
        "--seed",
        "1",
    ]
    leave = ["--exclude-path-regex", "(events|content)$"]  # which may last as long as a job
    command = [sys.executable, "-m", "schemathesis.cli", *words, *leave]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
