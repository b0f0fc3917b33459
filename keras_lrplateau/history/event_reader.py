"""Reads runs from the events that TensorBoard's writers and ours have logged.

Events come from one of two sources. The command and recordings read files on disk: these hold everything, and reading
them needs neither TensorBoard's loader nor TensorFlow. The tab reads from TensorBoard's `DataProvider`, the only source
that every mode of TensorBoard has. Both sources give a `Logged`, from which the rest is the same.

Event files may come from anywhere. A run that makes no sense raises an `UnreadableError` with the reason, and does not
stop the others from being read.
"""

from __future__ import annotations

import bisect
import math
import mmap
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # It ships no annotations.
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.compat.tensorflow_stub import errors, pywrap_tensorflow
from tensorboard.data.provider import RunTagFilter
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams.error import HParamsError
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.util import tensor_util

from keras_lrplateau.history import codec, tags
from keras_lrplateau.history.event_files import event_files
from keras_lrplateau.history.run import Curve, Record, Run
from keras_lrplateau.rule.words import number

ALL = 10**9
"""Stands for all values where a data provider asks how many to return."""

LATEST = 253_402_300_800.0
"""The year 10000, in seconds since 1970. A wall time must be earlier."""

MALFORMED = (ValueError, TypeError, OverflowError, MemoryError)
"""The errors that TensorBoard raises when it decodes a malformed tensor."""

Settings = Mapping[str, bool | float | str]
"""Arguments of the callback, by name. TensorBoard knows no integers."""


class UnreadableError(ValueError):
    """A run cannot be read; the text tells the user why."""


@dataclass(slots=True)
class Logged:
    """The events of a run, in the order of writing.

    Attributes:
        scalars: The values by tag. The steps of a curve may go back.
        payloads: Our records: step, wall time and content, which is None if it is not text.
        content: The plugin content of the tag of our records.
        notes: The faults of the files, one sentence for each.
    """

    scalars: dict[str, Curve] = field(default_factory=dict)
    payloads: list[tuple[int, float, bytes | None]] = field(default_factory=list)
    content: bytes = b""
    notes: list[str] = field(default_factory=list)


# --- from events to a run --------------------------------------------------------------------------------------------


def run_of(name: str, logged: Logged) -> Run:
    """Make the run of a training from its events.

    Args:
        name: The name of the run.
        logged: The events of the run.

    Raises:
        UnreadableError: This release's callback did not write the run, or it has steps or wall times that no training
            can have.
    """
    try:
        tags.check_plugin_content(logged.content)
        records = _records(logged.payloads)
        curves = {
            curve_name: _in_order(tag, curve)
            for tag, curve in logged.scalars.items()
            if (curve_name := tags.curve_of(tag)) is not None
        }
    except ValueError as error:
        raise UnreadableError(f"the run {name!r} cannot be read: {error}") from None
    return Run(name, curves, records)


def _records(payloads: Sequence[tuple[int, float, bytes | None]]) -> list[Record]:
    """Return the last record of each epoch, without those that a resume has voided."""
    records: list[Record] = []
    times = _checked_times(tags.TAG, [time for _, time, _ in payloads])
    for (_, _, content), time in zip(payloads, times, strict=True):
        if content is None:
            raise ValueError("a record is not a text")
        record = codec.decode(content, time)
        while records and records[-1].epoch >= record.epoch:
            records.pop()
        records.append(record)
    if not records:
        raise ValueError("there is no record in it")
    return records


def _in_order(tag: str, logged: Curve) -> Curve:
    """Return the curve in the order of its steps. A step that goes back voids earlier values from that step on."""
    curve = Curve()
    for step, value, time in zip(logged.epochs, logged.values, _checked_times(tag, logged.times), strict=True):
        if not 0 <= step <= codec.MOST:
            raise ValueError(f"{tag!r} has a value at step {step}; steps must be from 0 to {codec.MOST}")
        if curve.epochs and step <= curve.epochs[-1]:
            at = bisect.bisect_left(curve.epochs, step)
            del curve.epochs[at:], curve.values[at:], curve.times[at:]
        curve.append(step, value, time)
    return curve


def _checked_times(tag: str, times: Sequence[float]) -> list[float]:
    """Return `known_times` for one of our runs, in which a wall time may be missing, but not impossible."""
    for time in times:
        if math.isfinite(time) and time != 0 and not _is_time(time):
            raise ValueError(f"{tag!r} has a wall time of {number(time)} seconds since 1970, which no clock shows")
    return known_times(times)


def known_times(times: Sequence[float]) -> list[float]:
    """Replace each impossible wall time by the nearest earlier possible one; all become 0.0 if none is possible."""
    last = next(filter(_is_time, times), 0.0)
    found = []
    for time in times:
        last = time if _is_time(time) else last
        found.append(last)
    return found


def _is_time(time: float) -> bool:
    return 0 < time < LATEST


# --- files on disk ---------------------------------------------------------------------------------------------------


def find_runs(root: Path) -> dict[Path, list[Path]]:
    """Find the event files of our runs in a directory and below; by the directory of the run.

    Other programs' files are searched but not parsed: they may hold gigabytes of histograms.
    """
    found = event_files(root)
    return {
        directory: files
        for directory, files in found.items()
        if any(_may_hold(file, tags.TAG.encode()) for file in files)
    }


def _may_hold(path: Path, text: bytes) -> bool:
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(text) >= 0
    except ValueError:  # It is empty.
        return False
    except OSError:  # Reading it will fail, too, and report the error.
        return True


def read_run(name: str, files: Sequence[Path], notes: list[str] | None = None) -> Run:
    """Read our run from event files.

    Args:
        name: The name of the run.
        files: Its event files, in the order in which they were written.
        notes: Gets the faults of the files, one sentence for each, if the run can be read in spite of them.

    Raises:
        UnreadableError: The files are damaged, or our callback did not write them.
    """
    logged = read_files(files)
    if not logged.payloads:
        why = logged.notes[0] if logged.notes else "There is no record of ours in it."
        raise UnreadableError(
            f"its event file cannot be read and may be damaged; move it elsewhere to go without it ({why})"
        )
    run = run_of(name, logged)
    if notes is not None:
        notes += logged.notes
    return run


def read_files(files: Sequence[Path]) -> Logged:
    """Read the scalars and our records from the event files of one run.

    Args:
        files: The files, in the order in which they were written.

    Returns:
        Everything that can be read; the notes say what cannot.
    """
    logged = Logged()
    plugins: dict[str, str] = {}
    skipped: dict[str, int] = {}
    is_restart = False
    for path in files:
        # TensorBoard has two readers, and this is the one for machines without TensorFlow. The other imports TensorFlow
        # wherever it is installed, and does not report a file that breaks off.
        at = 0
        try:
            reader = pywrap_tensorflow.PyRecordReader_New(str(path), 0, "", None)
            while True:
                reader.GetNext()
                event = Event.FromString(reader.record())
                at += len(reader.record()) + 16
                if event.HasField("session_log") and event.session_log.status == SessionLog.START:
                    # From the second START on, TensorBoard drops this step and later ones.
                    if is_restart:
                        _take_back(logged, event.step)
                    is_restart = True
                for value in event.summary.value:
                    if not _take(logged, plugins, value, event.step, event.wall_time):
                        skipped[value.tag] = skipped.get(value.tag, 0) + 1
        except errors.OutOfRangeError:
            continue
        except Exception as error:  # A DataLossError, a file that is gone, or one of the two errors of protobuf.
            logged.notes.append(_broken(path, at, error))
    for tag, count in skipped.items():
        values = "a value is malformed and was" if count == 1 else f"{count} values are malformed and were"
        logged.notes.append(f"{tag!r}: {values} left out.")
    return logged


def _broken(path: Path, at: int, error: Exception) -> str:
    if isinstance(error, (OSError, errors.NotFoundError, errors.PermissionDeniedError)):
        return f"The event file {path.name} cannot be opened."
    how = "cut off" if "truncated" in str(error) else "damaged"
    return f"The event file {path.name} is {how} after {at} bytes; what comes before was read."


def _take(logged: Logged, plugins: dict[str, str], value: Any, step: int, time: float) -> bool:
    """Keep a summary value if it is a scalar or one of our records; False if it is a malformed scalar."""
    tag = value.tag
    if value.HasField("metadata"):
        plugins.setdefault(tag, value.metadata.plugin_data.plugin_name)
        if tag == tags.TAG and not logged.content:
            logged.content = value.metadata.plugin_data.content
    kind, plugin = value.WhichOneof("value"), plugins.get(tag)
    if kind == "simple_value":
        logged.scalars.setdefault(tag, Curve()).append(step, value.simple_value, time)
    elif kind == "tensor" and plugin == scalar_metadata.PLUGIN_NAME:
        if not _is_single(value.tensor):
            return True
        try:
            number = float(tensor_util.make_ndarray(value.tensor).item())
        except MALFORMED:
            return False
        logged.scalars.setdefault(tag, Curve()).append(step, number, time)
    elif kind == "tensor" and plugin == tags.PLUGIN_NAME and tag == tags.TAG:
        tensor = value.tensor
        is_text = tensor.dtype == DT_STRING and len(tensor.string_val) == 1 and _is_single(tensor)
        logged.payloads.append((step, time, tensor.string_val[0] if is_text else None))
    return True


def _is_single(tensor: Any) -> bool:
    """Return whether a tensor claims to hold one value. A malformed one may claim more than memory can hold."""
    return all(dim.size == 1 for dim in tensor.tensor_shape.dim)


def _take_back(logged: Logged, step: int) -> None:
    """Drop the events of this step and later ones."""
    logged.payloads = [each for each in logged.payloads if each[0] < step]
    for tag, curve in list(logged.scalars.items()):
        rows = [row for row, each in enumerate(curve.epochs) if each < step]
        if rows:
            logged.scalars[tag] = curve.at(rows)
        else:
            del logged.scalars[tag]


# --- TensorBoard's data provider -------------------------------------------------------------------------------------


def list_runs(provider: Any, context: Any, experiment_id: str) -> dict[str, Hashable]:
    """List the runs that our callback wrote, readable or not.

    Args:
        provider: A TensorBoard `DataProvider`.
        context: The `tensorboard.context.RequestContext` of a request.
        experiment_id: The experiment of the request.

    Returns:
        A value for each name, in order; it stays equal until the run changes. No run is read for this.
    """
    where = {"experiment_id": experiment_id}
    found = provider.list_tensors(context, **where, plugin_name=tags.PLUGIN_NAME)
    names = sorted(name for name, by_tag in found.items() if tags.TAG in by_tag)
    chosen = RunTagFilter(runs=set(names))
    scalars = provider.list_scalars(context, **where, plugin_name=scalar_metadata.PLUGIN_NAME, run_tag_filter=chosen)
    return {name: (_last(found[name]), _last(scalars.get(name, {}))) for name in names}


def _last(series: Mapping[str, Any]) -> frozenset[tuple[str, int, str]]:
    """Return the last step and wall time of each tag; times as texts, because NaN is not equal to itself."""
    return frozenset((tag, each.max_step, str(each.max_wall_time)) for tag, each in series.items())


def read_runs(
    provider: Any, context: Any, experiment_id: str, names: Collection[str], *, only_last: bool = False
) -> dict[str, Run | UnreadableError]:
    """Read runs from TensorBoard.

    Args:
        provider, context, experiment_id: As in `list_runs`.
        names: The names of the runs. The result leaves out runs that our callback did not write.
        only_last: Whether to read only the last record of a run and the last value of each curve, in a hundredth of the
            time.

    Returns:
        By name, the run or the reason why it cannot be read.
    """
    runs: dict[str, Run | UnreadableError] = {}
    for name, logged in sorted(_ask(provider, context, experiment_id, sorted(names), only_last).items()):
        try:
            runs[name] = logged if isinstance(logged, UnreadableError) else run_of(name, logged)
        except UnreadableError as error:
            runs[name] = error
    return runs


def _ask(
    provider: Any, context: Any, experiment_id: str, names: Sequence[str], only_last: bool
) -> dict[str, Logged | UnreadableError]:
    """Read the events of runs.

    TensorBoard decodes all runs in one call, which raises if one of them is malformed. So the malformed run is searched
    for by halves.
    """
    if not names:
        return {}
    try:
        return dict(_logged(provider, context, experiment_id, names, only_last))
    except MALFORMED as error:
        if len(names) == 1:
            (name,) = names
            return {name: UnreadableError(f"the run {name!r} cannot be read: TensorBoard cannot decode it ({error})")}
    half = len(names) // 2
    return {
        name: logged
        for part in (names[:half], names[half:])
        for name, logged in _ask(provider, context, experiment_id, part, only_last).items()
    }


def _logged(
    provider: Any, context: Any, experiment_id: str, names: Sequence[str], only_last: bool
) -> dict[str, Logged]:
    where = {"experiment_id": experiment_id, "plugin_name": tags.PLUGIN_NAME}
    chosen = RunTagFilter(runs=set(names), tags={tags.TAG})
    listed = provider.list_tensors(context, **where, run_tag_filter=chosen)
    # Data providers always include the last value.
    events = provider.read_tensors(context, **where, downsample=1 if only_last else ALL, run_tag_filter=chosen)
    # A run may have appeared between the two calls.
    found = events.keys() & listed.keys()
    scalars = _read_scalars(provider, context, experiment_id, found, only_last)
    return {
        name: Logged(
            scalars={
                tag: Curve(
                    [each.step for each in data], [each.value for each in data], [each.wall_time for each in data]
                )
                for tag, data in scalars.get(name, {}).items()
                if data
            },
            payloads=[(each.step, each.wall_time, _text_of(each.numpy)) for each in events[name][tags.TAG]],
            content=listed[name][tags.TAG].plugin_content,
        )
        for name in found
    }


def _read_scalars(
    provider: Any, context: Any, experiment_id: str, names: Collection[str], only_last: bool
) -> Mapping[str, Mapping[str, Sequence[Any]]]:
    where = {
        "experiment_id": experiment_id,
        "plugin_name": scalar_metadata.PLUGIN_NAME,
        "run_tag_filter": RunTagFilter(runs=set(names)),
    }
    if not only_last:
        found: Mapping[str, Mapping[str, Sequence[Any]]] = provider.read_scalars(context, **where, downsample=ALL)
        return found
    last = provider.read_last_scalars(context, **where)
    return {run: {tag: [datum] for tag, datum in by_tag.items()} for run, by_tag in last.items()}


def _text_of(value: Any) -> bytes | None:
    content = np.asarray(value).item() if np.size(value) == 1 else None
    if isinstance(content, str):
        return content.encode()
    return content if isinstance(content, bytes) else None


def read_settings(provider: Any, context: Any, experiment_id: str, names: Collection[str]) -> dict[str, Settings]:
    """Read the arguments of the callbacks of runs, which they write for the HParams tab.

    Args:
        provider, context, experiment_id: As in `list_runs`.
        names: The names of the runs.

    Returns:
        By name, the arguments that are booleans, numbers or texts; those that are None are left out. Empty if there are
        none, or if another release of TensorBoard wrote them.
    """
    if not names:
        return {}
    tag, plugin = hparams_metadata.SESSION_START_INFO_TAG, hparams_metadata.PLUGIN_NAME
    chosen = RunTagFilter(runs=set(names), tags={tag})
    found = provider.list_tensors(context, experiment_id=experiment_id, plugin_name=plugin, run_tag_filter=chosen)
    return {name: _settings(found[name][tag].plugin_content) if tag in found.get(name, {}) else {} for name in names}


def _settings(content: bytes) -> Settings:
    try:
        stored = hparams_metadata.parse_session_start_info_plugin_data(content).hparams
    except (HParamsError, DecodeError):
        return {}
    kinds = {key: value.WhichOneof("kind") for key, value in stored.items()}
    plain = ("bool_value", "number_value", "string_value")
    return {key: getattr(stored[key], kind) for key, kind in kinds.items() if kind in plain}
