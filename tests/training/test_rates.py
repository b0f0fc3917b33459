"""The rate of every kind of Keras optimizer, schedules that are scaled, and snapshots; on the backend that runs."""

from typing import Any

import keras
import numpy as np
import pytest
from conftest import (
    at_epoch_end,
    compile_model,
    everything,
    fit,
    kinds,
    only,
    push,
    pushed_model,
    scripted,
    tiny_model,
    weight_of,
    without_rates,
)
from keras.optimizers import SGD, Adam, LossScaleOptimizer, MultiOptimizer, OptimizerMap
from keras.optimizers.schedules import CosineDecay, ExponentialDecay

from keras_lrplateau import AdaptLROnPlateau
from keras_lrplateau.training.rates import RateControl
from keras_lrplateau.training.schedules import scale_schedules
from keras_lrplateau.training.snapshots import restore_snapshot, take_snapshot


def rate_of(optimizer: Any) -> float:
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))


def multi(first: Any, second: Any) -> Any:
    """The default optimizer, which Keras lists last, and another for the layer "a"."""
    return MultiOptimizer(OptimizerMap(first, {".*/a/.*": second}))


# --- one number for the rate -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("rate", [0.001, 0.1, 3e-4, 0.3])
def test_a_rate_reads_as_the_number_that_the_user_wrote(floatx: Any, dtype: str, rate: float) -> None:
    floatx(dtype)
    optimizer = SGD(rate)
    assert keras.backend.standardize_dtype(optimizer.learning_rate.dtype) == dtype
    assert RateControl(optimizer, 0.0, None).rate == rate


@pytest.mark.parametrize("wrap", [lambda inner: inner, LossScaleOptimizer], ids=["plain", "LossScale"])
@pytest.mark.backends
def test_a_single_rate_is_read_and_written(wrap: Any) -> None:
    inner = SGD(0.1)
    control = RateControl(wrap(inner), 0.0, None)
    assert control.in_force() == {"learning_rate": 0.1}
    control.write(0.05)
    assert rate_of(inner) == pytest.approx(0.05)
    assert control.in_force() == {"learning_rate": 0.05}


@pytest.mark.parametrize("wrap", [lambda inner: inner, LossScaleOptimizer], ids=["Multi", "LossScale(Multi)"])
@pytest.mark.backends
def test_sub_rates_move_by_the_same_factor(wrap: Any) -> None:
    big, small = SGD(0.1, name="big"), Adam(0.001, name="small")
    control = RateControl(wrap(multi(small, big)), 0.0, None)
    assert control.rate == 0.1, "the largest stands for all"
    for number, sub_rate in ((0.05, 0.0005), (0.2, 0.002), (0.1, 0.001)):
        control.write(number)
        assert control.in_force() == pytest.approx({"learning_rate_big": number, "learning_rate_small": sub_rate})


@pytest.mark.backends
def test_a_bfloat16_rate_that_is_changed_outside_is_noticed_and_its_own_writes_are_not(floatx: Any) -> None:
    floatx("bfloat16")
    optimizer = SGD(0.1)
    control = RateControl(optimizer, 0.0, None)
    control.write(0.01)
    assert control.held == control.written
    optimizer.learning_rate = 0.02
    assert control.held != control.written


def test_the_bounds_hold_for_each_sub_rate_and_the_ratio_comes_back() -> None:
    big, small = SGD(0.1, name="big"), SGD(0.02, name="small")
    control = RateControl(multi(small, big), 0.01, 0.4)
    found = []
    for number in (0.05, 0.02, 0.1, 0.4):
        control.write(number)
        found.append((rate_of(big), rate_of(small)))
    assert found == [pytest.approx(pair) for pair in ((0.05, 0.01), (0.02, 0.01), (0.1, 0.02), (0.4, 0.08))]


def test_a_sub_rate_that_began_below_min_lr_is_not_moved_up_by_a_cut() -> None:
    big, small = SGD(0.1, name="big"), SGD(0.001, name="small")
    control = RateControl(multi(small, big), 0.01, None)
    control.write(0.05)
    assert control.in_force() == pytest.approx({"learning_rate_big": 0.05, "learning_rate_small": 0.001})


def test_a_multi_optimizer_made_from_a_function_is_cut_in_a_fit() -> None:
    big, small = SGD(0.1, name="big"), SGD(0.001, name="small")
    model = tiny_model(MultiOptimizer(lambda variable: big if "/a/" in variable.path else small))
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0)
    history = fit(model, scripted(1.0, 2.0, 1.5), adapt, epochs=3)
    assert kinds(adapt) == ["cut", "cut"]
    assert history["learning_rate_big"] == pytest.approx([0.1, 0.1, 0.05])
    assert history["learning_rate_small"] == pytest.approx([0.001, 0.001, 0.0005])


def test_a_rate_that_is_a_plain_callable_fails_before_training() -> None:
    model = tiny_model(SGD(lambda: 0.1))
    with pytest.raises(TypeError, match=r"plain callable.*use a float or a keras\.optimizers\.schedules"):
        fit(model, AdaptLROnPlateau(monitor="loss"))
    assert int(model.optimizer.iterations) == 0


def test_a_model_without_a_keras_optimizer_fails_before_training() -> None:
    model = tiny_model()
    model.optimizer = None
    adapt = AdaptLROnPlateau(monitor="loss")
    adapt.set_model(model)
    with pytest.raises(TypeError, match=r"pass optimizer=\.\.\. to model\.compile"):
        adapt.on_train_begin()


@pytest.mark.parametrize("wrap", [lambda inner: inner, LossScaleOptimizer], ids=["plain", "LossScale"])
@pytest.mark.backends
def test_the_rate_logged_for_an_epoch_is_the_one_that_moved_the_weight(wrap: Any) -> None:
    model = pushed_model(wrap(SGD(0.25)))
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0)
    moved = [0.0]
    spy = at_epoch_end(lambda epoch, logs: moved.append(weight_of(model)))
    history = push(model, scripted(1.0, 2.0, 2.0, 0.5, 1.0), adapt, spy, epochs=5)
    assert history["learning_rate"] == [0.25, 0.25, 0.125, 0.0625, 0.0625]
    assert np.diff(moved).tolist() == history["learning_rate"]
    assert rate_of(model.optimizer) == 0.03125


# --- schedules -------------------------------------------------------------------------------------------------------


def constant(rate: float) -> Any:
    return ExponentialDecay(rate, decay_steps=1, decay_rate=1.0)


SCHEDULES = {
    "exponential": lambda: ExponentialDecay(0.5, decay_steps=1, decay_rate=0.5),
    "warm-up and cosine": lambda: CosineDecay(0.0, decay_steps=6, warmup_target=0.5, warmup_steps=3),
}


@pytest.mark.parametrize("name", only(["warm-up and cosine"], SCHEDULES))
@pytest.mark.backends
def test_a_cut_scales_the_schedule_in_the_compiled_step(name: str) -> None:
    """multiplier 1, 1, .5, .25, .25"""
    model = pushed_model(SGD(SCHEDULES[name]()))
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0)
    moved = [0.0]
    push(
        model,
        scripted(1.0, 2.0, 2.0, 0.5, 0.4),
        adapt,
        at_epoch_end(lambda *_: moved.append(weight_of(model))),
        epochs=5,
    )
    assert [(decision.epoch, decision.rate) for decision in adapt.decisions] == [(1, 0.5), (2, 0.25)]
    unscaled = [float(keras.ops.convert_to_numpy(SCHEDULES[name]()(iteration))) for iteration in range(5)]
    expected = [rate * multiplier for rate, multiplier in zip(unscaled, (1, 1, 0.5, 0.25, 0.25), strict=True)]
    np.testing.assert_allclose(np.diff(moved), expected, rtol=1e-5)


def scheduled(kind: str) -> Any:
    schedule = ExponentialDecay(0.1, decay_steps=100, decay_rate=0.9)
    return {
        "plain": lambda: Adam(schedule),
        "LossScale": lambda: LossScaleOptimizer(Adam(schedule)),
        "Multi": lambda: multi(Adam(schedule), SGD(CosineDecay(0.1, 100))),
        "LossScale(Multi)": lambda: LossScaleOptimizer(multi(Adam(schedule), SGD(0.1))),
    }[kind]()


KINDS = ["plain", "LossScale", "Multi", "LossScale(Multi)"]


@pytest.mark.parametrize("kind", only(["LossScale(Multi)"], KINDS))
@pytest.mark.backends
def test_multiplier_zero_freezes_the_weights_though_the_step_was_traced_before(kind: str) -> None:
    model = tiny_model(scheduled(kind), compiled=True)
    fit(model)
    scale_schedules(model, model.optimizer, 0.0, None)
    control = RateControl(model.optimizer, 0.0, None)
    assert control.is_scheduled
    assert control.rate == 1.0
    before = model.get_weights()
    fit(model)
    after = model.get_weights()
    assert all((one != other).any() for one, other in zip(before, after, strict=True)), "the schedule trains"
    control.write(0.0)
    fit(model)
    for one, other in zip(after, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    control.write(1.0)
    fit(model)
    assert all((one != other).any() for one, other in zip(after, model.get_weights(), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_gives_the_rates_that_it_would_without_the_callback(kind: str) -> None:
    model, plain = tiny_model(scheduled(kind), compiled=True), tiny_model(scheduled(kind), compiled=True)
    fit(plain, epochs=3, batches=2)
    fit(model, AdaptLROnPlateau(monitor="loss"), epochs=3, batches=2)
    for one, other in zip(plain.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("scheduled_rate", "multiplier", "used"),
    [
        (0.1, 0.75, 0.075),
        (0.1, 0.1, 0.04),  # the multiplier stops at min_lr
        (0.1, 4.0, 0.15),  # and at max_lr
        (0.02, 0.5, 0.02),  # below min_lr by itself: neither down nor up
        (0.2, 2.0, 0.2),  # above max_lr by itself
        (0.0, 2.0, 0.0),
    ],
)
def test_the_bounds_limit_the_multiplier_never_the_schedule(
    scheduled_rate: float, multiplier: float, used: float
) -> None:
    model = pushed_model(SGD(constant(scheduled_rate)))
    scale_schedules(model, model.optimizer, 0.04, 0.15)
    control = RateControl(model.optimizer, 0.04, 0.15)
    control.write(multiplier)
    push(model)
    assert weight_of(model) == pytest.approx(used)
    assert control.in_force()["learning_rate"] == pytest.approx(used)


def test_a_warm_up_that_passes_max_lr_goes_on_in_the_next_fit() -> None:
    """0, .25, .5 and max_lr .3: no bound for the schedule, whichever fit of the training it is."""
    warm_up = CosineDecay(0.0, decay_steps=10**8, warmup_target=1.0, warmup_steps=4)
    model = pushed_model(SGD(warm_up), compiled=False)
    adapt = AdaptLROnPlateau(monitor="loss", max_lr=0.3, reset_on_train_begin=False)
    for _ in range(3):
        push(model, adapt)
    assert weight_of(model) == pytest.approx(0.75)


def test_bounds_are_multiples_of_what_the_schedule_says_now() -> None:
    model = pushed_model(SGD(ExponentialDecay(0.1, decay_steps=1, decay_rate=0.5)), compiled=False)
    scale_schedules(model, model.optimizer, 0.01, 1.0)
    control = RateControl(model.optimizer, 0.01, 1.0)
    assert control.bounds() == pytest.approx((0.1, 10.0))
    push(model)
    assert control.bounds() == pytest.approx((0.2, 20.0))


def test_of_several_schedules_the_highest_one_has_the_bounds() -> None:
    model = pushed_model(multi(SGD(constant(0.1)), SGD(constant(0.001))), compiled=False)
    scale_schedules(model, model.optimizer, 0.01, 1.0)
    assert RateControl(model.optimizer, 0.01, 1.0).bounds() == pytest.approx((0.1, 10.0))


def test_a_cosine_that_ends_at_zero_goes_on_ending_there() -> None:
    model = pushed_model(SGD(CosineDecay(0.5, decay_steps=2)), compiled=False)
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, min_lr=0.01, max_lr=10.0, max_raises=0, recover=False)
    history = push(model, scripted(*[1.0] * 6), adapt, epochs=6)
    assert "cut" in kinds(adapt)
    assert history["learning_rate"][-1] == 0.0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_schedule_in_half_precision_is_cut_and_logged(floatx: Any, dtype: str) -> None:
    floatx(dtype)
    model = tiny_model(SGD(ExponentialDecay(0.5, decay_steps=100, decay_rate=0.5)))
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0)
    history = fit(model, scripted(1.0, 2.0, 0.5), adapt, epochs=3)
    assert kinds(adapt) == ["cut"]
    assert history["learning_rate"] == pytest.approx([0.5, 0.5, 0.25], rel=0.05)


# --- the optimizer in files ------------------------------------------------------------------------------------------


def with_callback(model: Any) -> Any:
    """Trained with the callback in place, the multiplier no longer 1."""
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0)
    fit(model, scripted(1.0, 2.0), adapt, epochs=2)
    assert kinds(adapt) == ["cut"]
    return model


# Not Multi: Keras 3.15 itself does not load one whole, it takes its default optimizer for a second object.
@pytest.mark.parametrize("kind", ["plain", "LossScale"])
def test_a_saved_model_loads_without_the_callback(kind: str, tmp_path: Any) -> None:
    model = with_callback(tiny_model(scheduled(kind)))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")  # A warning of skipped variables would be an error here.
    assert list(everything(loaded).values()) == list(everything(model).values())
    assert int(loaded.optimizer.iterations) == 2


@pytest.mark.parametrize("kind", only(("plain", "Multi"), ["plain", "LossScale", "Multi"]))
@pytest.mark.parametrize("saved_with", [False, True], ids=["saved without", "saved with"])
@pytest.mark.parametrize("loaded_with", [False, True], ids=["loaded without", "loaded with"])
def test_weight_files_keep_the_optimizer_whole(kind: str, saved_with: bool, loaded_with: bool, tmp_path: Any) -> None:
    model = tiny_model(scheduled(kind))
    with_callback(model) if saved_with else fit(model, epochs=2)
    model.save_weights(tmp_path / "model.weights.h5")
    other = tiny_model(scheduled(kind))
    with_callback(other) if loaded_with else other.optimizer.build(other.trainable_variables)
    fit(other)
    assert everything(other) != everything(model)
    other.load_weights(tmp_path / "model.weights.h5")
    assert list(everything(other).values()) == list(everything(model).values())


@pytest.mark.parametrize("first", [True, False], ids=["before us", "after us"])
def test_backup_and_restore_resumes_a_schedule_whole(first: bool, tmp_path: Any) -> None:
    def attempt(model: Any, *others: Any) -> tuple[Any, Any]:
        adapt = AdaptLROnPlateau(monitor="loss", patience=5)
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        return adapt, lambda: fit(model, *((backup, adapt) if first else (adapt, backup)), *others, epochs=4)

    def crash(epoch: int, logs: Any) -> None:
        if epoch == 1:
            raise RuntimeError("crash")

    whole = tiny_model(scheduled("plain"))
    fit(whole, epochs=4)
    with pytest.raises(RuntimeError, match="crash"):
        attempt(tiny_model(scheduled("plain")), at_epoch_end(crash))[1]()
    resumed = tiny_model(scheduled("plain"))
    adapt, run = attempt(resumed)
    assert len(run()["loss"]) == 2, "two of four epochs were left"
    assert kinds(adapt) == []
    assert list(everything(resumed).values()) == list(everything(whole).values())


def test_model_checkpoints_of_a_schedule_load_whole(tmp_path: Any) -> None:
    model = tiny_model(scheduled("plain"))
    seen = []
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0)
    spy = at_epoch_end(lambda *_: seen.append(list(everything(model).values())))
    fit(model, scripted(1.0, 2.0, 2.0), adapt, checkpoint, spy, epochs=3)
    assert kinds(adapt) == ["cut", "cut"]
    for epoch, state in enumerate(seen, 1):
        assert list(everything(keras.models.load_model(tmp_path / f"{epoch}.keras")).values()) == state


# --- snapshots -------------------------------------------------------------------------------------------------------


def model_with_all_kinds_of_state(optimizer: Any, dtype: str) -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(4, dtype=dtype),
            keras.layers.BatchNormalization(dtype=dtype),
            keras.layers.Dropout(0.5, seed=1, dtype=dtype),
            keras.layers.Dense(1, dtype=dtype),
        ]
    )
    return compile_model(model, optimizer, compiled=True, loss="mse")


CASES = {
    "Adam, EMA": ("float32", lambda: Adam(0.01, use_ema=True)),
    "SGD, momentum": ("float32", lambda: SGD(0.01, momentum=0.9)),
    "Multi": ("float32", lambda: MultiOptimizer(OptimizerMap(Adam(0.01), {".*kernel": SGD(0.1, momentum=0.9)}))),
    "mixed_float16": ("mixed_float16", lambda: LossScaleOptimizer(Adam(0.01))),
    "bfloat16": ("bfloat16", lambda: Adam(0.01)),
    "float16": ("float16", lambda: SGD(0.01, momentum=0.9)),
    "schedule": ("float32", lambda: Adam(CosineDecay(0.01, 100))),
}


@pytest.mark.parametrize("case", only(("Multi", "mixed_float16"), CASES))
@pytest.mark.backends
def test_a_snapshot_brings_everything_back_bit_for_bit(case: str) -> None:
    """Snapshot after epoch 1, back to it after epochs 3, 5 and 7."""
    dtype, make = CASES[case]
    model = model_with_all_kinds_of_state(make(), dtype)
    snapshots, states = [], {}

    def take_or_restore(epoch: int, logs: Any) -> None:
        states[epoch] = everything(model)
        if epoch == 1:
            snapshots.append(take_snapshot(model))
        if epoch in (3, 5):
            restore_snapshot(model, snapshots[0])
            assert everything(model) == states[1], "a snapshot is no view of what trained on"

    fit(model, at_epoch_end(take_or_restore), epochs=8, batches=2)
    for part in ("kernel", "moving_mean", "seed", "iteration"):
        assert any(part in name for name in states[1]), f"no {part} in the model"
    changed = [one != other for one, other in zip(states[1].values(), states[3].values(), strict=True)]
    assert sum(changed) > len(changed) / 2
    assert states[5] == states[7] == states[3], "training repeats itself: dropout, slots and steps were all back"


@pytest.mark.backends
def test_a_snapshot_lives_on_the_host_and_owns_its_memory() -> None:
    model = tiny_model(Adam(), compiled=True)
    fit(model)
    for array in take_snapshot(model):
        assert isinstance(array, np.ndarray)
        assert array.flags.owndata


def test_a_snapshot_of_another_model_is_refused_before_anything_changes() -> None:
    snapshot = take_snapshot(tiny_model(SGD()))
    model = tiny_model(Adam())
    fit(model)
    before = everything(model)
    with pytest.raises(ValueError, match="do not add layers or compile again"):
        restore_snapshot(model, snapshot)
    assert everything(model) == before


def test_a_restored_rate_is_the_one_of_the_decision_not_of_the_snapshot() -> None:
    model = tiny_model(SGD(0.1, momentum=0.9))
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, rollback_on_cut=True, max_raises=0, recover=False)
    states = []
    spy = at_epoch_end(lambda *_: states.append(everything(model)))
    fit(model, scripted(1.0, 2.0), adapt, spy, epochs=2)
    assert [decision.restore for decision in adapt.decisions] == ["best"]
    assert without_rates(states[1]) == without_rates(states[0])
    assert rate_of(model.optimizer) == pytest.approx(0.05)
