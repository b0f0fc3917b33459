"""Means, ratios and tables, for the benchmarks in this folder; nothing to run here."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def geometric_mean(values: np.ndarray) -> float:
    """The geometric mean over all axes."""
    return float(np.exp(np.mean(np.log(values))))


def ratio(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> str:
    """The geometric mean of the lanes' paired ratios, with its standard error over the cells."""
    logs = [float(np.mean(np.log(a) - np.log(b))) for a, b in zip(ours, theirs, strict=True)]
    mean = math.exp(float(np.mean(logs)))
    error = mean * float(np.std(logs, ddof=1)) / math.sqrt(len(logs)) if len(logs) > 1 else math.nan
    return f"{mean:.3f} ± {error:.3f}"


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    print(f"\n{title}\n")
    for row in (header, ["-" * width for width in widths], *rows):
        print("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]))
