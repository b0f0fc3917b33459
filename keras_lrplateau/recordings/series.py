"""From curves that were logged under several names, each with steps of its own, to the trainings in them."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence

from keras_lrplateau.history.run import Curve
from keras_lrplateau.recordings.cells import Cells
from keras_lrplateau.recordings.names import is_held_out, listed
from keras_lrplateau.recordings.recording import Recording, with_rates
from keras_lrplateau.recordings.table import Table
from keras_lrplateau.recordings.trainings import recordings_of
from keras_lrplateau.recordings.untangle import count_epochs, rows_behind

_MOST = 2**53
"""No step is larger: a float holds all integers up to this one."""


def counted(name: str, curve: Curve, notes: list[str]) -> Curve:
    """The curve without impossible steps; the values are counted if none of several has a step."""
    if len(curve.epochs) > 1 and not any(curve.epochs):
        notes.append(f"{name!r} was logged without steps: its values are counted.")
        return Curve(list(range(len(curve.values))), curve.values, curve.times)
    rows = [row for row, step in enumerate(curve.epochs) if 0 <= step <= _MOST]
    if len(rows) == len(curve.epochs):
        return curve
    notes.append(f"{name!r}: {len(curve.epochs) - len(rows)} of its steps are impossible and were left out.")
    return curve.at(rows)


def recordings_of_series(
    path: str, name: str, series: Mapping[str, Curve], notes: Sequence[str], *, is_by_epoch: bool = False
) -> list[Recording]:
    """The trainings in curves of one name.

    Args:
        path: What an error begins with.
        name: The name of the recordings.
        series: The curves in the order of writing, at least one; their steps may go back.
        notes: What was odd so far.
        is_by_epoch: Whether steps are surely epochs.
    """
    notes = list(notes)
    counter = None if is_by_epoch else next((tag for tag in ("epoch", "train/epoch") if tag in series), None)
    if counter is not None:
        others = {tag: curve for tag, curve in series.items() if tag != counter}
        if _validated_by_epoch(path, name, others, notes) is not None:
            series, counter = others, None  # It was logged beside both counts.
    trainings, resumed = _split(series)
    if resumed:
        notes.append(f"The steps of {listed(resumed)} go back: what there was from there on is replaced.")
    if len(trainings) > 1:
        notes.insert(0, f"The steps start again: read as {len(trainings)} trainings.")
    recordings = []
    for number, curves in enumerate(trainings, 1):
        own = name if number == 1 else f"{name} ({number})"
        table = None
        if counter in curves:  # Lightning's and Hugging Face's loggers.
            table = _joined(path, own, curves, counter, notes)
        elif not is_by_epoch:
            table = _validated_by_epoch(path, own, curves, notes)
        if table is not None:
            recordings += recordings_of(table)
            continue
        found = list(notes)
        steps = {step for curve in curves.values() for step in curve.epochs}
        first, last = min(steps), max(steps)
        by_epoch = is_by_epoch or (first in (0, 1) and last - first + 1 == len(steps))
        if by_epoch and not is_by_epoch:
            found.append("The steps count up by one and are taken for epochs, which the file does not say.")
            if first == 1:
                for curve in curves.values():
                    curve.epochs = [step - 1 for step in curve.epochs]
        curves = with_rates(curves, found)
        recordings.append(Recording(own, "epoch" if by_epoch else "step", curves, (), tuple(found)))
    return recordings


def _validated_by_epoch(path: str, name: str, curves: Mapping[str, Curve], notes: Sequence[str]) -> Table | None:
    """The table of a run in which the validation counts epochs and the training steps; None if it is no such run."""
    points = sorted(
        (time, is_held_out(tag), tag, step, value)
        for tag, curve in curves.items()
        for step, value, time in zip(curve.epochs, curve.values, curve.times, strict=True)
    )
    steps = [float(step) for _, _, _, step, _ in points]
    if not rows_behind(steps):
        return None
    table = Table(path, name, {"step": [*steps]}, notes=list(notes))
    for tag in curves:
        table.columns[tag] = [value if each == tag else None for _, _, each, _, value in points]
    table.columns["wall time"] = [time for time, *_ in points]
    return table if count_epochs(table) else None


def _joined(path: str, name: str, curves: dict[str, Curve], counter: str, notes: Sequence[str]) -> Table:
    """The table of a run that logs the epoch beside the step."""
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
    return table


def _split(series: Mapping[str, Curve]) -> tuple[list[dict[str, Curve]], list[str]]:
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
