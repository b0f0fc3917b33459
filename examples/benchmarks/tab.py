"""How quick the LR Plateau tab is with many long trainings, and what it adds to TensorBoard's start.

    pip install -e . && python examples/benchmarks/tab.py            # 100 runs of 10,000 epochs, about five minutes
    python examples/benchmarks/tab.py --runs 10 --epochs 1000        # a quick look
    python examples/benchmarks/tab.py --browser "$(command -v chromium)"    # the page, too; pip install playwright

writes the runs into a temporary directory, with the decisions that the rule takes on noisy synthetic losses, starts a
real TensorBoard on them, once in each of its loading modes, waits until it has read them all, and times requests of the
tab: the first ones, and then refreshes, and it prints their median. With a browser it also opens the tab there, with
an empty cache, and takes the time from the frame's first request to the drawn figure. Then it times the import of the
plugin, in processes that have loaded what TensorBoard itself needs.
"""

import argparse
import json
import math
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from tables import table

from keras_lrplateau import Config
from keras_lrplateau.history.event_writer import EventWriter
from keras_lrplateau.history.run import Observation, Record, best_of

MODES = {"data server (default)": "auto", "Python loader (--load_fast=false)": "false"}
REPEATS = 5
CONFIG = Config(factor=0.5, patience=20, min_lr=1e-5, max_raises=1000)


def write_run(run_dir: Path, seed: int, epochs: int) -> int:
    """A run as the callback writes it; returns the number of decisions."""
    rng = random.Random(seed)
    state = CONFIG.start(10 ** rng.uniform(-3, -1))
    writer = EventWriter(run_dir, 0)
    best = None
    count = 0
    for epoch in range(epochs):
        loss = 2 * math.exp(-8 * epoch / epochs) + 0.05
        value = 1.1 * loss * math.exp(rng.gauss(0, 0.1))
        numbers = {"loss": loss * math.exp(rng.gauss(0, 0.02)), "val_loss": value, "learning_rate": state.rate}
        numbers |= {"accuracy": 1 - loss / 3, "val_accuracy": 1 - value / 3}
        state, decision = CONFIG.step(state, value)
        found = Observation(epoch, value)
        best = found if best is None else best_of([best, found], "min")
        now = 1.7e9 + 10 * epoch
        since = None if decision.since is None else decision.since - 1  # An observation an epoch.
        decisions = (replace(decision, epoch=epoch, since_epoch=since),) if decision.is_action else ()
        if decisions or epoch in (0, epochs - 1):
            count += len(decisions)
            status = state.status
            writer.record(
                Record(epoch, decisions, status, 100 * (epoch + 1), "val_loss", "min", "learning rate", best, now)
            )
        writer.scalars(epoch, numbers, now)
    writer.close()
    return count


def get(url: str) -> tuple[float, bytes]:
    """How long an answer takes, in seconds, and the answer."""
    began = time.perf_counter()
    with urllib.request.urlopen(url, timeout=300) as answer:
        content = answer.read()
    return time.perf_counter() - began, content


def wait_until_loaded(url: str, runs: int, epochs: int) -> float:
    """Until TensorBoard has read the last record of every run; returns how long it took, in seconds."""
    began = time.perf_counter()
    while time.perf_counter() - began < 1800:
        try:
            _, content = get(f"{url}data/plugin/scalars/tags")
            if len(json.loads(content)) == runs:
                # Not by our own tab: its first request is what is timed.
                ends = []
                for run in range(runs):
                    query = urllib.parse.urlencode({"tag": "lr_plateau/loss", "run": f"run{run:03}/lr_plateau"})
                    ends.append(json.loads(get(f"{url}data/plugin/scalars/scalars?{query}")[1])[-1][1])
                if min(ends) == epochs - 1:
                    return time.perf_counter() - began
        except (OSError, urllib.error.HTTPError):
            pass
        time.sleep(1)
    raise TimeoutError("TensorBoard did not load the runs in half an hour")


def time_requests(
    logdir: Path, mode: str, runs: int, epochs: int, browser: str | None
) -> list[tuple[str, str, str, str, str]]:
    """Rows of the table: what was asked for, the first time, the median of the refreshes, and the size."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--port", str(port)]
    command += [f"--load_fast={MODES[mode]}"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        loaded = wait_until_loaded(url, runs, epochs)
        print(f"{mode}: TensorBoard took {loaded:.0f} s to load the runs", flush=True)
        tab = f"{url}data/plugin/lr_plateau/"
        names = [f"run{run:03}/lr_plateau" for run in range(min(runs, 10))]
        wanted = {
            "list of all runs": f"{tab}runs",
            "figure of one run": f"{tab}figure?" + urllib.parse.urlencode({"run": names[0]}),
            f"figure of {len(names)} runs": f"{tab}figure?" + urllib.parse.urlencode([("run", name) for name in names]),
        }
        rows = []
        for what, address in wanted.items():
            first, content = get(address)
            shown = json.loads(content)["runs"]
            if what.startswith("figure"):
                assert all(run["rows"] for run in shown), "a figure without decisions says nothing"
            again = statistics.median(get(address)[0] for _ in range(REPEATS))
            rows.append((mode, what, f"{first:.2f} s", f"{again:.2f} s", f"{len(content) / 1e6:.1f} MB"))
        if browser:
            opened = statistics.median(time_page(url, names[0], browser) for _ in range(REPEATS))
            rows.append((mode, "tab opened in a browser", f"{opened:.2f} s", "", ""))
        return rows
    finally:
        server.terminate()
        server.wait()


def time_page(url: str, run: str, browser: str) -> float:
    """Seconds from the frame's first request to the figure, in a browser that was never there before."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page()
        page.goto(f"{url}#lr_plateau&p.lr_plateau.run={urllib.parse.quote(run, safe='')}")
        frame = page.wait_for_selector("iframe[src*='name=lr_plateau']").content_frame()
        frame.wait_for_selector("#figure .points path")
        taken = frame.evaluate("performance.now()") / 1000
        chromium.close()
    return float(taken)


def time_import() -> tuple[float, float]:
    """Seconds that the entry point and then the plugin take to load, medians, where TensorBoard is loaded already."""
    code = """
import time
from tensorboard import default, program
default.get_static_plugins()
from tensorboard.plugins.base_plugin import TBContext
began = time.perf_counter()
from keras_lrplateau.tensorboard.loader import Loader
loader = Loader()
entered = time.perf_counter()
assert loader.load(TBContext()) is not None
print(entered - began, time.perf_counter() - entered)
"""
    times = []
    for _ in range(REPEATS):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        times.append([float(number) for number in done.stdout.split()[-2:]])
    entries, plugins = zip(*times, strict=True)
    return statistics.median(entries), statistics.median(plugins)


def main() -> None:
    """Write the runs, time the requests and the import, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=10_000)
    parser.add_argument("--browser", help="path of Chromium or Chrome")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        logdir = Path(folder)
        with ProcessPoolExecutor() as pool:
            dirs = [logdir / f"run{run:03}" / "lr_plateau" for run in range(arguments.runs)]
            counts = list(pool.map(write_run, dirs, range(arguments.runs), [arguments.epochs] * arguments.runs))
        print(f"{arguments.runs} runs of {arguments.epochs} epochs, {sum(counts)} decisions in all", flush=True)
        size = arguments.runs, arguments.epochs
        rows = [row for mode in MODES for row in time_requests(logdir, mode, *size, arguments.browser)]
    table("Requests of the tab", ("TensorBoard's mode", "request", "first", "refresh", "size"), rows)
    entry, plugin = time_import()
    print(f"\nAdded to TensorBoard's start: entry point {1000 * entry:.0f} ms, plugin {1000 * plugin:.0f} ms")


if __name__ == "__main__":
    main()
