"""With raising and recovery off the callback is `keras.callbacks.ReduceLROnPlateau`: same arguments, same rates."""

import inspect
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from conftest import fit, scripted, tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lrplateau import AdaptLROnPlateau

LOSSES = [1.0, 0.5, 0.6, 0.5, 0.4, 0.45, 0.45, 0.44, 0.39995, 0.3, 0.31, 0.32, 0.33, 0.34]


def test_the_arguments_of_keras_come_first_with_its_names_order_and_defaults() -> None:
    theirs = inspect.signature(keras.callbacks.ReduceLROnPlateau).parameters.values()
    keras_has = [(p.name, p.default) for p in theirs if p.kind is not p.VAR_KEYWORD]
    assert len(keras_has) == 8, "Keras has other arguments than when this was written"
    ours = inspect.signature(AdaptLROnPlateau).parameters.values()
    assert [(p.name, p.default) for p in ours if p.kind is p.POSITIONAL_OR_KEYWORD] == keras_has


def multi_optimizer() -> Any:
    sgd, adam = keras.optimizers.SGD(0.1, name="sgd"), keras.optimizers.Adam(0.02, name="adam")
    return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(sgd, {".*/a/.*": adam}))


def one_rate() -> Any:
    return keras.optimizers.SGD(0.1)


ADVICE = pytest.mark.filterwarnings("ignore:AdaptLROnPlateau. m")  # On mode and min_lr, where they make no sense.


@pytest.mark.parametrize(
    ("make_optimizer", "arguments"),
    [
        (one_rate, {"patience": 2}),
        pytest.param(one_rate, {"patience": 1, "factor": 0.5, "cooldown": 2}, marks=pytest.mark.long),
        pytest.param(one_rate, {"patience": 1, "factor": 0.3, "min_delta": 0.15}, marks=pytest.mark.long),
        pytest.param(one_rate, {"patience": 0, "factor": 0.9, "mode": "max"}, marks=pytest.mark.long),
        pytest.param(multi_optimizer, {"patience": 2}, marks=pytest.mark.long),
        pytest.param(multi_optimizer, {"patience": 1, "min_lr": 0.004}, marks=pytest.mark.long),
    ],
)
@ADVICE
@pytest.mark.backends
def test_a_fit_records_the_rates_of_keras(make_optimizer: Any, arguments: Any) -> None:
    names = ["learning_rate"] if make_optimizer is one_rate else ["learning_rate_adam", "learning_rate_sgd"]
    histories = []
    for callback in (
        keras.callbacks.ReduceLROnPlateau(**arguments),
        AdaptLROnPlateau(**arguments, max_raises=0, recover=False),
    ):
        model = tiny_model(make_optimizer())
        history = fit(model, scripted(*LOSSES), callback, epochs=len(LOSSES))
        histories.append({name: rates for name, rates in history.items() if name.startswith("learning_rate")})
    theirs, ours = histories
    assert sorted(theirs) == sorted(ours) == names
    for name in names:
        assert len(set(theirs[name])) > 1, "nothing was cut"
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6)


def rates(callback: Any, optimizer: Any, rate: float, values: list[float]) -> list[float]:
    """The rate after each value, the callback driven as `fit` drives it."""
    optimizer.learning_rate = rate
    callback.set_model(SimpleNamespace(optimizer=optimizer, metrics=[], built=False, stop_training=False))
    callback.set_params({"epochs": len(values)})
    callback.on_train_begin()
    found = []
    for epoch, value in enumerate(values):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {"val_loss": value})
        found.append(float(keras.ops.convert_to_numpy(optimizer.learning_rate)))
    return found


@pytest.fixture(scope="module")
def optimizer() -> Any:
    return keras.optimizers.SGD()


configurations = st.fixed_dictionaries(
    {
        "factor": st.sampled_from([0.1, 0.5, 0.9]) | st.floats(0.01, 0.99),
        "patience": st.integers(0, 4),
        "cooldown": st.integers(0, 3),
        "min_lr": st.sampled_from([0.0, 0.001, 0.05, 0.1, 0.5]),
        # On a dyadic grid, as the values: in single precision, which Keras compares in, nothing is rounded.
        "min_delta": st.integers(0, 16).map(lambda k: k / 128),
        "mode": st.sampled_from(["min", "max"]),
    }
)
series = st.lists(st.integers(-64, 64).map(lambda k: k / 64), min_size=1, max_size=16)


@ADVICE
@settings(max_examples=200, deadline=None)  # On each backend.
@given(configurations, st.sampled_from([0.1, 0.02, 1.0]), series)
def test_any_series_gives_the_rates_of_keras(optimizer: Any, arguments: Any, rate: float, values: list[float]) -> None:
    # A fresh callback each time: Keras changes the sign of its own min_delta.
    theirs = rates(keras.callbacks.ReduceLROnPlateau(**arguments), optimizer, rate, values)
    adapt = AdaptLROnPlateau(**arguments, max_raises=0, recover=False)
    np.testing.assert_allclose(rates(adapt, optimizer, rate, values), theirs, rtol=1e-6)
    assert adapt.state is not None
    assert adapt.state.observations == len(values)
