"""One process of those that test_ranks.py starts; what it saw goes to a file, for the tests to judge.

    python processes_worker.py BACKEND RANK COUNT PORT FOLDER TASK...

A task is a function below. Many tasks share a process, since starting one takes longer than all of them.
"""

# ruff: noqa: E402  What is imported depends on the arguments.

import contextlib
import hashlib
import importlib
import json
import math
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

BACKEND, RANK, COUNT, PORT, FOLDER = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], Path(sys.argv[5])
TASKS = sys.argv[6:]

os.environ.update(KERAS_BACKEND=BACKEND, TF_CPP_MIN_LOG_LEVEL="3")
for other in {"tensorflow", "jax"} - {BACKEND}:
    # Nobody needs it, and Keras would import it all the same where it is installed, which takes longer than the tests.
    sys.modules[other] = None  # type: ignore[assignment]

import keras
import numpy as np
from conftest import Spy, compile_model, data, everything, fit, scripted, tiny_model, without_rates

from keras_lrplateau import AdaptLROnPlateau
from keras_lrplateau.training import processes

if BACKEND == "tensorflow":
    import tensorflow as tf


# --- gather ----------------------------------------------------------------------------------------------------------


def words(rank: int) -> list[Any]:
    """What a rank says, one after the other; of other lengths than what the others say."""
    fits = processes.ROOM - 10  # The length takes eight bytes, two quotes are JSON's.
    return [
        rank,
        [0.1 + rank / 3, 1 / (rank + 7), -0.0, 5e-324, sys.float_info.max, 2**70 + rank],
        {"value": math.nan if rank == 1 else float(rank), "bounds": [math.inf, -math.inf], "none": None},
        "x" * rank,
        "é" * (5000 if rank == 1 else rank),
        "x" * (fits if rank == 1 else 0),
        "x" * (fits + 1 if rank == 1 else 0),
        "x" * (processes.ROOM if rank == 1 else 0),
        None if rank == 1 else rank,
    ]


def exchanges() -> Any:
    return {
        "rank": processes.rank(),
        "count": processes.count(),
        "has_torch": "torch" in sys.modules,
        # As text, in which NaN equals NaN and -0.0 does not equal 0.0.
        "said": [json.dumps(word) for word in words(RANK)],
        "heard": [[json.dumps(word) for word in processes.gather(word)] for word in words(RANK)],
    }


# --- the callback ----------------------------------------------------------------------------------------------------


def train(
    adapt: Any,
    *before: Any,
    epochs: int,
    batches: int = 2,
    times: int = 1,
    together: bool = True,
    killed: int | None = None,
    resume: Callable[[], Any] | None = None,
) -> Any:
    """A real fit; what it decided, and what the weights and the optimizer were, bit for bit.

    Args:
        before: Callbacks in front of `adapt`.
        batches: How many the data is cut into.
        times: How often it is repeated in each epoch.
        together: Whether the processes train one model; if not, each trains its own, with the same initial weights.
        killed: The epoch at whose beginning the fit dies, to be resumed with the callback from `resume`.
    """
    spy = Spy()
    with joint_training(together), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        model = tiny_model(compiled=BACKEND != "torch")
        x, y = data()
        if together:
            average_gradients(model)
            x, y = x + RANK, y - RANK  # Each its own part of the data.
        x, y = np.tile(x, (times, 1)), np.tile(y, (times, 1))
        arguments = {"epochs": epochs, "batches": batches, "x": x, "y": y}
        if killed is not None and resume is not None:
            with contextlib.suppress(KilledError):
                fit(model, *before, spy.callback, adapt, Kill(killed), **arguments)
            adapt = resume()
            arguments["initial_epoch"] = killed
        history = fit(model, *before, spy.callback, adapt, **arguments)
    final = everything(model)
    return {
        "timeline": [[d.epoch, d.kind, d.rate_before.hex(), d.rate.hex(), d.reason] for d in adapt.decisions],
        "rates": [rate.hex() for rate in history["learning_rate"]],
        "losses": [str(loss) for loss in history["loss"]],
        "begins": [digest(spy.begins[epoch]) for epoch in sorted(spy.begins)] + [digest(final)],
        "ends": [digest(spy.ends[epoch]) for epoch in sorted(spy.ends)],
        "weights": digest(final),
        "warnings": [str(each.message) for each in warned if "AdaptLROnPlateau" in str(each.message)],
    }


class KilledError(Exception):
    """What stands for the end of the process."""


class Kill(keras.callbacks.Callback):
    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == self.epoch:
            raise KilledError


def joint_training(together: bool) -> Any:
    if BACKEND == "jax" and together:
        return keras.distribution.DataParallel(auto_shard_dataset=False).scope()
    return warnings.catch_warnings()  # That is, nothing.


def average_gradients(model: Any) -> None:
    """As examples/distributed/torch_ddp.py does. The weights are the same already."""
    if BACKEND != "torch":
        return
    from torch import distributed

    def average(weight: Any) -> None:
        distributed.all_reduce(weight.grad)
        weight.grad /= COUNT

    for variable in model.trainable_variables:
        variable.value.register_post_accumulate_grad_hook(average)


def digest(content: dict[str, bytes]) -> str:
    """Of all that training changes but the rate."""
    return hashlib.sha256(b"".join(without_rates(content).values())).hexdigest()


FLAT = [[1 - epoch / 8 for epoch in range(10)], [1 + epoch / 8 for epoch in range(10)]]
"""A metric that falls on the first rank and rises on the second, so that its average is flat."""

RAISING = {"patience": 1, "factor": 0.01, "min_delta": 0.01, "raise_after": 1, "max_raises": 1, "recover": False}


def falls_and_rises() -> Any:
    """Alone the first rank would see only bests, the second none."""
    return train(AdaptLROnPlateau(**RAISING), scripted(*FLAT[RANK]), epochs=10)


def each_for_itself() -> Any:
    """As `falls_and_rises`, but each with a model of its own: ranks that disagree wait for each other otherwise."""
    return train(AdaptLROnPlateau(**RAISING), scripted(*FLAT[RANK]), epochs=10, together=False)


def without_agreement() -> Any:
    """The control: nobody hears the others."""
    gather, processes.gather = processes.gather, lambda value: [value]
    try:
        return each_for_itself()
    finally:
        processes.gather = gather


def nan_on_one_rank() -> Any:
    values = [1.0, 0.5, math.nan if RANK == 1 else 0.25, 0.5, 0.5]
    spoil = Spoil()
    return train(AdaptLROnPlateau(patience=3), scripted(*values, spoils=False), spoil, epochs=5)


class Spoil(keras.callbacks.Callback):
    """Makes a weight infinite in the third epoch, on all ranks, since to set a shared weight is a collective."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == 2:
            weight = self.model.trainable_variables[0]
            weight.assign(np.full(weight.shape, np.inf))


def loss_explodes_on_one_rank() -> Any:
    values = [1.0, 1.0, 1e9 if RANK == 1 else 1.0, 1.0, 1.0]
    return train(AdaptLROnPlateau(patience=3), scripted(*values, name="loss"), scripted(*[1.0] * 5), epochs=5)


def validation_on_rank_0_only() -> Any:
    """In the fourth epoch there is none at all, and in the sixth it is the other way round."""
    values = [1.0, 1.0, 0.5, None, 0.5, 0.5, 0.5, 0.5]
    if RANK == 1:
        values = [value if epoch == 5 else None for epoch, value in enumerate(values)]
    return train(AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0), scripted(*values), epochs=8)


def stops_when_exhausted() -> Any:
    adapt = AdaptLROnPlateau(**RAISING | {"max_raises": 0}, stop_when_exhausted=True)
    return train(adapt, scripted(*FLAT[RANK]), epochs=10)


def decides_in_steps() -> Any:
    adapt = AdaptLROnPlateau("loss", frequency=2, patience=1, min_delta=1.0, max_raises=0, recover=False)
    return train(adapt, epochs=2, batches=8)


def huge_loss_on_rank_1() -> Any:
    """On PyTorch, where each rank has a running mean of its own, that of rank 1 forgets all later batches."""

    class Huge(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if BACKEND == "torch" and RANK == 1 and batch == 1:
                self.model.metrics[0].update_state(1e12)

    adapt = AdaptLROnPlateau("loss", frequency=2, patience=1, min_delta=1.0, max_raises=0, recover=False)
    return train(adapt, Huge(), epochs=2, batches=8)


def searches_in_steps() -> Any:
    return train(AdaptLROnPlateau.auto("loss"), epochs=3, batches=4, times=100)


def rate_set_elsewhere() -> Any:
    """In the third epoch something sets the rate, and another one on each rank. Each with a model of its own."""

    class Elsewhere(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 2:
                self.model.optimizer.learning_rate = 0.05 * (RANK + 1)

    return train(AdaptLROnPlateau(), Elsewhere(), scripted(*[1.0] * 4), epochs=4, together=False)


def auto_mode() -> Any:
    """Each rank with noise of its own."""
    noise = np.random.default_rng(RANK).normal(size=24)
    values = [float(value) for value in np.exp(-np.arange(24) / 8 + 0.3 * noise)]
    return train(AdaptLROnPlateau.auto(), scripted(*values), epochs=24)


def files() -> Any:
    """A directory of its own for each rank shows who writes."""
    own = FOLDER / f"files{RANK}"
    result = train(AdaptLROnPlateau(**RAISING, log_dir=own), scripted(*FLAT[RANK]), epochs=10)
    return {**result, "files": names_of_files(own)}


def resumed() -> Any:
    """As `falls_and_rises`, but killed before the raise. Only rank 0 finds a state file."""

    def adapt() -> Any:
        return AdaptLROnPlateau(**RAISING, state_path=FOLDER / f"resumed{RANK}" / "state.json")

    return train(adapt(), scripted(*FLAT[RANK]), epochs=10, killed=2, resume=adapt)


def resumed_from_disk() -> Any:
    """As `falls_and_rises`, but killed after the raise: the weights to go back to are on disk, shared by all ranks."""
    path = FOLDER / "disk" / "state.json"

    def adapt() -> Any:
        return AdaptLROnPlateau(**RAISING, rollback="disk", state_path=path)

    return train(adapt(), scripted(*FLAT[RANK]), epochs=10, killed=4, resume=adapt)


def refused() -> Any:
    """Rank 0 cannot write its state file."""
    obstacle = FOLDER / f"obstacle{RANK}"
    if RANK == 0:
        obstacle.write_text("not a directory")
    try:
        train(AdaptLROnPlateau(state_path=obstacle / "state.json"), scripted(1.0), epochs=1)
    except Exception as error:
        return {"raised": f"{type(error).__name__}: {error}"}
    return {"raised": None}


def names_of_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# --- variables that JAX processes share ------------------------------------------------------------------------------


def shared_variables() -> Any:
    """With a NaN; one variable is whole in each process, of the other one each has a half."""
    wanted = np.arange(8, dtype="float32").reshape(2, 4)
    wanted[1, 1] = math.nan
    found = {}
    for name, layout in {"whole": (None, None), "halves": (None, "model")}.items():
        with model_parallel(**{".*": layout}).scope():
            variable = keras.Variable(np.zeros_like(wanted))
            processes.assign(variable, wanted)
            parts = [list(shard.data.shape) for shard in variable.value.addressable_shards]
            is_same = processes.to_array(variable).tobytes() == wanted.tobytes()
            found[name] = {"parts": parts, "is_same": is_same, "layout": str(variable.value.sharding.spec)}
    return found


def model_in_parts() -> Any:
    """A kernel, half of it in each process, in a training with a rollback."""
    begins: list[str] = []
    ends: list[str] = []

    def look(model: Any) -> str:
        return hashlib.sha256(b"".join(processes.to_array(weight).tobytes() for weight in model.weights)).hexdigest()

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            begins.append(look(self.model))

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            ends.append(look(self.model))

    with model_parallel(**{".*kernel": (None, "model")}).scope():
        keras.utils.set_random_seed(0)
        layers = [keras.Input((4,)), keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(2)]
        model = compile_model(keras.Sequential(layers), keras.optimizers.Adam(), compiled=True, loss="mse")
        adapt = AdaptLROnPlateau(**RAISING)
        # All have all of the batch.
        x, y = data(outputs=2)
        fit(model, scripted(*FLAT[RANK]), Watch(), adapt, epochs=10, x=x, y=y)
        begins.append(look(model))
        is_whole = model.layers[0].kernel.value.is_fully_replicated
    timeline = [[d.epoch, d.kind, d.rate_before, d.rate] for d in adapt.decisions]
    return {"timeline": timeline, "begins": begins, "ends": ends, "is_whole": is_whole}


def model_parallel(**layouts: Any) -> Any:
    """All processes are one replica."""
    mesh = keras.distribution.DeviceMesh((1, COUNT), ["batch", "model"], keras.distribution.list_devices())
    layout_map = keras.distribution.LayoutMap(mesh)
    for name, layout in layouts.items():
        layout_map[name] = layout
    return keras.distribution.ModelParallel(layout_map=layout_map, batch_dim_name="batch", auto_shard_dataset=False)


# --- MirroredStrategy: one process, several devices ------------------------------------------------------------------


def mirrored() -> Any:
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    begins: list[list[str]] = []
    ends: list[list[str]] = []

    def digests(model: Any) -> list[str]:
        """Of what each device has."""
        found = [hashlib.sha256(), hashlib.sha256()]
        for variable in [*model.weights, *model.optimizer.variables]:
            if variable.name != "learning_rate":
                for each, copy in zip(found, strategy.experimental_local_results(variable.value), strict=True):
                    each.update(copy.numpy().tobytes())
        return [each.hexdigest() for each in found]

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            begins.append(digests(self.model))

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            ends.append(digests(self.model))
            rate = strategy.experimental_local_results(self.model.optimizer.learning_rate.value)
            rates.append([float(copy.numpy()) for copy in rate])

    rates: list[list[float]] = []
    adapt = AdaptLROnPlateau(**RAISING)
    with strategy.scope():
        keras.utils.set_random_seed(0)
        layers = [keras.Input((4,)), keras.layers.Dense(3, activation="tanh"), keras.layers.Dense(1)]
        model = compile_model(
            keras.Sequential(layers), keras.optimizers.SGD(0.1, momentum=0.9), compiled=True, loss="mse"
        )
    fit(model, scripted(*[1.0] * 10), Watch(), adapt, epochs=10, batches=2)
    begins.append(digests(model))
    copies = strategy.experimental_local_results(model.weights[0].value)
    copies[1].assign(copies[1] + 1)
    return {
        "timeline": [[d.epoch, d.kind, d.rate_before, d.rate] for d in adapt.decisions],
        "begins": begins,
        "ends": ends,
        "rates": rates,
        "spoilt": digests(model),
        "has_torch": "torch" in sys.modules,
        "alone": [processes.rank(), processes.count(), processes.gather("word")],
    }


# --- the process -----------------------------------------------------------------------------------------------------


def main() -> None:
    if BACKEND == "jax":
        importlib.import_module("jax").config.update("jax_cpu_collectives_implementation", "gloo")
        keras.distribution.initialize(f"127.0.0.1:{PORT}", COUNT, RANK)
    elif BACKEND == "torch":
        from torch import distributed

        distributed.init_process_group("gloo", f"tcp://127.0.0.1:{PORT}", world_size=COUNT, rank=RANK)
    found = {}
    for task in TASKS:
        try:
            found[task] = globals()[task]()
        except Exception:
            # What fails on one rank mostly fails on all, and then the next task can do without it.
            found[task] = {"error": traceback.format_exc()}
    (FOLDER / f"{RANK}.json").write_text(json.dumps(found))
    if BACKEND == "torch":
        # Its threads may abort a process that ends without it.
        distributed.destroy_process_group()


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        # Another rank may wait for this one: do not wait for it in turn, as the backends do when Python ends.
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
