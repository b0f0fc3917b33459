"""How a metric is found by the names that others give it."""

import pytest

from keras_lrplateau.history.run import Curve
from keras_lrplateau.recordings.recording import CurveError, Recording


@pytest.mark.parametrize(
    ("monitor", "name"),
    [
        ("val_loss", "val_loss"),
        ("val_loss", "eval_loss"),
        ("val_loss", "val/loss"),
        ("val_loss", "Loss/validation"),
        ("val_loss", "valid_loss"),
        ("val_accuracy", "val_acc"),
        ("loss", "train_loss"),
        ("loss", "train/loss"),
        ("loss", "Training Loss"),
        ("lr", "learning_rate"),
    ],
)
def test_a_metric_is_found_by_the_name_that_others_give_it(monitor, name):
    curve = Curve([0], [1.0], [0.0])
    found = Recording("log", "epoch", {name: curve, "else": Curve(), "val_else": Curve()})
    assert found.resolve(monitor) == name
    assert found.curve(monitor) is curve


@pytest.mark.parametrize("name", ["val/box_loss", "test_loss", "loss", "val_loss_2", "metrics/mAP50(B)"])
def test_another_metric_is_no_stand_in(name):
    with pytest.raises(CurveError, match="no metric 'val_loss'"):
        Recording("log", "epoch", {name: Curve()}).resolve("val_loss")


def test_a_metric_that_is_not_there_is_refused_with_the_nearest_and_all_names():
    with pytest.raises(
        CurveError, match=r"^log: there is no metric 'val_los'; .*nearest: 'val_loss'.* It has 'val_loss', 'x'$"
    ):
        Recording("log", "epoch", {"val_loss": Curve(), "x": Curve()}).curve("val_los")
    with pytest.raises(CurveError, match="may be 'eval_loss' and 'val/loss'"):
        Recording("log", "epoch", {"eval_loss": Curve(), "val/loss": Curve()}).curve("val_loss")
