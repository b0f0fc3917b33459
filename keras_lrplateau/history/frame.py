"""Decisions as a table: a column for each fact. For pandas, and for trackers that show tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from keras_lrplateau.rule.decision import Decision

if TYPE_CHECKING:
    from pandas import DataFrame as DataFrame

COLUMNS = {
    "epoch": "int64",
    "kind": "str",
    "rate_before": "float64",
    "rate": "float64",
    "value": "float64",
    "best": "float64",
    "reason": "str",
    "restore": "str",
    "observation": "int64",
    "since_epoch": "Int64",
    "step": "Int64",
}
"""The columns, which are attributes of a `Decision`, with their types in pandas. What copies it took is left out."""


def columns_of(decisions: Iterable[Decision]) -> dict[str, list[Any]]:
    """The columns by name, each with a value for each decision."""
    decisions = list(decisions)
    return {name: [getattr(decision, name) for decision in decisions] for name in COLUMNS}


def frame_of(decisions: Iterable[Decision]) -> DataFrame:
    """A pandas DataFrame with a row for each decision.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        from pandas import DataFrame, Series
    except ImportError as error:
        raise ImportError("a data frame needs pandas: pip install pandas") from error
    found = columns_of(decisions)
    return DataFrame({name: Series(found[name], dtype=kind) for name, kind in COLUMNS.items()})
