"""What it costs that all processes of a training agree, by the number of processes.

    python examples/benchmarks/processes.py

starts 1, 2, 4 and 8 processes on this machine, with JAX and with PyTorch, both talking through gloo, and measures one
exchange of what AdaptLROnPlateau sends at the end of an epoch. The processes do nothing else, so none waits for another
one that is late: that time is part of training together, whoever needs it. The first exchanges, which connect the
processes and compile, are left out.

Each process gives the median of its exchanges; the table has the slowest process's, and the processor time
that one exchange takes it. With more processes than cores the median is above all the time that they wait for a core,
so the lines through the measurements that say what more processes would cost are those of the processor time: what is
left where each process has a core of its own. One is in the number of processes, which is what passing messages round
in a ring takes, one in its logarithm, as for a tree; three numbers of processes do not tell for certain which is right.
The way through a network, which is another one on each cluster, comes on top of it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

COUNTS = (1, 2, 4, 8)
BACKENDS = ("jax", "torch")
ASKED = (64, 1024)
MESSAGE = {"numbers": [0.123456789012345, 2.345678901234567, 2.302585092994046], "rates": [0.001]}
"""The metric, the training loss, the loss of the first batch, and the rate."""
WARM_UP = 20


class Times(NamedTuple):
    """Seconds of one exchange.

    Attributes:
        median: Of the slowest process.
        high: Nine in ten were below, in the process where that is highest.
        processor: The processor time of all threads, mean over the exchanges and the processes.
    """

    median: float
    high: float
    processor: float


class Line(NamedTuple):
    """Seconds as a line in something of the number of processes."""

    name: str
    of: Callable[[float], float]
    start: float
    slope: float
    error: float

    def at(self, count: int) -> float:
        return self.start + self.slope * self.of(count)


def measure(backend: str, count: int, exchanges: int) -> Times:
    """Start the processes and wait for them."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [sys.executable, __file__, "--exchanges", str(exchanges), "--process", backend, str(count), str(port)]
        environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
        running = []
        for rank in range(count):
            with Path(folder, f"{rank}.txt").open("w") as output:
                process = subprocess.Popen([*command, str(rank), folder], env=environment, stdout=output, stderr=output)
            running.append(process)
        codes = [process.wait() for process in running]
        if any(codes):
            outputs = [path.read_text() for path in sorted(Path(folder).glob("*.txt"))]
            raise SystemExit(f"{count} processes with {backend} ended with {codes}:\n" + "\n".join(outputs))
        found = [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(count)]
    return Times(
        max(float(np.median(seconds)) for seconds, _ in found),
        max(float(np.quantile(seconds, 0.9)) for seconds, _ in found),
        float(np.mean([processor for _, processor in found])),
    )


def exchange(backend: str, count: int, port: str, rank: int, folder: Path, exchanges: int) -> None:
    """Be one of the processes."""
    if backend == "jax":
        import jax
        import keras

        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        keras.distribution.initialize(f"127.0.0.1:{port}", count, rank)
    else:
        from torch import distributed

        distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", world_size=count, rank=rank)
    from keras_lrplateau.training import processes

    for _ in range(WARM_UP):
        assert processes.gather(MESSAGE) == [MESSAGE] * count
    seconds = []
    processor = time.process_time()
    for _ in range(exchanges):
        began = time.perf_counter()
        processes.gather(MESSAGE)
        seconds.append(time.perf_counter() - began)
    processor = (time.process_time() - processor) / exchanges
    (folder / f"{rank}.json").write_text(json.dumps([seconds, processor]))
    if backend == "torch":
        distributed.destroy_process_group()


def fit_lines(times: dict[int, Times]) -> list[Line]:
    """Through the processor time of several processes."""
    counts = [count for count in times if count > 1]
    seconds = np.array([times[count].processor for count in counts])
    lines = []
    for name, of in (("n", float), ("log2(n)", math.log2)):
        places = np.array([of(count) for count in counts])
        slope, start = np.polyfit(places, seconds, 1)
        error = float(np.sqrt(np.mean((start + slope * places - seconds) ** 2)))
        lines.append(Line(name, of, float(start), float(slope), error))
    return lines


def main() -> None:
    """Measure, and print the table and the lines."""
    parser = argparse.ArgumentParser(description="What it costs that all processes of a training agree.")
    parser.add_argument("--exchanges", type=int, default=300, help="measured each time (default: %(default)s)")
    parser.add_argument("--process", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.process:
        backend, count, port, rank, folder = arguments.process
        exchange(backend, int(count), port, int(rank), Path(folder), arguments.exchanges)
        return

    console = Console(width=max(125, Console().width))
    backends = [backend for backend in BACKENDS if importlib.util.find_spec(backend) is not None]
    work = [(backend, count) for backend in backends for count in COUNTS]
    found: dict[str, dict[int, Times]] = {backend: {} for backend in backends}
    for backend, count in track(work, "exchanges", console=console, transient=True):
        found[backend][count] = measure(backend, count, arguments.exchanges)

    table = Table(title=f"ms for one exchange, with {os.cpu_count()} cores")
    columns = [f"{backend}, {what}" for backend in backends for what in ("median", "90 %", "processor")]
    for heading in ("processes", *columns):
        table.add_column(heading, justify="right")
    for count in COUNTS:
        times = [found[backend][count] for backend in backends]
        table.add_row(str(count), *(f"{1e3 * value:.3f}" for each in times for value in each))
    console.print(table)
    for backend in backends:
        for line in fit_lines(found[backend]):
            far = ", ".join(f"{1e3 * line.at(count):.0f} ms with {count}" for count in ASKED)
            terms = f"{1e3 * line.start:.2f} + {1e3 * line.slope:.2f} {line.name} ms, off by {1e3 * line.error:.2f}"
            console.print(f"{backend}, processor time: {terms}; that would be {far}", highlight=False)


if __name__ == "__main__":
    main()
