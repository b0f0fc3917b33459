"""What the copies cost that AdaptLROnPlateau goes back to: time, host memory and disk, by the size of the model.

    KERAS_BACKEND=jax python examples/benchmarks/snapshots.py --parameters 10M 100M
    KERAS_BACKEND=jax python examples/benchmarks/snapshots.py --parameters 1B --ways disk

The model is 16 equal Dense kernels, never run: a copy does not depend on what a model computes. It has random numbers
in all variables, so that no page of memory is shared and no file system can compress them. Up to 300M parameters the
optimizer is Adam, whose state is twice the weights; above, it is SGD without momentum, which has none.

Each size and each way has a process of its own, in which these take turns: a copy is taken and gone back to, and the
same number of bytes is copied by NumPy into fresh arrays and back, or written with write and fsync and read into arrays
that are there. The ratios are medians over the turns, with the lowest and the highest: a disk that others use, too, is
anything but steady. Every other turn begins with the plain copy, since the first to use fresh memory may pay for it. A
file that was just written is read from the page cache, ours and the plain one. JAX on the CPU takes arrays that lie
right in memory as they are, and so may go back faster than a copy.

Memory is what Linux counts as resident in the process, beyond what it was right before, with the model and without a
copy: at the peak while a copy was taken (VmHWM, set back by /proc/self/clear_refs), afterwards while it is held, and at
the peak while it was gone back to, the copy included. All three are of the first turn, before which the C library is
asked to give back what it keeps for later; in later turns it has the memory of the copy before. The page cache is no
part of it. The callback drops a copy before it takes its successor, so a training that holds two copies has twice the
memory of "held".

The last table is of small trainings whose metric is scripted: it shows how many copies were taken for how many reasons.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from rich.console import Console
from rich.table import Table

WAYS = {"memory": "True", "both": "True, state file", "disk": '"disk"'}
"""Where copies are, and the argument `rollback` that puts them there."""

SLOTS = {"adam": 2, "momentum": 1, "sgd": 0}
"""How many times the weights the state of an optimizer is."""

LAYERS = 16
ITEM = 4
"""Bytes of a float32."""

POOL = 2**29
"""Bytes that the plain copies are made from, over and over; far more than any cache."""

SPARE = 10**9
"""Bytes for Python, Keras and the backend, which are not counted in detail."""

EPOCHS = 30


# --- in a process of its own -----------------------------------------------------------------------------------------


def build(parameters: int, optimizer: str) -> Any:
    """A compiled model of about this many parameters, with random numbers in all variables."""
    import keras

    width = round((parameters / LAYERS) ** 0.5)
    layers = [keras.layers.Dense(width, use_bias=False, kernel_initializer="zeros") for _ in range(LAYERS)]
    model = keras.Sequential([keras.Input((width,)), *layers])
    makers = {
        "adam": keras.optimizers.Adam,
        "momentum": lambda: keras.optimizers.SGD(momentum=0.9),
        "sgd": keras.optimizers.SGD,
    }
    model.compile(makers[optimizer](), loss="mse")
    model.optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(0)
    for variable in [*model.trainable_variables, *model.optimizer.variables]:
        if len(variable.shape) == 2:
            variable.assign(rng.random(variable.shape, np.float32))
    return model


def resident(which: str) -> int:
    """Bytes of this process: "VmRSS" now, or "VmHWM" at the highest. 0 where there is no /proc."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(which))


def peak_of(call: Callable[[], object]) -> tuple[float, int]:
    """Seconds that a call takes, and the highest number of resident bytes during it."""
    with contextlib.suppress(OSError):  # Not Linux; then nothing is said of memory.
        Path("/proc/self/clear_refs").write_text("5")
    began = time.perf_counter()
    call()
    return time.perf_counter() - began, resident("VmHWM")


def seconds_of(call: Callable[[], object]) -> float:
    return peak_of(call)[0]


def wait_for(variables: list[Any]) -> None:
    """JAX assigns in the background; the other backends are done when they say so."""
    if os.environ["KERAS_BACKEND"] == "jax":
        import jax

        jax.block_until_ready([variable.value for variable in variables])


def give_back_memory() -> None:
    """Have the C library return to the system what is free; nothing where it is not GNU's."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


class Plain:
    """The same bytes, copied by NumPy and written with write and fsync: what is compared with."""

    def __init__(self, shape: tuple[int, ...], count: int, path: Path) -> None:
        rng = np.random.default_rng(1)
        size = ITEM * int(np.prod(shape))
        pool = [rng.random(shape, np.float32) for _ in range(max(min(count, POOL // size), 1))]
        self._arrays = [pool[i % len(pool)] for i in range(count)]
        self._copies: list[np.ndarray] = []
        self._path = path

    def copy(self) -> None:
        self._copies = [array.copy() for array in self._arrays]

    def copy_back(self) -> None:
        for array, copy in zip(self._arrays, self._copies, strict=True):
            np.copyto(array, copy)

    def write(self) -> None:
        with self._path.open("wb") as file:
            for array in self._arrays:
                file.write(array.data)
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> None:
        with self._path.open("rb") as file:
            for array in self._arrays:
                file.readinto(array.data)

    def forget(self) -> None:
        self._copies = []
        self._path.unlink(missing_ok=True)


def measure(parameters: int, way: str, optimizer: str, repeats: int, folder: str) -> dict[str, Any]:
    """Take, go back to and drop a copy, in turns with plain copies of as many bytes."""
    import keras

    from keras_lrplateau.training.snapshots import Snapshots

    model = build(parameters, optimizer)
    large = [each for each in [*model.trainable_variables, *model.optimizer.variables] if len(each.shape) == 2]
    files = Path(folder) / "copies"
    plain = Plain(tuple(large[0].shape), len(large), Path(folder) / "plain")
    snapshots = Snapshots(in_memory=way != "disk", folder=None if way == "memory" else files)

    def go_back() -> None:
        snapshots.restore("best", model, model.optimizer)
        wait_for(large)

    def ours(turn: int) -> dict[str, float]:
        gc.collect()
        wait_for(large)
        if turn == 0:
            give_back_memory()
        before = resident("VmRSS")
        take, peak = peak_of(lambda: snapshots.take("best", model, model.optimizer, turn))
        held = resident("VmRSS")
        restore, peak_back = peak_of(go_back)
        if snapshots.failure is not None:
            raise snapshots.failure
        on_disk = sum(path.stat().st_size for path in files.iterdir()) if files.is_dir() else 0
        snapshots.keep(())
        snapshots.clean(())
        found = {"take": take, "restore": restore, "disk": on_disk}
        return found | {"taking": peak - before, "held": held - before, "restoring": peak_back - before}

    def theirs(turn: int) -> dict[str, float]:
        take = restore = 0.0
        if way != "disk":
            take += seconds_of(plain.copy)
            restore += seconds_of(plain.copy_back)
        if way != "memory":
            take += seconds_of(plain.write)
        if way == "disk":
            restore += seconds_of(plain.read)
        plain.forget()
        return {"plain_take": take, "plain_restore": restore}

    turns: list[dict[str, float]] = []
    for turn in range(repeats):
        order = [ours, theirs] if turn % 2 == 0 else [theirs, ours]
        turns.append({name: value for one in order for name, value in one(turn).items()})
    columns = {name: [turn[name] for turn in turns] for name in turns[0]}
    ratios = {f"{name}_ratios": np.divide(columns[name], columns[f"plain_{name}"]) for name in ("take", "restore")}
    return {
        "keras": keras.__version__,
        "parameters": sum(int(np.prod(each.shape)) for each in model.trainable_variables),
        "bytes": ITEM * sum(int(np.prod(each.shape)) for each in large),
        **{name: statistics.median(columns[name]) for name in ("take", "restore", "plain_take", "plain_restore")},
        **{name: sorted(values.tolist()) for name, values in ratios.items()},
        **{name: turns[0][name] for name in ("taking", "held", "restoring", "disk")},
    }


def count(improvements: list[int]) -> list[dict[str, Any]]:
    """How many copies a training takes that has this many new bests and then none, by the arguments of the callback."""
    import keras

    from keras_lrplateau import AdaptLROnPlateau
    from keras_lrplateau.training.snapshots import Snapshots, restore_snapshot, take_snapshot

    taken: list[str] = []
    held: list[int] = []
    take = Snapshots.take

    def counting(self: Snapshots, name: Any, *rest: Any) -> None:
        take(self, name, *rest)
        taken.append(name)
        held.append(len(self))

    class Scripted(keras.callbacks.Callback):
        def __init__(self, bests: int) -> None:
            super().__init__()
            self.bests = bests

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["val_loss"] = 2.0 - epoch / EPOCHS if epoch < self.bests else 3.0

    ones = np.ones((8, 2), "float32")
    variants: dict[str, dict[str, Any]] = {
        "the defaults": {},
        "recover=False": {"recover": False},
        "rollback=False": {"rollback": False},
    }
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(1e-3), loss="mse")
    model.optimizer.build(model.trainable_variables)
    beginning = take_snapshot(model)
    found = []
    Snapshots.take = counting
    try:
        for bests in improvements:
            for name, arguments in variants.items():
                taken.clear()
                held.clear()
                restore_snapshot(model, beginning)
                adapt = AdaptLROnPlateau(factor=0.01, patience=2, raise_after=1, **arguments)
                callbacks = [Scripted(bests), adapt]
                model.fit(ones, ones[:, :1], epochs=EPOCHS, batch_size=8, verbose=0, callbacks=callbacks)
                found.append(
                    {
                        "bests": bests,
                        "arguments": name,
                        "raises": sum(decision.kind == "raise" for decision in adapt.decisions),
                        **{each: taken.count(each) for each in ("start", "best", "raise")},
                        "held": max(held, default=0),
                    }
                )
    finally:
        Snapshots.take = take
    return found


# --- the tables ------------------------------------------------------------------------------------------------------


def in_a_process(what: str, **arguments: Any) -> Any:
    """What `measure` or `count` returns in a process of its own."""
    command = [sys.executable, __file__, "--in-a-process", json.dumps([what, arguments])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def parsed(text: str) -> int:
    """10M as a number."""
    factors = {"K": 10**3, "M": 10**6, "B": 10**9}
    try:
        number = int(float(text[:-1]) * factors[text[-1].upper()])
    except (KeyError, ValueError, IndexError):
        raise argparse.ArgumentTypeError(f"a size such as 10M or 1B is expected. Received: {text!r}") from None
    if number < 10 * LAYERS:
        raise argparse.ArgumentTypeError(f"at least {10 * LAYERS} parameters are expected. Received: {text!r}")
    return number


def short(number: float) -> str:
    """A number as it was given: 10M, 1B."""
    factor, unit = next((each for each in ((10**9, "B"), (10**6, "M")) if number >= each[0]), (10**3, "K"))
    return f"{number / factor:.3g}{unit}"


def spread(values: list[float]) -> str:
    """The median of sorted values, and the lowest and the highest."""
    return f"{statistics.median(values):.2f} \\[{values[0]:.1f}, {values[-1]:.1f}]"


def available_memory() -> float:
    """Bytes that can be had without swapping, as Linux estimates them; infinite where it does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


def file_system(folder: str) -> str:
    """The type of the file system that a folder is on."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    path = Path(folder).resolve()
    return max((len(at), kind) for at, kind in mounts if path.is_relative_to(at))[1]


def lacking(parameters: int, way: str, optimizer: str, folder: str) -> str:
    """What there is too little of for a measurement; empty if nothing."""
    state = ITEM * parameters * (1 + SLOTS[optimizer])
    # A copy of one kernel may be on its way, in the backend and in NumPy.
    memory = state * (1 if way == "disk" else 2) + min(state, POOL) + 3 * ITEM * parameters // LAYERS + SPARE
    disk = 0 if way == "memory" else state
    for name, wanted, found in (
        ("memory", memory, available_memory()),
        ("disk space", disk, shutil.disk_usage(folder).free),
    ):
        if wanted > found:
            return f"it needs {wanted / 1e9:.1f} GB of {name}, and {found / 1e9:.1f} GB are available"
    return ""


def print_costs(arguments: argparse.Namespace, folder: str, console: Console) -> None:
    table = Table()
    for heading in ("parameters", "rollback="):
        table.add_column(heading)
    for heading in ("GB", "take s", "/ plain", "back s", "/ plain", "GB taking", "held", "going back", "on disk"):
        table.add_column(heading, justify="right")
    skipped, speeds, release = [], [], ""
    for parameters in arguments.parameters:
        optimizer = arguments.optimizer or ("adam" if parameters <= 300_000_000 else "sgd")
        for way in arguments.ways:
            if lack := lacking(parameters, way, optimizer, folder):
                skipped.append(f"{short(parameters)} with {optimizer}, rollback={WAYS[way]}, is left out: {lack}.")
                continue
            with console.status(f"{short(parameters)}, rollback={WAYS[way]}"):
                one = in_a_process(
                    "measure",
                    parameters=parameters,
                    way=way,
                    optimizer=optimizer,
                    repeats=arguments.repeats,
                    folder=folder,
                )
            release = one["keras"]
            table.add_row(
                f"{short(one['parameters'])}, {optimizer}",
                WAYS[way],
                f"{one['bytes'] / 1e9:.2f}",
                f"{one['take']:.3f}",
                spread(one["take_ratios"]),
                f"{one['restore']:.3f}",
                spread(one["restore_ratios"]),
                *(f"{one[name] / 1e9:.2f}" for name in ("taking", "held", "restoring", "disk")),
            )
            rates = [one["bytes"] / 1e9 / one[name] for name in ("plain_take", "plain_restore")]
            speeds.append(
                f"{short(one['parameters'])}, rollback={WAYS[way]}: plainly {rates[0]:.1f} GB/s there, "
                f"{rates[1]:.1f} GB/s back"
            )
    table.title = (
        f"A copy of weights and optimizer state on {os.environ['KERAS_BACKEND']}, Keras {release}, median of "
        f"{arguments.repeats}"
    )
    if release:
        console.print(table)
    for line in speeds + skipped:
        console.print(line, highlight=False)


def print_counts(console: Console) -> None:
    table = Table(title=f"Copies taken in a training of {EPOCHS} epochs")
    table.add_column("new bests", justify="right")
    table.add_column("arguments")
    for heading in ("raises", "copies of the start", "of a best", "of a raise", "held at most"):
        table.add_column(heading, justify="right")
    with console.status("counting copies"):
        rows = in_a_process("count", improvements=[1, 10, EPOCHS])
    for row in rows:
        values = [str(row[name]) for name in ("raises", "start", "best", "raise", "held")]
        table.add_row(str(row["bests"]), row["arguments"], *values)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--parameters", nargs="+", type=parsed, default=[10**7, 10**8], help="sizes (default: 10M 100M)"
    )
    parser.add_argument(
        "--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="where copies are (default: all)"
    )
    parser.add_argument("--optimizer", choices=list(SLOTS), help="(default: adam; sgd above 300M parameters)")
    parser.add_argument("--repeats", type=int, default=6, help="turns of each measurement (default: %(default)s)")
    parser.add_argument("--folder", help="where files are written and removed again (default: the temporary folder)")
    parser.add_argument("--no-counts", action="store_true", help="leave out the last table")
    parser.add_argument("--in-a-process", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.in_a_process:
        what, chosen = json.loads(arguments.in_a_process)
        print(json.dumps({"measure": measure, "count": count}[what](**chosen)))
        return
    console = Console(width=max(140, Console().width))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        kind = file_system(folder)
        memory = " Files there are in memory: choose a folder on a disk with --folder." if kind == "tmpfs" else ""
        console.print(
            f"{os.cpu_count()} processors, {available_memory() / 1e9:.1f} GB of memory available; files on "
            f"{kind}.{memory}",
            highlight=False,
        )
        print_costs(arguments, folder, console)
    if not arguments.no_counts:
        print_counts(console)


if __name__ == "__main__":
    main()
