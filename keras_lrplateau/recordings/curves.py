"""Recorded training curves in, from whatever wrote them: replay starts from here.

A file is known by its content, not by its name. Whatever it is becomes a table first: columns of numbers, in the order
in which they were written, and the line of each row. A table becomes one `Recording` for each training in it. Event
files of TensorBoard come in curves already, and skip the table unless they log the epoch beside the step.

What is read may come from anywhere and is rarely clean. There are three answers to what is odd in it: it is read as the
only thing that it can mean; it is read as what it most likely means, and a note says so; or there is a `CurveError`
with the file, the line and what to do. Nothing here decides anything about learning rates.
"""

from __future__ import annotations

import bisect
import codecs
import csv
import datetime
import difflib
import gzip
import io
import itertools
import json
import math
import operator
import os
import re
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

from keras_lrplateau.history.run import Curve, Record

RATE = "learning_rate"
"""The name of the learning rate in every recording; of one among several, what its name begins with."""

KNOWN = (
    "CSV with a line of names (CSVLogger, timm, Lightning, Ultralytics, pandas), JSON (History.history, "
    "trainer_state.json, one object a line), what Keras prints while it trains, and TensorBoard's event files"
)

Cells = list[float | None]
"""A column; None where there is nothing."""


class CurveError(ValueError):
    """A recorded curve cannot be read. The text says where, what is wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded training: what was measured in it, row by row.

    Attributes:
        name: For people: the file's or run's name, with " (2)" and so on for the later trainings of the same file.
        unit: What `Curve.epochs` of the curves counts: epochs, from 0, or steps, by the file's own count.
        curves: By the metric's name, as in the file. Values may be NaN or infinite; where the file has none, the curve
            leaves the row out. The learning rate is always "learning_rate"; of several that differ, each is
            "learning_rate_<name>". `Curve.times` is 0.0 throughout if the file has no wall times.
        records: What was decided in it, if it is a run of ours.
        notes: What was odd and how it was read, a sentence each.
    """

    name: str
    unit: Literal["epoch", "step"]
    curves: dict[str, Curve]
    records: tuple[Record, ...] = ()
    notes: tuple[str, ...] = ()

    def resolve(self, monitor: str) -> str:
        """The name under which a metric is here: the name itself, or the one that clearly corresponds to it.

        Others say eval_loss, val/loss, Loss/validation or valid_loss for Keras' val_loss, train_loss for loss, and
        val_acc for val_accuracy. A part of a metric is not the metric: val/box_loss is not val_loss.

        Raises:
            CurveError: There is none, or more than one; the text names the nearest and all that there are.
        """
        if monitor in self.curves:
            return monitor
        meaning = _meaning(monitor)
        found = [name for name in self.curves if _meaning(name) == meaning]
        if len(found) == 1:
            return found[0]
        there = ", ".join(map(repr, self.curves))
        if found:
            raise CurveError(
                f"{self.name}: {monitor!r} may be {_listed(found)}; give one of these names. It has {there}"
            )
        close = difflib.get_close_matches(monitor, self.curves, cutoff=0.5)
        nearest = f"nearest: {_listed(close)}. " if close else ""
        raise CurveError(
            f"{self.name}: there is no metric {monitor!r}; give one that there is. {nearest}It has {there}"
        )

    def curve(self, monitor: str) -> Curve:
        """The curve of a metric, by the name that `resolve` finds.

        Raises:
            CurveError: As in `resolve`.
        """
        return self.curves[self.resolve(monitor)]


def read(path: str | os.PathLike[str]) -> list[Recording]:
    """Read all trainings in a file or directory.

    Args:
        path: A file: CSV, with any separator and, where that is not the comma, decimal commas; JSON; what Keras prints;
            an event file of TensorBoard; also gzipped. Or a directory: all runs in it and below, if there are event
            files; otherwise the recorded curves that are directly in it.

    Returns:
        At least one, in the order of the file or of the names.

    Raises:
        CurveError: There is no such file, it holds no curve, or it is broken beyond a sure reading.
    """
    place = Path(path)
    return _read_directory(place) if place.is_dir() else _read_file(place)


def from_frame(frame: Any, name: str = "frame") -> Recording:
    """Read a pandas DataFrame, or anything that has `columns` and `to_dict` as it does.

    A NaN in a frame may be a number or an empty cell. In a column that has numbers, then NaN to its end, NaN is what
    was measured: the training diverged. Everywhere else it is an empty cell.

    Args:
        frame: A column for each metric, a row for each epoch or step. An index named "epoch" or "step" counts.
        name: The recording's.

    Raises:
        CurveError: It holds no curve, or more than one training.
    """
    try:
        found = frame.to_dict(orient="list")
    except TypeError:  # Other libraries have no such argument.
        found = {key: list(frame[key]) for key in frame.columns}
    except AttributeError:
        raise CurveError(f"{name}: not a data frame; for a dict of lists there is from_history") from None
    columns = {str(key): cells for key, cells in found.items()}
    index: Any = getattr(frame, "index", None)
    if isinstance(getattr(index, "name", None), str) and index.name not in columns:
        columns = {index.name: list(index), **columns}
    table = _Table(name, name)
    for key, cells in columns.items():
        _add_column(table, key, cells)
    for key, values in table.columns.items():
        finite = [row for row, value in enumerate(values) if value is not None and not math.isnan(value)]
        end = finite[-1] + 1 if finite else 0
        if len(finite) < end or not finite:  # NaN before the last number, or nothing else.
            table.columns[key] = [None if value is None or math.isnan(value) else value for value in values]
    return _only(table)


def from_history(history: Any, name: str = "history") -> Recording:
    """Read what `model.fit` returns.

    Args:
        history: The `History`, or its `history`: a list of numbers for each metric. From the object, the numbers of
            the epochs are known, too; from the dict, they are counted from 0.
        name: The recording's.

    Raises:
        CurveError: It holds no curve, or lists whose lengths do not fit together.
    """
    epochs = None
    if not isinstance(history, Mapping):
        history, epochs = getattr(history, "history", None), getattr(history, "epoch", None)
    if not isinstance(history, Mapping):
        raise CurveError(f"{name}: neither a History nor a dict of lists; give what model.fit returns")
    columns = {str(key): list(cells) for key, cells in history.items()}
    return _only(_table_of_lists(name, name, columns, None if epochs is None else list(epochs)))


# --- names -----------------------------------------------------------------------------------------------------------

_EPOCH = ("epoch", "epochs", "current epoch", "epoch number", "epoch num", "epoch idx", "epoch index", "ep")
_STEP = ("step", "steps", "global step", "trainer global step", "train global step", "iteration", "iterations", "iter")
_TIME = ("wall time", "timestamp", "time", "datetime", "date", "created at")
_INDEX = ("", "unnamed 0", "index")
"""Of the counters, most telling first; as `_plain` gives them."""

_HELD_OUT = {"val", "valid", "validation", "eval", "evaluation", "test", "dev", "holdout"}
_SYNONYMS = {"valid": "val", "validation": "val", "eval": "val", "evaluation": "val", "dev": "val", "acc": "accuracy"}
_UNSAID = {"train", "training", "epoch"}
"""Words that some writers add to the name of a metric of the training data."""

_NO_RATE = {"loss", "acc", "accuracy", "error", "score", "mult", "multiplier", "scale", "decay", "factor", "min", "max"}
"""What has a rate's name and one of these words is no rate: lr_mult, lr_loss (left and right)."""


def _plain(name: str) -> str:
    return " ".join(re.findall(r"\w+", name.replace("_", " "))).lower()


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def _is_held_out(name: str) -> bool:
    """Whether it was measured on data other than the training data."""
    return not _HELD_OUT.isdisjoint(_words(name))


def _is_rate(name: str) -> bool:
    words = _words(name)
    named = "lr" in words or "learningrate" in words or ("learning", "rate") in itertools.pairwise(words)
    return named and _NO_RATE.isdisjoint(words)


def _meaning(name: str) -> list[str]:
    """What two names of the same metric have in common."""
    if _is_rate(name) and not _group(name):
        return [RATE]
    return sorted({_SYNONYMS.get(word, word) for word in _words(name)} - _UNSAID)


def _group(name: str) -> str:
    """Which of several rates it is: "Adam" of "lr-Adam", "pg0" of "lr/pg0", "x/0" of "x/lr0"; "" if it does not say."""
    rest = re.sub(r"(?i)learning[ _-]?rate|lr", "", name, count=1)
    return "/".join(part for part in re.split(r"[/_]+", rest.strip(" _-/.:")) if part)


def _with_rates(curves: dict[str, Curve], notes: list[str]) -> dict[str, Curve]:
    """The curves, with the learning rates under the names that they have everywhere."""
    rates = [name for name in curves if _is_rate(name)]
    if not rates:
        return curves
    first = curves[rates[0]]
    if all((curves[name].epochs, curves[name].values) == (first.epochs, first.values) for name in rates):
        if len(rates) > 1:
            notes.append(f"{_listed(rates)} are equal throughout: read as one {RATE!r}.")
        names = {rates[0]: RATE} | dict.fromkeys(rates[1:], "")
    else:
        names = {}
        for name in rates:
            wanted = f"{RATE}_{_group(name)}" if _group(name) else RATE
            names[name] = f"{RATE}_{name}" if wanted in names.values() else wanted
    return {names.get(name, name): curve for name, curve in curves.items() if names.get(name, name)}


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = [repr(name) for name in names[:most]]
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


# --- numbers ---------------------------------------------------------------------------------------------------------

_NOTHING = {"", "-", "--", "none", "null", "na", "n/a", "<na>"}
"""In lower case. CSVLogger writes NA for a metric that an epoch did not have. "nan" is a number."""

_WRAPPED = re.compile(
    r"(?:(?:np|numpy|tf|torch|jnp|jax|ml_dtypes)\.)?(?:b?float\d*|int\d+|tensor|Tensor|EagerTensor|array|Array|Decimal)?"
    r"\s*[\[(]+\s*'?([^\s,'()\[\]]+)'?\s*[\])]*\s*(?:,\s*\w+=.*|,)?[\])]*"
)
"""np.float32(0.1), tf.Tensor(0.1, shape=(), dtype=float32), tensor([0.1], device='cuda:0'), [0.1], (0.1,)."""

_VARIABLE = re.compile(r"<.*\b(?:numpy|value)=\s*\[*([^\s,()\[\]>]+)\]*.*>", re.DOTALL)
"""<tf.Variable 'lr:0' shape=() dtype=float32, numpy=0.001>."""

_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")


def _number(cell: Any) -> float | None:
    """The number in a cell, of a text or of anything else; None if there is nothing in it.

    Raises:
        ValueError: It is something else.
    """
    if cell is None:
        return None
    if isinstance(cell, bool):
        raise ValueError
    if isinstance(cell, str):
        return _number_in(cell)
    if isinstance(cell, (list, tuple)):
        if len(cell) != 1:
            raise ValueError
        return _number(cell[0])
    try:
        return float(cell)
    except (TypeError, OverflowError, RuntimeError):  # pandas.NA, an integer of 400 digits, a tensor of many numbers.
        if str(cell) == "<NA>":
            return None
        raise ValueError from None


def _number_in(text: str) -> float | None:
    text = text.strip(" \t\n\"'[]")
    if text.lower() in _NOTHING:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    found = _WRAPPED.fullmatch(text) or _VARIABLE.fullmatch(text)
    if found:
        return float(found[1])
    return float(text.removesuffix("%"))


def _number_with_comma(text: Any) -> float | None:
    """Where the comma does not separate cells, it may be the decimal point."""
    stripped = text.strip()
    return _number(stripped.replace(",", ".") if _DECIMAL_COMMA.fullmatch(stripped) else text)


def _moment(cell: Any) -> float | None:
    """Seconds since 1970, from a number or a date."""
    try:
        return _number(cell)
    except ValueError:
        pass
    try:
        return datetime.datetime.fromisoformat(str(cell).strip()).timestamp()
    except (OverflowError, OSError):  # The year 1.
        raise ValueError from None


def _count(cell: Any) -> float | None:
    """The number of an epoch or step, also from "3/100", "epoch 3" and "1,000"."""
    try:
        return _number(cell)
    except ValueError:
        pass
    text = str(cell).strip()
    if re.fullmatch(r"\d{1,3}(,\d{3})+", text):
        return float(text.replace(",", ""))
    found = re.fullmatch(r"[^\d\W]*\s*(\d+)(?:\s*/\s*\d+)?", text)
    if found is None:
        raise ValueError
    return float(found[1])


def _converter(name: str, number: Callable[[Any], float | None] = _number) -> Callable[[Any], float | None]:
    """What makes a number of a cell in the column of this name."""
    plain = _plain(name)
    return _moment if plain in _TIME else _count if plain in _EPOCH or plain in _STEP else number


def _is_number(cell: Any) -> bool:
    try:
        return _number(cell) is not None
    except ValueError:
        return False


def _numbers(cells: Sequence[Any], convert: Callable[[Any], float | None] = _number) -> tuple[Cells, list[int]]:
    """The numbers of a column, and at which places there is neither a number nor nothing.

    The first two ways are those of nearly every column, and ten times as fast.
    """
    if cells and isinstance(cells[0], str):
        try:
            return list(map(float, cells)), []
        except (ValueError, TypeError):
            pass
        try:
            return [float(cell) if cell else None for cell in cells], []
        except (ValueError, TypeError):
            pass
    values: Cells = []
    others = []
    for place, cell in enumerate(cells):
        try:
            values.append(convert(cell))
        except ValueError:
            values.append(None)
            others.append(place)
    return values, others


# --- tables ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Table:
    """What a file holds, in columns of the same length.

    Attributes:
        path: What an error begins with.
        name: That of the recordings.
        columns: By name, the counters among them.
        lines: Of the rows, in the file; empty if rows are not lines.
        notes: So far.
        starts: Rows before which the line of names comes again.
        texts: The names of columns that hold no numbers and were left out.
        from_zero: Whether epochs are known to be counted from 0, even if the first one is 1.
    """

    path: str
    name: str
    columns: dict[str, Cells] = field(default_factory=dict)
    lines: Sequence[int] = ()
    notes: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    from_zero: bool = False

    @property
    def size(self) -> int:
        return max(map(len, self.columns.values()), default=0)

    def where(self, row: int) -> str:
        return f"line {self.lines[row]}" if self.lines else f"row {row + 1}"

    def error(self, row: int, text: str) -> CurveError:
        return CurveError(
            f"{self.path}:{self.lines[row]}: {text}" if self.lines else f"{self.path}: row {row + 1}: {text}"
        )


def _add_column(table: _Table, name: str, cells: Sequence[Any]) -> None:
    """Add what may be numbers; what holds none is left out, with a note."""
    values, others = _numbers(cells, _converter(name))
    if others and all(value is None for value in values):
        table.texts.append(name)
    elif others:
        raise table.error(others[0], _no_number(name, cells[others[0]]))
    else:
        table.columns[name] = values


def _no_number(name: str, cell: Any) -> str:
    shown = repr(cell) if len(repr(cell)) <= 40 else f"{repr(cell)[:40]}..."
    return f"{shown} in {name!r} is not a number; correct it, or leave it empty if there was none"


def _only(table: _Table) -> Recording:
    recordings = _recordings(table)
    if len(recordings) > 1:
        raise CurveError(f"{table.path}: {recordings[0].notes[0]} Give the rows of one of them")
    return recordings[0]


def _recordings(table: _Table) -> list[Recording]:
    """One for each training in a table."""
    has_counter = any(_find(table, names) is not None for names in (_EPOCH, _STEP))
    if len(table.texts) > len(table.columns) and not has_counter:
        raise CurveError(f"{table.path}: no training curve: more columns of texts than of numbers; known are {KNOWN}")
    if table.texts:
        table.notes.append(f"{_listed(table.texts)}: no numbers, left out.")
    times = _take_times(table)
    epochs, steps, base = _take_counters(table)
    if not any(value is not None for values in table.columns.values() for value in values):
        raise CurveError(
            f"{table.path}: there are no numbers in it but counters; give a file with a column for each metric"
        )
    is_counted = epochs is not None or steps is not None
    trainings, notes = _split(table, epochs, steps, base) if is_counted else _split_at_starts(table)
    recordings: list[Recording] = []
    for rows, own in trainings:
        found = notes + own
        unit, curves = _curves(table, rows, epochs, steps, times, found)
        name = f"{table.name} ({len(recordings) + 1})" if recordings else table.name
        if curves:  # A training may have left nothing but the number of its epoch.
            recordings.append(Recording(name, unit, _with_rates(curves, found), (), tuple(found)))
    if not recordings:
        raise CurveError(
            f"{table.path}: {notes[0]} That leaves no numbers; give a file of a training that went further"
        )
    return recordings


def _find(table: _Table, names: Sequence[str]) -> str | None:
    plain = {_plain(name): name for name in reversed(table.columns)}
    return next((plain[name] for name in names if name in plain), None)


def _take_times(table: _Table) -> list[float] | None:
    """Wall times out of the table; a column of seconds since the start of the training is none and stays."""
    name = _find(table, _TIME)
    if name is None:
        return None
    known = [value for value in table.columns[name] if value is not None]
    if not known or not all(1e8 < value < 1e14 for value in known):
        return None
    scale = 1e-3 if known[0] > 1e11 else 1.0  # Some count milliseconds.
    return [0.0 if value is None else value * scale for value in table.columns.pop(name)]


def _take_counters(table: _Table) -> tuple[list[int] | None, list[int] | None, int]:
    """The number of the epoch, from 0, of each row, and that of the step, out of the table; None where it has none.

    Returns:
        Both, and what the file counts epochs from.
    """
    steps = _take_steps(table)
    index = _find(table, _INDEX) if next(map(_plain, table.columns), None) in _INDEX else None
    unnamed = table.columns.pop(index) if index is not None else None
    name = _find(table, _EPOCH)
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
    base = 0 if fractional or table.from_zero else _base(counted, steps)
    if None in counted:
        counted = _filled(table, counted, steps)
    epochs: list[int] = counted if base == 0 else [epoch - base for epoch in counted]  # type: ignore[assignment, operator]
    if steps is not None and any(
        step < before and epoch > last
        for (last, epoch), (before, step) in zip(itertools.pairwise(epochs), itertools.pairwise(steps), strict=True)
    ):
        steps = None  # It counts within the epoch.
    return epochs, steps, base


def _take_steps(table: _Table) -> list[int] | None:
    name = _find(table, _STEP)
    if name is None:
        return None
    values = table.columns[name]
    if not all(value is not None and value.is_integer() for value in values):
        return None
    return [int(value) for value in table.columns.pop(name)]  # type: ignore[arg-type]  # there is no None


def _base(epochs: Sequence[int | None], steps: Sequence[int] | None) -> int:
    """What the epochs are counted from.

    1 if the least is 1. But Lightning, which counts from 0 and logs steps, begins with 1 where it validates every
    second epoch only, and then goes on with 3.
    """
    known = {epoch for epoch in epochs if epoch is not None}
    return 1 if min(known) == 1 and not (steps is not None and 3 in known and 2 not in known) else 0


def _filled(table: _Table, epochs: list[int | None], steps: list[int] | None) -> list[int | None]:
    """Epochs also for the rows that have none; Lightning's monitor of the learning rate writes such.

    By the step, if steps never go back: a row is of the epoch that ends with this step or the next known one. Otherwise
    by the place: a row is of the epoch of the next row that has one. What comes after the last is of an epoch more.
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


_Training = tuple[Sequence[int], list[str]]
"""Which rows are of it, and notes."""


def _split(
    table: _Table, epochs: list[int] | None, steps: list[int] | None, base: int
) -> tuple[list[_Training], list[str]]:
    """The trainings in a table; and notes that concern all of them.

    Where the count goes back to its first value or before it, another training begins. Where it goes back to a later
    one, the same training was resumed: what it had from there on is replaced.
    """
    size = table.size
    if epochs is not None and steps is not None:
        keys: list[Any] = list(zip(epochs, steps, strict=True))
    else:
        keys = steps if epochs is None else epochs  # type: ignore[assignment]  # one of them is there
    is_rising = all(map(operator.lt, keys, keys[1:]))
    several = steps is not None or (not is_rising and _has_several_rows(table, keys))
    if is_rising or (several and all(map(operator.le, keys, keys[1:]))):
        return [(range(size), [])], list(table.notes)
    if table.size > 2 and all(map(operator.gt, keys, keys[1:])):
        note = "The rows count down and were read from the last one up."
        return [(range(table.size - 1, -1, -1), [])], [note, *table.notes]
    trainings: list[_Training] = [([], [])]
    starts = []
    for row, key in enumerate(keys):
        rows: Any
        rows, notes = trainings[-1]
        if rows and (key < keys[rows[-1]] or (key == keys[rows[-1]] and not several)):
            if key <= keys[rows[0]]:
                starts.append(row)
                rows = []
                trainings.append((rows, []))
            else:
                unit, first = ("epoch", epochs[row] + base) if epochs is not None else ("step", key)
                where = table.where(row).capitalize()
                notes.append(f"{where} goes back to {unit} {first}: what there was from there on is replaced.")
                while keys[rows[-1]] >= key:
                    rows.pop()
        rows.append(row)
    notes = list(table.notes)
    if starts:
        what = "epochs" if epochs is not None else "steps"
        notes.insert(0, f"The {what} start again at {_places(table, starts)}: read as {len(trainings)} trainings.")
    return trainings, notes


def _split_at_starts(table: _Table) -> tuple[list[_Training], list[str]]:
    """The trainings in a table where nothing counts: the names of the columns begin another one."""
    starts = [row for row in table.starts if 0 < row < table.size]
    if not starts:
        return [(range(table.size), [])], list(table.notes)
    trainings: list[_Training] = [
        (list(range(first, last)), []) for first, last in itertools.pairwise([0, *starts, table.size])
    ]
    note = f"The names of the columns come again before {_places(table, starts)}"
    return trainings, [f"{note}: read as {len(trainings)} trainings.", *table.notes]


def _places(table: _Table, rows: Sequence[int], most: int = 5) -> str:
    word = ("line" if table.lines else "row") + ("" if len(rows) == 1 else "s")
    shown = ", ".join(table.where(row).partition(" ")[2] for row in rows[:most])
    return f"{word} {shown}" if len(rows) <= most else f"{word} {shown} and {len(rows) - most} more"


def _has_several_rows(table: _Table, epochs: Sequence[int]) -> bool:
    """Whether an epoch repeated from one row to the next is one with several rows; otherwise it was done again.

    It is if the rows have no column in common, as Lightning writes them, or if most epochs have several, and not just
    the first one, which somebody may have tried again and again.
    """
    groups = [list(group) for _, group in itertools.groupby(range(len(epochs)), key=epochs.__getitem__)]
    repeated = [group for group in groups if len(group) > 1]
    if not repeated:
        return False
    if all(
        sum(values[row] is not None for row in group) <= 1 for group in repeated for values in table.columns.values()
    ):
        return True
    return len(groups) > 1 and 2 * len(repeated) > len(groups)


def _curves(
    table: _Table,
    rows: Sequence[int],
    epochs: list[int] | None,
    steps: list[int] | None,
    times: list[float] | None,
    notes: list[str],
) -> tuple[Literal["epoch", "step"], dict[str, Curve]]:
    """The curves of one training.

    By epoch, if that leaves every metric of held-out data as it is: a metric of the training data with several values
    in an epoch becomes their mean, as Keras would log it, and of a learning rate the last one counts. Otherwise, or if
    there are only metrics of the training data, with several values in an epoch, by step.
    """
    if rows == range(table.size):
        columns = dict(table.columns)
    else:
        columns = {name: [values[row] for row in rows] for name, values in table.columns.items()}
        epochs = None if epochs is None else [epochs[row] for row in rows]
        steps = None if steps is None else [steps[row] for row in rows]
        times = None if times is None else [times[row] for row in rows]
    if epochs is None and steps is None:
        epochs = list(range(len(rows)))
    steps = list(range(len(rows))) if steps is None else steps
    times = [0.0] * len(rows) if times is None else times
    for name, values in list(columns.items()):
        if all(value is None for value in values):
            del columns[name]
            notes.append(f"{name!r} is empty and was left out.")
    if epochs is None:
        return "step", {name: _by_last(steps, values, times) for name, values in columns.items()}
    _note_zeros(columns, notes)
    if all(map(operator.lt, epochs, epochs[1:])):
        for name, values in columns.items():
            if None in values:
                first = table.where(rows[values.index(None)])
                notes.append(f"{name!r} is empty in {values.count(None)} of {len(values)} rows, first at {first}.")
        return "epoch", {name: _by_last(epochs, values, times) for name, values in columns.items()}
    repeated = {
        name
        for name, values in columns.items()
        if max(Counter(epoch for epoch, value in zip(epochs, values, strict=True) if value is not None).values()) > 1
    }
    held_out = {name for name in columns if _is_held_out(name)}
    rates = {name for name in columns if _is_rate(name)}
    # A test after the training may be repeated, and says nothing of its epochs.
    validation = {name for name in held_out if "test" not in _words(name)} or held_out
    if repeated & validation or (not validation and repeated - rates):
        return "step", {name: _by_last(steps, values, times) for name, values in columns.items()}
    averaged = [name for name in columns if name in repeated - rates - held_out]
    if averaged:
        notes.append(f"{_listed(averaged)}: several values in an epoch, of which the mean is taken.")
    if repeated & held_out:
        notes.append(
            f"{_listed(sorted(repeated & held_out))}: several values in an epoch, of which the last one is taken."
        )
    return "epoch", {
        name: _by_mean(epochs, values, times) if name in averaged else _by_last(epochs, values, times)
        for name, values in columns.items()
    }


def _note_zeros(columns: dict[str, Cells], notes: list[str]) -> None:
    """Some write 0 for what was not measured; the last epoch may have been."""
    zeros = [
        name
        for name, values in columns.items()
        if len(values) > 2
        and _is_held_out(name)
        and "loss" in _words(name)
        and not any(values[:-1])
        and None not in values
    ]
    if zeros:
        notes.append(f"{_listed(zeros)}: 0 in all rows but perhaps the last; most likely there was no validation.")


def _by_last(counter: list[int], values: Cells, times: list[float]) -> Curve:
    """A curve. What is at the same place as an earlier value, or before it, replaces that."""
    if None in values:
        rows = [row for row, value in enumerate(values) if value is not None]
        counter, times = [counter[row] for row in rows], [times[row] for row in rows]
        values = [values[row] for row in rows]
    if not all(map(operator.lt, counter, counter[1:])):
        rows = []
        for row, place in enumerate(counter):
            while rows and counter[rows[-1]] >= place:
                rows.pop()
            rows.append(row)
        counter, times, values = (
            [counter[row] for row in rows],
            [times[row] for row in rows],
            [values[row] for row in rows],
        )
    return Curve(list(counter), list(values), list(times))  # type: ignore[arg-type]  # there is no None


def _by_mean(epochs: list[int], values: Cells, times: list[float]) -> Curve:
    curve = Curve()
    rows = (row for row, value in enumerate(values) if value is not None)
    for epoch, group in itertools.groupby(rows, key=epochs.__getitem__):
        found = list(group)
        curve.append(epoch, sum(values[row] for row in found) / len(found), times[found[-1]])  # type: ignore[misc]
    return curve


# --- files -----------------------------------------------------------------------------------------------------------

_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".log", ".txt")
"""Of the files in a directory that are looked into; with or without .gz."""


def _read_directory(place: Path) -> list[Recording]:
    runs = event_files(place)
    if runs:
        return _read_events(str(place), place, runs)
    recordings: list[Recording] = []
    refused = []
    try:
        paths = sorted(place.iterdir())
    except OSError as error:
        raise CurveError(f"{place}: cannot be read: {error.strerror}; check the path") from None
    for path in paths:
        if path.is_file() and path.name.removesuffix(".gz").endswith(_SUFFIXES):
            try:
                recordings += _read_file(path)
            except CurveError as error:
                refused.append(str(error))
    if not recordings:
        why = f" Of the files in it: {'; '.join(refused[:3])}" if refused else ""
        raise CurveError(f"{place}: no event file below it and no curve in it; give a log directory or a file.{why}")
    return _noted(recordings, [f"Not read: {reason}." for reason in refused])


def _noted(recordings: list[Recording], notes: Sequence[str]) -> list[Recording]:
    """The recordings, with more notes, which are about what is beside all of them, on the first."""
    first = recordings[0]
    return [
        Recording(first.name, first.unit, first.curves, first.records, (*first.notes, *notes)),
        *recordings[1:],
    ]


def _read_file(place: Path) -> list[Recording]:
    path = str(place)
    try:
        with open(place, "rb") as file:
            content = file.read(64)
            if "tfevents" in place.name or b"brain.Event:" in content:
                return _read_events(path, place, {place: [place]})
            content += file.read()
    except OSError as error:
        raise CurveError(f"{path}: cannot be read: {error.strerror}; check the path") from None
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            raise CurveError(f"{path}: the gzip archive is damaged or cut off; unpack what is left with zcat") from None
    if content.startswith(b"PK\x03\x04"):
        raise CurveError(f"{path}: a zip archive or an Excel workbook; unpack it, or save the sheet as CSV")
    text = _decoded(content)
    notes = []
    if "\0" in text:  # A machine that lost power may leave them at the end of a file.
        text = text.replace("\0", "")
        notes.append("There were null bytes in the file, which were ignored.")
    if any(char < " " and char not in "\t\n\r\x08\x0c\x1b" for char in text[:1000]):
        raise CurveError(f"{path}: a binary file; known are {KNOWN}")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    start = text[:1000].lstrip()[:1]
    if not start and not text.strip():
        raise CurveError(f"{path}: the file is empty; the training wrote nothing, or elsewhere")
    if start and start in "{[":
        table = _read_json(path, place.name, text)
    elif _PRINTED.search(text[:1_000_000]):
        table = _read_printed(path, place.name, text)
    else:
        table = _read_csv(path, place.name, text)
    table.notes += notes
    return _recordings(table)


def _decoded(content: bytes) -> str:
    """The text, by its byte order mark; without one, UTF-8, or else Latin-1, in which every byte is something."""
    if content.startswith(codecs.BOM_UTF8):
        return content.decode("utf-8-sig", "replace")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # Windows PowerShell's redirection.
        return content.decode("utf-16", "replace")
    if len(content) > 8 and content[1:200:2].count(0) > 0.8 * len(content[1:200:2]):
        return content.decode("utf-16-le", "replace")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


# --- CSV -------------------------------------------------------------------------------------------------------------

_SEPARATORS = (",", "\t", ";", "|", " ")
_LOOKED_AT = 100
"""Lines among which the names of the columns must be."""

_CHUNK = 2_000
"""Rows that are held as texts at a time."""


class _Layout(NamedTuple):
    """How a CSV file is to be read: what separates cells, and the line of the names, from 1."""

    separator: str
    line: int


def _layout(path: str, text: str) -> _Layout:
    """Find the line of names: no number in it, and after it rows with as many cells, and numbers.

    Of several such lines the first that names a counter, or else the one that explains most cells; of the separators,
    the one with a counter, and then the one that explains most cells.
    """
    lines = text[:200_000].split("\n")[:_LOOKED_AT]
    found: list[tuple[bool, int, _Layout]] = []
    for separator in _SEPARATORS:
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
        rows = [(reader.line_num, cells) for cells in reader if any(cells)]
        # Shares in percent are rather of a preamble: "Best accuracy: 0.87 %".
        has_number = [any(_is_number(cell) and not cell.rstrip().endswith("%") for cell in cells) for _, cells in rows]
        candidates: list[tuple[bool, int, _Layout]] = []
        for place, (number, cells) in enumerate(rows):
            names = _uncommented(cells)
            if not _may_be_names(names):
                continue
            has_counter = any(_plain(name) in _EPOCH or _plain(name) in _STEP for name in names)
            explained = 0
            for (_, row), known in zip(rows[place + 1 : place + 21], has_number[place + 1 : place + 21], strict=True):
                if not known or (len(row) < len(names) and not has_counter) or any(map(str.strip, row[len(names) :])):
                    break
                explained += min(len(row), len(names))
            if explained:
                candidates.append((has_counter, explained, _Layout(separator, number)))
        named = [candidate for candidate in candidates if candidate[0]]
        found += named[:1] or candidates
    if not found:
        raise _no_table(path, lines)
    return max(found, key=lambda candidate: candidate[:2])[2]


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])


def _uncommented(names: Sequence[str]) -> list[str]:
    """The names of columns, without the mark of a comment before them."""
    first = names[0].lstrip("#% ") if names else ""
    return list(names[1:]) if names and names[0] and not first else [first, *names[1:]]


def _may_be_names(cells: Sequence[str]) -> bool:
    return any(char.isalpha() for cell in cells for char in cell) and not any(map(_is_number, cells))


def _no_table(path: str, lines: Sequence[str]) -> CurveError:
    """Why there is no table, as well as can be told."""
    filled = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    number, line = filled[-1]
    if not line.strip("\" ,;\t'"):
        return CurveError(f"{path}:{number}: an empty table: no columns and no rows; the training recorded nothing")
    for number, line in filled[:-3:-1]:  # After the names, there may be a row that is incomplete.
        cells = max((_cells(line, separator) for separator in _SEPARATORS[:-1]), key=len)
        if len(cells) < 2 or not _may_be_names(cells) or any(cell[:1].isdigit() for cell in cells):
            continue
        return CurveError(
            f"{path}:{number}: the names of {len(cells)} columns ({', '.join(cell.strip() for cell in cells[:6])}) and "
            "no row of numbers after them; the training ended before its first epoch did, or the file is cut off"
        )
    first, line = filled[0]
    cells = max((_cells(line, separator) for separator in _SEPARATORS), key=len)
    if all(map(_is_number, filter(None, cells))):
        return CurveError(
            f"{path}:{first}: numbers without the names of their columns; put a line of names before them, "
            "such as epoch,loss,val_loss"
        )
    return CurveError(f"{path}:{first}: no training curve in a form that is known; known are {KNOWN}")


def _read_csv(path: str, name: str, text: str) -> _Table:
    try:
        layout = _layout(path, text)
    except csv.Error:  # Cells of a hundred thousand characters.
        raise CurveError(f"{path}: no training curve in a form that is known; known are {KNOWN}") from None
    stream = io.StringIO(text)
    for _ in range(layout.line - 1):
        stream.readline()
    reader = csv.reader(stream, delimiter=layout.separator, skipinitialspace=True)
    header = next(reader)
    table = _Table(path, name)
    names = _column_names(_uncommented(header), table)
    if layout.line > 1:
        table.notes.append(f"The table begins at line {layout.line}; what is before it was not read.")
    columns = _Columns(table, names, layout.separator, cut=not text.endswith("\n"))
    lines, offset = array("Q"), layout.line - 1
    table.lines = lines
    waiting: list[list[str]] = []  # Until it is known whether they are the last ones.
    line = offset + reader.line_num
    try:
        while rows := list(itertools.islice(reader, _CHUNK)):
            numbers: Sequence[int] = range(line + 1, offset + reader.line_num + 1)
            if len(numbers) > len(rows):  # There are line breaks in cells.
                numbers = list(itertools.accumulate((1 + "".join(row).count("\n") for row in rows), initial=line))[1:]
            line = offset + reader.line_num
            if header in rows or not all(map(any, rows)):
                kept: list[tuple[int, list[str]]] = []
                for number, row in zip(numbers, rows, strict=True):
                    if row == header:
                        table.starts.append(len(lines) + len(kept))
                    elif any(row):
                        kept.append((number, row))
                numbers, rows = [number for number, _ in kept], [row for _, row in kept]
            lines.extend(numbers)
            if rows:
                columns.take(waiting)
                waiting = rows
    except csv.Error as error:
        where = offset + reader.line_num
        raise CurveError(f"{path}:{where}: not CSV: {error}; correct the quotes in this line") from None
    if waiting and any("\n" in cell for cell in waiting[-1]) and text.count('"') % 2 and len(waiting[-1]) >= len(names):
        begun = lines[-1] - "".join(waiting[-1]).count("\n")
        raise CurveError(f"{path}:{begun}: a quote is opened in this line and never closed; correct the line")
    columns.take(waiting, last=True)
    columns.finish()
    return table


def _column_names(header: Sequence[str], table: _Table) -> list[str]:
    """As in the file, without what is around them; "" only for a first one, which is an index."""
    names: list[str] = []
    for place, cell in enumerate(header):
        name = cell.strip().strip("\"'").strip()
        if not name and place > 0:
            name = f"column {place + 1}"
        if name in names:
            table.notes.append(f"{name!r} is the name of two columns: the later one is {name!r} with its number.")
            name = f"{name} ({place + 1})"
        names.append(name)
    return names


class _Columns:
    """Takes rows of texts and makes columns of numbers of them, chunk by chunk.

    Args:
        table: Gets the columns, at last.
        names: Of the columns.
        separator: Of the cells.
        cut: Whether the last line has no end, so that what is in it may be cut short.
    """

    def __init__(self, table: _Table, names: list[str], separator: str, cut: bool) -> None:
        self.table = table
        self.names = names
        self.cut = cut
        self.values: list[Cells] = [[] for _ in names]
        self.others: list[tuple[int, str] | None] = [None for _ in names]
        """Of each column, the row of the first cell that is no number, and the cell."""
        number = _number if separator == "," else _number_with_comma
        self.converters = [_converter(name, number) for name in names]

    def take(self, rows: list[list[str]], last: bool = False) -> None:
        """Take rows; `last` if there are no more."""
        size, before = len(self.names), len(self.values[0])
        if set(map(len, rows)) - {size}:
            rows = [
                self._fitted(row, before + place, last and place == len(rows) - 1) for place, row in enumerate(rows)
            ]
            if rows and not rows[-1]:
                self._drop_last(rows)
        for place, cells in enumerate(zip(*rows, strict=True)):
            found, others = _numbers(cells, self.converters[place])
            self.values[place] += found
            if others and self.others[place] is None:
                self.others[place] = (before + others[0], cells[others[0]])

    def _fitted(self, row: list[str], number: int, last: bool) -> list[str]:
        """The row with as many cells as there are names; nothing if it is the last one and incomplete."""
        size = len(self.names)
        if len(row) >= size:
            if any(cell.strip() for cell in row[size:]):
                raise self.table.error(
                    number,
                    f"{len(row)} cells where there are {size} names of columns; if the training went on from here with "
                    "other metrics, give these rows a file and names of their own",
                )
            return row[:size]
        if last:
            return []
        raise self.table.error(number, f"only {len(row)} of {size} cells; complete the line, or remove it")

    def _drop_last(self, rows: list[Any]) -> None:
        lines: Any = self.table.lines
        rows.pop()
        self.cut = False
        self.table.notes.append(f"Line {lines.pop()}, the last one, is incomplete and was left out.")

    def finish(self) -> None:
        """Give the table its columns, without those that hold no numbers."""
        table, last = self.table, len(self.values[0]) - 1
        texts = [
            place
            for place, other in enumerate(self.others)
            if other is not None and all(value is None for value in self.values[place])
        ]
        wrong = [(other, place) for place, other in enumerate(self.others) if other is not None and place not in texts]
        if wrong:
            (row, cell), place = min(wrong)
            if row == last and self.cut:
                for values in self.values:
                    values.pop()
                self._drop_last([None])
            elif self._is_header(row):
                raise table.error(row, "names of columns again, and other ones; split the file here")
            else:
                raise table.error(row, _no_number(self.names[place], cell))
        elif self.cut and last > 0:
            table.notes.append(
                "The last line has no end: if the writer was killed there, its last number may be cut short."
            )
        if last < 0 or not self.values[0]:
            raise CurveError(f"{table.path}: no complete row; the training ended before its first epoch did")
        for place, (name, values) in enumerate(zip(self.names, self.values, strict=True)):
            if place in texts:
                table.texts.append(name)
            elif name != f"column {place + 1}" or any(value is not None for value in values):
                table.columns[name] = values

    def _is_header(self, row: int) -> bool:
        return all(values[row] is None for values in self.values)


# --- JSON ------------------------------------------------------------------------------------------------------------


def _read_json(path: str, name: str, text: str) -> _Table:
    try:
        return _table_of_json(path, name, json.loads(text))
    except RecursionError:
        raise CurveError(f"{path}: nested too deeply for a training curve; give the part with the metrics") from None
    except json.JSONDecodeError as error:
        table = _read_json_lines(path, name, text) or _read_python(path, name, text)
        if table is not None:
            return table
        raise CurveError(
            f"{path}:{error.lineno}: not JSON: {error.msg}; if the training was killed while it wrote the file, "
            "use what was written before"
        ) from None
    except CurveError:
        raise
    except ValueError:  # Python refuses to read integers of thousands of digits.
        raise CurveError(f"{path}: a number in it is too long; correct it") from None


def _read_json_lines(path: str, name: str, text: str) -> _Table | None:
    """One object a line; None if it is something else."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    records: list[dict[str, Any]] = []
    numbers, notes = [], []
    for number, line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            if not records:
                return None
            if number != lines[-1][0]:
                raise CurveError(f"{path}:{number}: not JSON: {error}; correct the line, or remove it") from None
            notes.append(f"Line {number}, the last one, is incomplete and was left out.")
            continue
        if not isinstance(record, dict):
            return None
        records.append(record)
        numbers.append(number)
    return _table_of_records(path, name, records, numbers, notes)


def _read_python(path: str, name: str, text: str) -> _Table | None:
    """What `str(history.history)` gives, made JSON of; None if it is something else."""
    text = re.sub(r"(?:np\.)?\b(?:b?float\d+|array)\(([^(),]*)(?:,[^()]*)?\)", r"\1", text).replace("'", '"')
    for python, other in (("nan", "NaN"), ("inf", "Infinity"), ("None", "null"), ("True", "true"), ("False", "false")):
        text = re.sub(rf"\b{python}\b", other, text)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return _table_of_json(path, name, data)


def _table_of_json(path: str, name: str, data: Any) -> _Table:
    epochs = None
    if isinstance(data, dict):  # "log_history" of Hugging Face's trainer_state.json, or what others call it.
        inner = [value for value in data.values() if value and isinstance(value, list) and isinstance(value[0], dict)]
        if len(inner) == 1:
            data = inner[0]
    if isinstance(data, dict) and isinstance(data.get("history"), (dict, list)):
        epochs, data = data.get("epoch"), data["history"]
    if isinstance(data, dict) and {"columns", "data"} <= data.keys():  # pandas' orient="split".
        columns, rows = data["columns"], data["data"]
        if not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
            raise CurveError(f'{path}: rows in "data" do not have as many cells as "columns"; write the file anew')
        data = [dict(zip(map(str, columns), row, strict=True)) for row in rows]
    if isinstance(data, list) and data and all(isinstance(record, dict) for record in data):
        return _table_of_records(path, name, data, [], [])
    if isinstance(data, dict) and data:
        if all(isinstance(record, dict) for record in data.values()):
            by_epoch = {re.sub(r"(?i)^epoch[ _-]?", "", key): record for key, record in data.items()}
            if all(map(str.isdecimal, by_epoch)):
                return _table_of_records(path, name, _by_index(by_epoch), [], [])
            if all(key.isdecimal() for column in data.values() for key in column):  # pandas' own way.
                indexes = sorted({key for column in data.values() for key in column}, key=int)
                found = {key: {metric: column.get(key) for metric, column in data.items()} for key in indexes}
                return _table_of_records(path, name, _by_index(found), [], [])
        flat = dict(_flat(data))
        if any(isinstance(value, list) for value in flat.values()):
            known = epochs if isinstance(epochs, list) and epochs else None
            lists = {key: value for key, value in flat.items() if isinstance(value, list)}
            table = _table_of_lists(path, name, lists, known)
            rest = [key for key in flat if key not in lists]
            if rest:
                table.notes.append(f"{_listed(rest)}: no list of numbers, left out.")
            return table
        if any(map(_is_number, flat.values())):
            return _table_of_records(path, name, [data], [], [])
    raise CurveError(
        f"{path}: no training curve in the JSON; give an object with a list of numbers for each metric, such as "
        'History.history, or a list with an object for each epoch, such as "log_history" of trainer_state.json'
    )


def _by_index(records: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"epoch": int(key), **record} for key, record in records.items()]


def _flat(data: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}/")
        else:
            yield f"{before}{key}".strip(), value


def _table_of_records(
    path: str, name: str, records: Sequence[dict[str, Any]], lines: Sequence[int], notes: list[str]
) -> _Table:
    """From an object for each epoch or step; what one of them lacks is empty."""
    flat = [_renamed(dict(_flat(record))) for record in records]
    kept = [row for row, record in enumerate(flat) if any(map(_is_number, record.values()))]
    flat, lines = [flat[row] for row in kept], [lines[row] for row in kept] if lines else ()
    names = list(dict.fromkeys(key for record in flat for key in record))
    table = _Table(path, name, lines=lines, notes=notes)
    for key in names:
        _add_column(table, key, [record.get(key) for record in flat])
    return table


def _renamed(record: dict[str, Any]) -> dict[str, Any]:
    """OpenMMLab's logs have the same names for both kinds of data, and say in "mode" which it is."""
    mode = record.get("mode")
    if mode not in _HELD_OUT:
        return record
    kept = {*_EPOCH, *_TIME, "mode"}
    return {
        key if _plain(key) in kept or _is_rate(key) else f"{mode}_{key}": value
        for key, value in record.items()
        if _plain(key) not in _STEP  # Of the validation data, which begins anew each time.
    }


def _table_of_lists(path: str, name: str, lists: Mapping[str, list[Any]], epochs: list[Any] | None) -> _Table:
    """From a list for each metric, such as `History.history`.

    Keras leaves out the epochs without validation (`validation_freq`), so that lists may be shorter.
    """
    table = _Table(path, name)
    for key, cells in lists.items():
        if cells:
            _add_column(table, key, cells)
        else:
            table.notes.append(f"{key!r} is empty and was left out.")
    if not table.columns:
        raise CurveError(f"{path}: there are no numbers in it; the training ended before its first epoch did")
    lengths = Counter(map(len, table.columns.values()))
    size = max(lengths, key=lambda length: (lengths[length], length))
    for key, values in list(table.columns.items()):
        if len(values) == size:
            continue
        every = [each for each in range(2, size + 1) if size // each == len(values)]
        if len(every) == 1:
            spread: Cells = [None] * size
            spread[every[0] - 1 :: every[0]] = values
            table.columns[key] = spread
            table.notes.append(
                f"{key!r} has {len(values)} values where others have {size}: read as one every {every[0]} epochs."
            )
        elif _is_held_out(key) and len(values) < size:
            raise CurveError(
                f"{path}: {key!r} has {len(values)} values where others have {size}, and nothing tells which are "
                "missing; put null in their places"
            )
        else:
            del table.columns[key]
            table.notes.append(f"{key!r} has {len(values)} values where others have {size}, and was left out.")
    if epochs is not None and len(epochs) == size and _find(table, _EPOCH) is None:
        values, others = _numbers(epochs)
        if not others:
            table.columns = {"epoch": values, **table.columns}
            table.from_zero = True
    return table


# --- what Keras prints -----------------------------------------------------------------------------------------------

_PRINTED = re.compile(r"^Epoch (\d+)/\d+[ \t]*$", re.MULTILINE)
_METRIC = re.compile(r" - ([A-Za-z_]\w*): ([^\s:]+)")


def _read_printed(path: str, name: str, text: str) -> _Table:
    """The last values that Keras printed of each epoch; they have four digits."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x08", "", text)
    marks = list(_PRINTED.finditer(text))
    records, lines = [], []
    line, at = 1, 0
    for mark, end in zip(marks, [*(mark.start() for mark in marks[1:]), len(text)], strict=True):
        line, at = line + text.count("\n", at, mark.start()), mark.start()
        found = {key: value for key, value in _METRIC.findall(text[mark.end() : end]) if _is_number(value)}
        records.append({"epoch": int(mark[1]), **found})
        lines.append(line)
    notes = ["What Keras prints is rounded to four digits; a CSVLogger's file is exact."]
    if len(records) > 1 and len(records[-1]) < len(records[-2]):
        records.pop()
        notes.append(f"The epoch that begins at line {lines.pop()}, the last one, is incomplete and was left out.")
    return _table_of_records(path, name, records, lines, notes)


# --- event files -----------------------------------------------------------------------------------------------------

_PREFIXES = {"train": "", "validation": "val_", "valid": "val_", "val": "val_", "eval": "eval_", "test": "test_"}
"""What directories of one training are called, and what the names of their metrics begin with."""

_KERAS = "epoch_"
"""What Keras' TensorBoard callback puts before the name of a metric, logged by epoch."""

_BY_BATCH = ("batch_", "evaluation_")
"""And what it puts before what it logs by batch."""


@dataclass(slots=True)
class _Events:
    """What was logged in a run, by tag, in the order of writing: steps, values and wall times.

    `Curve` holds it, though its steps may go back. Of the records of ours, values are in `payloads`.
    """

    scalars: dict[str, Curve] = field(default_factory=dict)
    payloads: list[tuple[int, float, Any]] = field(default_factory=list)
    content: bytes = b""
    notes: list[str] = field(default_factory=list)


def event_files(root: Path) -> dict[Path, list[Path]]:
    """The event files in a directory and below, by the directory that they are in, all in order."""
    found = {}
    seen = set()
    for directory, below, names in os.walk(root, followlinks=True):
        below.sort()
        real = os.path.realpath(directory)
        if real in seen:  # By a link.
            below.clear()
            continue
        seen.add(real)
        # Those of the profiler hold nothing.
        files = [name for name in sorted(names) if "tfevents" in name and not name.endswith(".profile-empty")]
        if files:
            found[Path(directory)] = [Path(directory, name) for name in files]
    return found


def _read_events(path: str, root: Path, runs: Mapping[Path, list[Path]]) -> list[Recording]:
    """All trainings in these runs; a run may be a single file."""
    ours: list[Recording] = []
    groups: dict[str, list[tuple[str, _Events]]] = {}
    notes: dict[str, list[str]] = {}
    refused = []
    top = Path(os.path.abspath(root)).name
    for place, files in runs.items():
        events = _load(files)
        name = top if place == root else place.relative_to(root).as_posix()
        if events.payloads:
            try:
                ours.append(_ours(name, events))
            except ValueError as error:
                refused.append(f"{place}: {error}; give another run")
        elif events.scalars:
            prefix = _prefix(place, events) if place != files[0] else _prefix(place.parent, events)
            if place.name in _PREFIXES and len(runs) > 1:
                name = top if place.parent == root else name.rpartition("/")[0]
            groups.setdefault(name, []).append((prefix, events))
            notes.setdefault(name, []).extend(events.notes)
        elif events.notes:
            reason = events.notes[0].partition(";")[0]
            refused.append(f"{place}: {reason}, and there are no scalars before; give another run, or an older copy")
    recordings = list(ours)
    for name, found in groups.items():
        recordings += _recordings_of_events(path, name, found, notes[name])
    if recordings:
        return _noted(recordings, [f"Not read: {reason}." for reason in refused]) if refused else recordings
    if refused:
        raise CurveError(refused[0])
    raise CurveError(
        f"{path}: no scalars in the event files; the training logged none, or elsewhere: give the log directory above"
    )


def _prefix(directory: Path, events: _Events) -> str:
    """What the names of a run's metrics begin with; Keras logs evaluation_... for the validation data only."""
    if any(tag.startswith("evaluation_") for tag in events.scalars):
        return "val_"
    return _PREFIXES.get(directory.name, "")


def _load(files: Sequence[Path]) -> _Events:
    """The scalars in event files of one run, and our records.

    By TensorBoard's own record reader, of those the one for machines without TensorFlow: the one that TensorBoard would
    choose imports TensorFlow wherever that is installed, and says nothing of a file that breaks off.
    """
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.tensorflow_stub import errors, pywrap_tensorflow
    from tensorboard.plugins.scalar import metadata as scalar_metadata
    from tensorboard.util import tensor_util

    from keras_lrplateau.history import tags

    events = _Events()
    plugins: dict[str, str] = {}
    is_restart = False
    for path in files:
        reader = pywrap_tensorflow.PyRecordReader_New(str(path), 0, "", None)
        at = 0
        while True:
            try:
                reader.GetNext()
                event = Event.FromString(reader.record())
            except errors.OutOfRangeError:
                break
            except Exception as error:  # A DataLossError, or what protobuf raises, of which there are two kinds.
                how = "cut off" if "truncated" in str(error) else "damaged"
                events.notes.append(
                    f"The event file {path.name} is {how} after {at} bytes; what comes before was read."
                )
                break
            at += len(reader.record()) + 16
            time = event.wall_time if math.isfinite(event.wall_time) else 0.0
            if event.HasField("session_log") and event.session_log.status == SessionLog.START:
                # From the second on, TensorBoard takes back what was logged of this step and later ones, and so do we.
                if is_restart:
                    _take_back(events, event.step)
                is_restart = True
            for value in event.summary.value:
                if value.HasField("metadata"):
                    plugins.setdefault(value.tag, value.metadata.plugin_data.plugin_name)
                    if value.tag == tags.TAG and not events.content:
                        events.content = value.metadata.plugin_data.content
                kind = value.WhichOneof("value")
                if kind == "simple_value":
                    number = value.simple_value
                elif kind == "tensor" and plugins.get(value.tag) == scalar_metadata.PLUGIN_NAME:
                    found = tensor_util.make_ndarray(value.tensor)
                    if found.size != 1:
                        continue
                    number = float(found.item())
                elif kind == "tensor" and plugins.get(value.tag) == tags.PLUGIN_NAME and value.tag == tags.TAG:
                    events.payloads.append((event.step, event.wall_time, tensor_util.make_ndarray(value.tensor)))
                    continue
                else:
                    continue
                events.scalars.setdefault(value.tag, Curve()).append(event.step, number, time)
    return events


def _take_back(events: _Events, step: int) -> None:
    events.payloads = [each for each in events.payloads if each[0] < step]
    for tag, curve in list(events.scalars.items()):
        rows = [row for row, each in enumerate(curve.epochs) if each < step]
        if rows:
            events.scalars[tag] = _rows_of(curve, rows)
        else:
            del events.scalars[tag]


def _rows_of(curve: Curve, rows: Sequence[int]) -> Curve:
    return Curve(
        [curve.epochs[row] for row in rows], [curve.values[row] for row in rows], [curve.times[row] for row in rows]
    )


def _ours(name: str, events: _Events) -> Recording:
    """A run of ours, by its own reader, which asks a `DataProvider`."""
    from tensorboard.data.provider import ScalarDatum, TensorDatum

    from keras_lrplateau.history import event_reader, tags
    from keras_lrplateau.history.run import Run

    tensors = [TensorDatum(step, time, value) for step, time, value in events.payloads]
    scalars = {
        tag: [ScalarDatum(*datum) for datum in zip(curve.epochs, curve.times, curve.values, strict=True)]
        for tag, curve in events.scalars.items()
    }
    listed = SimpleNamespace(plugin_content=events.content)
    provider = SimpleNamespace(
        list_tensors=lambda *_, **__: {name: {tags.TAG: listed}},
        read_tensors=lambda *_, **__: {name: {tags.TAG: tensors}},
        read_scalars=lambda *_, **__: {name: scalars},
    )
    run = event_reader.read_runs(provider, None, "", [name])[name]
    if not isinstance(run, Run):
        raise run
    return Recording(name, "epoch", run.curves, tuple(run.records), tuple(events.notes))


def _recordings_of_events(
    path: str, name: str, runs: Sequence[tuple[str, _Events]], notes: Sequence[str]
) -> list[Recording]:
    """The trainings in the runs of one name, such as Keras' train and validation."""
    notes = list(notes)
    is_keras = any(tag.startswith(_KERAS) for _, events in runs for tag in events.scalars)
    series: dict[str, Curve] = {}
    others: dict[str, Curve] = {}
    skipped = []
    for prefix, events in runs:
        for tag, curve in events.scalars.items():
            if not is_keras:
                series[prefix + tag.strip()] = curve
            elif tag.startswith(_KERAS):
                series[prefix + tag.removeprefix(_KERAS)] = curve
            elif tag.startswith(_BY_BATCH):
                skipped.append(tag)
            else:
                others[prefix + tag.strip()] = curve
    if is_keras:
        epochs = {epoch for curve in series.values() for epoch in curve.epochs}
        for tag, curve in others.items():
            if tag not in series and epochs.issuperset(curve.epochs):
                series[tag] = curve
            else:
                skipped.append(tag)
        if skipped:
            notes.append(f"{_listed(skipped)}: not by epoch, left out.")
    trainings, resumed = _split_series(series)
    if resumed:
        notes.append(f"The steps of {_listed(resumed)} go back: what there was from there on is replaced.")
    if len(trainings) > 1:
        notes.insert(0, f"The steps start again: read as {len(trainings)} trainings.")
    recordings = []
    for number, curves in enumerate(trainings, 1):
        own = name if number == 1 else f"{name} ({number})"
        counter = next((tag for tag in ("epoch", "train/epoch") if tag in curves), None)
        if counter is not None and not is_keras:  # Lightning's and Hugging Face's loggers.
            recordings += _joined(path, own, curves, counter, notes)
            continue
        found = list(notes)
        steps = {step for curve in curves.values() for step in curve.epochs}
        first, last = min(steps), max(steps)
        by_epoch = is_keras or (first in (0, 1) and last - first + 1 == len(steps))
        if by_epoch and not is_keras:
            found.append("The steps count up by one and are taken for epochs, which the file does not say.")
            if first == 1:
                for curve in curves.values():
                    curve.epochs = [step - 1 for step in curve.epochs]
        curves = _with_rates(curves, found)
        recordings.append(Recording(own, "epoch" if by_epoch else "step", curves, (), tuple(found)))
    return recordings


def _joined(path: str, name: str, curves: dict[str, Curve], counter: str, notes: Sequence[str]) -> list[Recording]:
    """The trainings of a run that logs the epoch beside the step, as from a table."""
    steps = sorted({step for curve in curves.values() for step in curve.epochs})
    rows = {step: row for row, step in enumerate(steps)}
    table = _Table(path, name, {"step": [float(step) for step in steps]}, notes=list(notes))
    times: Cells = [0.0] * len(steps)
    for tag, curve in curves.items():
        values: Cells = [None] * len(steps)
        for step, value, time in zip(curve.epochs, curve.values, curve.times, strict=True):
            values[rows[step]] = value
            times[rows[step]] = time
        table.columns["epoch" if tag == counter else tag] = values
    table.columns["wall time"] = times
    return _recordings(table)


def _split_series(series: Mapping[str, Curve]) -> tuple[list[dict[str, Curve]], list[str]]:
    """The trainings in what was logged under several tags, and the tags that were resumed.

    As in a table, but for each tag. One that was logged in fewer trainings than others goes by its wall times: a
    training begins with the first value of the tag that has most.
    """
    resumed = []
    parts: dict[str, list[Curve]] = {}
    for tag, curve in series.items():
        split: list[list[int]] = [[]]
        for row, step in enumerate(curve.epochs):
            rows = split[-1]
            if rows and step <= curve.epochs[rows[-1]]:
                if step < curve.epochs[rows[-1]] and step <= curve.epochs[rows[0]]:
                    rows = []
                    split.append(rows)
                else:
                    if step < curve.epochs[rows[-1]] and tag not in resumed:
                        resumed.append(tag)
                    while rows and curve.epochs[rows[-1]] >= step:
                        rows.pop()
            rows.append(row)
        parts[tag] = [_rows_of(curve, rows) for rows in split]
    most = max(parts.values(), key=len)
    begins = [part.times[0] for part in most]
    trainings: list[dict[str, Curve]] = [{} for _ in most]
    for tag, found in parts.items():
        for number, part in enumerate(found):
            if len(found) < len(most):
                number = max(bisect.bisect_right(begins, part.times[0]) - 1, 0)
            trainings[number][tag] = part
    return trainings, resumed
