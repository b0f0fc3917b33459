"""What Keras prints while it trains. The numbers have four digits."""

from __future__ import annotations

import re

from keras_lrplateau.recordings.cells import is_number
from keras_lrplateau.recordings.table import Table, table_of_records

_PRINTED = re.compile(r"^Epoch (\d+)/\d+[ \t]*$", re.MULTILINE)
_METRIC = re.compile(r" - ([A-Za-z_]\w*): ([^\s:]+)")


def read(path: str, name: str, text: str) -> list[Table] | None:
    """The last values that Keras printed in each epoch; None if it printed none. See `reading.Format`."""
    if not _PRINTED.search(text[:1_000_000]):
        return None
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x08", "", text)
    marks = list(_PRINTED.finditer(text))
    records, lines = [], []
    line, at = 1, 0
    for mark, end in zip(marks, [*(mark.start() for mark in marks[1:]), len(text)], strict=True):
        line, at = line + text.count("\n", at, mark.start()), mark.start()
        found = {key: value for key, value in _METRIC.findall(text[mark.end() : end]) if is_number(value)}
        records.append({"epoch": int(mark[1]), **found})
        lines.append(line)
    notes = ["What Keras prints is rounded to four digits; a CSVLogger's file is exact."]
    if len(records) > 1 and len(records[-1]) < len(records[-2]):
        records.pop()
        notes.append(f"The epoch that begins at line {lines.pop()}, the last one, is incomplete and was left out.")
    return [table_of_records(path, name, records, lines, notes)]
