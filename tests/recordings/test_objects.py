"""The history of a fit and data frames."""

import math
from typing import Any

import pytest
from curve_files import DRAWN, HISTORY, drawn

from keras_lrplateau.recordings.objects import from_frame, from_history
from keras_lrplateau.recordings.recording import CurveError


class Frame:
    """As much of a DataFrame as is asked for."""

    def __init__(self, data: dict[str, list[Any]], index: Any = None):
        self.data, self.columns, self.index = data, list(data), index

    def to_dict(self, orient: str = "dict") -> dict[str, list[Any]]:
        assert orient == "list"
        return self.data


class Index(list[int]):
    name = "epoch"


def test_a_frame():
    found = from_frame(Frame({"epoch": [1, 2], "loss": ["0.5", 0.25], "lr": [0.1, 0.05]}), name="mine")
    assert (found.name, drawn(found)) == ("mine", DRAWN)
    assert drawn(from_frame(Frame({"loss": [0.5, 0.25]}, Index([3, 4]))))["loss"] == [(3, 0.5), (4, 0.25)]


def test_a_frame_of_pandas():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"loss": [0.5, 0.25, 0.2], "lr": [0.1, 0.1, 0.05], "val_loss": [1.0, None, 0.5]})
    frame.index.name = "epoch"
    found = drawn(from_frame(frame))
    assert found["loss"] == [(0, 0.5), (1, 0.25), (2, 0.2)]
    assert found["learning_rate"] == [(0, 0.1), (1, 0.1), (2, 0.05)]
    assert found["val_loss"] == [(0, 1.0), (2, 0.5)]
    assert drawn(from_frame(frame.iloc[::2]))["loss"] == [(0, 0.5), (2, 0.2)]


def test_an_index_says_the_trainings_and_the_epochs():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"loss": [1.0, 0.5, 0.25]})
    assert drawn(from_frame(frame.iloc[::-1]))["loss"] == [(0, 1.0), (1, 0.5), (2, 0.25)]
    assert drawn(from_frame(frame.set_index(pandas.Index([10, 11, 12]))))["loss"] == [(10, 1.0), (11, 0.5), (12, 0.25)]
    assert from_frame(frame.assign(step=[5, 10, 15]).iloc[1:]).unit == "step"
    assert drawn(from_frame(frame.set_index(pandas.Index(list("abc")))))["loss"][2] == (2, 0.25)
    for both in (
        pandas.concat({1: frame, 2: frame}, names=["fold"]),
        pandas.concat({1: frame, 2: frame}),
        pandas.concat({1: frame, 2: frame}, names=["fold", "epoch"]),
        pandas.concat([frame, frame]),
    ):
        with pytest.raises(CurveError, match=r"^frame: .*ead as 2 trainings.* Give the rows of one of them"):
            from_frame(both)


def test_a_frame_whose_columns_are_ambiguous_is_refused():
    pandas = pytest.importorskip("pandas")
    turned = pandas.DataFrame({"loss": [3.0, 2.0], "val_loss": [4.0, 3.0]}).T
    with pytest.raises(CurveError, match=r"the columns are numbers, and the index holds names; give frame\.T"):
        from_frame(turned)
    assert set(from_frame(turned.T).curves) == {"loss", "val_loss"}
    twice = pandas.DataFrame([[1.0, 2.0], [3.0, 4.0]], columns=["loss", "loss"])
    with pytest.raises(CurveError, match="'loss': the name of several columns; rename them"):
        from_frame(twice)


def test_nan_in_a_frame_is_a_value_only_at_the_end_of_a_column():
    nan = math.nan
    found = from_frame(Frame({"loss": [1.0, nan, nan], "val_loss": [nan, 2.0, nan], "none": [nan, nan, nan]}))
    assert [str(value) for value in found.curves["loss"].values] == ["1.0", "nan", "nan"]
    assert drawn(found)["val_loss"] == [(1, 2.0)]
    assert "none" not in found.curves
    sparse = Frame(
        {"epoch": [nan, 0.0, nan, 1.0], "step": [0, 9, 10, 19], "lr": [0.1, nan, 0.2, nan], "loss": [nan, 2, nan, 1]}
    )
    assert drawn(from_frame(sparse))["learning_rate"] == [(0, 0.1), (1, 0.2)]


def test_a_frame_with_two_trainings_or_none_is_refused():
    with pytest.raises(CurveError, match=r"^frame: The epochs start again at row 3: read as 2 trainings"):
        from_frame(Frame({"epoch": [0, 1, 0, 1], "loss": [1, 2, 3, 4]}))
    with pytest.raises(CurveError, match=r"^frame: "):
        from_frame(Frame({}))
    with pytest.raises(CurveError, match="received a list, which is not a data frame"):
        from_frame([1, 2])
    with pytest.raises(CurveError, match=r"received a Series, which is not a data frame; .*series\.to_frame\(\)"):
        from_frame(pytest.importorskip("pandas").Series([1.0, 0.5]))


class History:
    def __init__(self, history: dict[str, list[float]], epoch: list[int]):
        self.history, self.epoch = history, epoch


def test_arrays_of_one_number_are_numbers():
    numpy = pytest.importorskip("numpy")
    found = from_history({"f1": [numpy.array([0.5]), numpy.array([[0.25]])], "loss": numpy.array([2.0, 1.0])})
    assert drawn(found) == {"f1": [(0, 0.5), (1, 0.25)], "loss": [(0, 2.0), (1, 1.0)]}


def test_a_history_with_its_epochs_and_a_dict_without():
    assert drawn(from_history(HISTORY)) == DRAWN
    found = from_history(History({"loss": [0.5, 0.25]}, [1, 2]), name="resumed")
    assert (found.name, drawn(found)["loss"]) == ("resumed", [(1, 0.5), (2, 0.25)])
    with pytest.raises(CurveError, match=r"give what model\.fit returns"):
        from_history(None)
    with pytest.raises(CurveError, match=r"^history: 'loss' is 0\.3 and no list; give a list"):
        from_history({"loss": 0.3})
    with pytest.raises(CurveError, match="history: there are no numbers"):
        from_history({})


@pytest.mark.parametrize(("initial_epoch", "epochs", "validation_freq"), [(5, 29, 2), (1, 11, 2), (10, 30, 4)])
def test_validation_every_few_epochs_from_a_later_epoch_on(initial_epoch, epochs, validation_freq):
    epoch = list(range(initial_epoch, epochs))
    validated = [each for each in epoch if (each + 1) % validation_freq == 0]
    history = {"loss": [1.0] * len(epoch), "val_loss": [float(each) for each in validated]}
    found = drawn(from_history(History(history, epoch)))
    assert found["val_loss"] == [(each, float(each)) for each in validated]
    assert [each for each, _ in found["loss"]] == epoch
