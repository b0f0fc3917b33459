"""What counts in a table: epochs, steps and wall times, taken out of its columns."""

from __future__ import annotations

import bisect
import itertools
import math
import operator
from collections.abc import Sequence

from keras_lrplateau.recordings.names import EPOCH, INDEX, STEP, TIME, plain
from keras_lrplateau.recordings.table import Table


def find_times(table: Table) -> str | None:
    """The name of the column of wall times; one of seconds since the start of the training is none."""
    name = table.find(TIME)
    known = [] if name is None else [value for value in table.columns[name] if value is not None]
    return name if known and all(1e8 < value < 1e14 for value in known) else None


def take_times(table: Table) -> list[float] | None:
    """Take the wall times out of the table."""
    name = find_times(table)
    if name is None:
        return None
    values = table.columns.pop(name)
    scale = 1e-3 if next(value for value in values if value is not None) > 1e11 else 1.0  # Some count milliseconds.
    return [0.0 if value is None else value * scale for value in values]


def take_counters(table: Table) -> tuple[list[int] | None, list[int] | None, int]:
    """Take the counters out of the table.

    Returns:
        The epoch of each row, from 0, or None if the table does not count epochs; the step of each row, likewise; and
        the number that the file begins to count epochs with.
    """
    steps = _take_steps(table)
    index = table.find(INDEX) if next(map(plain, table.columns), None) in INDEX else None
    unnamed = table.columns.pop(index) if index is not None else None
    name = table.find(EPOCH)
    values = table.columns.pop(name) if name is not None else unnamed
    if values is None or not any(value is not None for value in values):
        return None, steps, 0
    if None not in values and all(map(float.is_integer, values)):  # type: ignore[arg-type]  # there is no None
        counted: list[int | None] = list(map(int, values))  # type: ignore[arg-type]
        fractional = False
    else:
        wrong = next((row for row, value in enumerate(values) if value is not None and not math.isfinite(value)), None)
        if wrong is not None:
            raise table.error(wrong, f"the epoch is {values[wrong]}; correct it, or remove the row")
        fractional = not all(value is None or value.is_integer() for value in values)
        if fractional and steps is None:
            if name is None:  # An index that counts nothing.
                return None, None, 0
            table.notes.append(
                f"{name!r} holds parts of epochs and there is no column of steps: rows were counted instead."
            )
            return None, list(range(len(values))), 0
        # At 1.0, one epoch is over, and its number is 0.
        counted = [
            None if value is None else max(math.ceil(value) - 1, 0) if fractional else int(value) for value in values
        ]
    base = 0 if fractional or table.from_zero else 1 if table.from_one else _base(counted, steps)
    if None in counted:
        counted = _filled(table, counted, steps)
    epochs: list[int] = counted if base == 0 else [epoch - base for epoch in counted]  # type: ignore[assignment, operator]
    if steps is not None and any(
        step < before and epoch > last
        for (last, epoch), (before, step) in zip(itertools.pairwise(epochs), itertools.pairwise(steps), strict=True)
    ):
        steps = None  # It counts within the epoch.
    return epochs, steps, base


def _take_steps(table: Table) -> list[int] | None:
    name = table.find(STEP)
    if name is None:
        return None
    values = table.columns[name]
    if not all(value is not None and value.is_integer() for value in values):
        return None
    return [int(value) for value in table.columns.pop(name)]  # type: ignore[arg-type]  # there is no None


def _base(epochs: Sequence[int | None], steps: Sequence[int] | None) -> int:
    """The number of the first epoch: 1 if the least one in the file is 1, else 0.

    But Lightning, which counts from 0 and logs steps, begins with 1 where it validates every
    second epoch only, and goes on with 3.
    """
    known = {epoch for epoch in epochs if epoch is not None}
    return 1 if min(known) == 1 and not (steps is not None and 3 in known and 2 not in known) else 0


def _filled(table: Table, epochs: list[int | None], steps: list[int] | None) -> list[int | None]:
    """The epochs, with those of the rows that have none; Lightning's monitor of the learning rate writes such rows.

    If steps never go back, a row belongs to the epoch that ends with its step or at the next step whose epoch is known.
    Otherwise it belongs to the epoch of the next row that has one. Rows after the last known epoch are one epoch more.
    """
    known = [row for row, epoch in enumerate(epochs) if epoch is not None]
    after = epochs[known[-1]] + 1  # type: ignore[operator]
    if steps is not None and all(map(operator.le, steps, steps[1:])):
        ends = [steps[row] for row in known]
        found = [bisect.bisect_left(ends, step) for step in steps]
    elif steps is not None:
        found = [bisect.bisect_left(known, row) for row in range(len(epochs))]
    else:
        raise table.error(epochs.index(None), "the epoch is missing; put it in, or remove the row")
    return [
        epoch if epoch is not None else epochs[known[place]] if place < len(known) else after
        for epoch, place in zip(epochs, found, strict=True)
    ]
