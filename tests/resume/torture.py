"""Kills a real training again and again, and checks that it ends as if nothing had happened.

    python tests/resume/torture.py --kills 50 --backend jax

Each *scenario* is one command, restarted after each kill until it ends: a network with batch normalization, Adam and
noisy data, in default or auto mode, with or without a LearningRateSchedule, with a backup before or after
AdaptLROnPlateau in the list of callbacks. It must have the same rates in each epoch, the same decisions, and the same
final weights as a training without kills, all to the last bit. TensorBoard must show a single run with each epoch once.

SIGKILL, SIGTERM or SIGINT (Ctrl-C) kill it at random moments. At the critical moments in `PLACES` the process kills
itself with SIGKILL, so that they are hit exactly.

Then come the *faults*: a full disk, a read-only log dir, a log dir that is removed during training, two trainings in
one log dir. The disk faults use a tiny file system if this process may mount one. Otherwise the system refuses all
writes for some epochs (RLIMIT_FSIZE).

Keras' BackupAndRestore writes its weights in place, and then their epoch into another file. When a process dies in
between, Keras goes on with the weights of one epoch and the number of the previous one, which no callback can repair.
`double_checkpoint=True` helps when the weights are half written. So the random moments use a backup that is written
whole or not at all, `AtomicBackup` below. BackupAndRestore itself is used at the other moments, and with
`double_checkpoint` for a kill in the middle of its weights.

Starting Python and importing Keras takes longer than a training. So one process imports everything, and each training
is a fork of it. This is safe while that process has a single thread and has not started the backend, which is checked.
With `--spawn` each training starts its own Python.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import itertools
import json
import logging
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

EPOCHS = 40
BATCHES = 6

PLACES = {
    "in an epoch": "after some batches",
    "in a validation": "before its result is known",
    "after a validation": "when its result is written, but not yet decided on",
    "between": "between the backup and ours, whichever comes first",
    "in a snapshot": "half of a copy of the weights is written",
    "after a snapshot": "a copy of the weights is written, and the state file does not know of it",
    "in the state": "half of a line is written",
    "before the rename": "the file is written again, and the temporary one is whole",
    "in an event": "half an event is written",
    "in the backup": "half of BackupAndRestore's weights are written, with double_checkpoint",
    "in the last epoch": "between the backup of the last epoch and ours",
    "at the end": "all callbacks have been told that training has ended, and the process has not ended",
}
PLACES_FOR = {
    place: {"in the backup": ("double",), "at the end": ("atomic",)}.get(place, ("atomic", "keras", "double"))
    for place in PLACES
}
"""With which backups. BackupAndRestore removes its own at the end, and then there is nothing to go on with."""

SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "Ctrl-C": signal.SIGINT}

FROM, TO = EPOCHS // 8, EPOCHS // 2
"""The epochs between which something is wrong with the disk."""


@dataclass(frozen=True)
class Task:
    """One training, or what is left of it.

    Attributes:
        folder: The folder for its results.
        log_dir: The log dir of the callback.
        mode: The mode of the callback.
        first: Whether the backup comes before the callback.
        scheduled: Whether the optimizer has a schedule.
        backup: The kind of backup: "atomic", "keras", or "double".
        place: Where it kills itself; None for nowhere.
        epoch: The first epoch in which it kills itself.
        fault: The fault to cause; see `FAULTS`.
    """

    folder: str
    log_dir: str
    mode: Literal["default", "auto"] = "default"
    first: bool = True
    scheduled: bool = False
    backup: Literal["atomic", "keras", "double"] = "atomic"
    place: str | None = None
    epoch: int = 0
    fault: str | None = None


# --- in the process that is killed -----------------------------------------------------------------------------------


def train(task: Task) -> None:
    """The training; goes on where the backup is."""
    import keras
    import numpy as np

    from keras_lrplateau import AdaptLROnPlateau

    folder = Path(task.folder)
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(1)
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 8)).astype("float32")
    y = (np.sin(x @ rng.normal(size=(8, 1))) + 0.3 * rng.normal(size=(256, 1))).astype("float32")
    # No dropout: Keras saves no states of random generators, so with it no training goes on as it would have.
    layers = [keras.layers.Dense(16, "tanh"), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((8,)), *layers])
    start = 0.03 if task.mode == "auto" else 0.01
    rate = keras.optimizers.schedules.CosineDecay(start, 2 * EPOCHS * BATCHES) if task.scheduled else start
    model.compile(keras.optimizers.Adam(rate), loss="mse")

    if task.mode == "auto":
        adapt = AdaptLROnPlateau.auto(log_dir=task.log_dir)
    else:
        adapt = AdaptLROnPlateau(
            patience=1, factor=0.01, raise_after=1, raise_factor=3, max_raises=6, log_dir=task.log_dir
        )
    if task.backup == "atomic":
        backup = _atomic_backup(folder / "backup")
    else:
        backup = keras.callbacks.BackupAndRestore(folder / "backup", double_checkpoint=task.backup == "double")
    between = _killer(task)
    ordered = [backup, *between, adapt] if task.first else [adapt, *between, backup]
    observer = _observer(folder / "trace")
    # A backup removes itself when training ends.
    last = _at_train_end(task)
    first_epoch = 5 if task.fault == "resume" else 0
    model.fit(
        *(x[:192], y[:192]),
        validation_data=(x[192:], y[192:]),
        initial_epoch=first_epoch,
        epochs=EPOCHS,
        batch_size=192 // BATCHES,
        shuffle=False,
        verbose=0,
        callbacks=[observer[0], *_saboteur(task), *ordered, observer[1], *last],
    )
    variables = [*model.trainable_variables, *model.non_trainable_variables, *model.optimizer.variables]
    np.savez(folder / "final.npz", *(keras.ops.convert_to_numpy(variable) for variable in variables))
    decisions = [decision.to_dict() for decision in adapt.decisions]
    state = None if adapt.state is None else adapt.state.to_dict()
    (folder / "final.json").write_text(json.dumps({"decisions": decisions, "state": state}))


def _atomic_backup(folder: Path) -> Any:
    """As BackupAndRestore, but at any moment there is the one before or the new one."""
    import keras

    class AtomicBackup(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            if (folder / "epoch").exists():
                epoch = int((folder / "epoch").read_text())
                self.model.load_weights(folder / f"{epoch}.weights.h5")
                self.model._initial_epoch = epoch

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            folder.mkdir(exist_ok=True)
            self.model.save_weights(folder / f"{epoch + 1}.weights.h5")
            (folder / "part").write_text(str(epoch + 1))
            (folder / "part").replace(folder / "epoch")
            (folder / f"{epoch}.weights.h5").unlink(missing_ok=True)

    return AtomicBackup()


def _observer(path: Path) -> tuple[Any, Any]:
    """A callback for the front of the list, and one for its end, which write down what they see."""
    import keras

    def note(*parts: object) -> None:
        with path.open("ab", buffering=0) as file:
            file.write((" ".join(map(str, parts)) + "\n").encode())

    class First(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            note("end", epoch, float(logs["loss"]).hex(), float(logs["val_loss"]).hex())

    class Last(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            note("begin", epoch, float(self.model.optimizer.learning_rate).hex())

    return First(), Last()


def die() -> None:
    """At once, like a process that the system kills."""
    os.kill(os.getpid(), signal.SIGKILL)


def _killer(task: Task) -> list[Any]:
    """Callbacks for between the backup and the callback, and whatever else it takes to die where it is asked for."""
    import keras

    from keras_lrplateau.files import atomic
    from keras_lrplateau.history.event_writer import EventWriter
    from keras_lrplateau.resume import state_file
    from keras_lrplateau.training import snapshots

    now = {"epoch": -1}
    has_snapshot: set[int] = set()

    class Killer(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            now["epoch"] = epoch

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            is_last = epoch == EPOCHS - 1
            if (task.place == "between" and epoch >= task.epoch) or (task.place == "in the last epoch" and is_last):
                die()

    killer = Killer()
    if task.place == "in an epoch":
        killer.on_train_batch_end = lambda batch, logs=None: batch == BATCHES // 2 and is_time() and die()
    if task.place == "in a validation":
        killer.on_test_batch_end = lambda batch, logs=None: is_time() and die()

    def is_time() -> bool:
        return now["epoch"] >= task.epoch

    def halved(write: Callable[[Any], object], stream: Any) -> None:
        import io

        whole = io.BytesIO()
        write(whole)
        stream.write(whole.getvalue()[: len(whole.getvalue()) // 2])
        stream.flush()
        die()

    def replace_snapshot(path: Path, write: Callable[[Any], object], like: Path | None) -> None:
        if is_time():
            if task.place == "in a snapshot":
                atomic.replace_file(path, lambda stream: halved(write, stream), like)
            has_snapshot.add(now["epoch"])
        atomic.replace_file(path, write, like)

    def replace_state(path: Path, write: Callable[[Any], object]) -> None:
        if is_time() and task.place == "before the rename":
            atomic.replace_file(path, lambda stream: (write(stream), stream.flush(), die()))
        atomic.replace_file(path, write)

    write_state = state_file.StateFile.write

    def write(self: Any) -> None:
        if not is_time() or not self.path.exists():
            write_state(self)
            return
        if task.place == "after a snapshot" and now["epoch"] in has_snapshot:
            die()
        if task.place == "before the rename":
            shutil.copy(self.path, f"{self.path}.copy")
            os.replace(f"{self.path}.copy", self.path)  # Another file, so it is written whole.
        before = self.path.stat().st_size
        write_state(self)
        if task.place == "in the state" and self.path.stat().st_size > before:
            os.truncate(self.path, (before + self.path.stat().st_size) // 2)
            die()
        if task.place == "after a validation" and self.pending is not None:
            die()

    snapshots.replace_file = replace_snapshot  # type: ignore[attr-defined]  # imported
    state_file.replace_file = replace_state  # type: ignore[attr-defined]  # imported
    state_file.StateFile.write = write  # type: ignore[method-assign]

    if task.place == "in an event":
        write = EventWriter._write

        def _write(self: Any, *events: Any) -> None:
            if is_time():
                before = self.path.stat().st_size
                write(self, *events)
                os.truncate(self.path, (before + self.path.stat().st_size) // 2)
                die()
            write(self, *events)

        EventWriter._write = _write  # type: ignore[method-assign]

    if task.place == "in the backup":
        save_weights = keras.Model.save_weights

        def save(self: Any, filepath: Any, **others: Any) -> None:
            save_weights(self, filepath, **others)
            if is_time():
                os.truncate(filepath, os.path.getsize(filepath) // 2)
                die()

        keras.Model.save_weights = save
    return [killer]


def _at_train_end(task: Task) -> list[Any]:
    import keras

    return [keras.callbacks.LambdaCallback(on_train_end=lambda logs: die())] if task.place == "at the end" else []


def _saboteur(task: Task) -> list[Any]:
    """Callbacks that make something go wrong, and mend it."""
    import keras

    log_dir = Path(task.log_dir)
    filler = log_dir / "filler"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            for size in (4096, 256, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def wait() -> None:
        (Path(task.folder) / "waits").touch()
        while not (Path(task.folder) / "go").exists():
            time.sleep(0.01)

    def make_writable() -> None:
        subprocess.run(["mount", "-o", "remount,rw", task.log_dir], check=True)

    begins, ends = {
        "full disk": (fill, lambda: filler.unlink()),
        "full disk, killed": (fill, None),
        "read-only log dir": (None, make_writable),
        "no more writes": (
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1])),
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
        ),
        "removed log dir": (lambda: shutil.rmtree(log_dir), None),
        "waits": (wait, None),
    }.get(task.fault or "", (None, None))

    def at_epoch_end(epoch: int, logs: Any) -> None:
        if epoch == FROM and begins is not None:
            begins()
        if epoch == TO and ends is not None:
            ends()
        if epoch == TO and task.fault == "full disk, killed":
            die()

    return [keras.callbacks.LambdaCallback(on_epoch_end=at_epoch_end)]


# --- processes -------------------------------------------------------------------------------------------------------


class Child:
    """A training in a process of its own; what it prints is in the file `log` of its folder."""

    def __init__(self, task: Task, spawn: bool = False) -> None:
        Path(task.folder).mkdir(parents=True, exist_ok=True)
        self.log = Path(task.folder, "log")
        self.log.unlink(missing_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.status: int | None = None
        if spawn:
            command = [sys.executable, __file__, "--task", json.dumps(dataclasses.asdict(task))]
            with self.log.open("wb") as log:
                self._process = subprocess.Popen(command, stdout=log, stderr=log)
            self.pid = self._process.pid
            return
        threads = os.listdir("/proc/self/task")
        if len(threads) != 1:
            raise RuntimeError(f"a process with {len(threads)} threads cannot be forked safely; use --spawn")
        self.pid = os.fork()
        if self.pid == 0:
            self._be(task)

    def _be(self, task: Task) -> None:
        status = 1
        try:
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(log, 1)
            os.dup2(log, 2)
            status = run_task(task)
        finally:
            sys.stderr.flush()
            os._exit(status)

    def poll(self) -> int | None:
        """As `Popen.poll`."""
        if self.status is None:
            if self._process is not None:
                self.status = self._process.poll()
            else:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status

    def kill(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def warnings(self) -> list[str]:
        """What the callback has warned of."""
        return [line for line in self.output.splitlines() if "AdaptLROnPlateau" in line and "Warning" in line]


def run_task(task: Task) -> int:
    """Train; the exit status."""
    # What a shell has started in the background ignores Ctrl-C, and so would this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.simplefilter("always")
    try:
        train(task)
    except KeyboardInterrupt:
        return 130
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


Steps = Generator[None, None, Any]
"""What is done while others wait: it yields when it has nothing to do."""


def finished(child: Child) -> Steps:
    """Wait until it has ended, and say how."""
    while child.poll() is None:
        yield
    return child.status


def together(steps: Iterable[Steps], jobs: int) -> None:
    """Do all of them, a few at a time. No threads, since processes with threads cannot be forked."""
    waiting = iter(steps)
    running = list(itertools.islice(waiting, jobs))
    while running:
        for each in list(running):
            try:
                next(each)
            except StopIteration:
                running.remove(each)
                running.extend(itertools.islice(waiting, 1))
        time.sleep(0.001)


# --- what has come of it ---------------------------------------------------------------------------------------------


@dataclass
class Verdict:
    """How a training differs from the undisturbed one; a text is empty if nothing differs.

    Attributes:
        rates, decisions, weights, board: What differs, in words.
        other: What else is wrong.
    """

    rates: str = ""
    decisions: str = ""
    weights: str = ""
    board: str = ""
    other: str = ""

    @property
    def is_good(self) -> bool:
        return not any(dataclasses.astuple(self))


def compare(reference: Path, task: Task, runs: int = 1, board: bool = True) -> Verdict:
    """What a training has left behind, with what another one has.

    Args:
        reference: The folder of the other one.
        task: The training.
        runs: How many runs there should be in its log dir; the first is looked at.
        board: Whether TensorBoard should show all of it.
    """
    import numpy as np

    folder, verdict = Path(task.folder), Verdict()
    if not (folder / "final.json").exists():
        return Verdict(other="it has not ended")
    expected, found = _trace(reference), _trace(folder)
    if found != expected:
        differing = [key for key in expected | found if expected.get(key) != found.get(key)]
        at, epoch = differing[0]
        verdict.rates = f"{len(differing)} differ, from {at} of epoch {epoch}: {found.get((at, epoch))}, expected "
        verdict.rates += str(expected.get((at, epoch)))
    told, ought = (json.loads((each / "final.json").read_text()) for each in (folder, reference))
    for name in ("decisions", "state"):
        if told[name] != ought[name]:
            verdict.decisions += f"{name}: {_first_difference(told[name], ought[name])} "
    arrays, right = (np.load(each / "final.npz") for each in (folder, reference))
    differing = [name for name in right.files if arrays[name].tobytes() != right[name].tobytes()]
    verdict.weights = ", ".join(differing)
    if board:
        verdict.board = _compare_boards(reference / "logs", Path(task.log_dir), runs)
    return verdict


def _trace(folder: Path) -> dict[tuple[str, int], set[str]]:
    """What was seen at the beginning and at the end of each epoch, of all processes."""
    found: dict[tuple[str, int], set[str]] = {}
    for line in (folder / "trace").read_text().splitlines():
        at, epoch, seen = line.split(" ", 2)
        found.setdefault((at, int(epoch)), set()).add(seen)
    return dict(sorted(found.items(), key=lambda item: item[0][1]))


def _first_difference(found: Any, expected: Any) -> str:
    if isinstance(found, list) and isinstance(expected, list):
        pairs = itertools.zip_longest(found, expected)
        return next(f"the {i}th is {a}, expected {b}" for i, (a, b) in enumerate(pairs) if a != b)
    return f"{found}, expected {expected}"


def _compare_boards(reference: Path, log_dir: Path, runs: int) -> str:
    from keras_lrplateau.cli import commands

    logging.getLogger("tensorboard").setLevel(logging.CRITICAL)  # It warns of each training that was resumed.

    (expected,), _ = commands.read(str(reference))
    try:
        found, unreadable = commands.read(str(log_dir))
    except commands.UserError as error:
        return str(error)
    if unreadable or len(found) != runs:
        return f"runs {[run.name for run in found]}, unreadable {unreadable}"
    run = found[0]
    if run.curves.keys() != expected.curves.keys():
        return f"curves {sorted(run.curves)}, expected {sorted(expected.curves)}"
    for name, curve in expected.curves.items():
        if run.curves[name].epochs != curve.epochs:
            return f"epochs of {name}: {run.curves[name].epochs}"
        if run.curves[name].values != curve.values:
            return f"values of {name}"
    if list(run.decisions) != list(expected.decisions):
        return f"decisions {_first_difference(list(run.decisions), list(expected.decisions))}"
    if run.best != expected.best or run.status != expected.status:
        return f"it shows {run.best} and {run.status}"
    for tag, steps in _steps_of_the_data_server(next(log_dir.glob("lr_plateau"))).items():
        # The best is only written with a record, so not in each epoch.
        wanted = sorted({*steps}) if tag.startswith("lr_plateau/best(") else list(range(EPOCHS))
        if steps != wanted:
            return f"steps of {tag} as the data server has them: {steps}"
    return ""


def _steps_of_the_data_server(run_dir: Path) -> dict[str, list[int]]:
    """Another way to read: TensorBoard's data server knows no session logs, only that no step comes twice."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found: dict[str, list[int]] = collections.defaultdict(list)
    for path in sorted(run_dir.glob("*tfevents*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    steps = found[value.tag]
                    while steps and steps[-1] >= event.step:
                        steps.pop()
                    steps.append(event.step)
    return found


# --- scenarios -------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """A line of the table."""

    name: str
    kills: collections.Counter[str]
    verdict: Verdict
    seconds: float


class Torture:
    """All that is done to one backend.

    Args:
        folder: A place for files.
        seed: Of what is random.
        spawn: See `Child`.
    """

    def __init__(self, folder: Path, seed: int, spawn: bool) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.spawn = spawn
        self.rows: list[Row] = []

    def start(self, task: Task) -> Child:
        return Child(task, self.spawn)

    def reference(self, task: Task) -> Path:
        """Return the folder of the undisturbed training. The place of the backup in the list does not change it."""
        return self.folder / f"{task.mode}{', schedule' * task.scheduled}"

    def make_reference(self, mode: Any, scheduled: bool) -> Steps:
        task = Task("", "", mode, scheduled=scheduled)
        folder = self.reference(task)
        child = self.start(replace(task, folder=str(folder), log_dir=str(folder / "logs")))
        if (yield from finished(child)) != 0 or child.warnings:
            raise RuntimeError(f"an undisturbed training has failed: {child.warnings} {child.output[-3000:]}")
        decisions = json.loads((folder / "final.json").read_text())["decisions"]
        needed = {"rollback"} | ({"cut", "raise"} if mode == "default" else {"search", "settle", "anneal"})
        if not needed <= (kinds := {decision["kind"] for decision in decisions}):
            raise RuntimeError(f"an undisturbed training has too little to go wrong: {mode} mode decides on {kinds}")

    def scenario(self, task: Task, kills: list[str], at: int | None = None) -> Steps:
        """Kill a training with each of `kills`, let it end, and compare; in one epoch, or spread over all."""
        begun, done, problems = time.perf_counter(), collections.Counter[str](), []
        for number, kill in enumerate([*kills, None]):
            progress, goal = _progress(task), (number + 1) * EPOCHS // (len(kills) + 1)
            epoch = max(progress, self.random.randint(min(progress, goal), goal)) if at is None else at
            child = self.start(replace(task, place=kill, epoch=epoch) if kill in PLACES else task)
            if kill in SIGNALS:
                while child.poll() is None and (not child.log.exists() or _progress(task) < epoch):
                    yield
                moment = time.perf_counter() + 0.06 * self.random.random()
                while child.poll() is None and time.perf_counter() < moment:
                    yield
                child.kill(SIGNALS[kill])
            status = yield from finished(child)
            problems += child.warnings
            if status == 0:
                break
            if status not in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, 130):
                problems.append(f"{kill}: {child.output[-1500:]}")
                break
            done[str(kill)] += 1
        verdict = compare(self.reference(task), task)
        verdict.other += " ".join(problems)
        where = "backup first" if task.first else "backup last"
        name = ", ".join([task.mode, *["schedule"] * task.scheduled, where, task.backup])
        self.rows.append(Row(name, done, verdict, time.perf_counter() - begun))

    def scenarios(self, kills: int) -> Iterator[Steps]:
        """All of them, with this many kills altogether."""
        tasks = []
        for mode, first, scheduled in itertools.product(("default", "auto"), (True, False), (False, True)):
            for backup in ("atomic", "keras" if scheduled else "double"):
                if backup == "atomic" or first != scheduled:
                    folder = self.folder / f"{mode}, {first}, {scheduled}, {backup}"
                    tasks.append(Task(str(folder), str(folder / "logs"), mode, first, scheduled, backup))
        signals = itertools.cycle(["SIGKILL", "SIGTERM", "SIGKILL", "Ctrl-C"])
        nasty = {
            backup: itertools.cycle(self.random.sample(places, len(places)))
            for backup in ("atomic", "keras", "double")
            for places in [[place for place, backups in PLACES_FOR.items() if backup in backups]]
        }
        nasty["double"] = itertools.chain(["in the backup"], nasty["double"])
        planned: dict[Task, list[str]] = {task: [] for task in tasks}
        for number, task in zip(range(kills), itertools.cycle(tasks)):
            is_nasty = task.backup != "atomic" or number // len(tasks) % 2
            planned[task].append(next(nasty[task.backup] if is_nasty else signals))
        for task, chosen in planned.items():
            yield self.scenario(task, sorted(chosen, key=_how_late))

    def quick(self) -> Iterator[Steps]:
        """Each nasty moment once, and three random ones."""
        folder = self.folder / "quick"
        base = Task(str(folder), str(folder / "logs"))
        others = {"auto": "in a snapshot", "double": "in the backup"}
        planned = {
            base: [place for place in PLACES if place not in others.values()],
            replace(base, mode="auto", first=False): ["SIGKILL", "SIGTERM", "Ctrl-C", others["auto"], "between"],
            replace(base, backup="double"): [others["double"]],
        }
        for number, (task, chosen) in enumerate(planned.items()):
            place = f"{folder} {number}"
            moved = replace(task, folder=place, log_dir=f"{place}/logs")
            yield self.scenario(moved, sorted(chosen, key=_how_late))
        # The search of auto mode ends with epoch 4, and goes back to a trial that has made as many steps.
        moved = replace(base, folder=f"{folder} search", log_dir=f"{folder} search/logs", mode="auto")
        yield self.scenario(moved, ["in an epoch"], at=5)

    # --- faults ---

    def fault(self, name: str, what: Callable[[Path], Generator[None, None, Verdict]]) -> Steps:
        """A training to which something happens that is no kill."""
        begun = time.perf_counter()
        verdict = yield from what(self.folder / name)
        self.rows.append(Row(name, collections.Counter(), verdict, time.perf_counter() - begun))

    def faults(self) -> Iterator[Steps]:
        """All of them."""
        for name in ("full disk", "read-only log dir"):
            yield self.fault(name, lambda folder, name=name: self.bad_disk(folder, name))
        yield self.fault("full disk, and killed", self.killed_on_a_full_disk)
        yield self.fault("no log dir from the start", self.no_log_dir)
        yield self.fault("removed log dir, and killed later", self.removed_log_dir)
        yield self.fault("two trainings in one log dir", self.two_trainings)
        yield self.fault("a second training by mistake, the first killed", self.second_by_mistake)

    def bad_disk(self, folder: Path, fault: str) -> Generator[None, None, Verdict]:
        """For some epochs nothing can be written: one warning, and all is there in the end."""
        with _small_disk(folder / "logs", "ro" if fault == "read-only log dir" else "rw") as is_mounted:
            task = Task(str(folder), str(folder / "logs"), fault=fault if is_mounted else "no more writes")
            child = self.start(task)
            yield from finished(child)
            verdict = compare(self.reference(task), task)
        return _expect_warnings(verdict, child, "cannot write to log_dir")

    def killed_on_a_full_disk(self, folder: Path) -> Generator[None, None, Verdict]:
        """Observations since then are lost, and a warning says so."""
        with _small_disk(folder / "logs") as is_mounted:
            if not is_mounted:
                return Verdict()
            task = Task(str(folder), str(folder / "logs"), fault="full disk, killed")
            yield from finished(self.start(task))
            (folder / "logs" / "filler").unlink()
            child = self.start(replace(task, fault=None))
            status = yield from finished(child)
        is_said = any("What was observed since is not known" in each for each in child.warnings)
        return Verdict(other="" if status == 0 and is_said else child.output[-1500:])

    def no_log_dir(self, folder: Path) -> Generator[None, None, Verdict]:
        """There is a file where the directory should be."""
        folder.mkdir()
        (folder / "logs").touch()
        task = Task(str(folder), str(folder / "logs"))
        child = self.start(task)
        yield from finished(child)
        verdict = compare(self.reference(task), task, board=False)
        return _expect_warnings(verdict, child, "cannot write to log_dir")

    def removed_log_dir(self, folder: Path) -> Generator[None, None, Verdict]:
        task = Task(str(folder), str(folder / "logs"), fault="removed log dir", place="between", epoch=TO)
        first = self.start(task)
        yield from finished(first)
        second = self.start(replace(task, fault=None, place=None))
        yield from finished(second)
        verdict = compare(self.reference(task), task)
        verdict.other = " ".join(first.warnings + second.warnings) or _unless_killed(first)
        return verdict

    def two_trainings(self, folder: Path) -> Generator[None, None, Verdict]:
        """The second one says so, and writes to its own run; it must not resume the first."""
        first = Task(str(folder / "1"), str(folder / "logs"), fault="waits")
        second = replace(first, folder=str(folder / "2"), fault=None)
        third = replace(first, folder=str(folder / "3"), fault="resume")
        one = self.start(first)
        while one.poll() is None and not Path(first.folder, "waits").exists():
            yield
        three = self.start(third)
        yield from finished(three)
        two = self.start(second)
        yield from finished(two)
        Path(first.folder, "go").touch()
        yield from finished(one)
        verdict = compare(self.reference(first), first, runs=2)
        verdict.other += str(compare(self.reference(second), second, board=False).other)
        if "another training is writing to" not in three.output:
            verdict.other += f" the third: {three.output[-500:]}"
        verdict.other += " ".join(one.warnings)
        return _expect_warnings(verdict, two, "another training is writing to")

    def second_by_mistake(self, folder: Path) -> Generator[None, None, Verdict]:
        """A second start of the same training, by mistake, is killed. Then the first one dies, and goes on."""
        first = Task(str(folder / "1"), str(folder / "logs"), fault="waits")
        second = replace(first, folder=str(folder / "2"), fault=None, place="between", epoch=3)
        one = self.start(first)
        while one.poll() is None and not Path(first.folder, "waits").exists():
            yield
        yield from finished(self.start(second))
        one.kill(signal.SIGKILL)
        yield from finished(one)
        again = self.start(replace(first, fault=None))
        yield from finished(again)
        verdict = compare(self.reference(first), first, runs=2)
        return _expect_warnings(verdict, again, "goes on with the training in")


def _how_late(kill: str) -> int:
    """Copies are written early in a training; and what ends it comes last."""
    if "snapshot" in kill:
        return 0
    return {"in the last epoch": 2, "at the end": 3}.get(kill, 1)


def _progress(task: Task) -> int:
    """The last epoch that has begun."""
    path = Path(task.folder, "trace")
    begun = path.read_text().rpartition("begin ")[2] if path.exists() else ""
    return int(begun.split()[0]) if begun else 0


def _unless_killed(child: Child) -> str:
    return "" if child.status == -signal.SIGKILL else f"it was not killed: {child.output[-500:]}"


def _expect_warnings(verdict: Verdict, child: Child, text: str) -> Verdict:
    """One of the callback's, with this text."""
    if len(child.warnings) != 1 or text not in child.warnings[0]:
        verdict.other += f" warnings: {child.warnings} {child.output[-500:]}"
    return verdict


@contextlib.contextmanager
def _small_disk(place: Path, how: str = "rw") -> Iterator[bool]:
    """A file system of its own in this place, if this process may make one."""
    place.mkdir(parents=True)
    mounted = (
        shutil.which("mount") is not None
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size=600k,{how}", "tmpfs", str(place)], capture_output=True, check=False
        ).returncode
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


# --- the command -----------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--backend", choices=("tensorflow", "jax", "torch"), default="jax")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    parser.add_argument("--spawn", action="store_true", help="a Python of its own for each training")
    parser.add_argument("--only", choices=("kills", "faults"), help="one part of it")
    parser.add_argument("--quick", action="store_true", help="each nasty moment once, and three random ones")
    parser.add_argument("--folder", type=Path, help="where to leave all files; by default they are removed")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("KERAS_BACKEND", arguments.backend)
    prepare()
    if arguments.task:
        return run_task(Task(**json.loads(arguments.task)))
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        torture = Torture(folder, arguments.seed, arguments.spawn)
        kinds = itertools.product(("default", "auto"), (False,) if arguments.quick else (False, True))
        together([torture.make_reference(*kind) for kind in kinds], arguments.jobs)
        if arguments.only != "faults":
            together(torture.quick() if arguments.quick else torture.scenarios(arguments.kills), arguments.jobs)
        if arguments.only != "kills":
            together(torture.faults(), arguments.jobs)
        print(table(torture.rows))
    kills = sum((row.kills for row in torture.rows), collections.Counter())
    are_good = all(row.verdict.is_good for row in torture.rows)
    print(
        f"{os.environ['KERAS_BACKEND']}: {kills.total()} kills in {time.perf_counter() - begun:.0f} s, "
        + ("all is as if nothing had happened" if are_good else "NOT all is as if nothing had happened")
    )
    for kind, count in kills.most_common():
        print(f"  {count:3} {kind}" + (f": {PLACES[kind]}" if kind in PLACES else ""))
    return 0 if are_good else 1


def prepare() -> None:
    """Import what a training needs; without a second thread, so that forks are safe."""
    backend = os.environ["KERAS_BACKEND"]
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", TF_CPP_MIN_LOG_LEVEL="3")
    for other in {"tensorflow", "jax"} - {backend}:
        # Keras would import it if it is installed, without need.
        sys.modules[other] = None  # type: ignore[assignment]
    import keras

    from keras_lrplateau import AdaptLROnPlateau
    from keras_lrplateau.cli import commands
    from keras_lrplateau.history import event_writer

    assert keras.backend.backend() == backend, AdaptLROnPlateau and commands and event_writer


def table(rows: Iterable[Row]) -> str:
    lines = [("", "kills", "rates", "decisions", "weights", "TensorBoard", "else", "seconds")]
    notes = []
    for row in rows:
        verdict = dataclasses.astuple(row.verdict)
        cells = ["same" if not each else "DIFFER" for each in verdict[:4]] + ["-" if not verdict[4] else "BAD"]
        lines.append((row.name, str(row.kills.total() or ""), *cells, f"{row.seconds:.1f}"))
        if not row.verdict.is_good:
            notes.append(f"{row.name}, after {dict(row.kills)}:")
            named = dataclasses.asdict(row.verdict).items()
            notes += [f"    {name}: {text if len(text) < 600 else text[:600] + '...'}" for name, text in named if text]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    drawn = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*drawn, *notes])


if __name__ == "__main__":
    sys.exit(main())
