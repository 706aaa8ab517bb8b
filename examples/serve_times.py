"""When the first and the last bytes of a clip arrive, and how many clips a minute a server makes.

    python examples/serve_times.py [MODEL] [--rounds 5] [--clients 1,2,4,8]
        [--together 4] [--workers 2]

Starts a server of its own. The first bytes that hold a frame are compared with the seconds that
the clip's own report says for text, denoising and the first frames; the last ones with its end.
Then so many clients at once ask for clips, each the next when it has one.
"""

import argparse
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

import httpx

PORT = 8765
PROMPT = "a red ball bounces on a blue floor"


def started(
    model: str, folder: Path, more: list[str]
) -> tuple[subprocess.Popen[bytes], httpx.Client]:
    """A server that is ready."""
    program = "from overcrank.cli import main; main()"
    places = ["--model", model, "--folder", str(folder), "--port", str(PORT)]
    places += ["--queue", "100", *more]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", program, "serve", *places], stderr=log)
    http = httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=600)
    while True:
        try:
            if http.get("/readyz").status_code == 200:
                return process, http
        except httpx.TransportError:
            sleep(0.1)


def one(http: httpx.Client, seed: int) -> tuple[float, float, dict[str, Any]]:
    """Seconds until the first and the last bytes, and the report."""
    begun = perf_counter()
    name = http.post("/v1/videos", json={"prompt": PROMPT, "seed": seed}).json()["id"]
    first = last = 0.0
    with http.stream("GET", f"/v1/videos/{name}/content") as answer:
        for _ in answer.iter_raw():
            last = perf_counter() - begun
            first = first or last
    while (job := http.get(f"/v1/videos/{name}").json())["report"] is None:
        sleep(0.01)
    return first, last, job["report"]


def many(http: httpx.Client, clients: int) -> float:
    """Clips a minute."""
    begun, each = perf_counter(), 3

    def ask(number: int) -> None:
        for place in range(each):
            one(http, 1000 + number * each + place)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, range(clients)))
    return 60 * clients * each / (perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="pocket")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", default="1,2,4,8")
    parser.add_argument("--together", default="1")
    parser.add_argument("--workers", default="1")
    given = parser.parse_args()
    more = ["--together", given.together, "--workers", given.workers]
    with tempfile.TemporaryDirectory() as folder:
        process, http = started(given.model, Path(folder), more)
        try:
            one(http, 0)
            rows = [one(http, seed) for seed in range(1, given.rounds + 1)]
            print("seconds to: first bytes | first frames, as told | last bytes | the end, as told")
            for first, last, report in rows:
                print(f"{first:.3f} | {report['first_frame']:.3f} | {last:.3f} | ", end="")
                print(f"{report['seconds']['total']:.3f}")
            print(f"medians: first {median(r[0] for r in rows):.3f}, ", end="")
            print(f"last {median(r[1] for r in rows):.3f}")
            for clients in map(int, given.clients.split(",")):
                print(f"{clients} clients: {many(http, clients):.1f} clips a minute")
        finally:
            process.terminate()
            process.wait(60)


if __name__ == "__main__":
    main()
