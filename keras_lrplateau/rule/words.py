"""How a number and a change of the rate read, wherever people read them.

It is in `rule/`, because the reasons of the rules have numbers in them; `keras_lrplateau.views.words` builds on it.
"""

from __future__ import annotations

from collections.abc import Callable


def number(value: float | None, digits: int = 6) -> str:
    """A number, rounded to this many significant digits; empty if there is none."""
    return "" if value is None else f"{value + 0.0:.{digits}g}"  # -0.0 + 0.0 is 0.0.


def change(before: float, after: float, arrow: str = "->") -> str:
    """What became of a rate, such as "0.1 -> 0.05"; just the rate if it stayed."""
    return number(after) if after == before else f"{number(before)} {arrow} {number(after)}"


def count(value: float) -> str:
    """A number of things, rounded, such as "1,000"."""
    return f"{round(value):,}"


def counted(value: float, noun: str) -> str:
    """A number of things with what they are, such as "1 epoch" or "1,000 epochs"."""
    return f"{count(value)} {noun}" + ("" if round(value) == 1 else "s")


def shortest(value: float, is_same: Callable[[float], bool]) -> float:
    """The number of fewest digits for which `is_same` holds: what was written, where lower precision has changed it.

    The value itself if eight digits are too few.
    """
    return next(filter(is_same, (float(f"{value:.{digits}g}") for digits in range(1, 9))), value)
