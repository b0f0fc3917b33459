"""Trainings that are sound, though their numbers look like ruin: the rates are those of ReduceLROnPlateau."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from conftest import at_epoch_end, compile_model, fit, kinds, scripted, tiny_model
from keras.optimizers import SGD, Adam

from keras_lrplateau import AdaptLROnPlateau
from keras_lrplateau.rule.soundness import FAR_WORSE

SETTINGS: dict[str, Any] = {"patience": 3, "factor": 0.5, "max_raises": 0}


def weighted(weight_at: Callable[[int], float], optimizer: Any, layer: Any = None) -> tuple[Any, Any]:
    """A model whose loss has a weight that changes from epoch to epoch, and the callback that sets it."""
    weight = keras.Variable(weight_at(0), trainable=False)
    model = tiny_model() if layer is None else keras.Sequential([keras.Input((4,)), layer])
    compile_model(model, optimizer, loss=lambda y, answer: weight * keras.ops.mean(abs(y - answer), axis=-1))

    class Weight(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            weight.assign(weight_at(epoch))

    return model, Weight()


def growth_of(model: Any, before: list[Any]) -> float:
    now = sum(float(np.sum(np.square(weight))) for weight in model.get_weights())
    return math.sqrt(now / sum(float(np.sum(np.square(weight))) for weight in before))


@pytest.mark.backends
def test_a_loss_whose_scale_grows_is_no_divergence_while_the_weights_stay_small() -> None:
    """A term whose weight grows, temporal differences before and after the first reward, a critic's loss."""
    rates = []
    for make in (AdaptLROnPlateau, keras.callbacks.ReduceLROnPlateau):
        model, weight = weighted(lambda epoch: 0.01 if epoch == 0 else 1.0 + epoch, Adam(1e-3))
        before, adapt = model.get_weights(), make(monitor="loss", **SETTINGS)
        history = fit(model, weight, adapt, epochs=12)
        assert min(history["loss"][1:]) > FAR_WORSE * history["loss"][0]
        assert growth_of(model, before) < 1.5
        rates.append(history["learning_rate"])
        if make is AdaptLROnPlateau:
            assert set(kinds(adapt)) == {"cut"}
            assert adapt.state.loss_before > FAR_WORSE * history["loss"][0], "the better yardstick"
    assert rates[0] == pytest.approx(rates[1])


def test_the_same_loss_is_a_divergence_where_the_weights_have_exploded() -> None:
    def explode(epoch: int, logs: Any) -> None:
        model.set_weights([20 * weight for weight in model.get_weights()])

    model, weight = weighted(lambda epoch: 0.01 if epoch == 0 else 1.0 + epoch, Adam(1e-3))
    adapt = AdaptLROnPlateau(monitor="loss", **SETTINGS)
    fit(model, weight, at_epoch_end(explode), adapt, epochs=4)
    assert "diverged" in kinds(adapt)


@pytest.mark.parametrize("name", ["f1", "val_f1"])
def test_a_metric_that_is_nan_now_and_then_is_no_divergence_where_loss_and_weights_are_fine(name: str) -> None:
    """A precision of 0 / 0 where the network says no to all."""
    values = [0.1, math.nan, 0.2, 0.3, math.nan, math.nan, math.nan, 0.4]
    rates = []
    for make in (AdaptLROnPlateau, keras.callbacks.ReduceLROnPlateau):
        adapt = make(monitor=name, mode="max", **SETTINGS)
        history = fit(tiny_model(SGD(0.1)), scripted(*values, name=name, spoils=False), adapt, epochs=len(values))
        rates.append(history["learning_rate"])
    assert rates[0] == pytest.approx(rates[1])
    assert len(set(rates[0])) == 2, "a cut"


@pytest.mark.backends
def test_a_weight_that_was_never_finite_says_nothing() -> None:
    """A mask of minus infinity, say, beside a training metric, so that no validation speaks for the weights."""

    class Masked(keras.layers.Dense):
        def build(self, shape: Any) -> None:
            super().build(shape)
            mask = np.triu(np.full((3, 3), -np.inf, "float32"), 1)
            self.mask = self.add_weight(
                shape=mask.shape, initializer=lambda *_, **__: mask, trainable=False, name="mask"
            )

    model = compile_model(keras.Sequential([keras.Input((4,)), Masked(1)]), SGD(0.01), loss="mse")
    assert not all(np.isfinite(weight).all() for weight in model.get_weights())
    adapt = AdaptLROnPlateau(monitor="loss", **SETTINGS)
    fit(model, adapt, epochs=4)
    assert kinds(adapt) == []
    adapt = AdaptLROnPlateau(monitor="loss", **SETTINGS)

    def spoil(epoch: int, logs: Any) -> None:
        weight = model.trainable_variables[0]
        weight.assign(np.full(weight.shape, np.nan))

    fit(model, at_epoch_end(spoil), adapt, epochs=1)
    assert kinds(adapt) == ["diverged"], "the others still do"


def test_where_validation_is_rare_the_first_batch_since_the_last_observation_is_the_look_at_its_weights() -> None:
    """Of untrained weights that training went back to: in the second epoch after it they are trained ones."""
    weights = [1.0, 50.0, 50.0, 50.0, 20.0, 1.0]
    model, weight = weighted(lambda epoch: weights[epoch], SGD(1e-6), keras.layers.Dense(1, kernel_initializer="zeros"))
    adapt = AdaptLROnPlateau(min_delta=1.0, **SETTINGS)
    x = np.ones((4, 4), "float32")
    y = np.ones((4, 1), "float32")
    fit(model, weight, adapt, epochs=6, x=x, y=y, batch_size=4, validation_data=(x, y), validation_freq=2)
    assert [(decision.epoch, decision.kind, decision.restore) for decision in adapt.decisions] == [
        (3, "diverged", "start"),
        (5, "rollback", None),
    ]
    assert "the untrained weights have a loss of 20 on another batch" in adapt.decisions[-1].reason


def test_a_loss_that_begins_below_zero_is_no_yardstick() -> None:
    model, adapt = tiny_model(), AdaptLROnPlateau(monitor="loss", **SETTINGS)
    compile_model(model, SGD(0.1), loss=lambda y, answer: y + 0 * answer)
    x, y = np.zeros((4, 4), "float32"), np.float32([[-1], [2], [2], [2]])
    losses = fit(model, adapt, x=x, y=y, batch_size=1)["loss"]
    assert losses == pytest.approx([1.25])
    assert adapt.state.loss_before is None
