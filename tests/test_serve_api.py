"""The API over HTTP: a real server with a tiny model."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import PIL.Image
import pytest

from nano_model import save_nano
from overcrank.media import read_frames, read_metadata
from serving import Server, serving

pytestmark = pytest.mark.xdist_group("serve_api")  # one server for all of them

LONG = 8 * 400 + 1
"""Frames of a clip that takes some seconds."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    nano = save_nano(folder / "nano")
    with serving(nano, folder / "data", "--queue", "3") as started:
        yield started


@pytest.fixture(scope="module")
def done(server: Server) -> dict[str, Any]:
    return server.wait(server.post(seed=5, num_frames=17)["id"])


def save(content: bytes, folder: Path) -> Path:
    path = folder / "clip.mp4"
    path.write_bytes(content)
    return path


def test_a_job_tells_what_will_be_made(server: Server) -> None:
    told = server.post(seconds=2, size="96x64", seed=9, fps=12)
    assert told["object"] == "video"
    assert told["id"].startswith("video_")
    assert told["model"] == "nano"
    assert told["status"] in ("queued", "in_progress")
    assert (told["width"], told["height"], told["num_frames"]) == (96, 64, 25)
    assert (told["size"], told["fps"], told["seed"]) == ("96x64", 12, 9)
    assert told["error"] is None
    assert server.wait(told["id"])["status"] == "completed"


def test_a_clip_that_is_done_is_a_file_with_its_recipe(
    server: Server, done: dict[str, Any], tmp_path: Path
) -> None:
    assert (done["status"], done["progress"]) == ("completed", 100)
    assert done["expires_at"] == done["completed_at"] + 30 * 24 * 3600
    assert done["completed_at"] >= done["started_at"] >= done["created_at"]
    content = server.http.get(f"/v1/videos/{done['id']}/content")
    assert content.headers["content-type"] == "video/mp4"
    file = save(content.content, tmp_path)
    frames, rate = read_frames(file)
    assert frames.shape == (17, 32, 64, 3)
    assert rate == 8
    assert json.loads(read_metadata(file)["comment"]) == done["report"]["recipe"]


def test_a_part_of_a_clip_can_be_asked_for(server: Server, done: dict[str, Any]) -> None:
    path = f"/v1/videos/{done['id']}/content"
    part = server.http.get(path, headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")


@pytest.mark.parametrize(
    ("variant", "size"), [("thumbnail", (64, 32)), ("spritesheet", (1024, 32))]
)
def test_a_clip_has_pictures(
    server: Server, done: dict[str, Any], variant: str, size: tuple[int, int]
) -> None:
    answer = server.http.get(f"/v1/videos/{done['id']}/content", params={"variant": variant})
    assert answer.headers["content-type"] == "image/webp"
    assert PIL.Image.open(io.BytesIO(answer.content)).size == size


def test_bytes_come_while_the_clip_is_made(server: Server, tmp_path: Path) -> None:
    name = server.post(num_frames=LONG, seed=1)["id"]
    statuses, content = [], b""
    with server.http.stream("GET", f"/v1/videos/{name}/content") as answer:
        for part in answer.iter_raw():
            content += part
            statuses.append(server.get(name)["status"])
    assert statuses[0] == "in_progress"
    assert server.wait(name)["status"] == "completed"
    assert content == server.http.get(f"/v1/videos/{name}/content").content
    assert len(read_frames(save(content, tmp_path))[0]) == LONG


def test_events_tell_progress_that_never_falls(server: Server) -> None:
    name = server.post(num_frames=LONG)["id"]
    with server.http.stream("GET", f"/v1/videos/{name}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    jobs = [json.loads(line.removeprefix("data: ")) for line in lines]
    progress = [job["progress"] for job in jobs]
    assert progress == sorted(progress)
    assert progress[-1] == 100
    assert len(set(progress)) > 5
    assert {job["stage"] for job in jobs} >= {"decoding", "completed"}
    left = [job["eta"] for job in jobs if job["eta"] is not None]
    assert left[-1] < left[0]


def test_a_running_job_can_be_cancelled_and_leaves_nothing(server: Server) -> None:
    name = server.post(num_frames=LONG, seed=2)["id"]
    while server.get(name)["status"] == "queued":
        pass
    assert server.http.post(f"/v1/videos/{name}/cancel").status_code == 200
    assert server.wait(name)["status"] == "cancelled"
    assert not (server.folder / "clips" / name).exists()
    again = server.http.post(f"/v1/videos/{name}/cancel")
    assert again.json()["status"] == "cancelled"
    assert server.http.get(f"/v1/videos/{name}/content").status_code == 404


def test_a_viewer_of_a_clip_that_is_cancelled_is_cut_off(server: Server) -> None:
    name = server.post(num_frames=LONG, seed=3)["id"]

    def watch() -> None:
        with server.http.stream("GET", f"/v1/videos/{name}/content") as answer:
            for _ in answer.iter_raw():
                server.http.post(f"/v1/videos/{name}/cancel")

    with pytest.raises(httpx.RemoteProtocolError):
        watch()
    log = server.folder.with_suffix(".log")
    until, told = monotonic() + 10, f"a viewer is cut off: {name} is cancelled"
    while told not in log.read_text():
        assert monotonic() < until
        sleep(0.05)
    assert "Traceback" not in log.read_text()


def test_a_deleted_job_is_gone_with_its_files(server: Server) -> None:
    name = server.wait(server.post()["id"])["id"]
    assert (server.folder / "clips" / name / "clip.mp4").exists()
    answer = server.http.delete(f"/v1/videos/{name}")
    assert answer.json() == {"id": name, "object": "video.deleted", "deleted": True}
    assert server.http.get(f"/v1/videos/{name}").status_code == 404
    assert not (server.folder / "clips" / name).exists()


def test_the_same_key_stands_for_one_job(server: Server) -> None:
    def ask(**fields: Any) -> httpx.Response:
        body = {"prompt": "a red ball", **fields}
        return server.http.post("/v1/videos", json=body, headers={"Idempotency-Key": "one"})

    first, second = ask().json(), ask().json()
    assert first["id"] == second["id"]
    assert ask(seed=first["seed"] + 1).status_code == 409
    other = ask(num_frames=17)
    assert other.status_code == 409
    assert "one request" in other.json()["error"]["message"]


def test_a_full_queue_says_when_to_come_back(server: Server) -> None:
    held = [server.post(num_frames=LONG)["id"]]
    while server.get(held[0])["status"] == "queued":
        pass
    held += [server.post()["id"] for _ in range(3)]
    places = [server.get(name)["queue_position"] for name in held]
    assert places == [None, 0, 1, 2]
    refused = server.http.post("/v1/videos", json={"prompt": "one more"})
    assert refused.status_code == 429
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert int(refused.headers["retry-after"]) >= 1
    for name in held:
        server.http.post(f"/v1/videos/{name}/cancel")
        server.wait(name)


def test_a_clip_begins_with_a_picture(server: Server, tmp_path: Path) -> None:
    red = io.BytesIO()
    PIL.Image.new("RGB", (64, 32), "red").save(red, "PNG")
    form = {"prompt": "a red wall", "num_frames": "9", "seed": "4"}
    files = {"input_reference": ("red.png", red.getvalue(), "image/png")}
    answer = server.http.post("/v1/videos", data=form, files=files)
    assert answer.status_code == 200, answer.text
    told = server.wait(answer.json()["id"])
    assert told["status"] == "completed", told
    assert told["report"]["recipe"]["conditions"][0]["kind"] == "image"


def test_a_clip_shows_pictures_at_its_frames(server: Server) -> None:
    first = {"image": "data:image/png;base64," + coded("red"), "strength": 0.9}
    told = server.wait(server.post(num_frames=17, conditions=[first])["id"])
    assert told["status"] == "completed", told
    assert [(each["at"], each["strength"]) for each in told["conditions"]] == [(0, 0.9)]
    assert told["report"]["recipe"]["conditions"][0]["strength"] == 0.9
    form = {"prompt": "a", "num_frames": "9", "conditions": json.dumps([first])}
    assert server.http.post("/v1/videos", data=form).status_code == 200
    later = {"image": coded("blue"), "at": 16}
    told = server.wait(server.post(num_frames=17, conditions=[first, later])["id"])
    assert "conditions at frame 0 only" in told["error"]["message"]  # the model cannot do it


def test_a_key_stands_for_its_pictures_too(server: Server) -> None:
    def ask(colour: str) -> httpx.Response:
        body = {"prompt": "a", "num_frames": 9, "conditions": [{"image": coded(colour)}]}
        headers = {"Idempotency-Key": "pictures"}
        return server.http.post("/v1/videos", json=body, headers=headers)

    assert ask("red").json()["id"] == ask("red").json()["id"]
    assert ask("blue").status_code == 409


def coded(colour: str) -> str:
    """A picture in base64."""
    png = io.BytesIO()
    PIL.Image.new("RGB", (64, 32), colour).save(png, "PNG")
    return base64.b64encode(png.getvalue()).decode()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "prompt"),
    ({"prompt": " "}, "must say something"),
    ({"prompt": 4001 * "a"}, "at most 4000 characters"),
    ({"prompt": "a", "negative_prompt": 4001 * "a"}, "at most 4000 characters"),
    ({"prompt": "a", "width": 50}, "try 32 or 64"),
    ({"prompt": "a", "width": 0}, "width"),
    ({"prompt": "a", "num_frames": 0}, "num_frames"),
    ({"prompt": "a", "fps": 0}, "fps is a number from 0.1 to 1000, got 0"),
    ({"prompt": "a", "fps": 1e300, "seconds": 1e8}, "fps"),
    ({"prompt": "a", "seconds": 1e300}, "seconds"),
    ({"prompt": "a", "num_frames": 10}, "try 9 or 17"),
    ({"prompt": "a", "size": "big"}, "try 256x256"),
    ({"prompt": "a", "size": "64x32", "width": 64}, "give one"),
    ({"prompt": "a", "seconds": 2, "num_frames": 9}, "give one"),
    ({"prompt": "a", "seed": -1}, "seed"),
    ({"prompt": "a", "guidance": -1}, "guidance"),
    ({"prompt": "a", "remix": True}, "remix"),
    ({"prompt": "a", "priority": 1000}, "priority"),
    ({"prompt": "a", "conditions": [{"image": "?"}]}, "base64"),
    ({"prompt": "a", "conditions": [{"image": "AAAA"}]}, "damaged"),
    ({"prompt": "a", "conditions": [{"image": ""}]}, "damaged"),
    ({"prompt": "a", "conditions": [{"at": 0}]}, "conditions.0.image"),
    ({"prompt": "a", "conditions": "none"}, "conditions"),
    (
        {"prompt": "a", "num_frames": 9, "conditions": [{"image": coded("red"), "at": 9}]},
        "try at=8",
    ),
    ({"prompt": "a", "conditions": 2 * [{"image": coded("red")}]}, "a frame of its own"),
    ({"prompt": "a", "width": 16384, "height": 16384, "num_frames": 9993}, "make it smaller"),
]


@pytest.mark.parametrize(("body", "said"), WRONG)
def test_wrong_requests_are_refused_in_words(
    server: Server, body: dict[str, Any], said: str
) -> None:
    answer = server.http.post("/v1/videos", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error.keys() == {"type", "code", "message", "param"}
    assert said in error["message"]


def test_what_is_not_there_is_not_found(server: Server) -> None:
    inside = [f"/v1/videos/none{what}" for what in ("", "/content", "/events")]
    for path in (*inside, "/v1/videos?after=none", "/nope"):
        answer = server.http.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["error"]["code"] == "not_found"
    other = server.http.post("/v1/videos", json={"prompt": "a", "model": "sora-2"})
    assert other.status_code == 404
    assert "ask for nano" in other.json()["error"]["message"]


def test_bodies_that_are_no_json_are_refused(server: Server) -> None:
    for body in (b"", b"{", b"[1]", b"\xff\xfe", b'"a"', b"null", 100_000 * b"["):
        assert server.http.post("/v1/videos", content=body).status_code == 400
    form = {"prompt": "a", "conditions": 100_000 * "["}
    assert server.http.post("/v1/videos", data=form).status_code == 400


def test_jobs_are_listed_in_pages(server: Server) -> None:
    for seed in range(4):
        server.wait(server.post(seed=seed, num_frames=9)["id"])
    first = server.http.get("/v1/videos", params={"limit": 2, "after": ""}).json()
    assert (len(first["data"]), first["has_more"]) == (2, True)
    after = {"limit": 2, "after": first["last_id"]}
    second = server.http.get("/v1/videos", params=after).json()
    names = [job["id"] for page in (first, second) for job in page["data"]]
    assert len(set(names)) == 4


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_the_client_of_openai_makes_and_fetches_a_clip(server: Server, tmp_path: Path) -> None:
    from openai import OpenAI

    with OpenAI(base_url=str(server.http.base_url.join("/v1")), api_key="none") as client:
        job = client.videos.create(prompt="a red ball", model="nano", extra_body={"num_frames": 9})
        job = client.videos.poll(job.id, poll_interval_ms=50)
        assert job.status == "completed"
        content = client.videos.download_content(job.id).read()
        assert len(read_frames(save(content, tmp_path))[0]) == 9
        assert job.id in {each.id for each in client.videos.list()}
        assert client.videos.delete(job.id).deleted
