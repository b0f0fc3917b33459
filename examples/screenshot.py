"""Take the pictures that README and the guides show, of what examples/digits.py has written.

    pip install playwright jax
    export KERAS_BACKEND=jax
    python examples/digits.py && python examples/screenshot.py --browser "$(command -v chromium)"

starts a TensorBoard of its own, opens its LR Plateau tab in a headless browser, and writes into examples/

    tab.png, tab-dark.png, tab-800.png                   the newest run of examples/digits.py
    tab-whatif.png, tab-whatif-800.png                   the same with the what-if panel open
    tab-runs.png, tab-runs-dark.png, tab-runs-800.png    100 runs compared, which it makes itself: a synthetic sweep

and of the page that `keras-lrplateau replay` makes of examples/whatif.csv, whatif.png. Those with 800 in their name
are this many pixels wide, the others 1280.
"""

import argparse
import itertools
import json
import math
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Browser, sync_playwright

from keras_lrplateau import Config
from keras_lrplateau.history.event_writer import EventWriter
from keras_lrplateau.history.run import Observation, Record, best_of

HERE = Path(__file__).resolve().parent
LOGS = HERE.parent / "logs"
RUN = LOGS / "digits"
CURVE = HERE / "whatif.csv"
SETTINGS = ["--patience", "5", "--factor", "0.5", "--rate", "0.1"]
"""Of the replay."""

SWEEP = 100
"""Runs."""


def main() -> None:
    """Start TensorBoard, take the pictures, stop it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--browser", help="path of Chromium or Chrome (default: the one that Playwright has installed)")
    arguments = parser.parse_args()
    if not RUN.is_dir():
        parser.error(f"there is no {RUN}; run examples/digits.py first")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        logdir = Path(folder, "logs")
        logdir.mkdir()
        (logdir / RUN.name).symlink_to(RUN)
        write_sweep(logdir / "sweep")
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", logdir.name, "--port", url.rpartition(":")[2]]
        server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            listed = wait_for_runs(url)
            browser = playwright.chromium.launch(executable_path=arguments.browser, args=["--no-sandbox"])
            take_all(browser, url, listed)
            take_page(browser, HERE / "whatif.png")
            browser.close()
        finally:
            server.terminate()
            server.wait()


def write_sweep(folder: Path) -> None:
    """Write 100 runs with the decisions that the rule takes on synthetic losses; in three of them training goes on."""
    settings = itertools.product((0.1, 0.2, 0.5), (3, 5, 10), (0.001, 0.01, 0.1), range(4))
    for number, (factor, patience, rate, seed) in enumerate(itertools.islice(settings, SWEEP)):
        rng = random.Random(number)
        config = Config(factor=factor, patience=patience, min_lr=1e-5)
        state = config.start(rate)
        known = {"monitor": "val_loss", "factor": factor, "patience": patience}
        name = f"convnet_lr{rate}_factor{factor}_patience{patience}_seed{seed}"
        writer = EventWriter(folder / name / "lr_plateau", 0)
        writer.hparams(known)
        # The better the rate, the lower the loss in the end; each cut takes off some noise.
        end = 0.2 + 0.15 * abs(math.log10(rate) + 2.3) + rng.uniform(0, 0.05)
        epochs = 40 + 20 * (number % 3 > 0)
        loss, best = 2.3, None
        for epoch in range(epochs):
            loss += 0.12 * (end - loss)
            value = loss * math.exp(rng.gauss(0, 0.02 + 0.3 * min(state.rate, 0.1)))
            used = state.rate
            state, *decisions = config.step(state, value)
            is_over = epoch == epochs - 1 and number % 33 > 0
            if is_over:
                state, *last = config.finish(state)
                decisions += last
            found = Observation(epoch, value)
            best = found if best is None else best_of([best, found], "min")
            dated = tuple(replace(each, epoch=epoch, since_epoch=each.since and each.since - 1) for each in decisions)
            dated = tuple(each for each in dated if each.is_action)
            now = 1.7e9 + 3600 * number + 60 * epoch
            if dated or epoch in (0, epochs - 1):
                steps = 100 * (epoch + 1)
                writer.record(
                    Record(
                        epoch,
                        dated,
                        state.status,
                        steps,
                        "val_loss",
                        "min",
                        "learning rate",
                        best,
                        now,
                        is_over=is_over,
                    )
                )
            writer.scalars(epoch, {"loss": 0.95 * loss, "val_loss": value, "learning_rate": used}, now)
        writer.close()


def wait_for_runs(url: str) -> list[str]:
    """Wait until TensorBoard has read all runs, for at most two minutes; returns their names."""
    for _ in range(240):
        try:
            with urllib.request.urlopen(f"{url}/data/plugin/lr_plateau/runs") as answer:
                runs = json.load(answer)["runs"]
            if len(runs) > SWEEP and all(run["counts"] is not None for run in runs):
                return [run["name"] for run in runs]
        except OSError:
            pass
        time.sleep(0.5)
    raise TimeoutError(f"no answer from {url}")


def take_all(browser: Browser, url: str, listed: Sequence[str]) -> None:
    """Take all pictures of the tab."""
    newest = max(RUN.glob("lr_plateau*"), key=lambda run: run.stat().st_mtime)
    one = {"run": f"{RUN.name}/{newest.name}"}
    panel = {**one, "whatif": json.dumps({"max_raises": "0"})}
    sweep = {
        "runs": json.dumps([name for name in listed if name.startswith("sweep/")]),
        "order": "best",
        "group": "first rate",
    }
    for name, link, width, dark in (
        ("tab", one, 1280, False),
        ("tab-dark", one, 1280, True),
        ("tab-800", one, 800, False),
        ("tab-whatif", panel, 1280, False),
        ("tab-whatif-800", panel, 800, True),
        ("tab-runs", sweep, 1280, False),
        ("tab-runs-dark", sweep, 1280, True),
        ("tab-runs-800", sweep, 800, False),
    ):
        take(browser, url, HERE / f"{name}.png", link, width, dark=dark)


def take(browser: Browser, url: str, path: Path, link: Mapping[str, str], width: int, *, dark: bool) -> None:
    """Take the picture of what a link to the tab shows."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    asked = "".join(f"&p.lr_plateau.{key}={quote(text, safe='')}" for key, text in link.items())
    page.goto(f"{url}/{'?darkMode=true' if dark else ''}#lr_plateau{asked}")
    frame = page.wait_for_selector("iframe[src*='name=lr_plateau']").content_frame()
    frame.wait_for_selector("#whatif-figure .main-svg" if "whatif" in link else "#figure .main-svg")
    frame.wait_for_selector("#main[aria-busy=false]")
    page.wait_for_timeout(1500)  # The fonts come some time after the lines.
    # Of the panel, what is above the call: it has paths of this machine in it.
    end = min(frame.locator("#whatif .call").bounding_box()["y"], 900) if "whatif" in link else 900
    page.screenshot(path=path, clip={"x": 0, "y": 0, "width": width, "height": end})
    page.close()


def take_page(browser: Browser, path: Path) -> None:
    """Take the picture of the figure that `keras-lrplateau replay` makes of examples/whatif.csv."""
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


if __name__ == "__main__":
    main()
