"""Files and TensorBoard give the same runs, and a malformed run does not affect the others."""

import contextlib
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import make_decision, make_record
from real_tensorboard import LOADERS, data_provider_of
from tensorboard import context
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_INT64, DT_STRING
from tensorboard.summary.writer.record_writer import RecordWriter

import keras_lrplateau
from keras_lrplateau.history import codec, event_reader, tags
from keras_lrplateau.history.event_files import event_files
from keras_lrplateau.history.event_reader import UnreadableError
from keras_lrplateau.history.event_writer import EventWriter
from keras_lrplateau.history.run import Curve, Run

ROOT = Path(keras_lrplateau.__file__).parents[1]

T0 = 1.7e9

IMPOSSIBLE = (1e18, -1e300, 1e300, -5.0)
"""Wall times. NaN and infinity are not among them: the data server drops such events."""

RECORDS = [make_record(0), make_record(2, make_decision("cut", 2, 0.1, 0.05))]


def write_run(run_dir: Path, *extra: Event, steps: range = range(4), time: float = T0) -> None:
    """Write a run as the callback would, and further events after it."""
    writer = EventWriter(run_dir, 0)
    for step in steps:
        writer.scalars(step, {"loss": 1.0, "learning_rate": 0.5}, time)
    for record in RECORDS:
        writer.record(record)
    writer.close()
    with open(writer.path, "ab") as file:
        for event in extra:
            RecordWriter(file).write(event.SerializeToString())


def record_event(tensor: TensorProto, step: int = 3, time: float = T0) -> Event:
    value = Summary.Value(tag=tags.TAG, tensor=tensor, metadata=tags.summary_metadata())
    return Event(wall_time=time, step=step, summary=Summary(value=[value]))


def shape(*sizes: int) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])


def text(*contents: bytes, sizes: tuple[int, ...] = ()) -> TensorProto:
    return TensorProto(dtype=DT_STRING, string_val=contents, tensor_shape=shape(*sizes))


WHOLE = codec.encode(RECORDS[1]).encode()

MALFORMED = {
    "no text": text(),
    "no text in one place": text(sizes=(1,)),
    "two texts in one place": text(b"{}", b"{}"),
    "two texts": text(WHOLE, WHOLE, sizes=(2,)),
    "a text for many places": text(WHOLE, sizes=(3,)),
    "a negative shape": text(WHOLE, sizes=(-1,)),
    "no kind": TensorProto(string_val=[WHOLE]),
    "a number": TensorProto(dtype=DT_FLOAT, float_val=[1.0], tensor_shape=shape()),
    "no number": TensorProto(dtype=DT_INT64, tensor_shape=shape()),
    "too few bytes": TensorProto(dtype=DT_FLOAT, tensor_content=b"abc", tensor_shape=shape()),
    "no JSON": text(b"{"),
    "no UTF-8": text(b"\xff\xfe"),
    "an empty text": text(b""),
    "JSON of others": text(b'{"version": 3}'),
    "deep JSON": text(b"[" * 100_000),
}


@pytest.fixture(scope="module")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("logs")
    write_run(root / "good")
    for name, tensor in MALFORMED.items():
        write_run(root / name, record_event(tensor))
    write_run(root / "negative steps", steps=range(-2, 4))
    write_run(root / "steps beyond counting", steps=range(2**60, 2**60 + 2))
    for time in (*IMPOSSIBLE, 0.0):
        write_run(root / f"at {time}", time=time)
    return root


def from_files(logdir: Path) -> dict[str, Run | UnreadableError]:
    found: dict[str, Run | UnreadableError] = {}
    for directory, files in event_reader.find_runs(logdir).items():
        try:
            found[directory.name] = event_reader.read_run(directory.name, files)
        except UnreadableError as error:
            found[directory.name] = error
    return found


@contextlib.contextmanager
def provided(logdir: Path, loader: str) -> Iterator[tuple[Any, context.RequestContext, str]]:
    """Where to read from: a data provider that has loaded all runs, and the scope of a request."""
    expected = {path.name for path in logdir.iterdir()}
    scope = (context.RequestContext(), "")
    with data_provider_of(
        loader, logdir, lambda each: event_reader.list_runs(each, *scope).keys() == expected
    ) as found:
        yield (found, *scope)


@pytest.fixture(scope="module", params=["files", *LOADERS])
def read(request: pytest.FixtureRequest, logdir: Path) -> Iterator[dict[str, Run | UnreadableError]]:
    """All runs of the log directory, by each source."""
    if request.param == "files":
        yield from_files(logdir)
        return
    with provided(logdir, request.param) as where:
        yield event_reader.read_runs(*where, event_reader.list_runs(*where))


def test_a_good_run_is_read_beside_malformed_ones(read: dict[str, Any], logdir: Path) -> None:
    assert read.keys() == {path.name for path in logdir.iterdir()}
    run = read["good"]
    assert run.records == RECORDS
    assert run.curves["loss"] == Curve([0, 1, 2, 3], [1.0] * 4, [T0] * 4)
    assert run.curves["learning_rate"].values == [0.5] * 4


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_record_makes_its_run_unreadable_with_the_reason(read: dict[str, Any], name: str) -> None:
    error = read[name]
    assert isinstance(error, UnreadableError)
    assert str(error).startswith(f"the run '{name}' cannot be read: ")
    assert len(str(error)) > len(f"the run '{name}' cannot be read: ")


@pytest.mark.parametrize("name", ["negative steps", "steps beyond counting"])
def test_steps_that_no_training_counts_are_named(read: dict[str, Any], name: str) -> None:
    assert isinstance(read[name], UnreadableError)
    assert "has a value at step" in str(read[name])
    assert "steps must be from 0 to" in str(read[name])


@pytest.mark.parametrize("time", IMPOSSIBLE)
def test_wall_times_that_no_clock_shows_are_named(read: dict[str, Any], time: float) -> None:
    assert isinstance(read[f"at {time}"], UnreadableError)
    assert "has a wall time of" in str(read[f"at {time}"])
    assert "which no clock shows" in str(read[f"at {time}"])


def test_a_run_without_wall_times_is_read(read: dict[str, Any]) -> None:
    assert read["at 0.0"].curves["loss"].times == [0.0] * 4
    assert read["at 0.0"].records == RECORDS


def test_wall_times_that_are_no_numbers_are_no_wall_times(tmp_path: Path) -> None:
    for time in (math.nan, math.inf, -math.inf):
        write_run(tmp_path / str(time), time=time)
    found = from_files(tmp_path)
    assert found.keys() == {"nan", "inf", "-inf"}
    for run in found.values():
        assert isinstance(run, Run)
        assert run.curves["loss"].times == [0.0] * 4


def test_an_impossible_wall_time_among_others_is_that_of_its_neighbour() -> None:
    assert event_reader.known_times([math.nan, 5.0, 1e18, 6.0, -1.0]) == [5.0, 5.0, 5.0, 6.0, 6.0]


@pytest.mark.parametrize("loader", LOADERS)
def test_the_last_values_are_read_alone_and_spare_others_too(logdir: Path, loader: str) -> None:
    with provided(logdir, loader) as where:
        names = list(event_reader.list_runs(*where))
        found = event_reader.read_runs(*where, names, only_last=True)
        good = found["good"]
        assert isinstance(good, Run)
        assert good.curves["loss"] == Curve([3], [1.0], [T0])
        assert good.records == RECORDS[1:]
        assert all(isinstance(found[name], UnreadableError) for name in MALFORMED)
        assert event_reader.read_runs(*where, []) == {}


def test_files_are_read_without_tensorflow_and_without_the_loader_of_tensorboard(logdir: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from keras_lrplateau.history import event_reader\n"
        f"((directory, files),) = event_reader.find_runs(Path({str(logdir / 'good')!r})).items()\n"
        "assert event_reader.read_run('good', files).records\n"
        "heavy = ['tensorflow', 'keras', 'tensorboard.backend', 'tensorboard.compat.notf']\n"
        "assert not [name for name in heavy if name in sys.modules]\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=300)


def test_a_file_that_is_gone_or_no_event_file_is_unreadable(tmp_path: Path) -> None:
    gone = tmp_path / "events.out.tfevents.1.gone"
    with pytest.raises(UnreadableError, match=r"may be damaged.*cannot be opened"):
        event_reader.read_run("gone", [gone])
    other = tmp_path / "events.out.tfevents.2.other"
    other.write_bytes(b"\x00\xff" * 1000)
    with pytest.raises(UnreadableError, match=r"may be damaged.*after 0 bytes"):
        event_reader.read_run("other", [other])
    assert event_files(tmp_path) == {tmp_path: [other]}
