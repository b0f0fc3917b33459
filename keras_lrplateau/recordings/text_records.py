"""Objects among lines of text: what Hugging Face's Trainer prints, and loggers that write JSON behind a timestamp."""

from __future__ import annotations

import json
from typing import Any

from keras_lrplateau.recordings.cells import is_number
from keras_lrplateau.recordings.json_file import is_history, tables_of
from keras_lrplateau.recordings.literals import parse_literal
from keras_lrplateau.recordings.names import direction, plain
from keras_lrplateau.recordings.table import COUNTERS, Table, table_of_records

_LONGEST = 20_000
"""A line with more characters is no record of an epoch."""


def read(path: str, name: str, text: str) -> list[Table] | None:
    """The table of the objects in a text, at most one on a line; None if there are none. See `reading.Format`."""
    if "{" not in text:
        return None
    records, places = [], []
    begun = 0
    for number, line in enumerate(text.split("\n"), 1):
        if "{" not in line:
            continue
        begun += 1
        record = _record_in(line)
        if record is not None:
            records.append(record)
            places.append(number)
    histories = [record for record in records if is_history(record)]
    if histories and len(histories) == len(records):
        return tables_of(path, name, histories if len(histories) > 1 else histories[0])
    if len(records) < 2 or 2 * len(records) < begun:
        return None
    others = sum(map(bool, map(str.strip, text.split("\n")))) - len(records)
    notes = [f"Read from the objects in {len(records)} lines; {others} lines without one were passed over."]
    return [table_of_records(path, name, records, places, notes)]


def _record_in(line: str) -> dict[str, Any] | None:
    """The object in a line, as JSON or as Python prints it, if it is of an epoch or a step."""
    begin, end = line.find("{"), line.rfind("}")
    if len(line) > _LONGEST or end < begin or line[:begin].rstrip().endswith((",", '"', ";")):
        return None
    for parse in (json.loads, parse_literal):
        try:
            found = parse(line[begin : end + 1])
        except (ValueError, RecursionError, MemoryError):
            continue
        if isinstance(found, dict) and is_history(found):
            return found
        if isinstance(found, dict) and any(map(is_number, found.values())):
            told = (plain(key) in COUNTERS or direction(str(key)) is not None for key in found)
            return found if any(told) else None
    return None
