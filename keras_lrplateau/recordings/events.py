"""Recordings from TensorBoard's event files: those of Keras, of other loggers, and runs of ours.

Keras writes a training as two runs, train and validation; they become one recording. Event files hold curves already,
so they skip the table, unless they log the epoch beside the step.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from keras_lrplateau.history.event_files import event_files
from keras_lrplateau.history.run import Curve
from keras_lrplateau.recordings.names import listed
from keras_lrplateau.recordings.recording import CurveError, Recording
from keras_lrplateau.recordings.series import counted, recordings_of_series

if TYPE_CHECKING:
    from keras_lrplateau.history.event_reader import Logged

_PREFIXES = {"train": "", "validation": "val_", "valid": "val_", "val": "val_", "eval": "eval_", "test": "test_"}
"""What the directories of one training are called, and what the names of their metrics begin with."""

_KERAS = "epoch_"
"""What Keras' TensorBoard callback puts before the name of a metric, logged by epoch."""

_BY_BATCH = ("batch_", "evaluation_")
"""What it puts before the name of a metric, logged by batch."""


def is_event_file(name: str, content: bytes) -> bool:
    """Whether it is an event file, by its name or by the first bytes of its content; a compressed one is none."""
    return ("tfevents" in name and not content.startswith(b"\x1f\x8b")) or b"brain.Event:" in content


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
    groups: dict[str, list[tuple[Path, Logged]]] = {}
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
            if _kind(directory, logged) in _PREFIXES and len(runs) > 1:
                name = top if place.parent == root else name.rpartition("/")[0]
            groups.setdefault(name, []).append((directory, logged))
        elif logged.notes:
            reason = logged.notes[0].partition(";")[0].rstrip(".")
            refused.append(f"{place}: {reason}, and there are no scalars before; give another run, or an older copy")
    for name, found in groups.items():
        try:
            recordings += _recordings_of(str(root), name, found)
        except CurveError as error:
            refused.append(str(error))
    if recordings:
        first, *others = recordings
        return [replace(first, notes=(*first.notes, *(f"Not read: {reason}." for reason in refused))), *others]
    if refused:
        raise CurveError(refused[0])
    raise CurveError(
        f"{root}: no scalars in the event files; the training logged none, or elsewhere: give the log directory above"
    )


def _kind(directory: Path, logged: Logged) -> str:
    """The word in the name of a run's directory that may say which data the run is about.

    PyTorch's `add_scalars` makes a directory for each curve, such as "loss_val" of the one that it calls "loss".
    """
    (tag, *others) = logged.scalars
    return directory.name if others else directory.name.removeprefix(f"{tag.replace('/', '_')}_")


def _prefix(directory: Path, logged: Logged) -> str:
    """What the names of a run's metrics begin with; Keras logs evaluation_... for the validation data only."""
    if any(tag.startswith("evaluation_") for tag in logged.scalars):
        return "val_"
    return _PREFIXES.get(_kind(directory, logged), "")


def _recordings_of(path: str, name: str, runs: Sequence[tuple[Path, Logged]]) -> list[Recording]:
    """The trainings in the runs of one name, such as Keras' train and validation, each with its directory."""
    notes = [note for _, logged in runs for note in logged.notes]
    is_keras = any(tag.startswith(_KERAS) for _, logged in runs for tag in logged.scalars)
    series: dict[str, Curve] = {}
    others: dict[str, Curve] = {}
    skipped = []
    for directory, logged in runs:
        prefix = _prefix(directory, logged)
        for tag, curve in _possible(logged, notes).items():
            if not is_keras or tag.startswith(_KERAS):
                metric = tag.removeprefix(_KERAS) if is_keras else tag.strip()
                called = f"{prefix}{metric}"
                series[called if called not in series else f"{directory.name}/{metric}"] = curve
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
    if not series:
        raise CurveError(f"{path}: every value in {name!r} is at an impossible step; give another run")
    return recordings_of_series(path, name, series, notes, is_by_epoch=is_keras)


def _possible(logged: Logged, notes: list[str]) -> dict[str, Curve]:
    """The scalars without impossible steps, and with the nearest known time in place of each impossible one."""
    from keras_lrplateau.history.event_reader import known_times

    found = {}
    for tag, curve in logged.scalars.items():
        curve = counted(tag, curve, notes)
        if curve.epochs:
            found[tag] = Curve(curve.epochs, curve.values, known_times(curve.times))
    return found
