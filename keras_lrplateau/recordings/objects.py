"""Recordings of what a Python program holds already: the history of a fit, or a data frame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from keras_lrplateau.recordings.cells import is_number
from keras_lrplateau.recordings.names import listed, plain
from keras_lrplateau.recordings.recording import CurveError, Recording
from keras_lrplateau.recordings.table import COUNTERS, Table, add_column, table_of_lists
from keras_lrplateau.recordings.trainings import only_recording_of


def from_frame(frame: Any, name: str = "frame") -> Recording:
    """Read a pandas DataFrame, or another object that has its `columns` and `to_dict`.

    A NaN in a frame may be a number or an empty cell. It is a number at the end of a column, after other numbers: the
    training diverged. Everywhere else it is an empty cell.

    Args:
        frame: A column for each metric, a row for each epoch or step. The levels of an index count as columns. An index
            without a name counts epochs, unless there is a counter or it is simply 0, 1, 2 and so on.
        name: The name of the recording.

    Raises:
        CurveError: The frame holds no curve, or several trainings.
    """
    if not hasattr(frame, "to_dict") or not hasattr(frame, "columns"):
        raise CurveError(
            f"{name}: received a {type(frame).__name__}, which is not a data frame; give a frame, such as "
            "series.to_frame(), or give a dict of lists to from_history"
        )
    names = list(map(str, frame.columns))
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise CurveError(f"{name}: {listed(twice)}: the name of several columns; rename them")
    index = getattr(frame, "index", None)
    is_named = index is not None and len(index) > 0 and all(isinstance(each, str) for each in index)
    if names and is_named and all(map(is_number, names)):
        raise CurveError(f"{name}: the columns are numbers, and the index holds names; give frame.T")
    try:
        found = frame.to_dict(orient="list")
    except TypeError:  # Other libraries have no such argument.
        found = {key: list(frame[key]) for key in frame.columns}
    columns = {str(key): cells for key, cells in found.items()}
    columns = {**_index_columns(index, columns), **columns}
    table = Table(name, name)
    for key, cells in columns.items():
        add_column(table, key, cells)
    for key, values in table.columns.items():
        finite = [row for row, value in enumerate(values) if value is not None and not math.isnan(value)]
        end = finite[-1] + 1 if finite else 0
        if len(finite) < end or not finite:  # NaN before the last number, or nothing else.
            table.columns[key] = [None if value is None or math.isnan(value) else value for value in values]
    return only_recording_of(table)


def _index_columns(index: Any, columns: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The levels of an index that say more than the columns do, by name; one without a name comes first, as in CSV."""
    if index is None:
        return {}
    names = getattr(index, "names", [getattr(index, "name", None)])
    has_counter = any(plain(str(name)) in COUNTERS for name in (*columns, *names))
    found: dict[str, list[Any]] = {}
    for name, level in zip(names, zip(*index, strict=True) if len(names) > 1 else [index], strict=False):
        cells = list(level)
        if name is not None and str(name) not in columns:
            found[str(name)] = cells
        elif name is None and not has_counter and all(map(is_number, cells)) and cells != list(range(len(cells))):
            found = {"": [], **found} | {"": cells}
    return found


def from_history(history: Any, name: str = "history") -> Recording:
    """Read what `model.fit` returns.

    Args:
        history: The `History`, or its `history`: a list of numbers for each metric. The object knows its epochs; those
            of the dict are counted from 0.
        name: The name of the recording.

    Raises:
        CurveError: The history holds no curve, or the lengths of its lists do not fit together.
    """
    epochs = None
    if not isinstance(history, Mapping):
        history, epochs = getattr(history, "history", None), getattr(history, "epoch", None)
    if not isinstance(history, Mapping):
        raise CurveError(f"{name}: neither a History nor a dict of lists; give what model.fit returns")
    columns = {}
    for key, cells in history.items():
        try:
            columns[str(key)] = list(cells)
        except TypeError:
            raise CurveError(
                f"{name}: {key!r} is {cells!r} and no list; give a list with a number for each epoch"
            ) from None
    return only_recording_of(table_of_lists(name, name, columns, None if epochs is None else list(epochs)))
