"""Tables of texts: CSV with any separator, from CSVLogger, timm, Lightning, Ultralytics, pandas and spreadsheets."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

from keras_lrplateau.recordings.cells import (
    Cells,
    converter,
    decimal_marks,
    is_number,
    number,
    number_with_comma,
    numbers,
    with_point,
)
from keras_lrplateau.recordings.names import EPOCH, STEP, is_group, plain, tensorboard_name
from keras_lrplateau.recordings.recording import CurveError
from keras_lrplateau.recordings.table import Table, no_number

_SEPARATORS = (",", "\t", ";", "|", " ")
_LOOKED_AT = 100
"""Lines among which the names of the columns must be."""

_CHUNK = 2_000
"""Rows that are held as texts at a time."""


_MARKDOWN = re.compile(r"^[ \t]*\|.*\n[ \t]*\|[-:| \t]+\n(?:[ \t]*\|.*(?:\n|\Z))+", re.MULTILINE)
"""A table in Markdown: names, a line of dashes, and rows."""

_NUMERIC = {*"0123456789+-.", ""}
"""What a row of numbers begins with; an index may be without a name and a number."""


class _Layout(NamedTuple):
    """How to read a CSV file: what separates its cells, and the line of the names, from 1."""

    separator: str
    line: int


def _layout(path: str, text: str) -> _Layout | None:
    """Find the line of names; None if there is nothing like a table.

    No cell of this line is a number, and after it come rows with as many cells, and numbers in them. Of several such
    lines, the first one that names a counter is taken, or else the one that explains most cells. Of the separators,
    one with a counter is taken, or else the one that explains most cells.

    Raises:
        CurveError: There is a table, but no row of it.
    """
    lines = text[:200_000].split("\n")[:_LOOKED_AT]
    found: list[tuple[bool, int, _Layout]] = []
    for separator in _SEPARATORS:
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
        rows = [(reader.line_num, cells) for cells in reader if any(cells)]
        # Shares in percent are rather of a preamble: "Best accuracy: 0.87 %".
        has_number = [any(is_number(cell) and not cell.rstrip().endswith("%") for cell in cells) for _, cells in rows]
        candidates: list[tuple[bool, int, _Layout]] = []
        for place, (line, cells) in enumerate(rows):
            names = _uncommented(cells)
            if not _may_be_names(names):
                continue
            has_counter = any(plain(name) in EPOCH or plain(name) in STEP for name in names)
            explained = 0
            for (_, row), known in zip(rows[place + 1 : place + 21], has_number[place + 1 : place + 21], strict=True):
                if not known and len(row) != len(names):
                    continue  # A text between the rows.
                if not known or (len(row) < len(names) and not has_counter) or any(map(str.strip, row[len(names) :])):
                    break
                explained += min(len(row), len(names))
            if explained:
                candidates.append((has_counter, explained, _Layout(separator, line)))
        named = [candidate for candidate in candidates if candidate[0]]
        found += named[:1] or candidates
    if not found:
        _check_for_table(path, lines)
        return None
    return max(found, key=lambda candidate: candidate[:2])[2]


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])


def _with_lines_above(header: Sequence[str], text: str, layout: _Layout) -> list[str]:
    """The names of columns, with what the lines above add where names are missing or come twice.

    pandas and spreadsheets write a line for each level of the names, the upper ones perhaps in the first cell of those
    that they are for; others write a line of units below the names.
    """
    names = [name.strip() for name in _uncommented(header)]
    above: list[list[str]] = []
    for line in reversed(text.split("\n", layout.line - 1)[: layout.line - 1]):
        cells = [cell.strip() for cell in _cells(line, layout.separator)]
        if len(cells) != len(names):
            break
        above.insert(0, cells)
    known = list(filter(None, names))
    missing = [place for place, name in enumerate(names) if not name]
    if len(set(known)) == len(known) and not any(cells[place] for cells in above for place in missing):
        return names
    first = next((cells[0] for cells in (names, *reversed(above)) if cells[0]), "")
    levels = [itertools.accumulate(cells[1:], _latest) for cells in above]
    return [first, *("/".join(filter(None, each)) for each in zip(*levels, names[1:], strict=True))]


def _latest(before: str, cell: str) -> str:
    return cell or before


def _uncommented(names: Sequence[str]) -> list[str]:
    """The names of columns, without the mark of a comment before them."""
    first = names[0].lstrip("#% ") if names else ""
    return list(names[1:]) if names and names[0] and not first else [first, *names[1:]]


def _may_be_names(cells: Sequence[str]) -> bool:
    return any(char.isalpha() for cell in cells for char in cell) and not any(map(is_number, cells))


def _check_for_table(path: str, lines: Sequence[str]) -> None:
    """Raise the `CurveError` that says what is missing from a table; return if there is none."""
    filled = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not filled:
        return
    number, line = filled[-1]
    if not line.strip("\" ,;\t'"):
        raise CurveError(f"{path}:{number}: an empty table: no columns and no rows; the training recorded nothing")
    for number, line in filled[:-3:-1]:  # After the names, there may be a row that is incomplete.
        cells = max((_cells(line, separator) for separator in _SEPARATORS[:-1]), key=len)
        if any(len(cell.split()) > 3 or cell.endswith(".") for cell in cells):
            break
        is_prose = any(
            cell[:1].isdigit()
            or set(cell) & set(":={}")
            or len(cell) > 60
            or any(map(is_number, cell.split()[1:]))  # "loss 0.5"
            for cell in cells
        )
        if len(cells) < 2 or is_prose or not _may_be_names(cells):
            continue
        raise CurveError(
            f"{path}:{number}: the names of {len(cells)} columns ({', '.join(cell.strip() for cell in cells[:6])}) and "
            "no row of numbers after them; the training ended before its first epoch did, or the file is cut off"
        )
    first, line = filled[0]
    cells = max((_cells(line, separator) for separator in _SEPARATORS), key=len)
    if all(map(is_number, filter(None, cells))):
        raise CurveError(
            f"{path}:{first}: numbers without the names of their columns; put a line of names before them, "
            "such as epoch,loss,val_loss"
        )


def read(path: str, name: str, text: str) -> list[Table] | None:
    """The table in a text; None if there is none. See `reading.Format`.

    Raises:
        CurveError: There is a table, and it is broken.
    """
    tables = list(_MARKDOWN.finditer(text))
    if tables:  # The longest one; a model card may have others.
        found = max(tables, key=lambda each: len(each[0]))
        text = "\n" * text.count("\n", 0, found.start()) + _without_edges(found[0])
    elif text.lstrip().startswith("|"):
        text = _without_edges(text)
    try:
        layout = _layout(path, text)
    except csv.Error:  # Cells of a hundred thousand characters.
        return None
    if layout is None:
        return None
    stream = io.StringIO(text)
    for _ in range(layout.line - 1):
        stream.readline()
    begin = stream.tell()
    mark = _decimal_mark(stream.read(), layout.separator)
    stream.seek(begin)
    reader = csv.reader(stream, delimiter=layout.separator, skipinitialspace=True)
    header = next(reader)
    table = Table(path, name)
    names = _column_names(_with_lines_above(header, text, layout), table)
    if layout.line > 1:
        table.notes.append(f"The table begins at line {layout.line}; what is before it was not read.")
    columns = _Columns(table, names, layout.separator, mark, cut=not text.endswith("\n"))
    size = len(names)
    prose: list[int] = []
    lines, offset = array("Q"), layout.line - 1
    table.lines = lines
    waiting: list[list[str]] = []  # Until it is known whether they are the last ones.
    at = offset + reader.line_num
    try:
        while rows := list(itertools.islice(reader, _CHUNK)):
            places: Sequence[int] = range(at + 1, offset + reader.line_num + 1)
            if len(places) > len(rows):  # There are line breaks in cells.
                places = list(itertools.accumulate((1 + "".join(row).count("\n") for row in rows), initial=at))[1:]
            at = offset + reader.line_num
            # Of nearly all chunks, this is the only look at each row.
            is_clean = {size} == set(map(len, rows)) and _NUMERIC.issuperset({row[0][:1] for row in rows})
            if header in rows or not is_clean or not all(map(any, rows)):
                kept: list[tuple[int, list[str]]] = []
                for place, row in zip(places, rows, strict=True):
                    if row == header:
                        table.starts.append(len(lines) + len(kept))
                    elif any(row) and _is_prose(row, names):
                        prose.append(place)
                    elif any(row):
                        kept.append((place, row))
                places, rows = [place for place, _ in kept], [row for _, row in kept]
            lines.extend(places)
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
    if prose:
        of_them = "A line that is" if len(prose) == 1 else f"{len(prose)} lines that are"
        begun_at = f"{'at' if len(prose) == 1 else 'the first at'} line {prose[0]}"
        table.notes.append(f"{of_them} no row, {begun_at}, {'was' if len(prose) == 1 else 'were'} passed over.")
    if {plain(each) for each in table.columns} == {"wall time", "step", "value"} and tensorboard_name(name):
        table.columns = {
            tensorboard_name(name) if plain(each) == "value" else each: values for each, values in table.columns.items()
        }
    return [table]


def _decimal_mark(text: str, separator: str) -> str | None:
    """The decimal mark of a table in which the other mark, if there is one, groups thousands; None if that is not sure.

    It is sure if all numbers that can be read in one way only have this mark.
    """
    if not re.search(r'"\s*[+-]?[\d.]*,\d' if separator == "," else r",\d", text):
        return None
    try:
        marks = decimal_marks(
            itertools.chain.from_iterable(csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True))
        )
    except csv.Error:  # Told of with its line when the rows are read.
        return None
    return marks.pop() if len(marks) == 1 else None


def _is_prose(row: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a line is a text between the rows, such as a warning or a traceback; names of columns are none."""
    return (
        (len(row) != len(names) or row[0][:1] not in _NUMERIC)
        and not any(cell.strip() in names for cell in row)
        and not any(map(is_number, row))
        and (len(row) != len(names) or any(cell.strip() for cell in row[1:]))
    )


def _column_names(header: Sequence[str], table: Table) -> list[str]:
    """The names in the file without quotes and spaces around them; "" only for the first column, an index."""
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


def _without_edges(text: str) -> str:
    """The rows of a Markdown table without what is around them and their cells."""
    lines = (line.strip() for line in text.split("\n"))
    rows = ([] if set(line) <= set("|-: ") else line.strip("|").split("|") for line in lines)
    return "\n".join("\t".join(map(str.strip, row)) for row in rows)


class _Columns:
    """Makes columns of numbers of rows of texts, chunk by chunk.

    Args:
        table: Gets the columns at the end.
        names: The names of the columns.
        separator: What separates the cells.
        mark: The decimal mark of all numbers, if it is sure.
        cut: Whether the last line has no end, so that its last number may be cut short.
    """

    def __init__(self, table: Table, names: list[str], separator: str, mark: str | None, cut: bool) -> None:
        self.table = table
        self.names = names
        self.mark = mark
        self.cut = cut
        self.values: list[Cells] = [[] for _ in names]
        self.texts: list[list[str] | None] = [[] for _ in names]
        """Of each column, its cells until there is a number among them; if it tells trainings apart, all."""
        self.is_group = [is_group(name) for name in names]
        self.others: list[tuple[int, str] | None] = [None for _ in names]
        """For each column, the row of its first cell that is no number, and the cell."""
        self.shares: list[set[int]] = [set() for _ in names]
        """For each column, the rows of the cells in percent."""
        read_number = number if separator == "," else number_with_comma
        self.converters = [converter(name, read_number) for name in names]

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
            written = cells if self.mark is None else [with_point(cell, self.mark) for cell in cells]
            found, others = numbers(written, self.converters[place])
            self.values[place] += found
            if "%" in "".join(cells):
                self.shares[place].update(before + at for at, cell in enumerate(cells) if cell.rstrip().endswith("%"))
            texts = self.texts[place]
            if texts is not None:
                if self.is_group[place] or all(value is None for value in found):
                    texts += cells
                else:
                    self.texts[place] = None
            if others and self.others[place] is None:
                self.others[place] = (before + others[0], cells[others[0]])

    def _fitted(self, row: list[str], place: int, last: bool) -> list[str]:
        """The row with as many cells as there are names; empty if it is the last one and incomplete."""
        size = len(self.names)
        if len(row) >= size:
            if any(cell.strip() for cell in row[size:]):
                raise self.table.error(
                    place,
                    f"{len(row)} cells where there are {size} names of columns; if the training went on from here with "
                    "other metrics, give these rows a file and names of their own",
                )
            return row[:size]
        if last:
            return []
        raise self.table.error(place, f"only {len(row)} of {size} cells; complete the line, or remove it")

    def _drop_last(self, rows: list[Any]) -> None:
        lines: Any = self.table.lines
        rows.pop()
        self.cut = False
        self.table.notes.append(f"Line {lines.pop()}, the last one, is incomplete and was left out.")

    def finish(self) -> None:
        """Give the table its columns but for those that hold no numbers."""
        table, last = self.table, len(self.values[0]) - 1
        texts = [
            place
            for place, other in enumerate(self.others)
            if other is not None and (self.is_group[place] or all(value is None for value in self.values[place]))
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
                raise table.error(row, no_number(self.names[place], cell))
        elif self.cut and last > 0:
            table.notes.append(
                "The last line has no end: if the writer was killed there, its last number may be cut short."
            )
        if last < 0 or not self.values[0]:
            raise CurveError(f"{table.path}: no complete row; the training ended before its first epoch did")
        for place, (name, values) in enumerate(zip(self.names, self.values, strict=True)):
            if place in texts:
                table.texts[name] = (self.texts[place] or [])[: len(values)]
            elif name != f"column {place + 1}" or any(value is not None for value in values):
                self._check_shares(name, values, self.shares[place])
                table.columns[name] = values

    def _check_shares(self, name: str, values: Cells, shares: set[int]) -> None:
        """Refuse a column in which some numbers are in percent and others are not; 0 and NaN are the same in both."""
        if not shares:
            return
        told = {row for row, value in enumerate(values) if value and math.isfinite(value)}
        if told & shares and told - shares:
            row = min(told - shares)
            raise self.table.error(
                row,
                f"{values[row]:g} in {name!r} is not in percent, and other cells of the column are; write all of them "
                "in the same way",
            )

    def _is_header(self, row: int) -> bool:
        return all(values[row] is None for values in self.values)
