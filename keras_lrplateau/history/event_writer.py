"""Writes a training into an event file, for stock TensorBoard and for our own tab.

It needs `tensorboard.compat.proto` and `RecordWriter`, but no TensorFlow. TensorBoard's own `EventFileWriter` would
import TensorFlow wherever it is installed, even under JAX and PyTorch, and flushes only every two minutes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import math
import os
import re
import socket
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_SCALAR, DATA_CLASS_TENSOR, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_STRING
from tensorboard.plugins.custom_scalar import metadata as custom_scalar_metadata
from tensorboard.plugins.custom_scalar.layout_pb2 import Category, Chart, Layout, MultilineChartContent
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.summary.writer.record_writer import RecordWriter

from keras_lrplateau.history import codec, tags
from keras_lrplateau.history.run import RUN_NAME, Record
from keras_lrplateau.history.tags import PREFIX
from keras_lrplateau.rule.decision import Decision
from keras_lrplateau.rule.words import change, number

TEXT_TAG = PREFIX + "decision"
"""The tag of the decisions in the Text tab."""

_counter = itertools.count()


@final
class EventWriter:
    """One event file, in a run directory of its own.

    Every method hands its data to the operating system before it returns, so a killed process loses none of it.

    When a write fails, the method raises OSError and closes the file, because anything after half a record would be
    unreadable. Half a record at the end of a file does no harm. A new EventWriter in the same directory goes on.

    Args:
        run_dir: The run directory. It is made if it is missing.
        first_step: The epoch, from 0, at which the training starts or resumes. It voids this epoch and later ones in
            earlier event files of `run_dir`: a crashed training may have gone further than its last checkpoint.
            TensorBoard's data server ignores session logs, and takes this from the record of the epoch.

    Raises:
        OSError: The directory or the file cannot be made or written.

    Attributes:
        path: The event file.
        resumes: Whether the directory held event files already.
    """

    def __init__(self, run_dir: str | os.PathLike[str], first_step: int) -> None:
        self._run_dir = Path(run_dir)
        self._run_dir.mkdir(parents=True, exist_ok=True)
        self._first_step = int(first_step)
        self.resumes = bool(names_of_event_files(self._run_dir))
        _announce(self._run_dir)
        self.path = self._run_dir / _new_name(names_of_event_files(self._run_dir))
        # Unbuffered, because a buffer would repeat a failed write on close. "x" never opens an existing file.
        self._file = open(self.path, "xb", buffering=0)  # noqa: SIM115 - open for as long as the training
        # At a START, the Python loader drops its step and later ones from earlier files.
        start = SessionLog(status=SessionLog.SessionStatus.START)
        self._write(
            Event(wall_time=time.time(), file_version="brain.Event:2"),
            Event(wall_time=time.time(), step=self._first_step, session_log=start),
        )

    def scalars(self, step: int, values: Mapping[str, float], wall_time: float) -> None:
        """Write the values of one epoch, for the tabs Time Series and Scalars, and the logarithms of learning rates.

        Args:
            step: The epoch, from 0.
            values: The values by name, without prefix. Non-finite values are kept.
            wall_time: The end of the epoch, in seconds since 1970.

        Raises:
            OSError: The file cannot be written, or is closed.
        """
        about = scalar_metadata.create_summary_metadata(display_name=None, description=None)
        about.data_class = DATA_CLASS_SCALAR
        named = {PREFIX + name: value for name, value in values.items()}
        for name, value in values.items():
            if name.startswith("learning_rate") and value > 0:
                named[tags.LOG10.format(name)] = math.log10(value)
        tensors = (_value(_as_utf8(tag), about, _float_tensor(value)) for tag, value in named.items())
        self._write_values(step, *tensors, wall_time=wall_time)

    def record(self, record: Record) -> None:
        """Write the decisions of an epoch, for our own tab and, in words, for the Text tab; and the best observation.

        In words, epochs are counted from 1, as in our tab. The steps of all events count from 0, as those of
        `keras.callbacks.TensorBoard` do.

        Args:
            record: The record. Write it again, with all decisions, after a further decision: the last one counts.

        Raises:
            OSError: The file cannot be written, or is closed.
        """
        values = [_value(tags.TAG, tags.summary_metadata(), _string_tensor(codec.encode(record).encode()))]
        if record.best is not None:
            about = scalar_metadata.create_summary_metadata(display_name=None, description=None)
            about.data_class = DATA_CLASS_SCALAR
            tag = _as_utf8(tags.BEST.format(record.monitor))
            values.append(_value(tag, about, _float_tensor(record.best.value)))
        lines = [_markdown(decision, record) for decision in record.decisions]
        if self.resumes and record.epoch == self._first_step:
            # Also for the data server: it drops later steps of a tag when a lower one comes, and the next decision may
            # be far off.
            lines.insert(0, f"**resumed** in epoch {record.epoch + 1}")
        if lines:
            about = text_metadata.create_summary_metadata(display_name=None, description=None)
            about.data_class = DATA_CLASS_TENSOR
            values.append(_value(TEXT_TAG, about, _string_tensor("\n\n".join(lines).encode())))
        self._write_values(record.epoch, *values, wall_time=record.time)

    def layout(self, monitor: str, names: Sequence[str]) -> None:
        """Put the learning rate and the metrics side by side and into one chart, in the Custom Scalars tab.

        What `keras.callbacks.TensorBoard` has written of the same metric is in the same chart. Its rates are not: it
        writes the rate after the epoch, so a cut shows one epoch earlier than in ours.

        Args:
            monitor: The name of the monitored metric. It shares a chart with its validation twin; so do the loss and
                the validation loss.
            names: The names that `scalars` will receive. Names of learning rates begin with "learning_rate".

        Raises:
            OSError: The file cannot be written, or is closed.
        """
        rates = [name for name in names if name.startswith("learning_rate")]
        charts = {"learning rate": [PREFIX + name for name in rates]}
        for name in ("loss", monitor.removeprefix("val_")):
            if ours := [PREFIX + each for each in (name, f"val_{name}") if each in names]:
                charts[name] = [*ours, tags.KERAS.format(name)]
        if rates and "loss" in charts:
            charts["loss and log10(learning rate)"] = charts["loss"] + [tags.LOG10.format(name) for name in rates]
        category = Category(title="LR plateau", chart=[_chart(*chart) for chart in charts.items() if chart[1]])
        about = custom_scalar_metadata.create_summary_metadata()
        about.data_class = DATA_CLASS_TENSOR
        content = _string_tensor(Layout(category=[category]).SerializeToString())
        self._write_values(self._first_step, _value(custom_scalar_metadata.CONFIG_SUMMARY_TAG, about, content))

    def hparams(self, values: Mapping[str, bool | int | float | str]) -> None:
        """Write the settings of a training, for the HParams tab. The trial is named after the log dir.

        After a resume TensorBoard still shows the settings written first.

        Args:
            values: The settings by name. Non-finite numbers become strings: one of them would break the whole tab.

        Raises:
            TypeError: A value has another type.
            OSError: The file cannot be written, or is closed.
        """
        plain = {}
        for name, value in values.items():
            number = value.item() if isinstance(value, np.generic) else value
            is_odd = isinstance(number, float) and not math.isfinite(number)
            plain[name] = _as_utf8(str(number)) if is_odd or isinstance(number, str) else number
        self._write_values(self._first_step, *hparams_pb(plain, trial_id=_trial_id(self._run_dir.resolve())).value)

    def close(self) -> None:
        """Close the file; nothing more can be written. A second call does nothing.

        Raises:
            OSError: The system reports a write that failed late.
        """
        self._file.close()

    def _write_values(self, step: int, *values: Summary.Value, wall_time: float | None = None) -> None:
        wall_time = time.time() if wall_time is None else float(wall_time)
        self._write(Event(wall_time=wall_time, step=int(step), summary=Summary(value=values)))

    def _write(self, *events: Event) -> None:
        if self._file.closed:
            raise OSError(f"the event file is closed, or a write to it has failed: {self.path}")
        records = io.BytesIO()
        for event in events:
            RecordWriter(records).write(event.SerializeToString())
        rest = records.getvalue()
        try:
            # A full disk first takes a part, and then refuses the next one.
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                self._file.close()
            raise


def names_of_event_files(directory: Path) -> list[str]:
    """Return the names of the event files in a directory, which need not exist.

    Raises:
        OSError: The directory cannot be read.
    """
    # TensorBoard also looks for this part of the name.
    return [path.name for path in directory.iterdir() if "tfevents" in path.name] if directory.is_dir() else []


def _trial_id(run_dir: Path) -> str:
    """A name that people can read, and that no other directory has: TensorBoard averages over runs with the same."""
    parts = run_dir.parts[-2:]
    name = "/".join(parts[:-1] if len(parts) > 1 and parts[-1] == RUN_NAME else parts)
    return f"{_as_utf8(name)} ({hashlib.sha256(os.fsencode(run_dir)).hexdigest()[:8]})"


def _announce(run_dir: Path) -> None:
    """Name this directory to a program that follows TensorBoard's own writer.

    `wandb.init(sync_tensorboard=True)` puts a class in place of TensorBoard's `EventFileWriter`, and follows each
    directory that it is made with. We write without `EventFileWriter`. So one is made and closed where, and only where,
    another class has taken its place. It leaves an event file without events, whose name cannot be that of one of ours.
    """
    module = sys.modules.get("tensorboard.summary.writer.event_file_writer")
    writer = getattr(module, "EventFileWriter", None)
    if module is None or writer is None or writer.__module__ == module.__name__:
        return
    try:
        # Whole: who follows may be another process, with another working directory.
        writer(str(run_dir.absolute()), filename_suffix=".announced").close()
    except Exception as error:
        warnings.warn(f"{writer.__module__} cannot follow the event files in {run_dir}: {error}", stacklevel=2)


def _new_name(earlier: Sequence[str]) -> str:
    """Return a name that sorts after the earlier files, because TensorBoard reads them in the order of their names.

    The time alone does not ensure this: two trainings may start in the same second, or on machines whose clocks differ.
    """
    times = [int(match[1]) for name in earlier if (match := re.search(r"tfevents\.(\d+)\.", name))]
    stamp = max([int(time.time()), *(t + 1 for t in times)])
    return f"events.out.tfevents.{stamp:010d}.{socket.gethostname()}.{os.getpid()}.{next(_counter)}"


def _value(tag: str, about: SummaryMetadata, tensor: TensorProto) -> Summary.Value:
    return Summary.Value(tag=tag, metadata=about, tensor=tensor)


def _float_tensor(value: float) -> TensorProto:
    # TensorBoard shows single precision. Not `make_tensor_proto`, which warns about large values.
    return TensorProto(dtype=DT_FLOAT, tensor_shape=TensorShapeProto(), float_val=[float(value)])


def _string_tensor(value: bytes) -> TensorProto:
    return TensorProto(dtype=DT_STRING, tensor_shape=TensorShapeProto(), string_val=[value])


def _chart(title: str, shown: Sequence[str]) -> Chart:
    # Anchored, because TensorBoard only matches from the start: "loss" would also match "loss_scale".
    patterns = [f"^{re.escape(_as_utf8(tag))}$" for tag in shown]
    return Chart(title=_as_utf8(title), multiline=MultilineChartContent(tag=patterns))


def _as_utf8(name: str) -> str:
    """Make a name fit for protocol buffers: characters that are not UTF-8, as paths may have, become "?"."""
    return name.encode(errors="replace").decode()


def _markdown(decision: Decision, record: Record) -> str:
    parts = [
        f"**{_literal(decision.kind)}** in epoch {record.epoch + 1}"
        + (f": {_literal(decision.reason)}" if decision.reason else ""),
        f"{record.quantity} {change(decision.rate_before, decision.rate, '→')}",
    ]
    if decision.value is not None:
        parts.append(f"metric {number(decision.value)}")
    if decision.best is not None:
        parts.append(f"best {number(decision.best)}")
    return " · ".join(parts)


def _literal(text: str) -> str:
    """Escape text so that it shows in one line and unchanged, with and without the Text tab's markdown."""
    # No unprintable characters: line breaks would start new blocks, NUL and lone surrogates break the encoding, and
    # bidi controls change the reading order.
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    # Entities rather than backslashes: with markdown off, they still show as the character.
    return re.sub(r"[\\`*_{}\[\]()<>#!|&~]", lambda match: f"&#{ord(match[0])};", line)
