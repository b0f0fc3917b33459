"""What the tests of recordings have in common."""

from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT
from tensorboard.summary.writer.record_writer import RecordWriter

from keras_lrplateau.history.run import Curve
from keras_lrplateau.recordings.reading import read
from keras_lrplateau.recordings.recording import CurveError, Recording

HISTORY = {"loss": [0.5, 0.25], "lr": [0.1, 0.05]}
DRAWN = {"loss": [(0, 0.5), (1, 0.25)], "learning_rate": [(0, 0.1), (1, 0.05)]}
"""What it gives: (epoch, value) by metric."""


def only(path: Path) -> Recording:
    recordings = read(path)
    assert len(recordings) == 1
    return recordings[0]


def points(curve: Curve) -> list[tuple[int, float]]:
    assert len(curve.epochs) == len(curve.values) == len(curve.times)
    assert all(type(value) is float for value in curve.values)
    assert all(type(epoch) is int for epoch in curve.epochs)
    return list(zip(curve.epochs, curve.values, strict=True))


def drawn(recording: Recording) -> dict[str, list[tuple[int, float]]]:
    return {name: points(curve) for name, curve in recording.curves.items()}


def error_of(path: Path) -> str:
    with pytest.raises(CurveError) as caught:
        read(path)
    text = str(caught.value)
    assert str(path) in text
    assert ";" in text, "no remedy"
    return text.replace(str(path), "FILE")


T0 = 1.7e9


def events(path: Path, *data: tuple[str, int, float, float], tf1: bool = False, starts_at: int | None = None) -> Path:
    """Write an event file of (tag, step, value, seconds since the start), as TensorFlow 1 or 2 writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=T0, file_version="brain.Event:2").SerializeToString())
        if starts_at is not None:
            log = SessionLog(status=SessionLog.SessionStatus.START)
            writer.write(Event(wall_time=T0, step=starts_at, session_log=log).SerializeToString())
        for tag, step, value, time in data:
            if tf1:
                found = Summary.Value(tag=tag, simple_value=value)
            else:
                tensor = TensorProto(dtype=DT_FLOAT, float_val=[value], tensor_shape=TensorShapeProto())
                plugin = SummaryMetadata.PluginData(plugin_name="scalars")
                found = Summary.Value(tag=tag, tensor=tensor, metadata=SummaryMetadata(plugin_data=plugin))
            event = Event(wall_time=T0 + time, step=step, summary=Summary(value=[found]))
            writer.write(event.SerializeToString())
    return path


def logged(tag: str, *values: float, start: int = 0, time: float = 0.0) -> list[tuple[str, int, float, float]]:
    return [(tag, step, value, time + step) for step, value in enumerate(values, start)]


def name_of(number: int) -> str:
    return f"events.out.tfevents.{1_700_000_000 + number}.host.1.{number}.v2"
