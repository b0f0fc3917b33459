"""What works against the callback in one fit is said once, with the remedy."""

import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
from conftest import at_epoch_end, data, fit, scripted, tiny_model
from keras.callbacks import EarlyStopping, LearningRateScheduler, ReduceLROnPlateau
from keras.optimizers import SGD
from keras.optimizers.schedules import PolynomialDecay

from keras_lrplateau import AdaptLROnPlateau


def said_in(*callbacks: Any, **arguments: Any) -> list[str]:
    """What the callback warns of in a fit of two epochs, on a script with a validation loss."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tiny_model(), scripted(1.0, 0.9), *callbacks, epochs=2, **arguments)
    return [str(each.message) for each in caught if "AdaptLROnPlateau" in str(each.message)]


def test_nothing_is_said_where_nothing_is_wrong() -> None:
    assert said_in(EarlyStopping(patience=1000), AdaptLROnPlateau()) == []


def test_a_second_plateau_callback_is_named() -> None:
    (said,) = said_in(ReduceLROnPlateau(), AdaptLROnPlateau())
    assert "ReduceLROnPlateau sets the learning rate of the same optimizer" in said
    assert "remove one" in said


def test_a_scheduler_is_named_before_it_undoes_a_cut() -> None:
    said = said_in(AdaptLROnPlateau(), LearningRateScheduler(lambda epoch, rate: rate))
    assert [each for each in said if "LearningRateScheduler sets the learning rate" in each]


def test_two_of_ours_for_one_optimizer_are_told_so() -> None:
    said = said_in(AdaptLROnPlateau(), AdaptLROnPlateau())
    assert [each for each in said if "there are two of it for the same optimizer" in each]


def test_the_same_one_twice_is_refused_since_it_would_count_each_epoch_twice() -> None:
    adapt = AdaptLROnPlateau("loss")
    with pytest.raises(
        ValueError, match=r"Received: <AdaptLROnPlateau of loss: before training>, 2 times; pass it once"
    ):
        fit(tiny_model(), adapt, scripted(1.0), adapt)
    assert adapt.state is None
    for _ in range(2):
        fit(tiny_model(), adapt)
        assert adapt.state.observations == 1
    state = adapt.state
    with pytest.raises(ValueError, match="2 times"):
        fit(tiny_model(), adapt, adapt)
    assert adapt.state is state


def test_two_of_ours_for_two_optimizers_are_fine() -> None:
    model = tiny_model()
    model.other = SGD(0.1)
    model.other.build(model.trainable_variables)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(model, scripted(1.0), AdaptLROnPlateau(), AdaptLROnPlateau(optimizer="other"), epochs=1)
    assert not [each for each in caught if "there are two of it" in str(each.message)]


def test_early_stopping_too_impatient_for_auto_mode_is_told_the_number_that_would_do() -> None:
    (said,) = said_in(EarlyStopping(patience=1), AdaptLROnPlateau.auto())
    assert "EarlyStopping(patience=1) ends training before auto mode can judge what it tries" in said
    assert "give it patience=2 or more." in said, "more than there are epochs is not needed"
    assert said_in(EarlyStopping(patience=2), AdaptLROnPlateau.auto()) == []
    assert said_in(EarlyStopping("loss", patience=1), AdaptLROnPlateau.auto()) == []


def said_at_the_start(adapt: Any, epochs: int, steps: int) -> list[str]:
    """Before a training of so many epochs and steps in each."""
    adapt.set_model(tiny_model())
    adapt.set_params({"epochs": epochs, "steps": steps, "verbose": 0})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        adapt.on_train_begin()
    return [str(each.message) for each in caught if "AdaptLROnPlateau" in str(each.message)]


def test_for_few_long_epochs_auto_mode_names_a_frequency() -> None:
    (said,) = said_at_the_start(AdaptLROnPlateau.auto(), epochs=19, steps=70)
    assert "19 are too few to search for a rate" in said
    assert "Pass frequency=6" in said
    (said,) = said_at_the_start(AdaptLROnPlateau.auto(), epochs=1, steps=5000)
    assert "1 is too few to adapt the rate that it finds in the first one" in said
    assert "Pass frequency=25" in said
    assert said_at_the_start(AdaptLROnPlateau.auto(), epochs=5, steps=1000) == [], "the first one is searched by steps"
    assert said_at_the_start(AdaptLROnPlateau.auto(frequency=25), epochs=5, steps=1000) == []
    assert said_at_the_start(AdaptLROnPlateau.auto(), epochs=20, steps=1000) == []
    assert said_at_the_start(AdaptLROnPlateau.auto(), epochs=5, steps=100) == [], (
        "for frequency=N they are too few, too"
    )
    assert said_at_the_start(AdaptLROnPlateau(), epochs=5, steps=1000) == []


def test_a_frequency_that_leaves_auto_mode_too_few_observations_is_named() -> None:
    (said,) = said_at_the_start(AdaptLROnPlateau.auto(frequency=500), epochs=5, steps=1000)
    assert "frequency=500 leaves auto mode 10 observations in all" in said
    assert "pass frequency=25." in said


def test_a_mode_that_contradicts_the_metric_is_named() -> None:
    (said,) = said_in(AdaptLROnPlateau(mode="max"))
    assert "mode='max' contradicts the metric 'val_loss'" in said
    assert "mode='min'" in said


def test_a_min_lr_above_the_rate_is_named() -> None:
    (said,) = said_in(AdaptLROnPlateau(min_lr=1.0))
    assert "min_lr=1 is above the learning rate of 0.1" in said


@pytest.mark.parametrize("make", [AdaptLROnPlateau, AdaptLROnPlateau.auto])
def test_a_training_without_validation_data_is_told_so_once_and_before_its_first_epoch(make: Any) -> None:
    said, said_before_the_first_epoch = [], []
    behind = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: said_before_the_first_epoch.append(len(said)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warnings, "warn", lambda message, *_, **__: said.append(str(message)))
        fit(tiny_model(), EarlyStopping("loss", patience=9), make(), behind, epochs=5)
    (message,) = said
    assert said_before_the_first_epoch == [1] * 5
    assert "'val_loss', but this training has no validation data" in message
    assert "validation_data or validation_split to model.fit" in message
    assert "monitor='loss'" in message


@pytest.mark.parametrize("make", [AdaptLROnPlateau, AdaptLROnPlateau.auto])
def test_nothing_is_said_where_no_validation_is_needed(make: Any) -> None:
    x, y = data()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="AdaptLROnPlateau")
        fit(tiny_model(), make("loss"), epochs=2)
        fit(tiny_model(), make(), epochs=2, validation_data=(x, y))
        fit(tiny_model(), make(), epochs=2, validation_split=0.5)
        fit(tiny_model(), scripted(1.0, 0.9), make(), epochs=2)


def test_validation_data_that_is_there_is_not_asked_for() -> None:
    x, y = data()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="AdaptLROnPlateau")
        fit(tiny_model(), AdaptLROnPlateau(), epochs=6, validation_data=(x, y), validation_freq=5)
    with pytest.warns(UserWarning, match="no validation so far") as caught:
        fit(tiny_model(), AdaptLROnPlateau(), epochs=4, validation_data=(x, y), validation_freq=5)
    (said,) = [str(each.message) for each in caught if "AdaptLROnPlateau" in str(each.message)]
    assert "smaller validation_freq" in said
    assert "validation_data" not in said


def test_an_array_for_a_metric_says_what_makes_it_a_number() -> None:
    scores = at_epoch_end(lambda epoch, logs: logs.update(val_f1=np.array([0.5, 0.7, 0.1])))
    with pytest.raises(TypeError, match=r"an array of shape \(3,\).*average=\"macro\""):
        fit(tiny_model(), scores, AdaptLROnPlateau("val_f1", mode="max"), epochs=1)


@pytest.fixture
def model_of_keras_2() -> Iterator[Any]:
    """An object whose class says that it comes from tf_keras."""
    module = types.ModuleType("tf_keras.models")
    yield type("Sequential", (), {"__module__": module.__name__})()
    sys.modules.pop("tf_keras", None)


def test_a_model_of_tf_keras_is_refused_with_the_right_import(model_of_keras_2: Any) -> None:
    with pytest.raises(TypeError, match="make the model with `import keras`"):
        AdaptLROnPlateau().set_model(model_of_keras_2)


# --- a model that is compiled again within a fit ---------------------------------------------------------------------


def compile_at(epoch_of_it: int, optimizer: Any, *, at_begin: bool = False) -> Any:
    """A callback that compiles its model again at the end of an epoch, as recipes for unfreezing layers do."""

    class Compile(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if at_begin:
                self.compile_in(epoch)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if not at_begin:
                self.compile_in(epoch)

        def compile_in(self, epoch: int) -> None:
            if epoch == epoch_of_it:
                self.model.compile(optimizer, "mse", run_eagerly=True, jit_compile=False)
                optimizer.build(self.model.trainable_variables)
                self.model.make_train_function(force=True)

    return Compile()


def rate_of(model: Any) -> float:
    return float(np.asarray(keras.ops.convert_to_numpy(model.optimizer.learning_rate)))


@pytest.mark.backends
@pytest.mark.parametrize("first", [True, False], ids=["before ours", "behind ours"])
def test_the_new_optimizer_of_a_recompiled_model_is_followed_and_the_rates_told_were_used(first: bool) -> None:
    model, used = tiny_model(SGD(0.05)), []
    spy = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: used.append(round(rate_of(model), 6)))
    adapt = AdaptLROnPlateau(patience=2, factor=0.5, max_raises=0)
    again = compile_at(3, SGD(0.01))
    order = (again, adapt) if first else (adapt, again)
    history = fit(model, scripted(*[1.0] * 8), *order, spy, epochs=8)
    assert [round(float(rate), 6) for rate in history["learning_rate"]] == used
    assert used == [0.05, 0.05, 0.05, 0.025, 0.01, 0.005, 0.005, 0.0025]
    (override,) = [decision for decision in adapt.decisions if decision.kind == "override"]
    assert "another optimizer" in override.reason


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="the rate cannot be read within an epoch")
@pytest.mark.parametrize("first", [True, False], ids=["before ours", "behind ours"])
@pytest.mark.parametrize("frequency", ["epoch", 1])
def test_the_rates_told_were_used_where_the_model_is_compiled_again_as_an_epoch_begins(
    first: bool, frequency: Any
) -> None:
    model, used = tiny_model(SGD(0.05)), {}
    spy = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: used.update({"now": epoch}),
        on_train_batch_begin=lambda batch, logs: used.update({used["now"]: rate_of(model)}),
    )
    settings = {"monitor": "loss", "min_delta": 10.0, "recover": False} if frequency == 1 else {}
    adapt = AdaptLROnPlateau(patience=2, factor=0.5, max_raises=0, frequency=frequency, **settings)
    again = compile_at(3, SGD(0.01), at_begin=True)
    order = (again, adapt) if first else (adapt, again)
    history = fit(model, scripted(*[1.0] * 8), *order, spy, epochs=8, batches=2)
    assert history["learning_rate"] == pytest.approx([used[epoch] for epoch in range(8)])
    (override,) = [decision for decision in adapt.decisions if decision.kind == "override"]
    assert (override.epoch, override.rate) == (3, pytest.approx(0.01))
    cuts = [decision for decision in adapt.decisions if decision.kind == "cut"]
    assert any(cut.epoch < 3 for cut in cuts)
    assert any(cut.epoch > 3 for cut in cuts)
    assert history["learning_rate"][3] == pytest.approx(0.005 if frequency == 1 else 0.01)


@pytest.mark.backends
def test_the_schedule_of_a_new_optimizer_is_scaled() -> None:
    model = tiny_model(SGD(0.05))
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0)
    fit(model, scripted(*[1.0] * 5), compile_at(1, SGD(PolynomialDecay(0.4, 10**6, 0.4))), adapt, epochs=5)
    assert rate_of(model) == pytest.approx(0.4 * adapt.decisions[-1].rate)
    assert adapt.decisions[-1].rate < 1.0, "a multiplier, which was cut"
