"""The page in a real browser, headless."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

import PIL.Image
import pytest

from nano_model import save_nano
from serving import PATIENCE, Server, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: install Debian's"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("page")
    with serving(save_nano(folder / "nano"), folder / "data") as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: "Browser", server: Server) -> Iterator["Page"]:
    opened = browser.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.goto(str(server.http.base_url))
    opened.wait_for_selector("#model:not(:empty)")
    yield opened
    opened.close()
    ours = (str(server.http.base_url), "blob:", "data:", "ws://127.0.0.1")
    assert [url for url in asked if not url.startswith(ours)] == []
    assert wrong == []


def make(page: "Page", prompt: str, cells: int | None = None, seed: int = 1) -> None:
    page.fill("#prompt", prompt)
    if not page.locator("#settings").get_attribute("open"):
        page.locator("#settings").evaluate("each => each.open = true")
    if cells is not None:
        page.locator("#length").evaluate(
            "(each, value) => { each.max = 9999; each.value = value; }", cells
        )
    page.fill("#seed", str(seed))
    page.click("#make")


def until(true: Callable[[], bool]) -> None:
    """Wait for it; the page's own rules forbid a browser to evaluate what we would send."""
    end = monotonic() + PATIENCE
    while not true():
        assert monotonic() < end
        sleep(0.05)


def time_of(page: "Page") -> float:
    now: float = page.locator("#video").evaluate("video => video.currentTime")
    return now


def test_a_clip_from_text_joins_the_gallery_and_outlasts_a_reload(page: "Page") -> None:
    make(page, "a red ball", cells=2, seed=11)
    until(lambda: "of video in" in page.inner_text("#status"))
    assert page.locator("#strip i").count() == 3
    first = page.locator("#gallery .card").first
    assert "seed 11" in first.inner_text()
    page.reload()
    page.wait_for_selector("#gallery .card .save:not([hidden])")
    again = page.locator("#gallery .card").first
    assert "a red ball" in again.inner_text()
    again.locator(".again").click()
    until(lambda: page.locator("#gallery .card").count() > 1)
    assert page.input_value("#seed") == "11"


def test_a_clip_plays_before_it_is_complete(page: "Page", server: Server) -> None:
    make(page, "a long clip", cells=1500, seed=12)
    until(lambda: time_of(page) > 0.2)
    newest = server.http.get("/v1/videos", params={"limit": 1}).json()["data"][0]
    assert newest["prompt"] == "a long clip"
    assert newest["status"] == "in_progress"
    page.click("#stop")
    until(lambda: page.inner_text("#status") == "stopped")
    until(lambda: server.http.get(f"/v1/videos/{newest['id']}").status_code == 404)


def test_a_clip_begins_with_a_picture_that_is_chosen(
    page: "Page", server: Server, tmp_path: Path
) -> None:
    picture = tmp_path / "red.png"
    PIL.Image.new("RGB", (64, 32), "red").save(picture)
    page.set_input_files("#picture", str(picture))
    assert "red.png" in page.inner_text("#drop")
    make(page, "a red wall", cells=1, seed=13)
    until(lambda: "of video in" in page.inner_text("#status"))
    newest = server.http.get("/v1/videos", params={"limit": 1}).json()["data"][0]
    assert newest["report"]["recipe"]["conditions"][0]["kind"] == "image"


def test_live_goes_on_and_heeds_a_new_prompt(page: "Page") -> None:
    page.click("text=Live")
    page.fill("#prompt", "a red ball")
    page.click("#make")
    until(lambda: time_of(page) > 1)
    page.fill("#prompt", "a green cube")
    page.click("#make")
    until(lambda: page.inner_text("#status").endswith("now: a green cube"))
    before = time_of(page)
    page.wait_for_timeout(1500)
    assert time_of(page) > before + 0.5
    page.click("#stop")
    page.wait_for_selector("#stop", state="hidden")


def share_of_blue(page: "Page") -> float:
    """How much of what the video shows now is clearly blue, not red: 0 to 1."""
    share: float = page.locator("#video").evaluate(
        """video => {
            const canvas = document.createElement("canvas");
            canvas.width = canvas.height = 64;
            const brush = canvas.getContext("2d");
            brush.drawImage(video, 0, 0, 64, 64);
            const seen = brush.getImageData(0, 0, 64, 64).data;
            let blue = 0;
            for (let at = 0; at < seen.length; at += 4) {
                blue += seen[at + 2] > seen[at] + 60 && seen[at + 2] > seen[at + 1] + 60;
            }
            return blue / 4096;
        }"""
    )
    return share


def test_a_new_prompt_is_seen_in_the_live_picture(browser: "Browser", tmp_path: Path) -> None:
    with serving(Path("pocket"), tmp_path / "data") as started:
        page = browser.new_page()
        page.goto(str(started.http.base_url))
        page.wait_for_selector("#model:not(:empty)")
        page.click("text=Live")
        page.fill("#prompt", "a red ball spins on grass under a pink sky")
        page.click("#make")
        until(lambda: time_of(page) > 1)
        assert share_of_blue(page) < 0.02
        page.fill("#prompt", "a blue cube spins on grass under a pink sky")
        page.click("#make")
        until(lambda: share_of_blue(page) > 0.05)
        page.click("#stop")
        page.close()


def test_steps_that_nobody_chose_follow_the_guidance(browser: "Browser", tmp_path: Path) -> None:
    with serving(Path("pocket"), tmp_path / "data") as started:
        page = browser.new_page()
        page.goto(str(started.http.base_url))
        page.wait_for_selector("#model:not(:empty)", state="attached")
        page.locator("#settings").evaluate("each => each.open = true")
        told = []
        for slider, value in (
            ("guidance", 3),  # made by the transformer, in its own number of steps
            ("guidance", 1),  # by the student again
            ("steps", 6),
            ("guidance", 3),  # six were chosen
        ):
            page.fill(f"#{slider}", str(value))
            told.append(page.inner_text("#steps-text"))
        page.close()
    assert told == ["8", "4", "6", "6"]


def test_a_wrong_wish_is_told_in_words(page: "Page") -> None:
    page.locator("#size").evaluate("each => each.append(new Option('33x33', '33x33'))")
    page.locator("#settings").evaluate("each => each.open = true")
    page.select_option("#size", "33x33")
    page.fill("#prompt", "a red ball")
    page.press("#prompt", "Enter")
    page.wait_for_selector("#status.wrong")
    assert "multiple of 32" in page.inner_text("#status")


def test_the_api_can_be_read(page: "Page", server: Server) -> None:
    page.click("text=The API of this server")
    until(lambda: page.locator("#api section").count() >= 8)
    words = page.inner_text("#api")
    assert "POST /v1/videos" in words
    assert "input_reference" in words


def test_the_page_fits_a_phone_and_can_be_used_by_keyboard(
    browser: "Browser", server: Server
) -> None:
    phone = browser.new_page(viewport={"width": 360, "height": 740})
    phone.goto(str(server.http.base_url))
    phone.wait_for_selector("#model:not(:empty)", state="attached")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    reached = set()
    for _ in range(12):
        phone.keyboard.press("Tab")
        reached.add(phone.evaluate("document.activeElement.id || document.activeElement.name"))
    assert {"prompt", "drop", "make", "mode"} <= reached
    phone.close()
