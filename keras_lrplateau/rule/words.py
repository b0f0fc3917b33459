"""How a number and a change of the rate read, wherever people read them.

It stands in the lowest room, since the reasons of the rules have numbers in them; `keras_lrplateau.views.words` builds
on it.
"""

from __future__ import annotations


def number(value: float | None, digits: int = 6) -> str:
    """A number, rounded to this many significant digits; empty if there is none."""
    return "" if value is None else f"{value + 0.0:.{digits}g}"  # -0.0 + 0.0 is 0.0.


def change(before: float, after: float, arrow: str = "->") -> str:
    """What became of a rate, such as "0.1 -> 0.05"; just the rate if it stayed."""
    return number(after) if after == before else f"{number(before)} {arrow} {number(after)}"
