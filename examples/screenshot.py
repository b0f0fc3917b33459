"""Take the picture of TensorBoard that README shows, of a run that examples/stalled.py has written.

    pip install playwright && python examples/screenshot.py --browser /usr/bin/chromium

starts a TensorBoard of its own, opens its Custom Scalars tab in a headless browser and writes examples/tensorboard.png.
"""

import argparse
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
RUN = HERE.parent / "logs" / "stalled" / "adapt_0"


def main() -> None:
    """Start TensorBoard, take the picture, stop it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--browser", help="path of Chromium or Chrome (default: the one that Playwright has installed)")
    arguments = parser.parse_args()
    if not RUN.is_dir():
        parser.error(f"there is no {RUN}; run examples/stalled.py first")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # From there, since TensorBoard shows the path as it was given.
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", RUN.name, "--port", str(port)]
    server = subprocess.Popen(command, cwd=RUN.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/data/plugins_listing")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=arguments.browser, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1420, "height": 480})
            page.goto(f"http://127.0.0.1:{port}/#custom_scalars")
            page.get_by_text("learning rate", exact=True).first.wait_for()
            for button in page.locator("[title='Toggle y-axis log scale']").all()[:2]:
                button.click()  # The learning rate and the loss; an accuracy needs no logarithm.
            page.wait_for_timeout(3000)  # The lines are drawn some time after their titles.
            page.screenshot(path=HERE / "tensorboard.png")
            browser.close()
    finally:
        server.terminate()
        server.wait()


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
