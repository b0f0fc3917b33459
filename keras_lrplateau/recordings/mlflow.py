"""MLflow's own files: a folder for each run, with a file for each metric, and in it a line for each value.

A line holds the wall time in milliseconds, the value and the step.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from keras_lrplateau.history.run import Curve
from keras_lrplateau.recordings.recording import CurveError, Recording
from keras_lrplateau.recordings.series import counted, recordings_of_series
from keras_lrplateau.recordings.table import Table, table_of_records

_LINE = re.compile(r"(\d{12,14}) (\S+)(?: (-?\d+))?")


def read(path: str, name: str, text: str) -> list[Table] | None:
    """The table of the values of a metric; None if the text is no such file. See `reading.Format`."""
    curve = _curve(text)
    if curve is None:
        return None
    rows = zip(curve.epochs, curve.values, curve.times, strict=True)
    records = [{"wall time": time, "step": step, name: value} for step, value, time in rows]
    return [table_of_records(path, name, records, [], ["Read as a metric of MLflow, which is called as the file is."])]


def read_directory(place: Path) -> list[Recording] | None:
    """The trainings of all runs of MLflow in a directory and below; None if there are none.

    Raises:
        CurveError: No run has a metric.
    """
    found = _runs(place)
    if not found:
        return None
    recordings: list[Recording] = []
    names = [_name(place, run) for run in found]
    for run, name in zip(found, names, strict=True):
        called = name if names.count(name) == 1 else f"{name} ({run.name})"
        notes = ["Read as a run of MLflow."]
        curves = {}
        for metric, file in _metrics(run).items():
            try:
                curve = _curve(file.read_text(errors="replace"))
            except OSError as error:
                notes.append(f"{metric!r} cannot be read: {error.strerror}.")
                continue
            if curve is None:
                notes.append(f"{metric!r} is no metric of MLflow and was left out.")
            elif (curve := counted(metric, curve, notes)).epochs:
                curves[metric] = curve
        if curves:
            recordings += recordings_of_series(str(run), called, curves, notes)
    if not recordings:
        raise CurveError(f"{place}: the runs of MLflow in it have no metrics; give a run that logged some")
    return recordings


def _runs(place: Path) -> list[Path]:
    """The directories of runs, in order."""
    if place.name == "metrics" and _is_run(place.parent):
        return [place.parent]
    found = []
    for directory, below, _ in os.walk(place):
        below.sort()
        if "metrics" in below and _is_run(Path(directory)):
            found.append(Path(directory))
            below.clear()
    return found


def _is_run(directory: Path) -> bool:
    """Whether it is a run. Others call folders of theirs "metrics", too."""
    return (directory / "meta.yaml").is_file() or any(map(_is_metric, _metrics(directory).values()))


def _is_metric(file: Path) -> bool:
    try:
        with open(file, errors="replace") as stream:
            return _LINE.match(stream.readline(200)) is not None
    except OSError:
        return False


def _name(place: Path, run: Path) -> str:
    """The name of a run: the one that the user gave it, or that of its directory."""
    try:
        name = (run / "tags" / "mlflow.runName").read_text(errors="replace").strip()
    except OSError:  # It has no name.
        name = ""
    if name or not run.is_relative_to(place) or run == place:  # The place may be the folder with the metrics, or ".".
        return name or Path(os.path.abspath(run)).name
    return run.relative_to(place).as_posix()


def _metrics(run: Path) -> dict[str, Path]:
    """The files of the metrics by name, in order; a name may have slashes."""
    root = run / "metrics"
    return {
        path.relative_to(root).as_posix(): path
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def _curve(text: str) -> Curve | None:
    """The values of a metric as they were logged; None if the text is something else. A last line may be cut off."""
    if _LINE.match(text) is None:
        return None
    lines = [line.strip() for line in text.split("\n")]
    matches = [_LINE.fullmatch(line) for line in lines if line]
    if (
        lines[-1]
        and len(matches) > 1
        and (matches[-1] is None or (matches[0] and matches[0][3] and not matches[-1][3]))
    ):
        matches.pop()  # The last line is cut off.
    try:
        rows = [(int(match[3] or 0), float(match[2]), int(match[1]) / 1000) for match in matches]  # type: ignore[index]
    except (TypeError, ValueError):  # A line that does not match, or a value that is no number.
        return None
    return Curve(*map(list, zip(*rows, strict=True))) if rows else None
