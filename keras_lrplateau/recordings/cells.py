"""What is in a cell of a table: a number, a moment, a count, or nothing.

Cells come as texts, as numbers of Python or as whatever a library calls a number. They are read the same way in every
format.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from keras_lrplateau.recordings.names import EPOCH, STEP, TIME, plain

Cells = list[float | None]
"""A column of numbers; None is an empty cell."""

_NOTHING = {"", "-", "--", "none", "null", "na", "n/a", "<na>", "no log"}
"""In lower case. For what an epoch did not have, CSVLogger writes NA, and Hugging Face "No log". "nan" is a number."""

_WRAPPED = re.compile(
    r"(?:(?:np|numpy|tf|torch|jnp|jax|ml_dtypes)\.)?(?:b?float\d*|int\d+|tensor|Tensor|EagerTensor|array|Array|Decimal)?"
    r"\s*[\[(]+\s*'?([^\s,'()\[\]]+)'?\s*[\])]*\s*(?:,\s*\w+=.*|,)?[\])]*"
)
"""np.float32(0.1), tf.Tensor(0.1, shape=(), dtype=float32), tensor([0.1], device='cuda:0'), [0.1], (0.1,)."""

_VARIABLE = re.compile(r"<.*\b(?:numpy|value)=\s*\[*([^\s,()\[\]>]+)\]*.*>", re.DOTALL)
"""<tf.Variable 'lr:0' shape=() dtype=float32, numpy=0.001>."""

_WRITTEN = {
    mark: re.compile(rf"[+-]?(?:\d*|\d{{1,3}}(?:\{other}\d{{3}})+)(?:\{mark}\d+)?(?:[eE][+-]?\d+)?(?:\s*%)?")
    for mark, other in ((".", ","), (",", "."))
}
"""Numbers by their decimal mark; the other mark may group thousands: 1,234.5 and 1.234,5."""

_AMBIGUOUS = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")
"""1.234 and 1,234: the mark is the decimal one, or groups thousands."""


def number(cell: Any) -> float | None:
    """The number in a cell; None if the cell is empty.

    Raises:
        ValueError: The cell holds something else.
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
        return number(cell[0])
    try:
        return float(cell.item() if getattr(cell, "size", None) == 1 else cell)  # An array of one number.
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


def number_with_comma(text: Any) -> float | None:
    """As `number`, for tables in which a comma may be the decimal point because it does not separate cells."""
    return number(with_point(text, ",") if "," in text else text)


def with_point(cell: str, mark: str) -> str:
    """The cell; a number with this decimal mark is written with a point, and without what groups its thousands."""
    text = cell.strip()
    if not _WRITTEN[mark].fullmatch(text):
        return cell
    return text.replace("." if mark == "," else ",", "").replace(mark, ".")


def decimal_marks(cells: Iterable[str]) -> set[str]:
    """The decimal marks of numbers that can be read in one way only: "." of 0.5 and of 1,234.5, "," of 0,5."""
    found: set[str] = set()
    for cell in cells:
        for mark in _WRITTEN:
            if mark in cell and mark not in found:
                text = cell.strip()
                if _WRITTEN[mark].fullmatch(text) and not _AMBIGUOUS.fullmatch(text):
                    found.add(mark)
    return found


def moment(cell: Any) -> float | None:
    """Seconds since 1970, from a number or a date."""
    try:
        return number(cell)
    except ValueError:
        pass
    try:
        return datetime.datetime.fromisoformat(str(cell).strip()).timestamp()
    except (OverflowError, OSError):  # The year 1.
        raise ValueError from None


def count(cell: Any) -> float | None:
    """The number of an epoch or step, also from "3/100", "3 of 100", "epoch 3", "Epoch-3" and "1,000"."""
    try:
        return number(cell)
    except ValueError:
        pass
    text = str(cell).strip()
    if re.fullmatch(r"\d{1,3}(,\d{3})+", text):
        return float(text.replace(",", ""))
    found = re.fullmatch(r"(?:[^\d\W]+[\s:#-]*)?(\d+)(?:\s*(?:/|of)\s*\d+)?", text)
    if found is None:
        raise ValueError
    return float(found[1])


def converter(name: str, otherwise: Callable[[Any], float | None] = number) -> Callable[[Any], float | None]:
    """What reads the cells of the column of this name: a moment, a count, or else `otherwise`."""
    known = plain(name)
    return moment if known in TIME else count if known in EPOCH or known in STEP else otherwise


def is_number(cell: Any) -> bool:
    """Whether there is a number in a cell."""
    try:
        return number(cell) is not None
    except ValueError:
        return False


def numbers(cells: Sequence[Any], convert: Callable[[Any], float | None] = number) -> tuple[Cells, list[int]]:
    """The numbers of a column, and the places of the cells that are neither a number nor empty.

    Nearly every column of texts is read by one of the first two ways, which are ten times as fast as the last.
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
