"""What Keras prints while it trains, on a terminal, in a notebook or in a file. The numbers have four digits.

An epoch begins with a line such as "Epoch 2/10", also behind a timestamp. Then come the states of a progress bar, or a
single line. What is printed between epochs, such as warnings and the bar of `evaluate`, is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from keras_lrplateau.recordings.cells import is_number
from keras_lrplateau.recordings.recording import CurveError
from keras_lrplateau.recordings.table import Table, table_of_records

_EPOCH_BEGINS = re.compile(r"^(?:.*[^\w\n])?Epoch (\d+)/\d+[ \t]*$", re.MULTILINE)
_PROGRESS = re.compile(r"(?<![\w/.-])(?<![^>]:)(\d+)/(\d+|Unknown)(?=[ \t]*(?:\[|━|-[ \t]|\d+(?:ms|s|:)))")
_GLUED = re.compile(r"(\d\.\d{4}(?:e[+-]\d\d)?)(?=\d+/\d+ [\[━])")
"""Where a file has lost the backspaces of a progress bar, its states follow each other without a space."""

_METRIC = re.compile(r"(?:^|\s)-\s+([^\W\d](?:(?!\s-\s)[^:])*):\s+([^\s:]+)")
_LOOKED_AT = 1_000_000


class _State(NamedTuple):
    """What was printed at once: whether the epoch was over, and the values."""

    is_over: bool
    values: dict[str, str]


def read(path: str, name: str, text: str) -> list[Table] | None:
    """The values that Keras printed at the end of each epoch; None if it printed none. See `reading.Format`.

    Raises:
        CurveError: Several processes printed, and what they printed is mixed.
    """
    if not _EPOCH_BEGINS.search(text, 0, _LOOKED_AT):
        return None
    text = _GLUED.sub(r"\1 ", text)
    marks = list(_EPOCH_BEGINS.finditer(text))
    records: list[dict[str, Any]] = []
    lines: list[int] = []
    cut: list[int] = []
    mixed: list[int] = []
    line, at, empty = 1, 0, ""
    for mark, end in zip(marks, [*(mark.start() for mark in marks[1:]), len(text)], strict=True):
        line, at = line + text.count("\n", at, mark.start()), mark.start()
        states = list(_states(text[mark.end() : end]))
        found = _at_its_end(states)
        if found is None and len(marks) > 1:
            cut.append(line)
            empty = "" if states else mark[1]
            continue
        ends = [state for state in states if state.is_over and state.values.keys() == (found or {}).keys()]
        if empty == mark[1] and len(ends) > 1:
            mixed.append(line)
        empty = ""
        records.append({"epoch": int(mark[1]), **(found or (states[-1].values if states else {}))})
        lines.append(line)
    if not any(len(record) > 1 for record in records):
        return None  # Others write such lines, too.
    if len(mixed) > 1:
        raise CurveError(
            f"{path}:{mixed[0]}: {len(mixed)} epochs begin twice and then end twice, so several processes wrote into "
            "this file; give the lines of one of them"
        )
    names = [record.keys() for record in records]
    if len(names) > 1 and names[-1] < names[-2] and names[-1] not in names[:-1]:
        records.pop()  # It was stopped before the validation.
        cut.append(lines.pop())
    notes = ["What Keras prints is rounded to four digits; a CSVLogger's file is exact."]
    if cut:
        which = "The epoch that begins" if len(cut) == 1 else "Epochs that begin"
        last = ", the last one, is" if len(cut) == 1 and cut[0] == line else " is" if len(cut) == 1 else " are"
        places = ", ".join(map(str, cut[:5])) + (f" and {len(cut) - 5} more" if len(cut) > 5 else "")
        was = "was" if len(cut) == 1 else "were"
        notes.append(f"{which} at line {places}{last} incomplete and {was} left out.")
    table = table_of_records(path, name, records, lines, notes)
    table.from_one = all(record["epoch"] > 0 for record in records)  # Others print "Epoch 0/10" in the same way.
    return [table]


def _at_its_end(states: list[_State]) -> dict[str, str] | None:
    """The values at the end of an epoch; None if there are none. What comes after it is of `evaluate` or `predict`."""
    found: dict[str, str] | None = None
    for state in states:
        if found is not None and (not state.is_over or len(state.values) <= len(found)):
            break
        if state.is_over and state.values:
            found = state.values  # Of two, the second one has the validation, too.
    return found


def _states(text: str) -> Iterator[_State]:
    """The states of the progress bar; of a text without one, the first line with values."""
    marks = list(_PROGRESS.finditer(text))
    for mark, end in zip(marks, [*(mark.start() for mark in marks[1:]), len(text)], strict=False):
        state = _joined(text[mark.start() : end])
        yield _State(mark[1] == mark[2] and " ETA:" not in state, _values(state))
    if not marks:
        lines = (_joined(text[match.start() :]) for match in re.finditer(r"^.*$", text, re.MULTILINE))
        values = next(filter(None, map(_values, lines)), None)
        if values is not None:
            yield _State(True, values)


def _joined(text: str) -> str:
    """The first line, with those that only go on with it: a narrow terminal breaks lines."""
    lines = text.split("\n", 20)
    joined = lines[0].rstrip()
    for line in lines[1:20]:
        if not (line.lstrip().startswith("- ") or joined.endswith((" -", ":"))):
            break
        joined = f"{joined} {line.strip()}"
    return joined


def _values(line: str) -> dict[str, str]:
    return {key: value for key, value in _METRIC.findall(line) if is_number(value)}
