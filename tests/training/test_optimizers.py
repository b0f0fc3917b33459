"""Which optimizers a model has, wherever it keeps them: a rollback restores all, and each once."""

from typing import Any

import keras
import pytest
from conftest import tiny_model
from keras.optimizers import SGD, Adam, LossScaleOptimizer

from keras_lrplateau.training.optimizers import optimizers_of


def names(model: Any, optimizer: Any = None) -> list[str]:
    return [each.name for each in optimizers_of(model, optimizer)]


def layer_with(**attributes: Any) -> Any:
    layer = keras.layers.Dense(1)
    for name, value in attributes.items():
        setattr(layer, name, value)
    return layer


KEPT = {
    "an attribute": lambda model, kept: setattr(model, "kept", kept),
    "a dict": lambda model, kept: setattr(model, "kept", {"d": kept}),
    "a list": lambda model, kept: setattr(model, "kept", [None, kept]),
    "a tuple": lambda model, kept: setattr(model, "kept", (None, kept)),
    "a list in a dict": lambda model, kept: setattr(model, "kept", {"d": [{"first": kept}]}),
    "a layer": lambda model, kept: setattr(model.layers[0], "kept", kept),
    "a dict of a layer in a list": lambda model, kept: setattr(model, "critics", [layer_with(kept={"d": kept})]),
}


@pytest.mark.parametrize("where", KEPT)
@pytest.mark.backends
def test_an_optimizer_is_found_wherever_a_model_keeps_it(where: str) -> None:
    model = tiny_model(SGD(0.1, name="compiled"))
    KEPT[where](model, Adam(0.1, name="kept"))
    assert names(model, SGD(0.1, name="given")) == ["compiled", "kept", "given"]


@pytest.mark.backends
def test_an_optimizer_counts_once_though_it_is_kept_in_circles() -> None:
    optimizer = SGD(0.1, name="only")
    model = tiny_model(optimizer)
    model.kept = [optimizer, {"again": optimizer}]
    model.kept.append(model.kept)
    assert names(model, optimizer) == ["only"]


@pytest.mark.backends
def test_an_optimizer_inside_another_one_is_a_part_of_it() -> None:
    inner = Adam(0.1, name="inner")
    model = tiny_model(SGD(0.1, name="compiled"))
    model.kept = {"bare": inner, "scaled": LossScaleOptimizer(inner, name="scaled")}
    assert names(model, inner) == ["compiled", "scaled"]


@pytest.mark.backends
def test_an_optimizer_that_was_replaced_counts_no_more() -> None:
    model = tiny_model(SGD(0.1, name="compiled"))
    model.kept = {"d": SGD(0.1, name="old")}
    model.kept = {"d": SGD(0.1, name="new")}
    assert names(model) == ["compiled", "new"]


@pytest.mark.backends
def test_a_part_that_was_compiled_on_its_own_keeps_its_optimizer_to_itself() -> None:
    """Nobody may ever build that one, and a copy of the training would wait for it."""
    part = tiny_model(SGD(0.1, name="of_part"))
    critic = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    critic.optimizer = SGD(0.1, name="of_critic")  # Its own, without `compile`.
    model = keras.Sequential([keras.Input((4,)), part])
    model.compile(SGD(0.1, name="compiled"), loss="mse")
    model.critic = critic
    assert names(model) == ["compiled", "of_critic"]
