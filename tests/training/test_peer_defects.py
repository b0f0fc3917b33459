"""What users of other plateau schedulers reported, one test each: it does not happen here.

Of the reports listed in shared/FACTS.md these are the ones that a single process and a single `fit` can show. State
files for resuming, decisions below an epoch, and several workers are not there yet.
"""

import copy
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from conftest import (
    Spy,
    data,
    fit,
    kinds,
    push,
    pushed_model,
    read_scalars,
    scripted,
    timeline,
    tiny_model,
    two_outputs,
)
from conftest import without_rates as weights_and_slots
from keras.optimizers import SGD, Adam, LossScaleOptimizer, MultiOptimizer, OptimizerMap
from keras.optimizers.schedules import CosineDecay, ExponentialDecay

import keras_lrplateau
from keras_lrplateau import AdaptLROnPlateau

HALVES: dict[str, Any] = {"patience": 1, "factor": 0.5, "max_raises": 0, "recover": False}


def test_tensorflow_36612_a_schedule_with_a_plateau_callback_does_not_crash_at_the_first_cut() -> None:
    """tensorflow#36612: ReduceLROnPlateau raises TypeError at the first cut of a LearningRateSchedule."""
    adapt = AdaptLROnPlateau(**HALVES)
    schedule = ExponentialDecay(0.5, decay_steps=1, decay_rate=1.0)
    history = push(pushed_model(SGD(schedule), compiled=False), scripted(1.0, 2.0, 0.5), adapt, epochs=3)
    assert kinds(adapt) == ["cut"]
    assert history["learning_rate"] == [0.5, 0.5, 0.25]


@pytest.mark.filterwarnings("ignore:AdaptLROnPlateau. LearningRateScheduler sets")
def test_keras_8829_a_scheduler_that_overwrites_the_cut_is_reported() -> None:
    """keras PR#8829: another scheduler silently undoes every cut."""
    adapt = AdaptLROnPlateau(**HALVES)
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1)
    with pytest.warns(UserWarning, match="Something else sets the learning rate"):
        fit(tiny_model(), scripted(1.0, 2.0, 0.5), scheduler, adapt, epochs=3)
    assert timeline(adapt) == [(1, "cut", 0.05), (2, "override", 0.1)]


def test_transformers_29417_pytorch_68978_warm_up_and_plateau_go_together() -> None:
    """transformers#29417, pytorch#68978: a warm-up that goes on below the cuts of a plateau scheduler."""
    adapt = AdaptLROnPlateau(**HALVES)
    warm_up = CosineDecay(0.0, decay_steps=10**8, warmup_target=0.5, warmup_steps=4)
    push(model := pushed_model(SGD(warm_up)), scripted(1.0, 2.0, 0.5, 0.4), adapt, epochs=4)
    assert timeline(adapt) == [(1, "cut", 0.5)]
    assert model.get_weights()[0].item() == pytest.approx(0 + 0.125 + 0.25 / 2 + 0.375 / 2)


@pytest.mark.filterwarnings("ignore:AdaptLROnPlateau. mode='max' contradicts")
@pytest.mark.parametrize(
    ("mode", "values", "decisions"),
    [
        ("min", [-100.0, -105.0, -111.0], ["cut"]),  # 5 % is no improvement, 11 % is
        ("max", [-100.0, -95.0, -89.0], ["cut"]),
        ("min", [100.0, 95.0, 89.0], ["cut"]),
    ],
)
def test_pytorch_47513_a_relative_threshold_holds_for_negative_metrics(
    mode: Any, values: list[float], decisions: list[str]
) -> None:
    """pytorch#47513 (and keras#15863, tensorflow#33675, which ask for one): torch's asks for less than nothing."""
    adapt = AdaptLROnPlateau(**HALVES, mode=mode, min_delta=0.1, threshold_mode="rel")
    fit(tiny_model(), scripted(*values), adapt, epochs=3)
    assert kinds(adapt) == decisions
    assert adapt.decisions[0].epoch == 1
    assert adapt.state is not None
    assert adapt.state.best == values[-1]


def test_keras_4443_11973_the_rate_is_in_the_csv_file_in_a_column_of_every_row(tmp_path: Path) -> None:
    """keras#4443, keras#11973: the rate is missing from the logs, or comes after the columns are fixed."""
    adapt = AdaptLROnPlateau(**HALVES)
    csv = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    fit(tiny_model(), scripted(1.0, 2.0, 0.5), adapt, csv, epochs=3)
    assert kinds(adapt) == ["cut"]
    rows = [row.split(",") for row in (tmp_path / "log.csv").read_text().splitlines()]
    column = rows[0].index("learning_rate")
    assert [float(row[column]) for row in rows[1:]] == pytest.approx([0.1, 0.1, 0.05])


def test_tensorflow_46248_tf_keras_403_the_rate_of_an_epoch_is_the_one_used_in_it(tmp_path: Path) -> None:
    """tensorflow#46248, tf-keras#403: the rate in TensorBoard is missing, or that of the next epoch."""
    adapt = AdaptLROnPlateau(**HALVES, log_dir=tmp_path)
    fit(tiny_model(), scripted(1.0, 2.0, 0.5), adapt, epochs=3)
    assert timeline(adapt) == [(1, "cut", 0.05)]
    rates = read_scalars(tmp_path / "lr_plateau")["lr_plateau/learning_rate"]
    assert rates == pytest.approx({0: 0.1, 1: 0.1, 2: 0.05})


@pytest.mark.long
def test_keras_19121_tensorboard_files_are_written_without_tensorflow(tmp_path: Path) -> None:
    """keras#19121: keras.callbacks.TensorBoard needs TensorFlow on every backend."""
    if keras.backend.backend() == "tensorflow":
        pytest.skip("the backend itself is TensorFlow")
    code = """
import sys
sys.modules["tensorflow"] = None  # As if it were not installed.
import keras, numpy as np
from keras_lrplateau import AdaptLROnPlateau
model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
model.compile("sgd", "mse", run_eagerly=True, jit_compile=False)
model.fit(np.ones((4, 1)), np.ones((4, 1)), verbose=0, callbacks=[AdaptLROnPlateau("loss", log_dir=sys.argv[1])])
"""
    root = Path(keras_lrplateau.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "KERAS_BACKEND": keras.backend.backend()}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert read_scalars(tmp_path / "lr_plateau")["lr_plateau/loss"].keys() == {0}


def test_keras_8332_a_nan_in_the_first_epoch_does_not_become_the_best_for_ever() -> None:
    """keras#8332: Keras keeps a NaN that comes first, since nothing compares better."""
    adapt = AdaptLROnPlateau(**HALVES)
    fit(tiny_model(), scripted(math.nan, 1.0, 0.5, 0.6), adapt, epochs=4)
    assert adapt.state is not None
    assert adapt.state.best == 0.5
    assert [decision.epoch for decision in adapt.decisions if decision.value == 0.6] == [3]


def test_keras_8332_a_nan_costs_no_run() -> None:
    """keras#8332: after a NaN all weights are NaN, and the run goes on to its end for nothing."""
    model = tiny_model(SGD(1e8))
    adapt = AdaptLROnPlateau(monitor="loss")
    fit(model, adapt, epochs=4, batches=4)
    assert "diverged" in kinds(adapt)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_pytorch_2478_a_cut_can_go_back_to_the_best_weights() -> None:
    """pytorch#2478: go on from the best weights at a lower rate."""
    spy = Spy()
    adapt = AdaptLROnPlateau(**HALVES, rollback_on_cut=True)
    fit(tiny_model(Adam(0.1)), scripted(1.0, 2.0), adapt, spy.callback, epochs=2)
    assert kinds(adapt) == ["cut"]
    assert weights_and_slots(spy.ends[1]) == weights_and_slots(spy.ends[0])


def test_lightning_5943_keras_13239_an_epoch_without_validation_counts_nothing() -> None:
    """Lightning#2316, Lightning#5943: a stale value counted twice. keras#13239: validation_freq warns every time."""
    adapt = AdaptLROnPlateau(**{**HALVES, "patience": 2}, min_delta=1e6)
    x, y = data()
    fit(tiny_model(), adapt, epochs=6, validation_data=(x, y), validation_freq=2)
    assert timeline(adapt) == [(5, "cut", 0.05)], "the third observation, two without improvement"


@pytest.mark.parametrize("wrap", [lambda inner: inner, LossScaleOptimizer], ids=["Multi", "LossScale(Multi)"])
def test_keras_21741_22959_several_rates_are_cut_together(wrap: Any) -> None:
    """keras#21741, PR#22959: MultiOptimizer has no rate; inside LossScaleOptimizer it crashes ReduceLROnPlateau."""
    sub_optimizers = OptimizerMap(SGD(0.1, name="one"), {".*/a/.*": Adam(0.01, name="two")})
    adapt = AdaptLROnPlateau(**HALVES)
    history = fit(tiny_model(wrap(MultiOptimizer(sub_optimizers))), scripted(1.0, 2.0, 0.5), adapt, epochs=3)
    assert kinds(adapt) == ["cut"]
    assert history["learning_rate_one"] == pytest.approx([0.1, 0.1, 0.05])
    assert history["learning_rate_two"] == pytest.approx([0.01, 0.01, 0.005])


def test_keras_9935_one_epoch_per_fit_keeps_what_was_seen() -> None:
    """keras#9935, PR#22967: each `fit` forgets the best, so a loop of fits never cuts."""
    adapt = AdaptLROnPlateau(**{**HALVES, "patience": 2}, reset_on_train_begin=False)
    model, metric = tiny_model(), scripted(1.0, 2.0, 2.0)
    for _ in range(3):
        fit(model, metric, adapt)
    assert timeline(adapt) == [(2, "cut", 0.05)]


@pytest.mark.parametrize(("monitor", "expected"), [("val_a_loss", ["cut"]), ("val_a_accuracy", [])])
def test_keras_18798_the_direction_of_an_output_of_several_is_known(monitor: str, expected: list[str]) -> None:
    """keras#18798: mode="auto" raises ValueError for the metrics of one output."""
    x, _ = data()
    y = {name: np.ones((len(x), 1), "float32") for name in "ab"}
    adapt = AdaptLROnPlateau(monitor=monitor, **HALVES)
    fit(two_outputs(), scripted(0.1, 0.2, name=monitor), adapt, epochs=2, x=x, y=y)
    assert kinds(adapt) == expected


def test_half_precision_metrics_are_compared_exactly() -> None:
    """Found when FACTS.md was written: compared as bfloat16, .500 is no improvement on .501."""
    adapt = AdaptLROnPlateau(**HALVES)
    adapt.set_model(SimpleNamespace(optimizer=SGD(0.1), metrics=[], built=False, stop_training=False))
    adapt.on_train_begin()
    adapt.on_epoch_end(0, {"val_loss": 0.501})
    adapt.on_epoch_end(1, {"val_loss": keras.ops.cast(0.5, "bfloat16")})
    assert kinds(adapt) == []
    assert adapt.state is not None
    assert adapt.state.best == 0.5


@pytest.mark.parametrize("min_lr", [1e-3, 3e-4, 0.05])
def test_tensorflow_39462_min_lr_is_reached_once_whatever_the_dtype_rounds_it_to(min_lr: float) -> None:
    """tensorflow#39462: min_lr, rounded to float32, is above or below the rate, and is "reached" again and again."""
    adapt = AdaptLROnPlateau(**{**HALVES, "factor": 0.1}, min_lr=min_lr)
    model = tiny_model()
    fit(model, scripted(*[1.0] * 7), adapt, epochs=7)
    assert kinds(adapt)[-1] == "exhausted"
    assert kinds(adapt).count("exhausted") == 1
    assert adapt.decisions[-1].rate == min_lr
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == np.float32(min_lr)


def test_pytorch_110776_120555_the_state_and_the_decisions_can_be_looked_at() -> None:
    """pytorch#110776, #120555: what a scheduler knows and did cannot be seen from outside."""
    adapt = AdaptLROnPlateau(**HALVES)
    fit(tiny_model(), scripted(1.0, 2.0, 0.5, 0.6), adapt, epochs=4)
    (first, second) = adapt.decisions
    assert (first.epoch, first.value, first.best, first.rate_before, first.rate) == (1, 2.0, 1.0, 0.1, 0.05)
    assert "no improvement on 1" in first.reason
    assert second.epoch == 3
    assert adapt.state is not None
    assert adapt.state.to_dict()["best"] == 0.5


def test_keras_8828_the_printed_line_says_who_changes_the_rate(capsys: pytest.CaptureFixture[str]) -> None:
    """keras PR#8828: hard to tell who is reducing."""
    fit(tiny_model(), scripted(1.0, 2.0), AdaptLROnPlateau(**HALVES, verbose=1), epochs=2)
    assert "AdaptLROnPlateau cut: learning rate 0.1 -> 0.05" in capsys.readouterr().out


def test_keras_tuner_392_a_deep_copy_for_each_trial_is_on_its_own() -> None:
    """keras-tuner#392: the tuner deep-copies callbacks before each fit."""
    adapt = AdaptLROnPlateau(**HALVES)
    for rate in (0.1, 0.4):
        trial = copy.deepcopy(adapt)
        fit(tiny_model(SGD(rate)), scripted(1.0, 2.0), trial, epochs=2)
        assert timeline(trial) == [(1, "cut", rate / 2)]
    assert adapt.decisions == []


def test_pytorch_2545_keras_9541_patience_makes_a_cut_before_early_stopping_ends_the_run() -> None:
    """pytorch#2545, keras#9541: which of two patiences acts first. Both count alike: the smaller one."""
    adapt = AdaptLROnPlateau(**{**HALVES, "patience": 2})
    stopping = keras.callbacks.EarlyStopping(patience=3)
    history = fit(tiny_model(), scripted(*[1.0] * 6), adapt, stopping, epochs=6)
    assert timeline(adapt) == [(2, "cut", 0.05)]
    assert len(history["loss"]) == 4
