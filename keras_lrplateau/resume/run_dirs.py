"""Finds the run directory of a training below its log dir, so that no two trainings are mixed up.

Each training needs its own directory: TensorBoard's Python loader cannot read two writers in one.
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
"""The name of the state file beside the event files."""

LOCK = ".lock"
"""The name of the lock file in a run directory; see `keras_lrplateau.files.locks`."""


def next_run_dir(
    log_dir: str | os.PathLike[str],
    *,
    resume: bool,
    is_free: Callable[[Path], bool] = lambda run_dir: True,
) -> Path:
    """Choose the run directory of a training.

    Args:
        log_dir: The directory that TensorBoard reads, or one below it. It need not exist.
        resume: Whether the training continues an earlier one.
        is_free: Tells whether a new training may use a run directory.

    Returns:
        With `resume`, the newest directory with an event file or a state file, if there is any. Else the first free
        one after all that are used, or that may not be read and so belong to another user. It is not made.

    Raises:
        OSError: `log_dir` cannot be read.
    """
    log_dir = Path(log_dir)
    pattern = re.compile(re.escape(RUN_NAME) + r"(?:_([1-9][0-9]*))?")
    paths = list(log_dir.iterdir()) if log_dir.is_dir() else []
    found = [(int(match[1] or 1), is_used(path)) for path in paths if (match := pattern.fullmatch(path.name))]
    ours = [number for number, used in found if used]
    taken = [number for number, used in found if used is not False]
    if resume and ours:
        return _numbered(log_dir, max(ours))
    candidates = (_numbered(log_dir, number) for number in itertools.count(max(taken, default=0) + 1))
    return next(path for path in candidates if resume or is_free(path))


def earlier_run_dirs(newest: Path) -> Iterator[Path]:
    """Yield the run directories that may exist before this one, the latest first."""
    last = int(newest.name.removeprefix(f"{RUN_NAME}_")) if newest.name != RUN_NAME else 1
    for number in range(last - 1, 0, -1):
        yield _numbered(newest.parent, number)


def _numbered(log_dir: Path, number: int) -> Path:
    return log_dir / (RUN_NAME if number == 1 else f"{RUN_NAME}_{number}")


def is_used(run_dir: Path) -> bool | None:
    """Return whether a training has begun there; None if the directory may not be read.

    The first event is not written before the end of the first epoch.
    """
    try:
        return bool(names_of_event_files(run_dir)) or (run_dir / STATE).exists()
    except PermissionError:
        return None
