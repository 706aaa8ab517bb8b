"""Live sessions over a socket, as a page holds them."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import PIL.Image
import pytest
import torch
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from nano_model import save_nano
from overcrank.media import read_frames
from overcrank.serve.window import DISSOLVE, dissolved
from serving import PATIENCE, Server, serving

pytestmark = pytest.mark.xdist_group("serve_live")  # one server for all of them


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("live")
    with serving(save_nano(folder / "nano"), folder / "data") as started:
        yield started


class Watched:
    """A session and what came of it."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.told: list[dict[str, Any]] = []
        self.bytes: list[bytes] = []

    def say(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def hear(self, kind: str, count: int = 1) -> dict[str, Any]:
        """Until so many more messages of a kind have come: the last of them."""
        until = monotonic() + PATIENCE
        while monotonic() < until:
            heard = self.socket.recv(timeout=PATIENCE)
            if isinstance(heard, bytes):
                self.bytes.append(heard)
                continue
            self.told.append(json.loads(heard))
            count -= self.told[-1]["type"] == kind
            if count == 0:
                return self.told[-1]
        raise AssertionError(self.told)

    def drain(self, seconds: float) -> None:
        """What comes in this time."""
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0:
            try:
                heard = self.socket.recv(timeout=left)
            except TimeoutError:
                return
            if isinstance(heard, bytes):
                self.bytes.append(heard)
            else:
                self.told.append(json.loads(heard))


@pytest.fixture
def watched(server: Server) -> Iterator[Watched]:
    url = f"ws://{server.http.base_url.host}:{server.http.base_url.port}/v1/live"
    with connect(url) as socket:
        yield Watched(socket)
    while server.http.get("/metrics").status_code != 200:
        sleep(0.05)


def start(watched: Watched, **more: Any) -> None:
    watched.say(type="start", prompt="a red ball", window=17, seed=1, **more)


def test_windows_join_to_one_clip(watched: Watched, tmp_path: Path) -> None:
    start(watched)
    watched.say(type="credits", seconds=1000)
    session = watched.hear("session")
    assert session["mime"].startswith('video/mp4; codecs="avc1.')
    assert session["fps"] == 8
    watched.hear("window", 4)
    watched.say(type="stop")
    watched.hear("ended")
    file = tmp_path / "live.mp4"
    file.write_bytes(b"".join(watched.bytes))
    frames, rate = read_frames(file)
    assert rate == 8
    assert len(frames) >= 17 + 2 * 8
    assert frames.shape[1:] == (32, 64, 3)


def test_nothing_is_made_ahead_of_what_the_player_has_room_for(watched: Watched) -> None:
    start(watched)
    watched.drain(1.5)
    assert watched.bytes == []
    watched.say(type="credits", seconds=0.1)
    first = watched.hear("window", 1)
    watched.drain(1.5)
    made = [each["seconds"] for each in watched.told if each["type"] == "window"]
    assert max(made) == pytest.approx(17 / 8)
    watched.say(type="credits", seconds=17 / 8 + 0.1)
    assert watched.hear("window")["number"] > first["number"]


def test_a_new_prompt_counts_from_the_next_window_on(watched: Watched) -> None:
    start(watched)
    watched.say(type="credits", seconds=1)
    watched.hear("session")
    watched.say(type="prompt", prompt="a green cube")
    watched.say(type="seed", seed=77)
    sleep(1.5)  # both wishes are written before there is room for the next window
    watched.say(type="credits", seconds=4)
    news = watched.hear("window", 2)
    assert news["prompt"] == "a green cube"
    assert news["seed"] in (78, 79)


def test_the_old_picture_gives_way_to_the_new_one() -> None:
    old, new = torch.full((2, 3, 3), 200, dtype=torch.uint8), torch.zeros(20, 2, 3, 3).byte()
    shown = dissolved(old, new)
    means = shown.float().mean(dim=(1, 2, 3))
    assert shown.dtype == torch.uint8
    assert shown.shape == new.shape
    assert 150 < means[0] < 200
    assert (means[1 : DISSOLVE + 1] < means[:DISSOLVE]).all()
    assert (means[DISSOLVE:] == 0).all()
    assert len(dissolved(old, new[:3])) == 3


def test_a_pause_holds_and_a_picture_begins_anew(watched: Watched) -> None:
    start(watched)
    watched.say(type="pause")
    watched.say(type="credits", seconds=1000)
    watched.drain(1.0)
    assert watched.bytes == []
    red = io.BytesIO()
    PIL.Image.new("RGB", (40, 40), "red").save(red, "JPEG")
    watched.say(type="picture", data=base64.b64encode(red.getvalue()).decode())
    watched.say(type="resume")
    watched.hear("session")
    watched.hear("window", 2)


def test_a_session_ends_with_its_viewer(server: Server, watched: Watched) -> None:
    start(watched)
    watched.say(type="credits", seconds=1000)
    watched.hear("session")
    watched.socket.close()
    told = server.post()  # the only worker is free again
    assert server.wait(told["id"])["status"] == "completed"


def test_another_viewer_sees_the_same_session(server: Server, watched: Watched) -> None:
    start(watched)
    watched.say(type="credits", seconds=6)
    name = watched.hear("session")["id"]
    url = f"ws://{server.http.base_url.host}:{server.http.base_url.port}/v1/live"
    with connect(url) as socket:
        other = Watched(socket)
        other.say(type="join", id=name)
        assert other.hear("session")["id"] == name
        other.say(type="credits", seconds=1000)  # only who began it decides
        watched.say(type="credits", seconds=12)
        other.hear("window", 2)
        assert len(other.bytes) >= 2
        other.say(type="stop")
        assert other.hear("error")["code"] == "not_yours"
    assert watched.hear("window")["type"] == "window"  # which goes on without the other


def test_no_more_sessions_than_workers(server: Server, watched: Watched) -> None:
    start(watched)
    watched.say(type="credits", seconds=1)
    watched.hear("session")
    url = f"ws://{server.http.base_url.host}:{server.http.base_url.port}/v1/live"
    with connect(url) as socket:
        other = Watched(socket)
        start(other)
        assert other.hear("error")["code"] == "busy"


@pytest.mark.parametrize(
    "said",
    [
        "",
        "{",
        "[]",
        '{"type": "dance"}',
        '{"type": "start"}',
        '{"type": "start", "prompt": ""}',
        '{"type": "start", "prompt": "a", "window": 18}',
        '{"type": "start", "prompt": "a", "size": "33x33"}',
        '{"type": "join", "id": "../../etc"}',
        '{"type": "join", "id": "live_0"}',
    ],
)
def test_what_cannot_be_understood_is_refused_in_words(watched: Watched, said: str) -> None:
    watched.socket.send(said)
    assert watched.hear("error")["message"]
    with pytest.raises(ConnectionClosed):
        watched.socket.recv(timeout=5)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "picture", "data": "%%%"},
        {"type": "picture", "data": base64.b64encode(b"no picture").decode()},
        {"type": "credits", "seconds": -1},
        {"type": "prompt", "prompt": " "},
        {"type": "start", "prompt": "again"},
    ],
)
def test_a_wrong_wish_ends_the_session_in_words(watched: Watched, message: dict[str, Any]) -> None:
    start(watched)
    watched.say(**message)
    assert watched.hear("error")["message"]


def test_bytes_are_no_message(watched: Watched) -> None:
    watched.socket.send(b"\x00\x01")
    assert "JSON as text, got 2 bytes" in watched.hear("error")["message"]


def test_another_page_may_not_listen(server: Server) -> None:
    url = f"ws://{server.http.base_url.host}:{server.http.base_url.port}/v1/live"
    with pytest.raises(InvalidStatus), connect(url, origin="http://evil.example"):  # type: ignore[arg-type]
        pass
