"""Pictures of the page that `overcrank serve` shows, from a real browser.

    python examples/page_pictures.py docs/pictures [MODEL]

Writes page-working.webp, page-done.webp, page-live.webp and page-phone.webp. Needs Chromium; the
clips are those of the page's own placeholder and three more prompts, seeds 0 to 3.
"""

import argparse
import io
import shutil
import tempfile
from pathlib import Path
from time import sleep

import PIL.Image
from playwright.sync_api import Page, sync_playwright
from serve_times import PORT, started

PROMPTS = (
    "a red ball bounces on a blue floor",
    "a yellow cone slides to the left on a green floor",
    "a big white cube spins on a brown floor",
    "a purple ring rolls to the right on a gray floor",
)


def make(page: Page, prompt: str, seed: int) -> None:
    page.fill("#prompt", prompt)
    page.locator("#settings").evaluate("each => each.open = true")
    page.fill("#seed", str(seed))
    page.locator("#settings").evaluate("each => each.open = false")
    page.click("#make")


def kept(page: Page, path: Path) -> None:
    page.locator("h1").scroll_into_view_if_needed()
    picture = PIL.Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.save(path, quality=85, method=6)
    print(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", nargs="?", default="pocket")
    given = parser.parse_args()
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as data, sync_playwright() as play:
        process, _ = started(given.model, Path(data), [])
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        try:
            walk(browser.new_page(viewport={"width": 1100, "height": 860}), given.folder)
            phone = browser.new_page(
                viewport={"width": 390, "height": 800}, color_scheme="dark", device_scale_factor=1.5
            )
            phone.goto(f"http://127.0.0.1:{PORT}")
            phone.wait_for_selector("#gallery .card .save:not([hidden])")
            phone.locator("#gallery .play").first.click()
            sleep(1.5)
            kept(phone, given.folder / "page-phone.webp")
        finally:
            browser.close()
            process.terminate()
            process.wait(60)


def walk(page: Page, folder: Path) -> None:
    """From the first clip to a live session."""
    page.goto(f"http://127.0.0.1:{PORT}")
    page.wait_for_selector("#model:not(:empty)")
    for seed, prompt in enumerate(PROMPTS):
        make(page, prompt, seed)
        if seed == len(PROMPTS) - 1:
            page.wait_for_selector("#strip i")
            sleep(0.45)
            kept(page, folder / "page-working.webp")
        page.wait_for_selector("#stop", state="hidden")
        sleep(1.5)
    kept(page, folder / "page-done.webp")
    page.click("text=Live")
    page.fill("#prompt", PROMPTS[0])
    page.click("#make")
    sleep(5)
    page.fill("#prompt", PROMPTS[1])
    page.click("#make")
    sleep(8)
    kept(page, folder / "page-live.webp")
    page.click("#stop")
    page.wait_for_selector("#stop", state="hidden")


if __name__ == "__main__":
    main()
