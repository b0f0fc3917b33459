"""How quickly is a long recorded training read and replayed?

    python examples/benchmarks/replay.py

A CSV file of a million rows, as CSVLogger writes it, with noise on a slow decay: read, and replayed by the default rule
and by auto mode. Processor time of one core, the median of the repeats.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_lrplateau import Config
from keras_lrplateau.recordings.reading import read
from keras_lrplateau.recordings.replay import replay
from keras_lrplateau.rule import auto

TARGET = 5.0
"""Seconds for the default rule."""


def write(path: Path, rows: int) -> None:
    rng = random.Random(0)
    lines = ["epoch,learning_rate,loss,val_loss"]
    for epoch in range(rows):
        loss = 1 / (1 + epoch / 1000)
        lines.append(f"{epoch},0.1,{loss + rng.gauss(0, 0.005)},{loss + rng.gauss(0, 0.01)}")
    path.write_text("\n".join(lines) + "\n")


def seconds(action: Callable[[], Any], repeats: int) -> float:
    found = []
    for _ in range(repeats):
        began = time.process_time()
        action()
        found.append(time.process_time() - began)
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the file (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "training.csv")
        write(path, arguments.rows)
        print(f"read {arguments.rows:,} rows: {seconds(lambda: read(path), arguments.repeats):.2f} s")
        (recording,) = read(path)
    default = seconds(lambda: replay(recording, Config()), arguments.repeats)
    verdict = f", target <= {TARGET:g} s: {'met' if default <= TARGET else 'missed'}"
    print(f"replay, default rule: {default:.2f} s{verdict if arguments.rows == 1_000_000 else ''}")
    print(f"replay, auto mode: {seconds(lambda: replay(recording, auto.Config()), 1):.2f} s")


if __name__ == "__main__":
    main()
