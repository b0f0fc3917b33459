"""Recordings from TensorBoard's event files: those of Keras, of other loggers, and runs of ours.

Keras writes a training as two runs, train and validation; they become one recording. Event files hold curves already,
so they skip the table, unless they log the epoch beside the step.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from keras_lrplateau.history.event_files import event_files
from keras_lrplateau.history.run import Curve
from keras_lrplateau.recordings.cells import Cells
from keras_lrplateau.recordings.names import listed
from keras_lrplateau.recordings.recording import CurveError, Recording, with_rates
from keras_lrplateau.recordings.table import Table
from keras_lrplateau.recordings.trainings import recordings_of

if TYPE_CHECKING:
    from keras_lrplateau.history.event_reader import Logged

_PREFIXES = {"train": "", "validation": "val_", "valid": "val_", "val": "val_", "eval": "eval_", "test": "test_"}
"""What the directories of one training are called, and what the names of their metrics begin with."""

_KERAS = "epoch_"
"""What Keras' TensorBoard callback puts before the name of a metric, logged by epoch."""

_BY_BATCH = ("batch_", "evaluation_")
"""What it puts before the name of a metric, logged by batch."""

_MOST = 2**53
"""No step is larger: a float holds all integers up to this one."""


def is_event_file(name: str, content: bytes) -> bool:
    """Whether it is an event file, by its name or by the first bytes of its content."""
    return "tfevents" in name or b"brain.Event:" in content


def read_file(place: Path) -> list[Recording]:
    """The trainings in an event file.

    Raises:
        CurveError: There are no scalars in it, or it is damaged.
    """
    return _read(place, {place: [place]})


def read_directory(place: Path) -> list[Recording] | None:
    """The trainings in all event files in a directory and below; None if there are no event files.

    Raises:
        CurveError: There are no scalars in them, or they are damaged.
    """
    found = event_files(place)
    return _read(place, found) if found else None


def _read(root: Path, runs: Mapping[Path, list[Path]]) -> list[Recording]:
    """The trainings in these runs; the place of a run is its directory, or its file if that was asked for."""
    from keras_lrplateau.history.event_reader import read_files, run_of

    recordings: list[Recording] = []
    groups: dict[str, list[tuple[str, Logged]]] = {}
    refused = []
    top = Path(os.path.abspath(root)).name
    for place, files in runs.items():
        logged = read_files(files)
        name = top if place == root else place.relative_to(root).as_posix()
        if logged.payloads:
            try:
                run = run_of(name, logged)
            except ValueError as error:
                refused.append(f"{place}: {error}; give another run")
            else:
                recordings.append(Recording(name, "epoch", run.curves, tuple(run.records), tuple(logged.notes)))
        elif logged.scalars:
            directory = place.parent if place == files[0] else place
            if place.name in _PREFIXES and len(runs) > 1:
                name = top if place.parent == root else name.rpartition("/")[0]
            groups.setdefault(name, []).append((_prefix(directory, logged), logged))
        elif logged.notes:
            reason = logged.notes[0].partition(";")[0].rstrip(".")
            refused.append(f"{place}: {reason}, and there are no scalars before; give another run, or an older copy")
    for name, found in groups.items():
        recordings += _recordings_of(str(root), name, found)
    if recordings:
        first, *others = recordings
        return [replace(first, notes=(*first.notes, *(f"Not read: {reason}." for reason in refused))), *others]
    if refused:
        raise CurveError(refused[0])
    raise CurveError(
        f"{root}: no scalars in the event files; the training logged none, or elsewhere: give the log directory above"
    )


def _prefix(directory: Path, logged: Logged) -> str:
    """What the names of a run's metrics begin with; Keras logs evaluation_... for the validation data only."""
    if any(tag.startswith("evaluation_") for tag in logged.scalars):
        return "val_"
    return _PREFIXES.get(directory.name, "")


def _recordings_of(path: str, name: str, runs: Sequence[tuple[str, Logged]]) -> list[Recording]:
    """The trainings in the runs of one name, such as Keras' train and validation, each with its metrics' prefix."""
    notes = [note for _, logged in runs for note in logged.notes]
    is_keras = any(tag.startswith(_KERAS) for _, logged in runs for tag in logged.scalars)
    series: dict[str, Curve] = {}
    others: dict[str, Curve] = {}
    skipped = []
    for prefix, logged in runs:
        for tag, curve in _possible(logged, notes).items():
            if not is_keras:
                series[prefix + tag.strip()] = curve
            elif tag.startswith(_KERAS):
                series[prefix + tag.removeprefix(_KERAS)] = curve
            elif tag.startswith(_BY_BATCH):
                skipped.append(tag)
            else:
                others[prefix + tag.strip()] = curve
    if is_keras:
        epochs = {epoch for curve in series.values() for epoch in curve.epochs}
        for tag, curve in others.items():
            if tag not in series and epochs.issuperset(curve.epochs):
                series[tag] = curve
            else:
                skipped.append(tag)
        if skipped:
            notes.append(f"{listed(skipped)}: not by epoch, left out.")
    trainings, resumed = _split_series(series)
    if resumed:
        notes.append(f"The steps of {listed(resumed)} go back: what there was from there on is replaced.")
    if len(trainings) > 1:
        notes.insert(0, f"The steps start again: read as {len(trainings)} trainings.")
    recordings = []
    for number, curves in enumerate(trainings, 1):
        own = name if number == 1 else f"{name} ({number})"
        counter = next((tag for tag in ("epoch", "train/epoch") if tag in curves), None)
        if counter is not None and not is_keras:  # Lightning's and Hugging Face's loggers.
            recordings += _joined(path, own, curves, counter, notes)
            continue
        found = list(notes)
        steps = {step for curve in curves.values() for step in curve.epochs}
        first, last = min(steps), max(steps)
        by_epoch = is_keras or (first in (0, 1) and last - first + 1 == len(steps))
        if by_epoch and not is_keras:
            found.append("The steps count up by one and are taken for epochs, which the file does not say.")
            if first == 1:
                for curve in curves.values():
                    curve.epochs = [step - 1 for step in curve.epochs]
        curves = with_rates(curves, found)
        recordings.append(Recording(own, "epoch" if by_epoch else "step", curves, (), tuple(found)))
    return recordings


def _possible(logged: Logged, notes: list[str]) -> dict[str, Curve]:
    """The scalars without impossible steps, and with the nearest known time in place of each impossible one."""
    from keras_lrplateau.history.event_reader import known_times

    found = {}
    for tag, curve in logged.scalars.items():
        rows = [row for row, step in enumerate(curve.epochs) if 0 <= step <= _MOST]
        if len(rows) < len(curve.epochs):
            notes.append(f"{tag!r}: {len(curve.epochs) - len(rows)} of its steps are impossible and were left out.")
            curve = curve.at(rows)
        if rows:
            found[tag] = Curve(curve.epochs, curve.values, known_times(curve.times))
    return found


def _joined(path: str, name: str, curves: dict[str, Curve], counter: str, notes: Sequence[str]) -> list[Recording]:
    """The trainings of a run that logs the epoch beside the step, by way of a table."""
    steps = sorted({step for curve in curves.values() for step in curve.epochs})
    rows = {step: row for row, step in enumerate(steps)}
    table = Table(path, name, {"step": [float(step) for step in steps]}, notes=list(notes))
    times: Cells = [0.0] * len(steps)
    for tag, curve in curves.items():
        values: Cells = [None] * len(steps)
        for step, value, time in zip(curve.epochs, curve.values, curve.times, strict=True):
            values[rows[step]] = value
            times[rows[step]] = time
        table.columns["epoch" if tag == counter else tag] = values
    table.columns["wall time"] = times
    return recordings_of(table)


def _split_series(series: Mapping[str, Curve]) -> tuple[list[dict[str, Curve]], list[str]]:
    """The trainings in what was logged under several tags, and the tags that were resumed.

    Each tag is split as a table is. A tag with fewer trainings than others is assigned by its wall times: a training
    begins with the first value of the tag that has most trainings.
    """
    resumed = []
    parts: dict[str, list[Curve]] = {}
    for tag, curve in series.items():
        split: list[list[int]] = [[]]
        for row, step in enumerate(curve.epochs):
            rows = split[-1]
            if rows and step <= curve.epochs[rows[-1]]:
                if step < curve.epochs[rows[-1]] and step <= curve.epochs[rows[0]]:
                    rows = []
                    split.append(rows)
                else:
                    if step < curve.epochs[rows[-1]] and tag not in resumed:
                        resumed.append(tag)
                    while rows and curve.epochs[rows[-1]] >= step:
                        rows.pop()
            rows.append(row)
        parts[tag] = [curve.at(rows) for rows in split]
    most = max(parts.values(), key=len)
    begins = [part.times[0] for part in most]
    trainings: list[dict[str, Curve]] = [{} for _ in most]
    for tag, found in parts.items():
        for number, part in enumerate(found):
            if len(found) < len(most):
                number = max(bisect.bisect_right(begins, part.times[0]) - 1, 0)
            trainings[number][tag] = part
    return trainings, resumed
