"""Small models, scripted metrics and spies for real fits on whatever backend KERAS_BACKEND names.

The functions import Keras themselves, so that tests of the rules and of the event files start no backend.
"""

import os
import shutil
import struct
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import pytest
from hypothesis import settings

from keras_lrplateau.history.run import Curve, Observation, Record, Run, best_of
from keras_lrplateau.rule.decision import Decision

# A busy machine is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# pytest has a process for each core. More threads, which the backends would begin, only wait for each other: without
# them the notebook takes a fifth of the processor time.
for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

BACKENDS = ("torch", "jax", "tensorflow")
"""The first one that is installed runs all tests: on PyTorch many tiny fits take half of the time that JAX needs."""

if "KERAS_BACKEND" not in os.environ:  # If the user names a backend, only that one is tested.
    first, *others = [backend for backend in BACKENDS if find_spec(backend)] or BACKENDS[:1]
    os.environ.update(KERAS_BACKEND=first, OTHER_BACKENDS=" ".join(others))

ROWS = 16


def data(outputs: int = 1) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(ROWS, 4)).astype("float32"), rng.normal(size=(ROWS, outputs)).astype("float32")


def tiny_model(optimizer: Any = None, *, compiled: bool = False, loss: str = "mse", **compile_arguments: Any) -> Any:
    """Two layers. Not `compiled`: each step runs eagerly, which saves the time that tracing takes."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, activation="tanh", name="a"), keras.layers.Dense(1, name="b")]
    )
    return compile_model(model, optimizer, compiled=compiled, loss=loss, **compile_arguments)


def compile_model(model: Any, optimizer: Any = None, *, compiled: bool = False, **compile_arguments: Any) -> Any:
    import keras

    how = {} if compiled else {"run_eagerly": True, "jit_compile": False}
    model.compile(keras.optimizers.SGD(0.1) if optimizer is None else optimizer, **how, **compile_arguments)
    return model


def two_outputs() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    outputs = {name: keras.layers.Dense(1, activation="sigmoid", name=name)(inputs) for name in "ab"}
    model = keras.Model(inputs, outputs)
    losses = {name: "binary_crossentropy" for name in "ab"}
    return compile_model(model, loss=losses, metrics={name: ["accuracy"] for name in "ab"})


def fit(model: Any, *callbacks: Any, epochs: int = 1, batches: int = 1, **arguments: Any) -> Any:
    """A real `model.fit`; returns the history as a plain dict."""
    if "x" not in arguments:
        arguments["x"], arguments["y"] = data()
    arguments = {"batch_size": ROWS // batches, "shuffle": False, "verbose": 0, **arguments}
    return model.fit(epochs=epochs, callbacks=list(callbacks), **arguments).history


def pushed_model(optimizer: Any, *, compiled: bool = True) -> Any:
    """One weight, from 0, that SGD moves up by exactly the learning rate in every step."""
    import keras

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    return compile_model(model, optimizer, compiled=compiled, loss="mae")


def push(model: Any, *callbacks: Any, epochs: int = 1, **arguments: Any) -> Any:
    """Train a `pushed_model` for one step per epoch."""
    ones = np.ones((4, 1), "float32")
    return fit(model, *callbacks, epochs=epochs, x=ones, y=1e6 * ones, batch_size=4, **arguments)


def count_syncs(model: Any) -> list[int]:
    """On JAX, a list that grows whenever the training state is brought into the model, which ends what runs ahead."""
    synced: list[int] = []
    sync = model.jax_state_sync

    def counted() -> None:
        synced.append(1)
        sync()

    model.jax_state_sync = counted
    return synced


def weight_of(model: Any) -> float:
    return float(np.asarray(model.get_weights()[0]).item())


def scripted(*values: Any, name: str = "val_loss", spoils: bool = True) -> Any:
    """A callback that makes `values` the metric `name`, epoch by epoch, across fits. None leaves it out.

    A non-finite value comes with a non-finite weight, as in a real training.

    Put it before the callbacks that should see the values: all of them share one `logs`.
    """
    import keras

    class Scripted(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.left = list(values)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            value = self.left.pop(0)
            if value is not None:
                logs[name] = value
                if spoils and not isinstance(value, str) and not np.isfinite(value):
                    weight = self.model.trainable_variables[0]
                    weight.assign(np.full(weight.shape, np.nan))

    return Scripted()


def at_epoch_end(call: Any) -> Any:
    """A callback that calls `call(epoch, logs)`."""
    import keras

    return keras.callbacks.LambdaCallback(on_epoch_end=call)


def everything(model: Any, optimizer: bool = True) -> dict[str, bytes]:
    """Everything that training changes, bit for bit; not the metrics, which start again in each epoch."""
    import keras

    metrics = {id(variable) for variable in model.metrics_variables}
    variables = [variable for variable in model.variables if id(variable) not in metrics]
    if optimizer:
        variables += [variable for variable in model.optimizer.variables if "multiplier" not in variable.name]
    return {
        f"{i} {variable.path}": np.asarray(keras.ops.convert_to_numpy(variable)).tobytes()
        for i, variable in enumerate(variables)
    }


def without_rates(snapshot: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in snapshot.items() if not name.endswith("learning_rate")}


class Spy:
    """Records everything that training changes when each epoch begins and ends, after the callbacks before it."""

    def __init__(self) -> None:
        import keras

        self.begins: dict[int, dict[str, bytes]] = {}
        self.ends: dict[int, dict[str, bytes]] = {}
        self.weights: dict[int, list[Any]] = {}
        spy = self

        class Callback(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                spy.begins[epoch] = everything(self.model)

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                spy.ends[epoch] = everything(self.model)
                spy.weights[epoch] = [np.array(weight) for weight in self.model.get_weights()]

        self.callback = Callback()


def kinds(adapt: Any) -> list[str]:
    return [decision.kind for decision in adapt.decisions]


def timeline(adapt: Any) -> list[tuple[int, str, float]]:
    return [(decision.epoch, decision.kind, decision.rate) for decision in adapt.decisions]


def read_values(run_dir: Path, plugin: str) -> Iterator[tuple[Any, Any]]:
    """All values of a plugin, each with its event, as written; no loader of TensorBoard, which imports TensorFlow."""
    from tensorboard.compat.proto.event_pb2 import Event

    for path in sorted(run_dir.glob("*tfevents*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == plugin:
                    yield event, value


def read_scalars(run_dir: Path) -> dict[str, dict[int, float]]:
    """The scalars of a run by tag and step."""
    found: dict[str, dict[int, float]] = {}
    for event, value in read_values(run_dir, "scalars"):
        found.setdefault(value.tag, {})[event.step] = value.tensor.float_val[0]
    return found


def read_records(run_dir: Path) -> list[Any]:
    """Return all records that were written for a run."""
    from keras_lrplateau.history import codec, tags

    values = read_values(run_dir, tags.PLUGIN_NAME)
    return [codec.decode(value.tensor.string_val[0], event.wall_time) for event, value in values]


# --- trainings to be shown -------------------------------------------------------------------------------------------

STEPS = 10
"""Optimizer steps in each epoch of `make_run`."""


def time_of(epoch: int) -> float:
    """When an epoch of `make_run` was over."""
    return 1.5e9 + 60.0 * epoch


def make_decision(kind: str, epoch: int, rate_before: float, rate: float, reason: str = "why", **others: Any) -> Any:
    """Make a decision at the end of an epoch. Each epoch has an observation; `value` is 1.0 by default."""
    fields = {"observation": epoch + 1, "value": 1.0, "best": 1.0, "epoch": epoch, **others}
    return Decision(kind, reason, rate_before=rate_before, rate=rate, **fields)  # type: ignore[arg-type]  # any kind


def make_curve(*values: float | None) -> Any:
    """One value an epoch; None leaves the epoch out."""
    curve = Curve()
    for epoch, value in enumerate(values):
        if value is not None:
            curve.append(epoch, value, time_of(epoch))
    return curve


def make_record(epoch: int, *decisions: Any, start: float = 1e9) -> Any:
    """A record of a training whose epochs take a second and ten steps each, and whose best was its first."""
    place = 10 * (epoch + 1), "val_loss", "min", "learning rate", Observation(0, 0.5), start + epoch
    return Record(epoch, decisions, "holding", *place)


def make_run(
    curves: dict[str, Any],
    *decisions: Any,
    name: str = "run1/lr_plateau",
    monitor: str = "val_loss",
    mode: Any = "min",
    quantity: str = "learning rate",
    statuses: dict[int, str] | None = None,
) -> Any:
    """Make a training with the callback's records: for the first, the last, and eventful epochs.

    Args:
        curves: By name, each a list for `make_curve`.
        decisions: In order.
        statuses: By the epoch from which each holds; "holding" before. These epochs are eventful, too.
    """
    drawn = {each: make_curve(*values) for each, values in curves.items()}
    observed = drawn.get(monitor, Curve())
    statuses = {0: "holding", **(statuses or {})}
    last = max([len(values) - 1 for values in curves.values()] + [decision.epoch for decision in decisions] + [0])
    records = []
    for epoch in sorted({0, last, *statuses, *(decision.epoch for decision in decisions)}):
        pairs = zip(observed.epochs, observed.values, strict=True)
        record = Record(
            epoch,
            tuple(decision for decision in decisions if decision.epoch == epoch),
            statuses[max(each for each in statuses if each <= epoch)],  # type: ignore[arg-type]  # any status
            STEPS * (epoch + 1),
            monitor,
            mode,
            quantity,
            best_of([Observation(*pair) for pair in pairs if pair[0] <= epoch], mode or "min"),
            time_of(epoch),
        )
        records.append(record)
    return Run(name, drawn, records)


def only(few: Iterable[Any], names: Iterable[Any]) -> list[Any]:
    """Make parameters of all `names`; only the `few` run in the quick lane, the others in the long one."""
    kept = set(few)
    return [pytest.param(name, marks=() if name in kept else pytest.mark.long) for name in names]


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many copies of a training state are in memory at this moment; and `copies.taken`, before each was taken."""
    from keras_lrplateau.training import snapshots

    class Copy(list):  # Which can be watched, other than a plain list. JAX may go on using the arrays in it.
        pass

    take, references = snapshots.take_snapshot, []

    def count() -> int:
        return sum(reference() is not None for reference in references)

    count.taken = []

    def spy(*arguments: Any) -> Any:
        count.taken.append(count())
        copy = Copy(take(*arguments))
        references.append(weakref.ref(copy))
        return copy

    monkeypatch.setattr(snapshots, "take_snapshot", spy)
    return count


@pytest.fixture
def floatx() -> Any:
    """`keras.config.set_floatx`, undone afterwards."""
    import keras

    before = keras.config.floatx()
    yield keras.config.set_floatx
    keras.config.set_floatx(before)


# --- the browser -----------------------------------------------------------------------------------------------------


def browser_path() -> str | None:
    """Of an installed Chromium or Chrome."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless browser; without one, tests that need it are skipped, unless BROWSER_TESTS=required."""
    missing = pytest.fail if os.environ.get("BROWSER_TESTS") == "required" else pytest.skip
    try:
        from playwright import sync_api
    except ImportError:
        missing("there is no Playwright: pip install playwright")
    with sync_api.sync_playwright() as playwright:
        try:
            # Without a path it is Playwright's own.
            launched = playwright.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        except sync_api.Error as error:
            missing(f"there is no browser: install Chromium, or run playwright install chromium. {error}")
        yield launched
        launched.close()


# --- the other backends ----------------------------------------------------------------------------------------------


class ElsewhereError(Exception):
    """A test has failed on another backend; the message is its report."""


class Backend(pytest.Collector):
    """Another backend, and the tests marked `backends`, which run on it in one process of its own."""

    outcomes: dict[str, Element] | None = None
    output: str = ""

    def collect(self) -> list[pytest.Item]:
        return []  # Items are added by `pytest_collection_modifyitems`.

    def outcome(self, test: str) -> Element:
        """Return the outcome of a test; the first call runs all tests."""
        if self.outcomes is None:
            self.outcomes = self.run([item.name for item in self.session.items if item.parent is self])
        if place_of(test) not in self.outcomes:
            raise ElsewhereError(f"The process died before it could report on this test:\n{self.output}")
        return self.outcomes[place_of(test)]

    def run(self, tests: list[str]) -> dict[str, Element]:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            options = ["-n0", "-m", "", "-p", "no:cacheprovider", f"--junitxml={report}"]
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *options, *tests],
                cwd=self.config.rootpath,
                env={**os.environ, "KERAS_BACKEND": self.name.split()[-1], "OTHER_BACKENDS": ""},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=1200,
            )
            self.output = done.stdout
            found = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
        return {f"{case.get('classname')}.{case.get('name')}": case for case in found}


class Elsewhere(pytest.Item):
    """One test on another backend, reported by its own name."""

    parent: Backend

    def runtest(self) -> None:
        outcome = self.parent.outcome(self.name)
        if (skipped := outcome.find("skipped")) is not None:
            pytest.skip(skipped.get("message", ""))
        broken = [*outcome.iter("failure"), *outcome.iter("error")]
        if broken:
            raise ElsewhereError("\n".join(each.text or "" for each in broken))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return str(excinfo.value) if isinstance(excinfo.value, ElsewhereError) else super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.session.path, None, f"{self.parent.name}: {self.name}"


def place_of(test: str) -> str:
    """Class and name in a JUnit report, of a test that pytest knows as `tests/rule/test_plateau.py::test_name[id]`."""
    name, bracket, parameters = test.partition("[")
    return name.replace(".py::", ".").replace("::", ".").replace("/", ".") + bracket + parameters


@pytest.hookimpl(tryfirst=True)  # Before tests are deselected by -m and -k, which then hold for these, too.
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    everywhere = [item for item in items if item.get_closest_marker("backends")]
    others = []
    for backend in os.environ.get("OTHER_BACKENDS", "").split():
        parent = Backend.from_parent(session, name=f"on {backend}", nodeid=f"on {backend}")
        for item in everywhere:
            copy = Elsewhere.from_parent(parent, name=item.nodeid)
            # No other marks: the other process decides whether to skip the test.
            copy.own_markers += [mark for mark in item.iter_markers() if mark.name in ("backends", "long")]
            others.append(copy)
    # First, because they take longest: no test process should have to wait for another at the end.
    items[:0] = others


def pytest_report_header() -> str:
    others = os.environ.get("OTHER_BACKENDS", "").replace(" ", " and ")
    return f"Keras on {os.environ['KERAS_BACKEND']}" + (f"; tests marked `backends` also on {others}" if others else "")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file, given its content and perhaps its name, and returns its path."""

    def write(content: str | bytes, name: str = "log.csv") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write
