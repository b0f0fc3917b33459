"""Decisions as a table, for pandas and for trackers."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import make_decision

from keras_lrplateau.history.frame import COLUMNS, columns_of, frame_of

DECISIONS = [
    make_decision("cut", 3, 0.1, 0.01, "why not", since_epoch=1, step=40),
    make_decision("rollback", 5, 0.01, 0.001, value=None, restore="raise"),
]


def test_a_column_has_a_value_for_each_decision() -> None:
    found = columns_of(DECISIONS)
    assert found.keys() == COLUMNS.keys()
    assert found["epoch"] == [3, 5]
    assert found["kind"] == ["cut", "rollback"]
    assert found["value"] == [1.0, None]


def test_a_frame_has_a_row_for_each_decision() -> None:
    pytest.importorskip("pandas")
    frame = frame_of(DECISIONS)
    assert list(frame.columns) == list(COLUMNS)
    assert frame.loc[0, ["epoch", "kind", "rate", "reason", "step"]].tolist() == [3, "cut", 0.01, "why not", 40]
    assert frame["value"].isna().tolist() == [False, True]
    assert frame["step"].isna().tolist() == [False, True]
    assert (frame["rate"] / frame["rate_before"]).tolist() == pytest.approx([0.1, 0.1])
    assert frame["epoch"].dtype == "int64"


def test_a_frame_of_no_decisions_has_the_same_columns() -> None:
    pytest.importorskip("pandas")
    empty = frame_of([])
    assert len(empty) == 0
    assert dict(empty.dtypes) == dict(frame_of(DECISIONS).dtypes)


def test_without_pandas_the_remedy_is_named() -> None:
    code = "import sys; sys.modules['pandas'] = None; from keras_lrplateau.history.frame import frame_of; frame_of([])"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert "ImportError: a data frame needs pandas: pip install pandas" in done.stderr
