"""With keys, everybody sees their own jobs and no others."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from nano_model import save_nano
from overcrank.serve.app import create_app
from overcrank.serve.desk import Desk
from overcrank.serve.keys import add_key
from overcrank.serve.settings import Settings
from overcrank.serve.store import Store

pytestmark = pytest.mark.xdist_group("serve_owners")

SHARE = 3

Keys = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("owners")


@pytest.fixture(scope="module")
def keys(folder: Path) -> Keys:
    names = ("anna", "bert", "carla")
    return {name: {"authorization": f"Bearer {add_key(folder / 'k.json', name)}"} for name in names}


@pytest.fixture(scope="module")
def client(folder: Path, keys: Keys) -> Iterator[TestClient]:
    """Without a worker: jobs wait."""
    assert keys
    model = str(save_nano(folder / "nano"))
    settings = Settings(folder=folder, model=model, keys=folder / "k.json", per_key=SHARE)
    store = Store(settings.url)
    yield TestClient(create_app(Desk(settings, store)), base_url="http://localhost")
    store.close()


def test_jobs_of_others_are_not_there(client: TestClient, keys: Keys) -> None:
    body, anna, bert = {"prompt": "a ball"}, keys["anna"], keys["bert"]
    name = client.post("/v1/videos", json=body, headers=anna).json()["id"]
    path = f"/v1/videos/{name}"
    assert client.get(path, headers=anna).status_code == 200
    for method, each in (
        ("GET", path),
        ("GET", f"{path}/content"),
        ("GET", f"{path}/events"),
        ("POST", f"{path}/cancel"),
        ("DELETE", path),
    ):
        assert client.request(method, each, headers=bert).status_code == 404, each
        assert client.request(method, each).status_code == 401, each
    assert client.get("/v1/videos", headers=bert).json()["data"] == []
    assert [job["id"] for job in client.get("/v1/videos", headers=anna).json()["data"]] == [name]
    assert client.get(path, headers=anna).json()["status"] == "queued"


def test_an_idempotency_key_is_its_owners(client: TestClient, keys: Keys) -> None:
    names = [
        client.post(
            "/v1/videos", json={"prompt": "a ball"}, headers={**each, "Idempotency-Key": "1"}
        ).json()["id"]
        for each in (keys["anna"], keys["bert"], keys["anna"])
    ]
    assert names[0] == names[2] != names[1]


def test_a_key_has_its_share_of_the_queue(client: TestClient, keys: Keys) -> None:
    body, carla = {"prompt": "a ball"}, keys["carla"]
    for _ in range(SHARE):
        assert client.post("/v1/videos", json=body, headers=carla).status_code == 200
    refused = client.post("/v1/videos", json=body, headers=carla)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "key_limit"
    assert client.post("/v1/videos", json=body, headers=keys["bert"]).status_code == 200


def test_requests_are_logged_by_name(
    client: TestClient, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "overcrank.requests"):
        given = client.get("/v1/models", headers={**keys["anna"], "X-Request-Id": "mine-7"})
        made = client.get("/v1/models", headers={"X-Request-Id": "no good\x7f"})
    assert given.headers["x-request-id"] == "mine-7"
    first, second = (record.__dict__["more"] for record in caplog.records)
    assert (first["request"], first["status"], first["owner"]) == ("mine-7", 200, "anna")
    assert (second["request"], second["status"]) == (made.headers["x-request-id"], 401)
    assert json.dumps(first)
