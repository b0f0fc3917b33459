"""How numbers, decisions and moments read: the one place for the text that people see about a training."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from keras_lrplateau.history.run import Run
from keras_lrplateau.rule.decision import Decision, Kind
from keras_lrplateau.rule.words import change, count, counted, number

__all__ = [
    "Words",
    "best",
    "change",
    "count",
    "counted",
    "counted_kind",
    "last",
    "length",
    "marked",
    "number",
    "printable",
    "utc",
    "words_of",
]


def counted_kind(value: int, kind: Kind) -> str:
    """A number of decisions of one kind, such as "1 cut", "5 cuts" or "2 diverged"."""
    ending = {"diverged": "", "exhausted": "", "success": "es", "search": "es"}.get(kind, "s")
    return f"{count(value)} {kind}" + ("" if value == 1 else ending)


def utc(seconds: float) -> datetime | None:
    """The moment this many seconds after 1970; None if no clock shows it."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def printable(text: str) -> str:
    """The text without what a terminal would obey or refuse: names of files and metrics may hold anything."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def best(about: Mapping[str, Any]) -> str:
    """The best observation of a summary, when it was, and whether its weights are gone, such as "0.25 in epoch 7"."""
    if about["best"] is None:
        return "none"
    place = "in epoch" if about["unit"] == "epoch" else "at step"
    return marked(f"{about['best']} {place} {count(about['best_at'])}", about["is_best_undone"])


def last(about: Mapping[str, Any]) -> str:
    """The last observation of a summary, and whether its weights are still there."""
    if about["last"] is None:
        return "none"
    return marked(about["last"], about["is_undone"])


def marked(text: str, is_undone: bool) -> str:
    """The text of an observation, and whether its weights were given up."""
    return f"{text} (rolled back)" if is_undone else text


def length(about: Mapping[str, Any]) -> str:
    """How long the training of a summary is: in epochs, where these are known."""
    return counted(about[f"{about['unit']}s"], about["unit"])


class Words(NamedTuple):
    """A decision in words: what it is, when it was taken, a line for each number, and why; each is one line of text."""

    kind: str
    when: str
    numbers: tuple[str, ...]
    reason: str


def words_of(run: Run, decision: Decision, is_within: bool) -> Words:
    """A decision of a training, which has an epoch, in words.

    Args:
        run: The training.
        decision: The decision.
        is_within: Whether it was taken before its epoch was over.
    """
    epoch = decision.epoch + 1
    when = f"after {run.unit} {epoch}"
    if is_within and decision.step is not None:
        when = f"in epoch {epoch}, after {counted(decision.step, 'step')}"
    lines = [decision.change_of(run.quantity, "→")]
    if decision.value is not None:
        lines.append(f"{run.monitor} {number(decision.value)}")
    return Words(decision.kind, when, tuple(lines), decision.reason)
