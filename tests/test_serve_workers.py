"""Workers: several on one store, told to stop, idle when there is nothing to do."""

import io
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest
from PIL import Image

from nano_model import save_nano
from overcrank.serve.store import Store
from serving import PATIENCE, Server, serving

pytestmark = pytest.mark.slow

LONG = {"num_frames": 8 * 400 + 1}


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_nano(tmp_path_factory.mktemp("models") / "nano")


def ticks_of(server: Server) -> int:
    """What the server and its workers have computed, in hundredths of a second."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == server.process.pid:
            total += int(fields[11]) + int(fields[12])
    return total


def test_two_workers_share_one_store(nano: Path, tmp_path: Path) -> None:
    with serving(nano, tmp_path / "data", "--workers", "2") as server:
        sleep(3)  # ready means that one of them is
        names = [server.post(seed=seed, num_frames=8 * 40 + 1)["id"] for seed in range(12)]
        assert {server.wait(name)["status"] for name in names} == {"completed"}
    store = Store(f"sqlite:///{tmp_path / 'data' / 'jobs.sqlite'}")
    jobs = [job for name in names if (job := store.get(name)) is not None]
    assert len({job.worker for job in jobs}) == 2
    store.close()


def test_a_worker_makes_several_clips_at_once(nano: Path, tmp_path: Path) -> None:
    """They run side by side, are what they are alone, and a cancelled one leaves the others be."""
    with serving(nano, tmp_path / "alone", "--dtype", "float32") as server:
        name = server.post(seed=3)["id"]
        server.wait(name)
        alone = server.http.get(f"/v1/videos/{name}/content?variant=spritesheet").content
    folder = tmp_path / "data"
    with serving(nano, folder, "--together", "3", "--dtype", "float32") as server:
        long = [server.post(**LONG)["id"] for _ in range(2)]
        until = monotonic() + PATIENCE
        while {server.get(name)["status"] for name in long} != {"in_progress"}:
            assert monotonic() < until
            sleep(0.02)
        name = server.post(seed=3)["id"]
        assert server.wait(name)["status"] == "completed"
        beside = server.http.get(f"/v1/videos/{name}/content?variant=spritesheet").content
        server.http.post(f"/v1/videos/{long[0]}/cancel")
        ends = [server.wait(name)["status"] for name in long]
    assert ends == ["cancelled", "completed"]
    assert np.abs(pixels(alone) - pixels(beside)).mean() < 1


def pixels(picture: bytes) -> np.ndarray:
    """Its colours."""
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), dtype=float)


def test_a_server_that_is_told_to_stop_finishes_what_it_has_begun(
    nano: Path, tmp_path: Path
) -> None:
    with serving(nano, tmp_path / "data") as server:
        first, second = server.post(**LONG)["id"], server.post()["id"]
        while server.get(first)["status"] == "queued":
            sleep(0.02)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
    store = Store(f"sqlite:///{tmp_path / 'data' / 'jobs.sqlite'}")
    states = [job.status for name in (first, second) if (job := store.get(name)) is not None]
    assert states == ["completed", "queued"]
    store.close()
    with serving(nano, tmp_path / "data") as server:
        assert server.wait(second)["status"] == "completed"


def test_cancelling_leaves_the_machine_idle(nano: Path, tmp_path: Path) -> None:
    with serving(nano, tmp_path / "data") as server:
        name = server.post(num_frames=8 * 3000 + 1)["id"]
        while server.get(name)["status"] == "queued":
            sleep(0.02)
        sleep(0.5)
        before = ticks_of(server)
        sleep(1)
        busy = ticks_of(server) - before
        server.http.post(f"/v1/videos/{name}/cancel")
        assert server.wait(name)["status"] == "cancelled"
        before = ticks_of(server)
        sleep(1)
        assert ticks_of(server) - before < 25 < busy


def test_a_worker_that_is_killed_is_replaced_and_its_job_goes_on(
    nano: Path, tmp_path: Path
) -> None:
    with serving(nano, tmp_path / "data") as server:
        name = server.post(**LONG)["id"]
        while server.get(name)["status"] == "queued":
            sleep(0.02)
        children = subprocess.run(
            ["pgrep", "-P", str(server.process.pid)], capture_output=True, text=True, check=True
        )
        for child in map(int, children.stdout.split()):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(child, signal.SIGKILL)
        assert server.wait(name)["status"] == "completed"
        assert server.process.poll() is None


def found_postgres() -> Path | None:
    """The folder of Debian's programs, or those on the path."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    there = shutil.which("initdb")
    return places[-1] if places else Path(there).parent if there else None


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URL of a database of its own."""
    programs = found_postgres()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt install postgresql; pip install psycopg")
    pytest.importorskip("psycopg", reason="no psycopg: pip install 'psycopg[binary]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data, prefix = Path(tempfile.mkdtemp()), []
    if os.getuid() == 0:  # which it refuses to run as
        shutil.chown(data, "postgres")
        prefix = ["setpriv", "--reuid=postgres", "--clear-groups"]
    subprocess.run([*prefix, programs / "initdb", "-D", data, "-A", "trust"], check=True)
    command = [*prefix, programs / "postgres", "-D", data, "-p", str(port), "-k", data]
    with subprocess.Popen(command) as process:
        sleep(3)
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
        process.send_signal(signal.SIGINT)
    shutil.rmtree(data)


def test_jobs_may_be_in_postgresql(nano: Path, tmp_path: Path, postgres: str) -> None:
    with serving(nano, tmp_path / "data", "--database", postgres, "--workers", "2") as server:
        names = [server.post(seed=seed)["id"] for seed in range(8)]
        assert {server.wait(name)["status"] for name in names} == {"completed"}
