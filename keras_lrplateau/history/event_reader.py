"""Reads the trainings back out of TensorBoard: for the tab, from its data server, and for the report, from its loader.

Only through TensorBoard's `DataProvider`, which is all that there is in every mode of TensorBoard.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # It ships no annotations.
from tensorboard.data.provider import RunTagFilter
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams.error import HParamsError
from tensorboard.plugins.scalar import metadata as scalar_metadata

from keras_lrplateau.history import codec, tags
from keras_lrplateau.history.run import Curve, Record, Run

ALL = 10**9
"""Data providers ask how many values are wanted."""

Settings = Mapping[str, bool | float | str]
"""Arguments of the callback, by name. TensorBoard knows no integers."""


class UnreadableError(ValueError):
    """What a run holds cannot be read; the text says why, for the user."""


def list_runs(provider: Any, context: Any, experiment_id: str) -> list[str]:
    """The names of the runs that hold data of ours, readable or not, in order.

    Args:
        provider: A TensorBoard `DataProvider`.
        context: The `tensorboard.context.RequestContext` of a request.
        experiment_id: That of the request.
    """
    found = provider.list_tensors(context, experiment_id=experiment_id, plugin_name=tags.PLUGIN_NAME)
    return sorted(run for run, by_tag in found.items() if tags.TAG in by_tag)


def read_runs(
    provider: Any, context: Any, experiment_id: str, names: Collection[str], *, only_last: bool = False
) -> dict[str, Run | UnreadableError]:
    """Read runs.

    Args:
        provider, context, experiment_id: As in `list_runs`.
        names: Those of the runs. What holds no data of ours is left out of the result.
        only_last: Whether the last record of a run and the last value of each curve will do, which takes a hundredth of
            the time.

    Returns:
        By name, the run or why it cannot be read.
    """
    if not names:
        return {}
    where = {"experiment_id": experiment_id, "plugin_name": tags.PLUGIN_NAME}
    chosen = RunTagFilter(runs=set(names), tags={tags.TAG})
    listed = provider.list_tensors(context, **where, run_tag_filter=chosen)
    # Data providers always include the last value.
    events = provider.read_tensors(context, **where, downsample=1 if only_last else ALL, run_tag_filter=chosen)
    scalars = _read_scalars(provider, context, experiment_id, set(events), only_last)
    runs: dict[str, Run | UnreadableError] = {}
    # A run may have come between the two questions.
    for name in sorted(events.keys() & listed.keys()):
        try:
            tags.check_plugin_content(listed[name][tags.TAG].plugin_content)
            runs[name] = Run(name, scalars.get(name, {}), _records(events[name][tags.TAG]))
        except ValueError as error:
            runs[name] = UnreadableError(f"the run {name!r} cannot be read: {error}")
    return runs


def read_settings(provider: Any, context: Any, experiment_id: str, name: str) -> Settings:
    """The arguments that the callback of a run was made with, as it writes them for the HParams tab.

    Args:
        provider, context, experiment_id: As in `list_runs`.
        name: That of the run.

    Returns:
        Those that are truth values, numbers or texts; so one that is None is left out. Empty if there are none, or
        another release of TensorBoard has written them.
    """
    tag, plugin = hparams_metadata.SESSION_START_INFO_TAG, hparams_metadata.PLUGIN_NAME
    chosen = RunTagFilter(runs={name}, tags={tag})
    found = provider.list_tensors(context, experiment_id=experiment_id, plugin_name=plugin, run_tag_filter=chosen)
    if tag not in found.get(name, {}):
        return {}
    try:
        stored = hparams_metadata.parse_session_start_info_plugin_data(found[name][tag].plugin_content).hparams
    except (HParamsError, DecodeError):
        return {}
    kinds = {key: value.WhichOneof("kind") for key, value in stored.items()}
    plain = ("bool_value", "number_value", "string_value")
    return {key: getattr(stored[key], kind) for key, kind in kinds.items() if kind in plain}


def _records(events: Any) -> list[Record]:
    """The last record of each epoch, without those from before a resume that are later than it."""
    records: list[Record] = []
    for event in events:
        record = codec.decode(_payload(event.numpy), _time(event))
        while records and records[-1].epoch >= record.epoch:
            records.pop()
        records.append(record)
    if not records:
        raise ValueError("there is no record in it")
    return records


def _time(event: Any) -> float:
    """The wall time; of a file that has none, the start of 1970."""
    return float(event.wall_time) if math.isfinite(event.wall_time) else 0.0


def _payload(value: Any) -> bytes:
    content = np.asarray(value).item() if np.size(value) == 1 else None
    if not isinstance(content, (bytes, str)):
        raise ValueError("a record is not a text")
    return content if isinstance(content, bytes) else content.encode()


def _read_scalars(
    provider: Any, context: Any, experiment_id: str, runs: Collection[str], only_last: bool
) -> Mapping[str, dict[str, Curve]]:
    """The curves of the runs, by run and by name, in the order of their steps."""
    where = {
        "experiment_id": experiment_id,
        "plugin_name": scalar_metadata.PLUGIN_NAME,
        "run_tag_filter": RunTagFilter(runs=set(runs)),
    }
    if only_last:
        last = provider.read_last_scalars(context, **where)
        found = {run: {tag: [datum] for tag, datum in by_tag.items()} for run, by_tag in last.items()}
    else:
        found = provider.read_scalars(context, **where, downsample=ALL)
    return {
        run: {
            tag.removeprefix(tags.PREFIX): _curve(data)
            for tag, data in by_tag.items()
            if tag.startswith(tags.PREFIX) and data
        }
        for run, by_tag in found.items()
    }


def _curve(data: Any) -> Curve:
    """In the order of their steps; of a step that was written twice, the last value counts."""
    curve = Curve()
    for datum in data:
        if curve.epochs and datum.step <= curve.epochs[-1]:
            at = bisect.bisect_left(curve.epochs, datum.step)
            del curve.epochs[at:], curve.values[at:], curve.times[at:]
        curve.append(datum.step, datum.value, _time(datum))
    return curve
