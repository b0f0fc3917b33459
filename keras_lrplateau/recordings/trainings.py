"""From a table to its trainings: where the next one begins, and whether curves go by epoch or by step."""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from keras_lrplateau.history.run import Curve
from keras_lrplateau.recordings.cells import Cells
from keras_lrplateau.recordings.counters import take_counters, take_times
from keras_lrplateau.recordings.names import EPOCH, STEP, is_held_out, is_rate, listed, plain, words_of
from keras_lrplateau.recordings.recording import CurveError, Recording, with_rates
from keras_lrplateau.recordings.table import COUNTERS, Table, no_number, shortened
from keras_lrplateau.recordings.untangle import untangled


def only_recording_of(table: Table) -> Recording:
    """The training in a table that must hold a single one.

    Raises:
        CurveError: As in `recordings_of`, or it holds several.
    """
    recordings = recordings_of(table)
    if len(recordings) > 1:
        raise CurveError(f"{table.path}: {recordings[0].notes[0]} Give the rows of one of them")
    return recordings[0]


def recordings_of(table: Table) -> list[Recording]:
    """The trainings in a table, at least one.

    Raises:
        CurveError: The table holds no curve, its rows are of unknown kinds, or its counters make no sense.
    """
    return [recording for part in untangled(table) for recording in _recordings_of(part)]


def _recordings_of(table: Table) -> list[Recording]:
    """The trainings in a table whose rows are all of one kind."""
    has_counter = any(table.find(names) is not None for names in (EPOCH, STEP))
    if len(table.texts) > len(table.columns) and not has_counter:
        raise CurveError(
            f"{table.path}: no training curve: more columns of texts than of numbers; give a file with a column of "
            "numbers for each metric"
        )
    counter = next((name for name in table.texts if plain(name) in COUNTERS), None)
    if counter is not None and not has_counter:
        row = next((row for row, cell in enumerate(table.texts[counter]) if str(cell or "").strip()), 0)
        raise table.error(row, no_number(counter, table.texts[counter][row]))
    _drop_second_counters(table)
    turned = [name for name in table.columns if plain(name.rstrip("0123456789")) in COUNTERS]
    if 1 < len(turned) == len(table.columns) and not has_counter:
        raise CurveError(
            f"{table.path}: {listed(turned)} are epochs or steps; give a row for each of them, and a column for each "
            "metric"
        )
    if table.texts:
        table.notes.append(f"{listed(list(table.texts))}: no numbers, left out.")
    times = take_times(table)
    epochs, steps, base = take_counters(table)
    if not any(value is not None for values in table.columns.values() for value in values):
        texts = [f"; {name!r} holds texts such as {shortened(cells[0])}" for name, cells in table.texts.items()]
        raise CurveError(
            f"{table.path}: there are no numbers in it but counters{''.join(texts[:1])}; give a file with a column of "
            "numbers for each metric"
        )
    _check_rates(table)
    is_counted = epochs is not None or steps is not None
    trainings, notes = _split(table, epochs, steps, base) if is_counted else _split_at_starts(table)
    recordings: list[Recording] = []
    for rows, own in trainings:
        found = notes + own
        unit, curves = _curves(table, rows, epochs, steps, times, found)
        name = f"{table.name} ({len(recordings) + 1})" if recordings else table.name
        if curves:  # A training may have left nothing but the number of its epoch.
            has_both = unit == "epoch" and epochs is not None and steps is not None
            counts = {epochs[row]: steps[row] for row in rows} if has_both else {}  # type: ignore[index]
            recordings.append(Recording(name, unit, with_rates(curves, found), (), tuple(found), counts))
    if not recordings:
        raise CurveError(
            f"{table.path}: {notes[0]} That leaves no numbers; give a file of a training that went further"
        )
    return recordings


def _drop_second_counters(table: Table) -> None:
    """Leave out a counter that comes twice, or refuse the table if the two count differently."""
    by_plain = {plain(name): name for name in reversed(table.columns)}
    for name in list(table.columns):
        counter = by_plain.get(re.sub(r" \d+$", "", plain(name)), name)
        if plain(counter) not in COUNTERS or name == counter:
            continue
        rows = zip(table.columns[name], table.columns[counter], strict=True)
        row = next((row for row, (one, other) in enumerate(rows) if one is not None and one != other), None)
        if row is not None:
            raise table.error(row, f"{counter!r} and {name!r} count differently; split the file into one for each")
        del table.columns[name]


def _check_rates(table: Table) -> None:
    """Refuse learning rates that begin below 0; a logarithm of the rate may stand beside the rate."""
    first: list[tuple[float, int, str]] = []
    for name in filter(is_rate, table.columns):
        cells = enumerate(table.columns[name])
        known = ((value, row, name) for row, value in cells if value is not None and math.isfinite(value))
        first += itertools.islice(known, 1)
    value, row, name = max(first, default=(0.0, 0, ""))
    if value < 0:
        raise table.error(row, f"{value:g} in {name!r} is no learning rate; correct it, or leave it empty if unknown")


_Training = tuple[Sequence[int], list[str]]
"""The rows of a training, and notes about it."""


def _split(
    table: Table, epochs: list[int] | None, steps: list[int] | None, base: int
) -> tuple[list[_Training], list[str]]:
    """The trainings in a table, and notes about all of them.

    Where the count goes back to its first value or before it, another training begins. Where it goes back to a later
    one, the same training was resumed: what it had from there on is replaced. Where no count comes again, nothing was
    resumed, and the rows are only out of order.
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
    unit, counts, first = ("step", keys, 0) if epochs is None else ("epoch", epochs, base)
    if _is_out_of_order(counts):
        note = f"The rows are out of order, and no {unit} comes twice: they were sorted."
        return [(sorted(range(size), key=counts.__getitem__), [])], [note, *table.notes]
    trainings: list[_Training] = [([], [])]
    starts: list[int] = []
    resumed: list[list[int]] = [[]]
    for row, key in enumerate(keys):
        rows: Any = trainings[-1][0]
        if rows and (key < keys[rows[-1]] or (key == keys[rows[-1]] and not several)):
            if key <= keys[rows[0]]:
                starts.append(row)
                rows = []
                trainings.append((rows, []))
                resumed.append([])
            else:
                resumed[-1].append(row)
                while keys[rows[-1]] >= key:
                    rows.pop()
        rows.append(row)
    for (_, own), backs in zip(trainings, resumed, strict=True):
        if len(backs) == 1:
            back = f"{table.where(backs[0]).capitalize()} goes back to {unit} {counts[backs[0]] + first}"
            own.append(f"{back}: what there was from there on is replaced.")
        elif backs:
            own.append(f"The {unit}s go back at {_places(table, backs)}: what there was from there on is replaced.")
    notes = list(table.notes)
    if starts:
        notes.insert(0, f"The {unit}s start again at {_places(table, starts)}: read as {len(trainings)} trainings.")
    return trainings, notes


def _is_out_of_order(counts: Sequence[int]) -> bool:
    """Whether rows that do not count up are those of one training: no count comes twice.

    But a single fall below the first count is where a training begins behind another one, if that leaves gaps.
    """
    falls = [now for before, now in itertools.pairwise(counts) if now < before]
    known = sorted(set(counts))
    gaps = {after - before for before, after in itertools.pairwise(known)}
    return len(known) == len(counts) and (len(falls) > 1 or falls[0] > counts[0] or len(gaps) == 1)


def _split_at_starts(table: Table) -> tuple[list[_Training], list[str]]:
    """The trainings in a table without counters: where the names of the columns come again, another one begins."""
    starts = [row for row in table.starts if 0 < row < table.size]
    if not starts:
        return [(range(table.size), [])], list(table.notes)
    trainings: list[_Training] = [
        (list(range(first, last)), []) for first, last in itertools.pairwise([0, *starts, table.size])
    ]
    note = f"The names of the columns come again before {_places(table, starts)}"
    return trainings, [f"{note}: read as {len(trainings)} trainings.", *table.notes]


def _places(table: Table, rows: Sequence[int], most: int = 5) -> str:
    word = ("line" if table.lines else "row") + ("" if len(rows) == 1 else "s")
    shown = ", ".join(table.where(row).partition(" ")[2] for row in rows[:most])
    return f"{word} {shown}" if len(rows) <= most else f"{word} {shown} and {len(rows) - most} more"


def _has_several_rows(table: Table, epochs: Sequence[int]) -> bool:
    """Whether an epoch that comes in several rows in succession has several rows; otherwise it was trained again.

    It has several rows if they fill different columns, as Lightning writes them. It also has if most epochs do; if only
    the first epoch does, it was rather tried again and again.
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
    table: Table,
    rows: Sequence[int],
    epochs: list[int] | None,
    steps: list[int] | None,
    times: list[float] | None,
    notes: list[str],
) -> tuple[Literal["epoch", "step"], dict[str, Curve]]:
    """The curves of one training, by epoch or by step.

    They are by epoch if that leaves every metric of held-out data as it is. Of the values that a metric of the training
    data has in an epoch, the mean is taken, as Keras logs it, and of a learning rate the last one. They are by step
    if a metric of held-out data has several values in an epoch, or if there are only metrics of the training data
    with several values in an epoch.
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
    has_steps = steps is not None
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
    held_out = {name for name in columns if is_held_out(name) or name in table.held_out}
    rates = {name for name in columns if is_rate(name)}
    # A test after the training may be repeated, and says nothing of its epochs.
    validation = {name for name in held_out if "test" not in words_of(name)} or held_out
    if repeated & validation or (not validation and repeated - rates):
        if not has_steps:
            notes.append("Epochs have several rows: they are counted as the steps of one training.")
        return "step", {name: _by_last(steps, values, times) for name, values in columns.items()}
    averaged = [name for name in columns if name in repeated - rates - held_out]
    if averaged:
        notes.append(f"{listed(averaged)}: several values in an epoch; their mean is taken.")
    if repeated & held_out:
        notes.append(f"{listed(sorted(repeated & held_out))}: several values in an epoch; the last one is taken.")
    return "epoch", {
        name: _by_mean(epochs, values, times) if name in averaged else _by_last(epochs, values, times)
        for name, values in columns.items()
    }


def _note_zeros(columns: dict[str, Cells], notes: list[str]) -> None:
    """Note losses that are 0 but perhaps in the last row: some frameworks write 0 where nothing was validated."""
    zeros = [
        name
        for name, values in columns.items()
        if len(values) > 2
        and is_held_out(name)
        and "loss" in words_of(name)
        and not any(values[:-1])
        and None not in values
    ]
    if zeros:
        notes.append(f"{listed(zeros)}: 0 in all rows but perhaps the last; most likely there was no validation.")


def _by_last(counter: list[int], values: Cells, times: list[float]) -> Curve:
    """A curve. A value at the place of an earlier one, or before it, replaces that one and what follows it."""
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
    """A curve of the means of the values of each epoch."""
    curve = Curve()
    rows = (row for row, value in enumerate(values) if value is not None)
    for epoch, group in itertools.groupby(rows, key=epochs.__getitem__):
        found = list(group)
        curve.append(epoch, sum(values[row] for row in found) / len(found), times[found[-1]])  # type: ignore[misc]
    return curve
