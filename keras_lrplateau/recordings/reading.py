"""Reads recorded trainings, whatever wrote them: a replay starts from here.

The content of a file says what it is, not its name. Each text format in `FORMATS` makes a `Table` of a text, and
`trainings.py` makes a `Recording` of each training in a table. Event files of TensorBoard hold curves already.

Files may come from anywhere and are rarely clean. What is odd is read as the only thing that it can mean, or as what it
most likely means, with a note, or a `CurveError` says the file, the line and what to do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from keras_lrplateau.files.places import is_url
from keras_lrplateau.recordings import csv_file, events, json_file, keras_log, mlflow, text_records
from keras_lrplateau.recordings.decoding import decode, without_timestamps
from keras_lrplateau.recordings.recording import CurveError, Recording
from keras_lrplateau.recordings.table import Table
from keras_lrplateau.recordings.trainings import recordings_of


class Format(NamedTuple):
    """A form of text in which trainings are recorded.

    Attributes:
        words: What it is, for people.
        read: Takes the path, a name for the recordings and the text. Returns the tables in it, or None if the text has
            another form. Raises a `CurveError` if it has this form and cannot be read.
    """

    words: str
    read: Callable[[str, str, str], list[Table] | None]


FORMATS = (
    Format("JSON (History.history, trainer_state.json, one object a line)", json_file.read),
    Format("what Keras prints while it trains", keras_log.read),
    Format("text with an object on its lines (what Hugging Face's Trainer prints)", text_records.read),
    Format("a metric file of MLflow", mlflow.read),
    Format("CSV with a line of names (CSVLogger, timm, Lightning, Ultralytics, pandas)", csv_file.read),
)
"""In this order, each is asked whether a text is of its form."""

KNOWN = f"{', '.join(form.words for form in FORMATS)}, and directories of TensorBoard's event files or MLflow's runs"

REMEDY = "write it as CSV with a line of names and a row for each epoch, such as epoch,loss,val_loss"
"""What to do with any other file."""

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".log", ".txt")
"""Files with these endings are read in a directory, also with .gz behind."""


def read(path: str | os.PathLike[str]) -> list[Recording]:
    """Read all trainings in a file or directory.

    Args:
        path: A local path, where `~` is the home directory. A file: CSV, with any separator and, where that is not the
            comma, decimal commas; JSON; what Keras prints; an event file of TensorBoard; also gzipped. Or a directory:
            all runs of MLflow or TensorBoard in it and below; if there are none, the recorded curves that are directly
            in it.

    Returns:
        The trainings, at least one, in the order of the file or of the names.

    Raises:
        CurveError: There is no such file, it holds no curve, or it is too broken to be read for certain.
    """
    place = Path(os.path.expanduser(path))
    if is_url(path) and not place.exists():
        raise CurveError(f"{path}: this is a URL; download it, and give the file or directory on this machine")
    return _read_directory(place) if place.is_dir() else _read_file(place)


def _read_directory(place: Path) -> list[Recording]:
    for read_runs in (mlflow.read_directory, events.read_directory):
        found = read_runs(place)
        if found is not None:
            return found
    recordings: list[Recording] = []
    refused = []
    try:
        paths = sorted(place.iterdir())
    except OSError as error:
        raise CurveError(f"{place}: cannot be read: {error.strerror}; check the path") from None
    for path in paths:
        if path.is_file() and path.name.removesuffix(".gz").endswith(SUFFIXES):
            try:
                recordings += _read_file(path)
            except CurveError as error:
                refused.append(str(error))
    if not recordings:
        why = f" Of the files in it: {'; '.join(refused[:3])}" if refused else ""
        raise CurveError(f"{place}: no event file below it and no curve in it; give a log directory or a file.{why}")
    return _noted(recordings, [f"Not read: {reason}." for reason in refused])


def _noted(recordings: list[Recording], notes: Sequence[str]) -> list[Recording]:
    """The recordings; the first one gets the notes."""
    first, *others = recordings
    return [replace(first, notes=(*first.notes, *notes)), *others]


def _read_file(place: Path) -> list[Recording]:
    path = str(place)
    try:
        with open(place, "rb") as file:
            content = file.read(64)
            if events.is_event_file(place.name, content):
                return events.read_file(place)
            content += file.read()
    except OSError as error:
        raise CurveError(f"{path}: cannot be read: {error.strerror}; check the path") from None
    text, notes = decode(path, content, KNOWN)
    try:
        return _read_text(path, place.name, text, notes)
    except CurveError:
        without = without_timestamps(text)
        if without is None:
            raise
        reasons = [*notes, "What loggers write before each line, such as the time, was not read."]
        try:
            return _read_text(path, place.name, without, reasons)
        except CurveError:
            pass
        raise


def _read_text(path: str, name: str, text: str, notes: Sequence[str]) -> list[Recording]:
    for form in FORMATS:
        tables = form.read(path, name, text)
        if tables is not None:
            for table in tables:
                table.notes += notes
            return [recording for table in tables for recording in recordings_of(table)]
    first = next((number for number, line in enumerate(text.split("\n"), 1) if line.strip()), 1)
    raise CurveError(f"{path}:{first}: no training curve in a form that is known; {REMEDY}. Known are {KNOWN}")
