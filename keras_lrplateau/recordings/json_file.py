"""JSON, and what Python prints of a dictionary: History.history, trainer_state.json, pandas, an object on each line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from keras_lrplateau.recordings.cells import is_number
from keras_lrplateau.recordings.names import listed
from keras_lrplateau.recordings.recording import CurveError
from keras_lrplateau.recordings.table import Table, flat, table_of_lists, table_of_records


def read(path: str, name: str, text: str) -> list[Table] | None:
    """The table in a text that begins with a bracket; None for another text. See `reading.Format`.

    Raises:
        CurveError: It is not JSON, or there is no training in it.
    """
    if not text[:1000].lstrip().startswith(("{", "[")):
        return None
    try:
        return [_table_of(path, name, json.loads(text))]
    except RecursionError:
        raise CurveError(f"{path}: nested too deeply for a training curve; give the part with the metrics") from None
    except json.JSONDecodeError as error:
        table = _read_lines(path, name, text) or _read_python(path, name, text)
        if table is not None:
            return [table]
        raise CurveError(
            f"{path}:{error.lineno}: not JSON: {error.msg}; if the training was killed while it wrote the file, "
            "use what was written before"
        ) from None
    except CurveError:
        raise
    except ValueError:  # Python refuses to read integers of thousands of digits.
        raise CurveError(f"{path}: a number in it is too long; correct it") from None


def _read_lines(path: str, name: str, text: str) -> Table | None:
    """The table of an object on each line; None if there is something else on them."""
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
    return table_of_records(path, name, records, numbers, notes)


def _read_python(path: str, name: str, text: str) -> Table | None:
    """The table of what `str(history.history)` gives; None if it is something else."""
    text = re.sub(r"(?:np\.)?\b(?:b?float\d+|array)\(([^(),]*)(?:,[^()]*)?\)", r"\1", text).replace("'", '"')
    for python, other in (("nan", "NaN"), ("inf", "Infinity"), ("None", "null"), ("True", "true"), ("False", "false")):
        text = re.sub(rf"\b{python}\b", other, text)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return _table_of(path, name, data)


def _table_of(path: str, name: str, data: Any) -> Table:
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
            raise CurveError(f'{path}: rows in "data" do not have as many cells as "columns"; write the file again')
        data = [dict(zip(map(str, columns), row, strict=True)) for row in rows]
    if isinstance(data, list) and data and all(isinstance(record, dict) for record in data):
        return table_of_records(path, name, data, [], [])
    if isinstance(data, dict) and data:
        if all(isinstance(record, dict) for record in data.values()):
            by_epoch = {re.sub(r"(?i)^epoch[ _-]?", "", key): record for key, record in data.items()}
            if all(map(str.isdecimal, by_epoch)):
                return table_of_records(path, name, _by_index(by_epoch), [], [])
            if all(key.isdecimal() for column in data.values() for key in column):  # pandas' own way.
                indexes = sorted({key for column in data.values() for key in column}, key=int)
                found = {key: {metric: column.get(key) for metric, column in data.items()} for key in indexes}
                return table_of_records(path, name, _by_index(found), [], [])
        values = dict(flat(data))
        if any(isinstance(value, list) for value in values.values()):
            known = epochs if isinstance(epochs, list) and epochs else None
            lists = {key: value for key, value in values.items() if isinstance(value, list)}
            table = table_of_lists(path, name, lists, known)
            rest = [key for key in values if key not in lists]
            if rest:
                table.notes.append(f"{listed(rest)}: no list of numbers, left out.")
            return table
        if any(map(is_number, values.values())):
            return table_of_records(path, name, [data], [], [])
    raise CurveError(
        f"{path}: no training curve in the JSON; give an object with a list of numbers for each metric, such as "
        'History.history, or a list with an object for each epoch, such as "log_history" of trainer_state.json'
    )


def _by_index(records: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"epoch": int(key), **record} for key, record in records.items()]
