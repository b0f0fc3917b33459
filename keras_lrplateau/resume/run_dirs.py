"""Finds the run directory of a training below its log dir, so that no two trainings are mixed up.

TensorBoard's Python loader cannot read two writers in one directory, so each training has one of its own.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from keras_lrplateau.history.event_writer import names_of_event_files
from keras_lrplateau.history.run import RUN_NAME

STATE = "state.json"
"""The name of a state file that is beside the event files."""

LOCK = ".lock"
"""The name of the file in a run directory that stands for the claim on it; see `keras_lrplateau.files.locks`."""


def next_run_dir(
    log_dir: str | os.PathLike[str],
    name: str = RUN_NAME,
    *,
    resume: bool,
    is_free: Callable[[Path], bool] = lambda run_dir: True,
) -> Path:
    """Choose the run directory of a training.

    Args:
        log_dir: The directory that TensorBoard is pointed at, or one below it. Need not exist.
        name: The name of the first run directory in it; the next ones are `name`_2, `name`_3, and so on.
        resume: Whether the training continues an earlier one.
        is_free: Whether a run directory can be had for a new training.

    Returns:
        With `resume`, the newest one that holds an event file or a state file, if there is any. Else the first free one
        after it, or after one that may not be read: it belongs to someone else. It is not made.

    Raises:
        OSError: `log_dir` cannot be read.
    """
    log_dir = Path(log_dir)
    pattern = re.compile(re.escape(name) + r"(?:_([1-9][0-9]*))?")
    paths = list(log_dir.iterdir()) if log_dir.is_dir() else []
    found = [(int(match[1] or 1), _is_used(path)) for path in paths if (match := pattern.fullmatch(path.name))]
    ours = [number for number, is_used in found if is_used]
    taken = [number for number, is_used in found if is_used is not False]
    if resume and ours:
        return _numbered(log_dir, name, max(ours))
    candidates = (_numbered(log_dir, name, number) for number in itertools.count(max(taken, default=0) + 1))
    return next(path for path in candidates if resume or is_free(path))


def earlier_run_dirs(newest: Path) -> Iterator[Path]:
    """Those that may be there before this one, the latest first."""
    last = int(newest.name.removeprefix(f"{RUN_NAME}_")) if newest.name != RUN_NAME else 1
    for number in range(last - 1, 0, -1):
        yield _numbered(newest.parent, RUN_NAME, number)


def _numbered(log_dir: Path, name: str, number: int) -> Path:
    return log_dir / (name if number == 1 else f"{name}_{number}")


def _is_used(run_dir: Path) -> bool | None:
    """Whether a training has begun there; None if it may not be looked at.

    The first event is written at the end of the first epoch only.
    """
    try:
        return bool(names_of_event_files(run_dir)) or (run_dir / STATE).exists()
    except PermissionError:
        return None
