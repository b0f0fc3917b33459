"""JSON, and what Python prints of a dictionary: History.history, trainer_state.json, pandas, an object on each line.

Also what TensorBoard, Comet and MLflow export, and the `evals_result` of xgboost and lightgbm.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from keras_lrplateau.recordings.cells import is_number
from keras_lrplateau.recordings.literals import parse_literal
from keras_lrplateau.recordings.names import (
    EPOCH,
    STEP,
    VALUES,
    direction,
    is_group,
    is_held_out,
    kind_of_data,
    listed,
    meaning,
    plain,
    tensorboard_name,
    words_of,
)
from keras_lrplateau.recordings.recording import CurveError
from keras_lrplateau.recordings.table import COUNTERS, Table, flat, table_of_lists, table_of_records

_BEGINNING = re.compile(
    r"\s*(?:\{\s*(?:[\"'}]|-?\d|$)|\[\s*(?:[\[{\"'\]]|-?[\d.]+(?:[eE][+-]?\d+)?\s*(?:,|\]\s*(?![^\s,\]])(?!\s+\S)|$)|null|NaN|nan|$))"
)
"""How JSON begins, and not a line of a log: [nltk_data], [2024-01-31 or {epoch}."""

_GOES_ON = "{[]},:\"'"
"""What begins more JSON, or broken one, behind a whole value."""


def read(path: str, name: str, text: str) -> list[Table] | None:
    """The tables in a text that begins as JSON does; None for another text. See `reading.Format`.

    Raises:
        CurveError: It is not JSON, or there is no training in it.
    """
    if not _BEGINNING.match(text):
        return None
    try:
        return tables_of(path, name, json.loads(text))
    except RecursionError:
        raise CurveError(f"{path}: nested too deeply for a training curve; give the part with the metrics") from None
    except json.JSONDecodeError as error:
        tables = _read_lines(path, name, text)
        if tables is not None:
            return tables
        try:
            return tables_of(path, name, parse_literal(text))
        except CurveError:
            raise
        except (ValueError, RecursionError, MemoryError):
            pass
        if _is_object(text.lstrip().partition("\n")[0]):
            return None  # Objects among lines of text.
        rest = text[error.pos :].lstrip()
        if error.msg == "Extra data" and rest[:1] not in _GOES_ON:
            return None  # A configuration before a log, or what looks like a list in front of each line.
        raise CurveError(
            f"{path}:{error.lineno}: not JSON: {error.msg}; if the training was killed while it wrote the file, "
            "use what was written before"
        ) from None
    except CurveError:
        raise
    except ValueError:  # Python refuses to read integers of thousands of digits.
        raise CurveError(f"{path}: a number in it is too long; correct it") from None


def _is_object(line: str) -> bool:
    """Whether a line holds a whole object, as JSON or as Python prints it."""
    for parse in (json.loads, parse_literal):
        try:
            return isinstance(parse(line), dict)
        except (ValueError, RecursionError, MemoryError):
            continue
    return False


def _read_lines(path: str, name: str, text: str) -> list[Table] | None:
    """The tables of an object on each line; None if there is something else on them."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    records: list[dict[str, Any]] = []
    numbers, notes = [], []
    for number, line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            if not records or not _BEGINNING.match(line):
                return None
            if number != lines[-1][0]:
                raise CurveError(f"{path}:{number}: not JSON: {error}; correct the line, or remove it") from None
            notes.append(f"Line {number}, the last one, is incomplete and was left out.")
            continue
        if not isinstance(record, dict):
            return None
        records.append(record)
        numbers.append(number)
    if len(records) > 1 and all(map(is_history, records)):
        return tables_of(path, name, records)
    return [table_of_records(path, name, records, numbers, notes)]


def tables_of(path: str, name: str, data: Any) -> list[Table]:
    """The tables of the trainings in the content of a JSON file.

    Raises:
        CurveError: There is no training in it.
    """
    if isinstance(data, dict) and "nbformat" in data:
        raise CurveError(f"{path}: a notebook; save the output of the cell that trained as text, and give that file")
    parts = _counted_parts(data)
    if parts and all(plain(key) in VALUES for lists in parts.values() for key in list(lists)[1:]):
        return [_table_of_parts(path, name, parts)]  # A part is a metric, and not a training.
    data = _unwrapped(data)
    found = _trainings(data)
    if found is None:
        return [_table_of(path, name, data)]
    note = f"Read as {len(found)} trainings, which the file holds one beside the other."
    tables = []
    for label, each in found:
        table = _table_of(path, f"{name}{label}", each)
        table.notes.insert(0, note)
        tables.append(table)
    return tables


def _unwrapped(data: Any) -> Any:
    """The only part of an object that holds curves, where there are other things beside it, such as a configuration."""
    while isinstance(data, dict) and not isinstance(data.get("history"), dict):
        parts = [(key, each) for key, each in data.items() if isinstance(each, (dict, list)) and each]
        curved = [(key, each) for key, each in parts if _holds_curves(each)]
        if len(curved) != 1 or any(isinstance(each, list) for key, each in parts if key != curved[0][0]):
            break
        ((key, inner),) = curved
        is_list_of_numbers = isinstance(inner, list) and not _are_records(inner) and not all(map(is_history, inner))
        if _kind_of_data(key) or is_list_of_numbers:
            break
        data = inner
    return data


def _holds_curves(data: Any) -> bool:
    if isinstance(data, list):
        return _are_records(data) or (len(data) > 1 and all(map(_holds_curves, data)))
    return isinstance(data, dict) and (is_history(data) or any(map(_holds_curves, data.values())))


# --- several trainings -----------------------------------------------------------------------------------------------


def _trainings(data: Any) -> list[tuple[str, Any]] | None:
    """The trainings in a list or dictionary of trainings, with what to add to the name; None if it is neither."""
    if isinstance(data, list) and len(data) > 1 and all(map(_are_records, data)):
        return [(f" ({number})" if number > 1 else "", each) for number, each in enumerate(data, 1)]
    if isinstance(data, list) and len(data) > 1 and all(map(is_history, data)):
        return [(_label(each) or (f" ({number})" if number > 1 else ""), each) for number, each in enumerate(data, 1)]
    if isinstance(data, dict) and len(data) > 1 and _are_trainings(data):
        return [(f" ({key})", each) for key, each in data.items()]
    return None


def _label(record: Mapping[str, Any]) -> str:
    """What tells a training from others, by a value of its own such as "fold"."""
    own = [f"{key}={each}" for key, each in record.items() if is_group(key) and not isinstance(each, (list, dict))]
    return f" ({', '.join(own)})" if own else ""


def is_history(data: Any) -> bool:
    """Whether it holds a list of numbers for each metric, perhaps beside other things."""
    if not isinstance(data, dict):
        return False
    if isinstance(data.get("history"), dict):
        data = data["history"]
    if _is_row(data):
        return False
    lists = [each for _, each in flat(data) if isinstance(each, list)]
    return bool(lists) and all(
        len(each) > 1 or all(isinstance(other, (list, dict)) for other in data.values()) for each in lists
    )


def _is_row(data: Mapping[str, Any]) -> bool:
    """Whether it is of one epoch or step, so that its lists are no curves: scores by class, rates by group, histograms.

    A number that counts or is a metric says so. A list that is a metric, above all a loss, speaks against it.
    """
    lists = [key for key, each in flat(data) if isinstance(each, list)]
    scalars = [key for key, each in flat(data) if not isinstance(each, list) and is_number(each)]
    counts = any(plain(key) in COUNTERS and not key.endswith("s") for key in scalars)  # "epochs": 30 is how many.
    return 2 * counts + _weight(scalars) > _weight(lists)


def _weight(names: Sequence[str]) -> int:
    """How surely these are the metrics of a training: 3 with a loss among them, 1 with another metric, 0 with none."""
    return 3 if any("loss" in meaning(name) for name in names) else int(any(map(direction, names)))


def _are_trainings(data: Mapping[str, Any]) -> bool:
    """Whether the values of a dictionary are trainings, rather than the parts of one."""
    if not all(is_history(each) or _are_records(each) for each in data.values()):
        return False
    if any(_kind_of_data(key) is not None for key in data):
        return False  # Those are the kinds of data of one training.
    if all(not _unnumbered(key) or is_group(_unnumbered(key)) for key in data) or all(map(_are_records, data.values())):
        return True
    # Other names may be those of parts, such as a generator and a discriminator, unless each is a training by itself.
    return all(isinstance(each, dict) and _is_whole(each) for each in data.values())


def _is_whole(data: Mapping[str, Any]) -> bool:
    """Whether it is a training by itself: it has its own validation, and is not a metric of {"train", "val"}."""
    is_metric = all(_kind_of_data(key) is not None and isinstance(each, list) for key, each in data.items())
    return not is_metric and ("history" in data or any(map(is_held_out, data)))


def _are_records(data: Any) -> bool:
    return isinstance(data, list) and len(data) > 1 and all(isinstance(each, dict) for each in data)


def _kind_of_data(key: str) -> str | None:
    """What the names of metrics of this kind of data begin with: "val_" for valid_0; None if it is no kind of data."""
    return kind_of_data(_unnumbered(key))


def _unnumbered(key: str) -> str:
    return re.sub(r"[ _-]?\d+$", "", key)


# --- one training ----------------------------------------------------------------------------------------------------


def _table_of(path: str, name: str, data: Any) -> Table:
    epochs = None
    if _is_scalars(data):
        columns = {"wall time": 0, "step": 1, tensorboard_name(name) or "value": 2}
        records = [{key: row[place] for key, place in columns.items()} for row in data]
        return table_of_records(path, name, records, [], ["Read as the scalars of a tag that TensorBoard gave out."])
    if isinstance(data, dict):
        by_kind = {key: each for key, each in data.items() if _are_records(each) and _kind_of_data(key) is not None}
        if len(by_kind) > 1:
            return table_of_records(
                path, name, [{"phase": key, **record} for key, each in by_kind.items() for record in each], [], []
            )
        # "log_history" of Hugging Face's trainer_state.json, or what others call it.
        lists = {key: value for key, value in data.items() if value and isinstance(value, list)}
        inner = [key for key, value in lists.items() if isinstance(value[0], dict)]
        beside = [
            key for key, value in lists.items() if inner and key not in inner and len(value) == len(lists[inner[0]])
        ]
        if len(inner) == 1 and beside:
            raise CurveError(
                f"{path}: {listed(beside)}: a number for each of {inner[0]!r}, so these are the results of whole "
                "trainings and no curve; give a file with a list of numbers by epoch for each metric"
            )
        if len(inner) == 1:
            data = lists[inner[0]]
    if isinstance(data, dict) and isinstance(data.get("history"), (dict, list)):
        epochs, data = data.get("epoch"), data["history"]
    if isinstance(data, dict) and {"columns", "data"} <= data.keys():  # pandas' orient="split".
        columns, rows = data["columns"], data["data"]
        if not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
            raise CurveError(f'{path}: rows in "data" do not have as many cells as "columns"; write the file again')
        data = [dict(zip(map(str, columns), row, strict=True)) for row in rows]
    if isinstance(data, list) and len(data) == 1 and is_history(data[0]):
        data = data[0]
    if isinstance(data, list) and data and all(isinstance(record, dict) for record in data):
        return table_of_records(path, name, data, [], [])
    if isinstance(data, dict) and data:
        if all(isinstance(record, dict) for record in data.values()):
            by_epoch = {re.sub(r"(?i)^epoch[ _-]?", "", key): record for key, record in data.items()}
            if all(map(str.isdecimal, by_epoch)):
                return table_of_records(path, name, _by_index(by_epoch), [], [])
            if all(key.isdecimal() for column in data.values() for key in column):  # pandas' own way.
                indexes = {key for column in data.values() for key in column}
                found = {key: {metric: column.get(key) for metric, column in data.items()} for key in indexes}
                return table_of_records(path, name, _by_index(found), [], [])
        parts = _counted_parts(data)
        if parts:
            return _table_of_parts(path, name, parts)
        values = dict(flat(data))
        if any(isinstance(value, list) for value in values.values()):
            known = epochs if isinstance(epochs, list) and epochs else None
            lists = {key: value for key, value in values.items() if isinstance(value, list)}
            nested = [key for key, each in lists.items() if _are_lists(each)]
            if nested and _weight([key for key in lists if key not in nested]) <= _weight(nested):
                raise CurveError(
                    f"{path}: {listed(nested)}: lists of lists of numbers. The inner ones may be trainings or the "
                    "batches of an epoch, which the file does not say; give a list of numbers for each metric, and for "
                    'several trainings an object of such lists for each, as in {"fold 1": {"loss": [...]}, ...}'
                )
            lists, notes = _named(name, {key: each for key, each in lists.items() if key not in nested})
            table = table_of_lists(path, name, lists, known)
            table.notes += notes
            if nested:
                table.notes.append(f"{listed(nested)}: lists of lists, left out.")
            rest = [key for key in values if not isinstance(values[key], list)]
            if rest:
                table.notes.append(f"{listed(rest)}: no list of numbers, left out.")
            return table
        if "_wandb" in data or {"_step", "_runtime"} <= data.keys():
            raise CurveError(
                f"{path}: the summary of a run of Weights & Biases, which holds its last values only; export its "
                "history, such as run.history().to_csv(...)"
            )
        if any(map(is_number, values.values())):
            return table_of_records(path, name, [data], [], [])
    raise CurveError(
        f"{path}: no training curve in the JSON; give an object with a list of numbers for each metric, such as "
        'History.history, or a list with an object for each epoch, such as "log_history" of trainer_state.json'
    )


def _counted_parts(data: Any) -> dict[str, dict[str, list[Any]]]:
    """The parts of an object that count for themselves, by path, each with its lists of numbers, the counts first.

    A part is a metric, as in {"loss": {"steps": [...], "values": [...]}} of Sacred, ClearML and Plotly, or it is of a
    kind of data, as in {"val": {"step": [...], "loss": [...]}}. There are none where metrics stand beside the parts:
    then all count alike.
    """
    if isinstance(data, dict) and isinstance(data.get("data"), list):
        data = data["data"]  # A chart of Plotly.
    if isinstance(data, list) and all(isinstance(each, dict) and "name" in each and is_history(each) for each in data):
        names = [str(each["name"]) for each in data]
        own = (name if names.index(name) == at else f"{name} ({at + 1})" for at, name in enumerate(names))
        data = dict(zip(own, data, strict=True))
    values = flat(data) if isinstance(data, dict) else ()
    lists_by_path = [(key, each) for key, each in values if isinstance(each, list)]
    if not any("/" in key and plain(key.rpartition("/")[2]) in (*COUNTERS, "x") for key, _ in lists_by_path):
        return {}
    parts: dict[str, dict[str, list[Any]]] = {}
    for key, each in lists_by_path:
        if len(each) > 1 and all(other is None or is_number(other) for other in each):
            part, _, last = key.rpartition("/")
            parts.setdefault(part, {})[last] = each
    found = {}
    for part, lists in parts.items():
        counts = next((key for names in (STEP, EPOCH, ("x",)) for key in lists if plain(key) in names), None)
        if part and counts is not None and len(lists) > 1:
            found[part] = {counts: lists[counts]} | lists
        elif any(direction(key) is not None for key in lists):
            return {}
    return found


def _table_of_parts(path: str, name: str, parts: Mapping[str, Mapping[str, list[Any]]]) -> Table:
    """The table of parts that count for themselves, with a row for each count."""
    curves: dict[str, list[Any]] = {}
    counts: dict[str, list[Any]] = {}
    for part, (count, *keys) in parts.items():
        counted = parts[part][count]
        rises = all(isinstance(each, int) for each in counted) and all(map(operator.lt, counted, counted[1:]))
        lengths = {len(parts[part][key]) for key in keys}
        if not rises or lengths != {len(counted)}:
            raise CurveError(
                f"{path}: {count!r} of {part!r} does not count all of its values up; give a list with an object for "
                'each value, such as [{"step": 10, "loss": 0.5}, ...]'
            )
        for key in keys:
            called = part if plain(key) in VALUES else f"{part}/{key}"
            curves[called], counts[called] = parts[part][key], counted
    words = {"epoch" if plain(count) in EPOCH else "step" for count, *_ in parts.values()}
    if len(words) > 1:
        raise CurveError(
            f"{path}: some of {listed(list(parts))} count epochs, and others steps; give the epoch and the step of each"
        )
    (word,) = words
    named, notes = _named(name, curves)
    rows: dict[int, dict[str, Any]] = {}
    for (called, values), counted in zip(named.items(), counts.values(), strict=True):
        for at, value in zip(counted, values, strict=True):
            rows.setdefault(at, {word: at})[called] = value
    return table_of_records(path, name, [rows[at] for at in sorted(rows)], [], notes)


def _are_lists(data: list[Any]) -> bool:
    return any(isinstance(each, list) and len(each) > 1 for each in data)


def _is_scalars(data: Any) -> bool:
    """Whether it is what TensorBoard gives out of a tag: wall time, step and value of each point."""
    return (
        isinstance(data, list)
        and bool(data)
        and all(isinstance(row, list) and len(row) == 3 and all(map(is_number, row)) for row in data)
        and all(float(row[0]) > 1e8 for row in data)
    )


def _named(name: str, lists: dict[str, list[Any]]) -> tuple[dict[str, list[Any]], list[str]]:
    """The lists by the names of their metrics, and notes.

    Names that only say the kind of data get the metric by the name of the file, or else the loss. A single "valid_0" of
    lightgbm or xgboost is "valid".
    """
    kinds = [_kind_of_data(key) for key in lists]
    if None not in kinds and len(set(kinds)) == len(lists) > 1:
        words = {word.removesuffix("s") for word in words_of(PurePath(name).stem)}
        metric = next((each for each in ("accuracy", "acc", "error") if each in words), "loss")
        prefixes = ["val_" if kind and "val_" not in kinds else kind for kind in kinds]
        note = (
            f"{listed(list(lists))} say which data they are about, and not what was measured: taken for the {metric}."
        )
        return {f"{prefix}{metric}": each for prefix, each in zip(prefixes, lists.values(), strict=True)}, [note]
    tops = {key.partition("/")[0] for key in lists if "/" in key}
    numbered = {key for key in tops if _unnumbered(key) != key and _kind_of_data(key)}
    if not numbered:
        return lists, []
    notes = [f"{listed(sorted(numbered))}: a round of boosting is read as an epoch."]
    if len({key for key in tops if _kind_of_data(key)}) > 1:
        return lists, notes
    (only,) = numbered
    return {
        key.replace(only, _unnumbered(only), 1) if key.startswith(only) else key: each for key, each in lists.items()
    }, notes


def _by_index(records: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The records in the order of their epochs; sorted as texts, "10" would come before "2"."""
    return [{"epoch": int(key), **records[key]} for key in sorted(records, key=int)]
