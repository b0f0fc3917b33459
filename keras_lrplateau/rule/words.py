"""How a number and a change of the rate read, wherever people read them.

It stands in the lowest room, since the reasons of the rules have numbers in them; `keras_lrplateau.views.words` builds
on it.
"""

from __future__ import annotations


def number(value: float) -> str:
    """A number with six digits."""
    return f"{value:.6g}"


def change(before: float, after: float, arrow: str = "->") -> str:
    """What became of a rate, such as "0.1 -> 0.05"; just the rate if it stayed."""
    return number(after) if after == before else f"{number(before)} {arrow} {number(after)}"
