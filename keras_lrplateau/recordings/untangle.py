"""From a table with rows of several kinds to tables in which every row means the same.

Rows may be of several trainings (a column with the fold, the run or the seed), of several kinds of data (a column that
says train or validation), or of one metric each (a column with its name). Where rows of the same moment are told apart
and nothing says how, the table is refused: mixed rows look like a curve and are none.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from keras_lrplateau.recordings.cells import Cells
from keras_lrplateau.recordings.counters import find_times
from keras_lrplateau.recordings.names import (
    EPOCH,
    INDEX,
    METRIC_NAMES,
    STEP,
    TIME,
    VALUES,
    direction,
    is_group,
    is_held_out,
    is_rate,
    kind_of_data,
    listed,
    plain,
    words_of,
)
from keras_lrplateau.recordings.recording import CurveError
from keras_lrplateau.recordings.table import Table


def untangled(table: Table) -> list[Table]:
    """The tables of the trainings in a table, with a row for each moment and a column for each metric.

    Raises:
        CurveError: The rows are results of whole trainings, or rows are mixed and nothing says how.
    """
    table = _without_negative_steps(table)
    _count_alike(table)
    _spell_out(table)
    return [_widened(part) for each in _runs_of_columns(table) for part in _trainings(each)]


# --- several trainings -----------------------------------------------------------------------------------------------


def _trainings(table: Table) -> list[Table]:
    """The rows of each training, by the columns that tell trainings apart."""
    every = {**table.columns, **table.texts}
    cells = {name: _shown(every[name]) for name in every if is_group(name)}
    names = [name for name in cells if len(set(cells[name])) > 1 and not _are_kinds(cells[name])]
    counter = table.find((*EPOCH, *STEP))
    results = [name for name in every if _RESULT.fullmatch(plain(name))] or _names_of_rows(table)
    if counter is None and results:
        raise _results(table, [name for name in every if plain(name).startswith("param")] or results)
    telling = _telling(table)
    cells |= telling
    names += [name for name in telling if name not in names]
    if not names:
        return [table]
    if counter is None:
        others = [_shown(each) for each in table.texts.values()]
        if len(set(zip(*(_shown(every[name]) for name in names), *others, strict=True))) == table.size:
            raise _results(table, names)
    keys = list(zip(*(cells[name] for name in names), strict=True))
    found = list(dict.fromkeys(keys))
    if len(found) == len(keys):
        if counter is not None and _is_rising(table.columns[counter]):
            return [table]  # One training, which counts its parts.
        raise _results(table, names)
    note = f"Read as {len(found)} trainings, which {listed(names)} tell{'s' * (len(names) == 1)} apart."
    rows: dict[Any, list[int]] = {key: [] for key in found}
    for row, key in enumerate(keys):
        rows[key].append(row)
    parts = []
    for key in found:
        part = _at(table, rows[key])
        part.name = f"{table.name} ({', '.join(f'{name}={cell}' for name, cell in zip(names, key, strict=True))})"
        part.notes.insert(0, note)
        for name in names:
            if not is_rate(name):
                part.columns.pop(name, None)
            part.texts.pop(name, None)
        parts.append(part)
    return parts


def _telling(table: Table) -> dict[str, list[str]]:
    """The cells of the columns that tell interleaved trainings apart, whatever these columns are called.

    In every epoch, or at every step, there is a row for each of the same values of them. Batches could be told apart in
    this way, too, but here each row has a metric of held-out data.
    """
    groups = _validated_rows(table)
    size = max(map(len, groups), default=0)
    full = [rows for rows in groups if len(rows) == size]  # Later, some trainings may have ended.
    if size < 2 or len(full) < 2:
        return {}
    cells = {
        name: shown
        for name, values in {**table.columns, **table.texts}.items()
        if direction(name) is None  # A metric may be the same throughout.
        if len(set(shown := _shown(values))) > 1
        if len({tuple(sorted(shown[row] for row in rows)) for rows in full}) == 1
    }
    keys = list(zip(*cells.values(), strict=True))
    is_told = len(set(keys)) == size and all(len({keys[row] for row in rows}) == len(rows) for rows in groups)
    return cells if is_told else {}


def _validated_rows(table: Table) -> list[list[int]]:
    """The rows of each moment, if each row has a metric of held-out data, and there is no column of kinds of rows."""
    names = [table.find(each) for each in (EPOCH, STEP, ("batch", "batch idx", "batch index"))]
    counts = list(zip(*(table.columns[name] for name in names if name is not None), strict=True))
    if (
        not counts
        or _split_column(table) is not None
        or _metric_columns(table, None)[0] is not None
        or not any(is_held_out(metric) and None not in values for metric, values in table.columns.items())
    ):
        return []
    return [list(rows) for _, rows in itertools.groupby(range(table.size), key=counts.__getitem__)]


_RESULT = re.compile(r"params .+|(?:mean|std) (?:fit time|test score)|(?:rank|split\d+) test .+")
"""Columns of the results of Optuna and MLflow, and of scikit-learn's searches."""


def _names_of_rows(table: Table) -> list[str]:
    """The first column of texts, if they name the rows, as W&B's table of runs does; those of checkpoints are alike."""
    for name, cells in itertools.islice(table.texts.items(), 1):
        kinds = {re.sub(r"\d+", "", cell) for cell in _shown(cells)}
        are_names = all(kind[:1].isalpha() and direction(kind) is None for kind in kinds) and not _are_kinds([*kinds])
        if are_names and len(kinds) == len(cells) > 1 and len(table.texts) <= len(table.columns):
            return [name]
    return []


def _results(table: Table, names: Sequence[str]) -> CurveError:
    return CurveError(
        f"{table.path}: {listed(names)}: a row for each, so these are the results of whole trainings and no curve; "
        "give a file with a row for each epoch"
    )


def _shown(cells: Sequence[Any]) -> list[str]:
    """The cells as texts; 1.0 is 1."""
    return ["" if cell is None else f"{cell:g}" if isinstance(cell, float) else str(cell).strip() for cell in cells]


def _at(table: Table, rows: Sequence[int]) -> Table:
    """The table of these rows."""
    place = {row: at for at, row in enumerate(rows)}
    return replace(
        table,
        columns={name: [values[row] for row in rows] for name, values in table.columns.items()},
        texts={name: [cells[row] for row in rows] for name, cells in table.texts.items()},
        lines=[table.lines[row] for row in rows] if table.lines else (),
        notes=list(table.notes),
        starts=[place[row] for row in table.starts if row in place],
    )


def _is_rising(values: Cells) -> bool:
    return None not in values and all(map(operator.lt, values, values[1:]))  # type: ignore[arg-type]  # there is no None


def _runs_of_columns(table: Table) -> list[Table]:
    """The table of each run, where the names of the columns begin with it: "RUN - METRIC", as W&B exports a chart.

    Beside each metric come columns with its least and greatest value, "RUN - METRIC__MIN".
    """
    metrics = [name for name in table.columns if " - " in name]
    bounds = [name for name in metrics if name.endswith(("__MIN", "__MAX"))]
    if not bounds or any(plain(name) not in _BESIDE for name in table.columns if name not in metrics):
        return [table]
    runs: dict[str, dict[str, Cells]] = {}
    for name in metrics:
        run, _, metric = name.rpartition(" - ")
        if name not in bounds:
            runs.setdefault(run, {})[metric] = table.columns[name]
    beside = {name: values for name, values in table.columns.items() if name not in metrics}
    parts = []
    for run, columns in runs.items():
        rows = [row for row in range(table.size) if any(values[row] is not None for values in columns.values())]
        part = _at(replace(table, columns={**beside, **columns}), rows)
        part.name = table.name if len(runs) == 1 else f"{table.name} ({run})"
        part.notes.insert(0, f"Read as a chart of W&B, of {len(runs)} {'run' if len(runs) == 1 else 'runs'}.")
        parts.append(part)
    return parts


_BESIDE = {*EPOCH, *STEP, *TIME, "relative time process", "relative time wall"}


# --- several kinds of rows -------------------------------------------------------------------------------------------


def _widened(table: Table) -> Table:
    """The table with a row for each moment, where it has one for each kind of data or each metric."""
    split = _split_column(table)
    metric, value = _metric_columns(table, split)
    time = None if metric is None else find_times(table)
    if time is not None and None not in table.columns[time]:  # The rows of each metric may be by themselves.
        table = _at(table, sorted(range(table.size), key=table.columns[time].__getitem__))  # type: ignore[arg-type]
    count_epochs(table, [_shown(table.texts[name]) for name in (split, metric) if name is not None])
    if split is None and metric is None:
        _refuse_mixed(table)
        return table
    prefixes = [""] * table.size if split is None else _prefixes(table, split)
    metrics = None if metric is None else _shown(table.texts[metric])
    if next(map(plain, table.columns), None) in INDEX:
        del table.columns[next(iter(table.columns))]  # It counts rows.
    lanes = list(zip(prefixes, metrics or prefixes, strict=True))
    keys = _keys(table, lanes)
    _refuse_repeated(table, list(zip(lanes, keys, strict=True)), (split, metric))
    order = sorted(range(table.size), key=lambda row: (keys[row], row))
    _fill_steps(table, prefixes, order)

    counters = [name for name in table.columns if plain(name) in (*EPOCH, *STEP, *TIME)]
    places: list[list[int]] = []
    for _, group in itertools.groupby(order, key=keys.__getitem__):
        rows = list(group)
        # A kind that has several rows at the same moment was logged batch by batch.
        alone = len({lanes[row] for row in rows}) < len(rows)
        places += [[row] for row in rows] if alone else [rows]
    names: dict[tuple[str, str], str] = {}
    columns: dict[str, Cells] = {name: [] for name in counters}
    for name in counters:
        known = table.columns[name]
        columns[name] = [max((known[row] for row in rows if known[row] is not None), default=None) for rows in places]  # type: ignore[type-var]
    for at, rows in enumerate(places):
        for row in rows:
            for column, values in table.columns.items():
                if column in counters or values[row] is None or (metric is not None and column != value):
                    continue
                called = column if metrics is None else metrics[row]
                name = names.get((prefixes[row], called)) or names.setdefault(
                    (prefixes[row], called), _prefixed(prefixes[row], called)
                )
                if name not in columns:
                    columns[name] = [None] * len(places)
                columns[name][at] = values[row]
    if not counters:
        columns = {"epoch": [float(at) for at in range(len(places))], **columns}
    used = {split, metric}
    return replace(
        table,
        columns=columns,
        texts={name: [cells[rows[0]] for rows in places] for name, cells in table.texts.items() if name not in used},
        lines=[table.lines[rows[0]] for rows in places] if table.lines else (),
        notes=[*table.notes, *_notes(table, split, metric, value, prefixes)],
        starts=[],
        from_zero=table.from_zero or not counters,
    )


def _prefixed(prefix: str, name: str) -> str:
    return name if is_held_out(name) or is_rate(name) else f"{prefix}{name}"


def _notes(
    table: Table, split: str | None, metric: str | None, value: str | None, prefixes: Sequence[str]
) -> list[str]:
    """What the columns were taken for."""
    notes = []
    if split is not None:
        words = dict(zip(_shown(table.texts[split]), prefixes, strict=True))
        told = [f"metrics of {word!r} begin with {prefix!r}" for word, prefix in words.items() if prefix]
        notes.append(f"{split!r} says which data a row is about{': ' if told else ''}{', '.join(told)}.")
    if metric is not None:
        notes.append(f"{metric!r} holds the names of the metrics, {value!r} their values.")
        others = [name for name in table.columns if name != value and plain(name) not in (*EPOCH, *STEP, *TIME)]
        if others:
            notes.append(f"{listed(others)}: neither counters nor values, left out.")
    return notes


def _spell_out(table: Table) -> None:
    """Make texts of numbers that only say which data a row is about: 1 and 0 in "is_training", any in "phase"."""
    for name, values in list(table.columns.items()):
        known = plain(name)
        if known.startswith("is ") and known in _TRUE_OF and set(values) == {0.0, 1.0}:
            table.texts[name] = [str(value == 1) for value in table.columns.pop(name)]
        elif known in _SPLITS and len(set(values)) <= 3:
            table.texts[name] = _shown(table.columns.pop(name))


_SPLITS = {"phase", "split", "mode", "set", "subset", "stage", "partition"}
"""Columns that are no metric, whatever is in them."""


def _split_column(table: Table) -> str | None:
    """The column whose texts say which data the row is about."""
    for name, cells in table.texts.items():
        shown = _shown(cells)
        if _are_kinds(shown) or (plain(name) in _TRUE_OF and {each.lower() for each in shown} == {"true", "false"}):
            return name
    return None


_TRUE_OF = {
    **dict.fromkeys(("train", "training", "is train", "is training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "is val", "is valid", "is validation", "is eval", "is test"), "val"),
}
"""Columns that say by True and False which data the row is about, and what True means."""


def _are_kinds(cells: Sequence[str]) -> bool:
    """Whether all cells say which data a row is about."""
    return all(_kind(cell) is not None for cell in set(cells))


def _kind(cell: str) -> str | None:
    """What the names of metrics begin with, by what a cell says: "val", "valid_0", or subset="val" as Aim writes it."""
    found = re.fullmatch(r"\{?\W*subset\W+(\w+)\W*", cell)
    words = found[1] if found else cell
    known = kind_of_data(words)
    return kind_of_data(re.sub(r"[ _-]?\d+$", "", words)) if known is None else known


def _prefixes(table: Table, split: str) -> list[str]:
    """What the names of the metrics of each row begin with; a single kind of held-out data is the validation."""
    cells = _shown(table.texts[split])
    if plain(split) in _TRUE_OF and not _are_kinds(cells):
        is_train = _TRUE_OF[plain(split)] == "train"
        kinds = {str(is_train).lower(): "train", str(not is_train).lower(): "val"}
        cells = [kinds[cell.lower()] for cell in cells]
    prefixes = {cell: _kind(cell) or "" for cell in dict.fromkeys(cells)}
    if set(prefixes.values()) - {""} == {"test_"}:
        prefixes = {cell: "val_" if prefix else "" for cell, prefix in prefixes.items()}
    times = Counter(prefixes.values())
    # Of two words for one kind of data, each stays what it is.
    named = {
        cell: "_".join(plain(cell).split()) + "_" if times[prefix] > 1 else prefix for cell, prefix in prefixes.items()
    }
    return [named[cell] for cell in cells]


def _metric_columns(table: Table, split: str | None) -> tuple[str | None, str | None]:
    """The columns with the name of a metric and with its value; None and None if there are no such columns."""
    numbers = [name for name in table.columns if plain(name) not in (*EPOCH, *STEP, *TIME, *INDEX)]
    values = [name for wanted in VALUES for name in numbers if plain(name) == wanted] or numbers
    if len(numbers) != 1 and plain(values[0] if values else "") not in VALUES:
        return None, None
    named = [name for wanted in METRIC_NAMES for name in table.texts if plain(name) == wanted]
    telling = [name for name, cells in table.texts.items() if name != split and _are_metrics(_shown(cells))]
    found = [name for name in (*named, *telling) if "" not in _shown(table.texts[name])]
    return (found[0], values[0]) if found else (None, None)


def _are_metrics(cells: Sequence[str]) -> bool:
    """Whether cells are names of a few metrics, by what the names say."""
    kinds = set(cells)
    return len(kinds) <= len(cells) / 2 and all(
        direction(each) is not None and re.fullmatch(r"[\w/ .@-]{1,60}", each) for each in kinds
    )


def _keys(table: Table, lanes: Sequence[Any]) -> list[tuple[int, float]]:
    """When each row was: how often the count of its kind went back before it, and the count.

    Where nothing counts, the rows of each kind are counted.
    """
    name = next(
        (each for names in (EPOCH, STEP) if (each := table.find(names)) and None not in table.columns[each]), None
    )
    counts: Cells | None = None if name is None else table.columns[name]
    last: dict[Any, tuple[int, float]] = {}
    keys = []
    for row, lane in enumerate(lanes):
        back, before = last.get(lane, (0, -1.0))
        now = before + 1 if counts is None else counts[row]
        assert now is not None
        last[lane] = (back + (lane in last and now < before), now)
        keys.append(last[lane])
    return keys


def _fill_steps(table: Table, prefixes: Sequence[str], order: Sequence[int]) -> None:
    """Give rows of held-out data the step of the row before them, where theirs count something else.

    OpenMMLab counts the batches of the validation in them, from 1 each time.
    """
    name = table.find(STEP)
    if name is None or name == table.find(EPOCH):
        return
    steps = table.columns[name]
    found = [steps[row] for row in order]
    if None not in found and all(map(operator.le, found, found[1:])):  # type: ignore[arg-type]  # there is no None
        return
    last = None
    for row in order:
        if prefixes[row] and last is not None:
            steps[row] = last
        last = steps[row]


def _refuse_repeated(table: Table, moments: Sequence[Any], used: Sequence[str | None]) -> None:
    """Refuse a table in which a text tells rows apart that are of the same metric, kind of data and moment."""
    groups: dict[Any, list[int]] = {}
    for row, moment in enumerate(moments):
        groups.setdefault(moment, []).append(row)
    repeated = [rows for rows in groups.values() if len(rows) > 1]
    for text, cells in table.texts.items():
        shown = _shown(cells)
        kinds = list(dict.fromkeys(shown))
        is_mark = text in used or plain(text) in TIME or not _MARKS.isdisjoint(words_of(text))
        if is_mark or len(kinds) > len(shown) / 2 or len(repeated) < 2:
            continue
        if all(len({shown[row] for row in rows}) == len(rows) for rows in repeated):
            raise _unknown_kinds(table, text, kinds)


def _unknown_kinds(table: Table, text: str, kinds: Sequence[str]) -> CurveError:
    return CurveError(
        f"{table.path}: the texts in {text!r} ({', '.join(map(repr, kinds[:5]))}) tell rows of the same moment apart, "
        "and what they mean is not known; give the rows of one of them, or call the column 'phase' (train, val), "
        "'metric' or 'run'"
    )


_MARKS = {"best", "improved", "saved", "checkpoint", "stopped"}
"""Words in the names of columns that mark some epochs, as "is_best" does, and tell no rows of the same one apart."""


def _refuse_mixed(table: Table) -> None:
    """Refuse a table in which rows of several trainings or kinds are mixed, and nothing says how."""
    name = table.find((*EPOCH, *STEP))
    counts = None if name is None else table.columns[name]
    for text, cells in table.texts.items():
        shown = _shown(cells)
        kinds = Counter(shown)
        if not _MARKS.isdisjoint(words_of(text)):
            continue
        if not 1 < len(kinds) <= len(shown) / 2 or sum(times > 1 for times in kinds.values()) < 2:
            continue
        changes = [row for row, (one, other) in enumerate(itertools.pairwise(shown), 1) if one != other]
        if len(changes) < len(kinds):  # Each kind is by itself.
            continue
        if counts is None or any(
            counts[row] is not None and counts[row - 1] is not None and counts[row] <= counts[row - 1]  # type: ignore[operator]
            for row in changes
        ):
            raise _unknown_kinds(table, text, list(kinds))
    groups = _validated_rows(table)
    if 2 * sum(len(rows) > 1 for rows in groups) > len(groups) > 1:
        raise table.error(
            next(rows for rows in groups if len(rows) > 1)[-1],
            "most moments have several rows, each with a validation, and nothing tells the rows apart; give the rows "
            "of one training, or add a column 'run' or 'step'",
        )
    if counts and None not in counts:
        _refuse_alternating(table, name, counts)


def _refuse_alternating(table: Table, name: str | None, counts: Sequence[Any]) -> None:
    """Refuse a table whose count goes back and on again and again; after a resume it goes on from where it is."""
    metrics = [values for metric, values in table.columns.items() if direction(metric) is not None]
    last: dict[Any, int] = {}
    highest, is_behind, found = counts[0], False, []
    for row, now in enumerate(counts):
        if now > highest:
            found += [row] * is_behind
        before = last.get(now, row)
        is_behind = now < highest and before < row and any(None not in (each[before], each[row]) for each in metrics)
        highest = max(highest, now)
        last[now] = row
    if len(found) > 2:
        raise table.error(
            found[0],
            f"{name!r} goes on here after it went back, and so in {len(found)} rows: trainings were written into one "
            "file at the same time; give the rows of one of them, or add a column 'run'",
        )


# --- counters that mean different things -----------------------------------------------------------------------------


def _without_negative_steps(table: Table) -> Table:
    """The table without the rows of a validation before the training, or without steps if all are negative."""
    name = table.find(STEP)
    if name is None:
        return table
    steps = table.columns[name]
    rows = [row for row, step in enumerate(steps) if step is None or not step < 0]
    note = f"{name!r} is negative in {len(steps) - len(rows)} of {len(steps)} rows"
    if not rows:
        del table.columns[name]
        table.notes.append(f"{note}, and was left out.")
    elif len(rows) < len(steps):
        table = _at(table, rows)
        table.notes.append(f"{note}, which were left out.")
    return table


def _count_alike(table: Table) -> None:
    """Let rows of the validation count epochs and steps as the rows of the training do.

    MMEngine gives rows of the training an epoch and a step. Rows of the validation have a step alone, and it is the
    number of the epoch.
    """
    epoch, step = table.find(EPOCH), table.find(STEP)
    if epoch is None or step is None:
        return
    epochs, steps = table.columns[epoch], table.columns[step]
    if None not in epochs or None in steps:
        return
    own = [row for row, each in enumerate(epochs) if each is None]
    rest = [steps[row] for row, each in enumerate(epochs) if each is not None]
    mine = [steps[row] for row in own]
    is_rising = [all(map(operator.le, each, each[1:])) for each in (steps, rest, mine)]  # type: ignore[arg-type]
    if is_rising != [False, True, True] or not rest:
        return
    last_epoch, last_step = None, None
    found: list[tuple[int, float, float]] = []
    for row, (each, now) in enumerate(zip(epochs, steps, strict=True)):
        if each is not None:
            last_epoch, last_step = each, now
        elif now is None or last_epoch is None or last_step is None or now > last_epoch:
            return
        else:
            found.append((row, now, last_step))
    for row, counted, before in found:
        epochs[row], steps[row] = counted, before
    validated = {row for row, _, _ in found}
    for name, values in list(table.columns.items()):
        if name in (epoch, step):
            continue
        measured = [row for row in validated if values[row] is not None]
        if not measured:
            continue
        if len(measured) == sum(value is not None for value in values):
            table.held_out.add(name)
        elif not is_rate(name):
            column: Cells = [None] * len(values)
            for row in measured:
                column[row], values[row] = values[row], None
            table.columns[f"val_{name}"] = column
    table.notes.append(f"Rows without {epoch!r} are of the validation; their {step!r} counts epochs.")


def count_epochs(table: Table, kinds: Sequence[Sequence[Any]] = ()) -> bool:
    """Let rows of the validation count epochs in a column of their own, where they do so in that of the steps.

    Others log the training by step and the validation by epoch, and call both the step.

    Args:
        table: The table, which is changed. Its rows are in the order of writing.
        kinds: The columns of texts that say what a row is about. If they do not tell the rows apart, a metric must.

    Returns:
        Whether there are such rows.
    """
    epoch, step = table.find(EPOCH), table.find(STEP)
    steps: Cells = [None] if step is None else table.columns[step]
    if None in steps or (epoch is not None and None in table.columns[epoch]):
        return False
    back = rows_behind(steps)  # type: ignore[arg-type]  # there is no None
    if not back:
        return False
    # A validation before the training, at the first step, does not go back.
    rest = [row for row, now in enumerate(steps) if row not in back and now > steps[0]]  # type: ignore[operator]
    own = [
        name
        for name, values in table.columns.items()
        if any(values[row] is not None for row in back) and all(values[row] is None for row in rest)
    ]
    if not own and not any({cells[row] for row in back}.isdisjoint(cells[row] for row in rest) for cells in kinds):
        return False
    if epoch is None:
        counts: list[Any] = sorted({steps[row] for row in back})
        is_from_one = counts[0] == counts[1] - counts[0]  # 1, 2, 3, or every second epoch 2, 4, 6.
        epochs: Cells = [None] * table.size
        count = counts[-1] + 1
        for row in reversed(range(table.size)):
            count = steps[row] if row in back else count
            epochs[row] = count - is_from_one
        table.columns["epoch"], table.from_zero = epochs, True
    table.held_out.update(own)
    for row, before in back.items():
        steps[row] = before
    table.notes.append(f"Rows whose {step!r} goes back are of the validation; their {step!r} counts epochs.")
    return True


def rows_behind(steps: Sequence[float]) -> dict[int, float]:
    """The rows that go back behind the steps of the others and count epochs, each with the step before it.

    They count evenly, from the first epoch on. After each of them there are more and more steps than they count; after
    a restart there are none, and what is late stays as late as it is. If it is not so, there are no such rows.
    """
    highest = list(itertools.accumulate(steps, max))
    back = {row: highest[row] for row, now in enumerate(steps) if now < highest[row]}
    found = list(dict.fromkeys((steps[row], before) for row, before in back.items()))
    if len(found) < 2:
        return {}
    every = found[1][0] - found[0][0]
    is_even = all(other - one == every for (one, _), (other, _) in itertools.pairwise(found))
    is_rising = all(b - other > a - one for (one, a), (other, b) in itertools.pairwise(found))
    return back if is_even and is_rising and found[0][0] in (0, 1, every - 1, every) else {}
