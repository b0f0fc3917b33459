"""Take the pictures that README and the guides show, of what examples/digits.py and examples/whatif.py have written.

    pip install playwright jax
    export KERAS_BACKEND=jax
    python examples/digits.py && python examples/whatif.py && python examples/screenshot.py --browser /usr/bin/chromium

starts a TensorBoard of its own, opens its LR Plateau tab in a headless browser, and writes examples/tab.png,
examples/tab-dark.png and examples/tab-whatif.png, with the what-if panel open; and of the page that `keras-lrplateau
replay` makes, examples/whatif.png.
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).resolve().parent
LOGS = HERE.parent / "logs"
RUN = LOGS / "digits"
CURVE = LOGS / "whatif" / "training.csv"
SETTINGS = ["--patience", "5", "--factor", "0.5", "--rate", "0.1"]
"""Of the replay."""


def main() -> None:
    """Start TensorBoard, take the pictures, stop it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--browser", help="path of Chromium or Chrome (default: the one that Playwright has installed)")
    arguments = parser.parse_args()
    if not RUN.is_dir() or not CURVE.is_file():
        parser.error(f"there is no {RUN} or no {CURVE}; run examples/digits.py and examples/whatif.py first")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    # From there, since TensorBoard shows the path as it was given.
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", LOGS.name, "--port", url.rpartition(":")[2]]
    server = subprocess.Popen(command, cwd=LOGS.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"{url}/data/plugins_listing")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=arguments.browser, args=["--no-sandbox"])
            take(browser, url, HERE / "tab.png", dark=False)
            take(browser, url, HERE / "tab-dark.png", dark=True)
            take(browser, url, HERE / "tab-whatif.png", dark=False, panel={"max_raises": "0"})
            take_page(browser, HERE / "whatif.png")
            browser.close()
    finally:
        server.terminate()
        server.wait()


def take(browser: Browser, url: str, path: Path, *, dark: bool, panel: dict[str, str] | None = None) -> None:
    """Take the picture of the newest run of examples/digits.py; or of the what-if panel, with such settings."""
    runs = sorted(RUN.glob("lr_plateau*"), key=lambda run: run.stat().st_mtime)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    query = "?darkMode=true" if dark else ""
    asked = "" if panel is None else f"&p.lr_plateau.whatif={quote(json.dumps(panel))}"
    page.goto(f"{url}/{query}#lr_plateau&p.lr_plateau.run=digits/{runs[-1].name}{asked}")
    frame = page.wait_for_selector("iframe[src*='name=lr_plateau']").content_frame()
    frame.wait_for_selector("#figure .main-svg" if panel is None else "#whatif-figure .main-svg")
    page.wait_for_timeout(1500)  # The fonts come some time after the lines.
    # Of the panel, what is above the call: it has paths of this machine in it.
    end = 900 if panel is None else frame.locator("#whatif .call").bounding_box()["y"]
    seen = {"x": 0, "y": 0, "width": 1280, "height": end}
    page.screenshot(path=path, clip=seen)
    page.close()


def take_page(browser: Browser, path: Path) -> None:
    """Take the picture of the figure that `keras-lrplateau replay` makes of what examples/whatif.py has recorded."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "whatif.html")
        command = [
            sys.executable,
            "-m",
            "keras_lrplateau",
            "replay",
            str(CURVE),
            *SETTINGS,
            "-o",
            str(output),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        page = browser.new_page(viewport={"width": 1000, "height": 1200})
        page.goto(output.as_uri())
        page.wait_for_selector(".figure .main-svg")
        page.wait_for_timeout(500)
        page.locator(".figure").screenshot(path=path)
        page.close()


def wait_for(url: str) -> None:
    """Wait until TensorBoard answers, for at most a minute."""
    for _ in range(120):
        try:
            urllib.request.urlopen(url)
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"no answer from {url}")


if __name__ == "__main__":
    main()
