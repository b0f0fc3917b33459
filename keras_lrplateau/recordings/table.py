"""What every format becomes first: a table, that is columns of numbers and the line of each row.

A table knows nothing of trainings. What its rows mean is found out in `trainings.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_lrplateau.recordings.cells import Cells, converter, is_number, numbers
from keras_lrplateau.recordings.names import EPOCH, STEP, is_group, is_held_out, listed, plain
from keras_lrplateau.recordings.recording import CurveError

COUNTERS = {*EPOCH, *STEP}


@dataclass(slots=True)
class Table:
    """What a file holds, in columns of the same length.

    Attributes:
        path: The path of the file; every error begins with it.
        name: The name of the recordings.
        columns: By name; the counters are among them.
        lines: The line of each row in the file; empty if rows are not lines.
        notes: What was odd so far.
        starts: The rows before which the line of names comes again.
        texts: The columns that hold no numbers, by name.
        held_out: Metrics of held-out data whose names do not say it.
        from_zero: Whether epochs surely count from 0, even if the first one is 1.
        from_one: Whether epochs surely count from 1, even if the first one is a later one.
    """

    path: str
    name: str
    columns: dict[str, Cells] = field(default_factory=dict)
    lines: Sequence[int] = ()
    notes: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    texts: dict[str, Sequence[Any]] = field(default_factory=dict)
    held_out: set[str] = field(default_factory=set)
    from_zero: bool = False
    from_one: bool = False

    @property
    def size(self) -> int:
        """How many rows there are."""
        return max(map(len, self.columns.values()), default=0)

    def find(self, names: Sequence[str]) -> str | None:
        """The name of the first column that has one of these names."""
        by_plain = {plain(name): name for name in reversed(self.columns)}
        return next((by_plain[name] for name in names if name in by_plain), None)

    def where(self, row: int) -> str:
        """The place of a row in the file, for people."""
        return f"line {self.lines[row]}" if self.lines else f"row {row + 1}"

    def error(self, row: int, text: str) -> CurveError:
        """An error in this row."""
        return CurveError(
            f"{self.path}:{self.lines[row]}: {text}" if self.lines else f"{self.path}: row {row + 1}: {text}"
        )


def add_column(table: Table, name: str, cells: Sequence[Any]) -> None:
    """Add a column of numbers, or of texts if there are none in it.

    Raises:
        CurveError: Some cells hold numbers, and one of them something else.
    """
    values, others = numbers(cells, converter(name))
    if others and (all(value is None for value in values) or is_group(name)):
        table.texts[name] = cells
    elif others:
        raise table.error(others[0], no_number(name, cells[others[0]]))
    else:
        table.columns[name] = values


def no_number(name: str, cell: Any) -> str:
    """What an error says of a cell that should hold a number."""
    return f"{shortened(cell)} in {name!r} is not a number; correct it, or leave it empty if there was none"


def shortened(cell: Any) -> str:
    """The cell as an error shows it."""
    shown = repr(cell)
    return shown if len(shown) <= 40 else f"{shown[:40]}..."


def flat(data: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested objects, each with its path: {"val": {"loss": 1}} gives ("val/loss", 1)."""
    for key, value in data.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before}{key}/")
        else:
            yield f"{before}{key}".strip(), value


def table_of_records(
    path: str, name: str, records: Sequence[dict[str, Any]], lines: Sequence[int], notes: list[str]
) -> Table:
    """The table of an object for each epoch or step; a cell is empty where an object lacks the key.

    Args:
        path, name: Those of the table.
        records: The objects; nested ones become columns such as "val/loss". Lists in them are left out.
        lines: The line of each object; empty if objects are not lines.
        notes: What was odd so far.
    """
    rows = [dict(flat(record)) for record in records]
    kept = [row for row, record in enumerate(rows) if any(map(is_number, record.values()))]
    counted = [row for row in kept if any(plain(key) in COUNTERS for key in rows[row])]
    if len(kept) > len(counted) > len(kept) / 2:
        places = len(kept) - len(counted)
        notes.append(f"{places} of the records count{'s' if places == 1 else ''} neither epochs nor steps: left out.")
        kept = counted
    rows, lines = [rows[row] for row in kept], [lines[row] for row in kept] if lines else ()
    table = Table(path, name, lines=lines, notes=notes)
    lists = []
    for key in dict.fromkeys(key for record in rows for key in record):
        cells = [record.get(key) for record in rows]
        if _are_lists(cells):
            lists.append(key)
        else:
            add_column(table, key, cells)
    if lists:
        notes.append(f"{listed(lists)}: lists within a record, left out.")
    return table


def _are_lists(cells: Sequence[Any]) -> bool:
    """Whether a column holds lists, or nothing, in all rows; a list of one number is this number."""
    known = [cell for cell in cells if cell is not None]
    return all(isinstance(cell, list) for cell in known) and any(len(cell) != 1 for cell in known)


def table_of_lists(path: str, name: str, lists: Mapping[str, list[Any]], epochs: list[Any] | None) -> Table:
    """The table of a list for each metric, such as `History.history`.

    Lists may be shorter than others: Keras leaves out the epochs without validation (`validation_freq`).

    Args:
        path, name: Those of the table.
        lists: By the metric's name.
        epochs: The epochs, from 0, if they are known.

    Raises:
        CurveError: There are no numbers, or a list is shorter and nothing says which values it lacks.
    """
    table = Table(path, name)
    for key, cells in lists.items():
        if cells:
            add_column(table, key, cells)
        else:
            table.notes.append(f"{key!r} is empty and was left out.")
    if not table.columns and table.texts:
        raise CurveError(
            f"{path}: {listed(list(table.texts))}: no numbers in it; give a list of numbers for each metric"
        )
    if not table.columns:
        raise CurveError(f"{path}: there are no numbers in it; the training ended before its first epoch did")
    lengths = Counter(map(len, table.columns.values()))
    size = max(lengths, key=lambda length: (lengths[length], length))
    first = 0
    if epochs and isinstance(epochs[0], int) and epochs == list(range(epochs[0], epochs[0] + size)):
        first = epochs[0]
    for key, values in list(table.columns.items()):
        if len(values) == size:
            continue
        # Keras counts from the first epoch of all to the one with a validation, not from `initial_epoch`.
        every = [each for each in range(2, size + 1) if (first + size) // each - first // each == len(values)]
        if len(every) == 1:
            spread: Cells = [None] * size
            spread[-(first + 1) % every[0] :: every[0]] = values
            table.columns[key] = spread
            table.notes.append(
                f"{key!r} has {len(values)} values where others have {size}: read as one every {every[0]} epochs."
            )
        elif is_held_out(key) and len(values) < size:
            raise CurveError(
                f"{path}: {key!r} has {len(values)} values where others have {size}, and nothing says which are "
                "missing; put null in their places"
            )
        else:
            del table.columns[key]
            table.notes.append(f"{key!r} has {len(values)} values where others have {size}, and was left out.")
    if epochs is not None and len(epochs) == size and table.find(EPOCH) is None:
        values, others = numbers(epochs)
        if not others:
            table.columns = {"epoch": values, **table.columns}
            table.from_zero = True
    return table
