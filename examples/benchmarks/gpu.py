"""What AdaptLROnPlateau does and costs on a GPU, with JAX and with PyTorch.

    pip install -e '.[jax]' 'jax[cuda12]' && KERAS_BACKEND=jax python examples/benchmarks/gpu.py
    pip install -e '.[torch]' && KERAS_BACKEND=torch python examples/benchmarks/gpu.py
    KERAS_BACKEND=jax python examples/benchmarks/gpu.py --cpu    # the same, small, on the CPU: tests this script

1. A training with a scripted metric, which meets every kind of decision of the default mode but restarts, in a process
   on the GPU and in one that sees no GPU. The decisions must be equal in every field, the reasons included; and
   whenever training goes back, all variables must be bit for bit what they were, on each device. The losses differ
   between devices, so this shows that nothing but the metric decides. If anything is amiss, the exit code is 1.
2. The time of a training step with the callback beside an empty one. All variants train the same compiled model from
   the same weights, in rounds, and each round begins with another variant. An epoch is measured from its begin to the
   begin of the next one; the first of each fit is left out. The loss improves in nearly every epoch, so that nearly
   every one takes a copy of weights and optimizer state to the host: the worst case. A round gives the median of a
   variant's epochs, and its ratio to the empty callback's; the table has the median over the rounds with a 95 %
   bootstrap interval.
3. How fast copies are taken and gone back to, beside plain copies of the same arrays, and of one contiguous array of as
   many bytes, which is the limit; with PyTorch also of one to and from pinned memory, which is what the bus can do.
   Before each copy all arrays are made again on the device, as a training step does: JAX keeps what it has once brought
   to the host. "host GB" is what is resident in the process right after the copy was taken, beyond what was before it
   (Linux only): the size of the copy, or nothing with rollback="disk", if all is well.

It writes nothing but to stdout, and the files of rollback="disk" to the temporary folder, which it removes. It needs
nothing beside this package and the backend.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if os.environ.get("KERAS_BACKEND") not in ("jax", "torch"):
    print(
        "gpu.py measures JAX and PyTorch: set KERAS_BACKEND=jax or torch. Received: "
        f"KERAS_BACKEND={os.environ.get('KERAS_BACKEND')!r}"
    )
    sys.exit(1)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Keras imports TensorFlow where there is one.
if "--cpu" in sys.argv:  # It must be known before the backend is imported.
    os.environ.update(JAX_PLATFORMS="cpu", CUDA_VISIBLE_DEVICES="", HIP_VISIBLE_DEVICES="", KERAS_TORCH_DEVICE="cpu")

import keras
import numpy as np
from tables import table

import keras_lrplateau
from keras_lrplateau import AdaptLROnPlateau
from keras_lrplateau.training.snapshots import Snapshots, restore_snapshot, take_snapshot

BACKEND = keras.backend.backend()

if BACKEND == "jax":
    import jax
    import jax.numpy as jnp
else:
    import torch


# --- the device ------------------------------------------------------------------------------------------------------


def gpu_name() -> str | None:
    """The name of the device that Keras trains on; None if it is no GPU."""
    if BACKEND == "torch":
        return torch.cuda.get_device_name() if torch.cuda.is_available() else None
    device = jax.devices()[0]
    return None if device.platform == "cpu" else device.device_kind


def why_no_gpu() -> str:
    if BACKEND == "torch":
        built = "is built without CUDA" if not (torch.version.cuda or torch.version.hip) else "finds no device"
        reason = f"PyTorch {torch.__version__} {built}"
    else:
        reason = f"JAX {jax.__version__} finds only {', '.join(str(device) for device in jax.devices())}"
    if os.path.exists("/dev/nvidia0"):
        reason += ", though there is /dev/nvidia0: install a build with CUDA that fits the driver"
    return reason


def versions() -> str:
    found = {"Keras": keras.__version__, "NumPy": np.__version__, "keras_lrplateau": keras_lrplateau.__version__}
    if BACKEND == "torch":
        found |= {"PyTorch": torch.__version__, "CUDA": torch.version.cuda or "none"}
    else:
        found |= {"JAX": jax.__version__}
    return ", ".join(f"{name} {version}" for name, version in found.items()) + f", Python {platform.python_version()}"


def wait(values: Iterable[Any] = ()) -> None:
    """Until the device has done what it was told, and these arrays are there."""
    if BACKEND == "jax":
        jax.block_until_ready(list(values))
    elif torch.cuda.is_available():
        torch.cuda.synchronize()


def free_memory() -> float | None:
    """Bytes of the device that are free; None if it does not tell."""
    if BACKEND == "torch":
        return torch.cuda.mem_get_info()[0]
    stats = jax.devices()[0].memory_stats()
    return None if not stats or "bytes_limit" not in stats else stats["bytes_limit"] - stats["bytes_in_use"]


def in_proc(file: str, name: str) -> int | None:
    """Bytes that a file of /proc tells under a name; None where there is none."""
    try:
        lines = Path("/proc", file).read_text().splitlines()
    except OSError:
        return None
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


# --- 1: the same decisions -------------------------------------------------------------------------------------------

NAN = float("nan")

SCRIPT = [
    *(NAN, 1.0, 0.9),  # diverged at once, back to the start
    *(1.0, 1.0),  # a cut, a raise
    *(1.0, 1.0, 1.0, 0.5, 0.4, 0.3),  # success
    *(1.0, 1.0),  # a cut, a raise
    *(1.0, 1.0, 1.0, 1.0, 1.0, 1.0),  # a rollback
    *(0.25, 1.0, NAN, 0.2),  # a cut; diverged, back to the best
    *(1.0, 1.0, NAN),  # a cut, a raise, diverged: back to the raise
    *(1.0, 1.0, 1.0, 1.0, 1.0),  # a cut, and all raises are used up
]
"""The metric, epoch by epoch, and what it leads to. With a NaN a weight is NaN, too."""

EXPECTED = {"cut", "raise", "success", "rollback", "diverged", "exhausted"}

SETTINGS: dict[str, tuple[str, bool | str]] = {
    "float32": ("float32", True),
    'mixed_float16, rollback="disk"': ("mixed_float16", "disk"),
}
"""The dtype policy and the argument `rollback`."""


class Script(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["val_loss"] = SCRIPT[epoch]
        if SCRIPT[epoch] != SCRIPT[epoch]:
            weight = self.model.trainable_variables[0]
            weight.assign(np.full(weight.shape, NAN))


class Watch(keras.callbacks.Callback):
    """Notes, at each epoch's end, a digest of all that training changes but the rate."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ""
        self.ends: list[str] = []

    def digest(self) -> str:
        metrics = {id(variable) for variable in self.model.metrics_variables}
        content = hashlib.sha256()
        for variable in variables_of(self.model):
            if id(variable) not in metrics and not variable.path.endswith("learning_rate"):
                content.update(keras.ops.convert_to_numpy(variable).tobytes())
        return content.hexdigest()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.first = self.first or self.digest()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.ends.append(self.digest())


def variables_of(model: Any) -> list[Any]:
    return [*model.trainable_variables, *model.non_trainable_variables, *model.optimizer.variables]


def train_scripted(dtypes: str, rollback: Any) -> dict[str, Any]:
    """Train by the script. Returns the decisions as text, and each time it went back, with what is wrong about it."""
    random.seed(0)  # Keras draws its seeds from there; its own function imports TensorFlow.
    keras.config.set_dtype_policy(dtypes)
    layers = keras.layers
    hidden = [layers.Dense(64, activation="relu"), layers.BatchNormalization(), layers.Dropout(0.1)]
    model = keras.Sequential([keras.Input((16,)), *hidden, layers.Dense(1, dtype="float32")])
    model.compile(keras.optimizers.Adam(0.3), loss="mse")
    rng = np.random.default_rng(0)
    # To be learned well: a training loss that never falls would be a reason to restart.
    x = rng.normal(size=(64, 16)).astype("float32")
    y = x[:, :1] - x[:, 1:2]
    before, after = Watch(), Watch()
    with tempfile.TemporaryDirectory() as folder:
        state_path = os.path.join(folder, "state.json") if rollback == "disk" else None
        adapt = AdaptLROnPlateau(factor=0.01, patience=1, raise_after=1, rollback=rollback, state_path=state_path)
        callbacks = [Script(), before, adapt, after]
        model.fit(x, y, batch_size=16, epochs=len(SCRIPT), shuffle=False, verbose=0, callbacks=callbacks)
    keras.config.set_dtype_policy("float32")

    decisions, returns, raised = [], [], 0
    for decision in adapt.decisions:
        plain = decision.to_dict()
        if dtypes != "float32":
            del plain["step"]  # Loss scaling leaves out steps that overflow, and what overflows depends on the device.
        decisions.append(json.dumps(plain))
        if decision.kind == "raise":
            raised = decision.epoch
        if decision.restore is not None:
            best = max((epoch for epoch in range(decision.epoch) if SCRIPT[epoch] == decision.best), default=0)
            target = {"start": after.first, "best": after.ends[best], "raise": after.ends[raised]}[decision.restore]
            if before.ends[decision.epoch] == target:
                fault = "nothing had changed"
            else:
                fault = "" if after.ends[decision.epoch] == target else "not as it was"
            returns.append({"epoch": decision.epoch, "to": decision.restore, "fault": fault})
    kinds = [decision.kind for decision in adapt.decisions]
    return {"decisions": decisions, "returns": returns, "kinds": kinds}


def train_all() -> dict[str, Any]:
    return {name: train_scripted(*setting) for name, setting in SETTINGS.items()}


def compare_decisions(here: str) -> bool:
    """Train by the script here and in a process without a GPU. Whether all is as it must be."""
    command = [sys.executable, __file__, "--cpu", "--decisions"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        ours = train_all()
        output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the training in a process without a GPU failed with exit code {process.returncode}")
    theirs = json.loads(output.splitlines()[-1])
    rows, faults = [], []
    for name in SETTINGS:
        pair = {here: ours[name], "the CPU": theirs[name]}
        for device, one in pair.items():
            if missing := EXPECTED - set(one["kinds"]):
                faults.append(f"{name} on {device}: the script did not lead to {', '.join(sorted(missing))}")
            if {each["to"] for each in one["returns"]} != {"start", "best", "raise"}:
                faults.append(f"{name} on {device}: the script did not go back to start, best and raise")
            faults += [
                f"{name} on {device}, epoch {each['epoch'] + 1}, back to {each['to']}: {each['fault']}"
                for each in one["returns"]
                if each["fault"]
            ]
        if ours[name]["decisions"] != theirs[name]["decisions"]:
            faults.append(f"{name}: the decisions differ")
            for left, right in zip(ours[name]["decisions"], theirs[name]["decisions"], strict=False):
                if left != right:
                    faults.append(f"  the first difference:\n    {left}\n    {right}")
                    break
        equal = "yes" if ours[name]["decisions"] == theirs[name]["decisions"] else "NO"
        exact = "yes" if not any(each["fault"] for one in pair.values() for each in one["returns"]) else "NO"
        count, back = len(ours[name]["decisions"]), len(ours[name]["returns"])
        rows.append((name, str(len(SCRIPT)), str(count), equal, str(back), exact))
    table(
        f"1. Decisions on {here} and in another process on the CPU",
        ("training", "epochs", "decisions", "equal", "went back", "bit for bit on both"),
        rows,
    )
    print("The decisions: " + ", ".join(ours["float32"]["kinds"]))
    for fault in faults:
        print(fault)
    sys.stdout.flush()
    return not faults


# --- 2: the time of a step -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Attributes:
        units: In each of the three hidden layers, and features.
        batch_size: Rows in a step.
        steps: In an epoch.
        epochs: Measured in each fit.
        rounds: How often each variant is trained.
        parameters: Sizes of the models that are copied.
        repeats: Of each copy.
    """

    units: int
    batch_size: int
    steps: int
    epochs: int
    rounds: int
    parameters: tuple[int, ...]
    repeats: int


ON_GPU = Scale(1024, batch_size=256, steps=200, epochs=3, rounds=6, parameters=(10**8, 10**9), repeats=3)
ON_CPU = Scale(64, batch_size=32, steps=100, epochs=2, rounds=2, parameters=(10**6,), repeats=3)

EMPTY = "empty Callback"

VARIANTS: dict[str, Callable[[], Any]] = {
    EMPTY: keras.callbacks.Callback,
    "AdaptLROnPlateau": lambda: AdaptLROnPlateau("loss"),
    "AdaptLROnPlateau, frequency=100": lambda: AdaptLROnPlateau("loss", frequency=100),
    "AdaptLROnPlateau, rollback=False": lambda: AdaptLROnPlateau("loss", rollback=False),
}


class ClockedModel(keras.Sequential):
    """Notes the time whenever Keras resets the metrics, which is at the begin of an epoch."""

    ticks: tuple[float, ...] = ()

    def reset_metrics(self) -> None:
        self.ticks = (*self.ticks, time.perf_counter())  # A tuple: Keras would track a list.
        super().reset_metrics()


def median_and_interval(values: np.ndarray) -> tuple[float, float, float]:
    """The median, and its 95 % bootstrap interval."""
    samples = np.random.default_rng(0).choice(values, size=(10_000, len(values)))
    low, high = np.quantile(np.median(samples, axis=1), [0.025, 0.975])
    return float(np.median(values)), float(low), float(high)


def time_steps(scale: Scale) -> None:
    """Print what a step takes with each variant."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(scale.steps * scale.batch_size, scale.units)).astype("float32")
    y = np.tanh(x[:, :4] + x[:, 4:8]).astype("float32")
    random.seed(0)  # Keras draws its seeds from there; its own function imports TensorFlow.
    hidden = [keras.layers.Dense(scale.units, activation="relu") for _ in range(3)]
    model = ClockedModel([keras.Input((scale.units,)), *hidden, keras.layers.Dense(4)])
    model.compile(keras.optimizers.Adam(1e-4), loss="mse")
    model.optimizer.build(model.trainable_variables)
    beginning = take_snapshot(model)
    names = list(VARIANTS)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    bests: list[float] = []
    # Round -1 traces the training step and counts for nothing.
    for number in range(-1, scale.rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            restore_snapshot(model, beginning)
            model.ticks = ()
            # The first epoch is left out, and the last has no next one that would begin.
            losses = model.fit(
                x, y, batch_size=scale.batch_size, epochs=scale.epochs + 2, verbose=0, callbacks=[VARIANTS[name]()]
            ).history["loss"]
            assert len(model.ticks) == scale.epochs + 2, "Keras resets the metrics at other times than it used to"
            if number >= 0:
                seconds[name].append(float(np.median(np.diff(model.ticks)[1:])) / scale.steps)
                bests.append(float(np.mean(np.diff(losses) < -1e-4)))
    rows = []
    for name in names:
        ratio = "{:.3f} [{:.3f}, {:.3f}]".format(*median_and_interval(np.divide(seconds[name], seconds[EMPTY])))
        rows.append((name, f"{1e3 * np.median(seconds[name]):.3f}", "" if name == EMPTY else ratio))
    size = sum(array.nbytes for array in beginning) / 1e6
    table(
        f"2. Steps of {scale.batch_size} rows, {scale.steps} to an epoch; {model.count_params() / 1e6:.2f}M parameters "
        f"with Adam, a copy has {size:.1f} MB; {scale.rounds} rounds of {scale.epochs} epochs, "
        f"{np.mean(bests):.0%} of them with a new best",
        ("callback", "ms per step", "relative"),
        rows,
    )
    sys.stdout.flush()


# --- 3: copies between device and host -------------------------------------------------------------------------------


def to_host(values: list[Any]) -> list[Any]:
    """Plain copies on the host."""
    if gpu_name() is None:  # There the others would give a view, or the very array.
        return [np.array(value) if BACKEND == "jax" else value.clone() for value in values]
    if BACKEND == "jax":
        return jax.device_get(values)
    return [value.cpu() for value in values]


def to_device(values: list[Any], copies: list[Any]) -> list[Any]:
    """Plain copies back to the device; with PyTorch into the arrays that are there."""
    if BACKEND == "jax":
        return jax.device_put(copies)
    for value, copy in zip(values, copies, strict=True):
        value.copy_(copy)
    return values


def fresh(values: list[Any]) -> list[Any]:
    """Equal arrays on the device, with nothing of them on the host yet."""
    values = [jnp.copy(value) if BACKEND == "jax" else value.detach().clone() for value in values]
    wait(values)
    return values


def time_plain(values: list[Any], repeats: int, pinned: bool = False) -> tuple[list[float], list[float]]:
    """Seconds to the host and back, each time."""
    there, back = [], []
    for _ in range(repeats):
        values = fresh(values)
        host = [torch.empty(value.shape, dtype=value.dtype, pin_memory=True) for value in values] if pinned else []
        began = time.perf_counter()
        if pinned:
            for copy, value in zip(host, values, strict=True):
                copy.copy_(value)
        else:
            host = to_host(values)
        wait()
        there.append(time.perf_counter() - began)
        began = time.perf_counter()
        wait(to_device(values, host))
        back.append(time.perf_counter() - began)
    return there, back


def time_snapshots(model: Any, repeats: int, folder: Path | None) -> tuple[list[float], list[float], list[int]]:
    """Seconds to take a copy and to go back to it, and the host memory that is held in between, each time."""
    snapshots = Snapshots(in_memory=folder is None, folder=folder)
    there, back, held = [], [], []
    for turn in range(repeats):
        for variable in model.trainable_variables:  # One after another: there may be no room for all of them twice.
            variable.assign(fresh([variable.value])[0])
        wait(variable.value for variable in model.trainable_variables)
        before = in_proc("self/status", "VmRSS")
        began = time.perf_counter()
        snapshots.take("best", model, model.optimizer, turn)
        there.append(time.perf_counter() - began)
        after = in_proc("self/status", "VmRSS")
        held.append(after - before if before is not None and after is not None else 0)
        began = time.perf_counter()
        snapshots.restore("best", model, model.optimizer)
        wait(variable.value for variable in model.trainable_variables)
        back.append(time.perf_counter() - began)
        snapshots.keep(())
        snapshots.clean(())
    return there, back, held


def time_copies(scale: Scale, on_gpu: bool) -> None:
    """Print how fast copies are, for each size for which there is room."""
    layers = 16
    for parameters in scale.parameters:
        size = 4 * parameters
        # One array of all of it is copied while its copy is there; on the host, too, and twice by JAX.
        lacks = [
            f"{4 * size / 1e9:.1f} GB of {name}, and {free / 1e9:.1f} GB are free"
            for name, free in (
                ("the device's memory", free_memory() if on_gpu else None),
                ("the host's", in_proc("meminfo", "MemAvailable")),
            )
            if free is not None and free < 4 * size
        ]
        if lacks:
            print(f"\n3. {parameters / 1e6:g}M parameters are left out: they need {' and '.join(lacks)}.", flush=True)
            continue
        width = round((parameters / layers) ** 0.5)
        hidden = [keras.layers.Dense(width, use_bias=False, kernel_initializer="zeros") for _ in range(layers)]
        model = keras.Sequential([keras.Input((width,)), *hidden])
        model.compile(keras.optimizers.SGD(), loss="mse")
        model.optimizer.build(model.trainable_variables)
        size = 4 * model.count_params()
        times: dict[str, tuple[list[float], ...]] = {"Snapshots": time_snapshots(model, scale.repeats, None)}
        if parameters == scale.parameters[0]:
            with tempfile.TemporaryDirectory() as folder:
                times["Snapshots, on disk"] = time_snapshots(model, scale.repeats, Path(folder, "copies"))
        values = fresh([variable.value for variable in model.trainable_variables])
        del model, hidden
        plain = "plain copies"
        times[plain] = time_plain(values, scale.repeats)
        del values
        contiguous = [keras.ops.zeros((size // 4,), "float32")]
        times["one contiguous array"] = time_plain(contiguous, scale.repeats)
        if BACKEND == "torch" and on_gpu:
            times["one contiguous array, pinned"] = time_plain(contiguous, scale.repeats, pinned=True)
        del contiguous
        rows = []
        for name, (there, back, *held) in times.items():
            seconds = [float(np.median(there)), float(np.median(back))]
            rates = [f"{size / 1e9 / each:.2f}" for each in seconds]
            ratios = [f"{np.median(plainly) / each:.2f}" for each, plainly in zip(seconds, times[plain], strict=True)]
            host = f"{np.max(held[0]) / 1e9:.2f}" if held else ""
            rows.append((name, rates[0], ratios[0], rates[1], ratios[1], host))
        table(
            f"3. {parameters / 1e6:g}M parameters with SGD, {size / 1e9:.3g} GB in {layers} arrays; median of "
            f"{scale.repeats}",
            ("copies", "GB/s to the host", "of plain", "GB/s back", "of plain", "host GB"),
            rows,
        )
        sys.stdout.flush()


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cpu", action="store_true", help="run everything small and on the CPU")
    parser.add_argument("--decisions", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.decisions:
        print(json.dumps(train_all()))
        return 0
    began = time.perf_counter()
    gpu = gpu_name()
    if gpu is not None:
        print(f"{gpu}; {versions()}", flush=True)
    elif arguments.cpu:
        print(f"On the CPU, small, to test the script. No figure says anything about a GPU. {versions()}", flush=True)
    else:
        print(
            f"There is no GPU here: {why_no_gpu()}. What can still be checked on the CPU is that a training by the "
            "script meets all kinds of decisions, that it goes back bit for bit, and that another process decides "
            f"alike. With --cpu the other parts run, too, small, which tests the script. {versions()}",
            flush=True,
        )
    is_right = compare_decisions(gpu or "the CPU here")
    if gpu is not None or arguments.cpu:
        scale = ON_CPU if gpu is None else ON_GPU
        time_steps(scale)
        time_copies(scale, on_gpu=gpu is not None)
    print(f"\n{time.perf_counter() - began:.0f} s in all")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
