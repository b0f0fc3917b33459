"""A recorder writes later what it could not write at once: in the end each epoch is there once, for any disk error."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import make_decision, make_record

from keras_lrplateau.cli import commands
from keras_lrplateau.history import event_writer
from keras_lrplateau.history.event_log import STEPS, EventLog
from keras_lrplateau.history.event_writer import EventWriter
from keras_lrplateau.history.recorder import Recorder, Sink
from keras_lrplateau.history.run import Record

EPOCHS = 12


def report(reporter: Any, *epochs: int, meanwhile: Any = None) -> None:
    """Report epochs, with a decision in every third one."""
    for epoch in epochs:
        # The long name is for a disk to be full soon.
        numbers = {"loss": 1.0 / (epoch + 1), "val_loss": 2.0, "learning_rate": 0.1, "m" * 1000: 3.0}
        reporter.epoch(epoch, numbers, 1e9 + epoch)
        decisions = [make_decision("cut", epoch, 0.1, 0.05)] if epoch % 3 == 0 else []
        reporter.record(make_record(epoch, *decisions), is_last=epoch == EPOCHS - 1)
        if meanwhile is not None:
            meanwhile(epoch)
        reporter.flush()


def check_whole(log_dir: Path, reporter: Any, first: int = 0) -> None:
    """TensorBoard has one run with each epoch once, and the decisions."""
    reporter.close()
    (found,), unreadable = commands.read(str(log_dir))
    assert unreadable == {}
    for name in reporter.run.curves:
        assert found.curves[name].epochs == list(range(first, EPOCHS))
        assert found.curves[name].values == pytest.approx(reporter.run.curves[name].values[-(EPOCHS - first) :])
    expected = [decision for decision in reporter.run.decisions if decision.epoch >= first]
    assert list(found.decisions) == expected
    assert [decision.epoch for decision in expected] == [epoch for epoch in range(first, EPOCHS) if epoch % 3 == 0]


def make_reporter(log_dir: Path) -> Any:
    """A recorder whose only sink is an event log."""
    recorder = Recorder("training")
    recorder.sinks.append(EventLog(recorder.run, log_dir / "lr_plateau", "val_loss", {"patience": 3}))
    return recorder


def failure_of(reporter: Any) -> OSError | None:
    (log,) = reporter.sinks
    return log.failure


def test_what_is_reported_is_read_back(tmp_path: Path) -> None:
    reporter = make_reporter(tmp_path)
    report(reporter, *range(EPOCHS))
    assert failure_of(reporter) is None
    check_whole(tmp_path, reporter)


def test_without_a_place_it_is_kept_for_the_figure_only() -> None:
    reporter = Recorder("training")
    report(reporter, *range(EPOCHS))
    assert not reporter.sinks
    reporter.step(5, {"loss": 1.0}, 1e9)
    reporter.flush()
    assert reporter.run.curves["loss"].epochs == list(range(EPOCHS))


@pytest.mark.parametrize("epoch", [1, 6, EPOCHS - 1])
def test_a_directory_that_was_removed_is_written_again_whole(epoch: int, tmp_path: Path) -> None:
    reporter = make_reporter(tmp_path)
    report(reporter, *range(EPOCHS), meanwhile=lambda at: at == epoch and shutil.rmtree(tmp_path / "lr_plateau"))
    assert failure_of(reporter) is None
    check_whole(tmp_path, reporter)
    assert len(list((tmp_path / "lr_plateau").iterdir())) == 1


def test_a_directory_with_a_file_in_its_place_is_written_when_that_is_gone(tmp_path: Path) -> None:
    reporter = make_reporter(tmp_path)

    def interfere(epoch: int) -> None:
        if epoch == 3:
            shutil.rmtree(tmp_path / "lr_plateau")
            (tmp_path / "lr_plateau").touch()
        if epoch == 7:
            assert failure_of(reporter) is not None
            (tmp_path / "lr_plateau").unlink()

    report(reporter, *range(EPOCHS), meanwhile=interfere)
    assert failure_of(reporter) is None
    check_whole(tmp_path, reporter)


class FailingFile:
    """A disk that is full after `room` bytes; the last write still writes a part."""

    def __init__(self, file: Any) -> None:
        self.file, self.room = file, 1_000_000

    @property
    def closed(self) -> bool:
        return bool(self.file.closed)

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        written = self.file.write(data[: self.room])
        self.room -= written
        return int(written)

    def close(self) -> None:
        self.file.close()


@pytest.mark.parametrize("room", [0, 1, 50, 400, 1000, 1500])
def test_a_disk_that_is_full_for_some_epochs_costs_nothing(
    room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a record at the end of a file is no harm."""
    files: list[FailingFile] = []

    def open_failing(*arguments: Any, **named: Any) -> FailingFile:
        files.append(FailingFile(open(*arguments, **named)))  # noqa: SIM115 - the event writer closes it
        return files[-1]

    reporter = make_reporter(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(event_writer, "open", open_failing, raising=False)
        report(reporter, 0)
    (file,) = files
    file.room = room
    failures = []

    def refuse(self: Any, *_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(EventWriter, "__init__", refuse)
        for epoch in range(1, 8):
            report(reporter, epoch)
            failures.append(failure_of(reporter))
    assert isinstance(failures[-1], OSError)
    report(reporter, *range(8, EPOCHS))
    assert failure_of(reporter) is None
    check_whole(tmp_path, reporter)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_real_disk_that_is_full_for_some_epochs_costs_nothing(small_disk: Path) -> None:
    reporter = make_reporter(small_disk)
    failures = []

    def fill_and_empty(epoch: int) -> None:
        failures.append(failure_of(reporter))
        if epoch == 3:
            with (small_disk / "filler").open("wb", 0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(1024))
        if epoch == 8:
            (small_disk / "filler").unlink()

    report(reporter, *range(EPOCHS), meanwhile=fill_and_empty)
    assert any(failure is not None for failure in failures[4:9])
    assert failure_of(reporter) is None
    check_whole(small_disk, reporter)


# --- one line after a resume -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("died", "resumed"), [(5, 5), (7, 5), (EPOCHS - 1, 0), (3, 3)])
def test_a_resumed_training_is_one_line(died: int, resumed: int, tmp_path: Path) -> None:
    """Everything after the point where it resumes is void."""
    first = make_reporter(tmp_path)
    report(first, *range(died))
    second = make_reporter(tmp_path)  # The first one is not closed: its process is dead.
    report(second, *range(resumed, EPOCHS))
    whole = make_reporter(tmp_path / "whole")
    report(whole, *range(EPOCHS))
    second.run = whole.run
    check_whole(tmp_path / "lr_plateau", second)


def test_what_goes_back_in_the_same_process_is_one_line(tmp_path: Path) -> None:
    reporter = make_reporter(tmp_path)
    report(reporter, *range(8))
    reporter.forget(4)
    assert reporter.run.curves["loss"].epochs == [0, 1, 2, 3]
    report(reporter, *range(4, EPOCHS))
    check_whole(tmp_path, reporter)


def test_what_was_decided_again_in_an_epoch_takes_the_place_of_its_record(tmp_path: Path) -> None:
    reporter = make_reporter(tmp_path)
    report(reporter, *range(EPOCHS))
    last = reporter.run.records[-1]
    more = (*last.decisions, make_decision("rollback", EPOCHS - 1, 0.1, 0.05))
    again = Record(last.epoch, more, *[getattr(last, name) for name in list(Record.__slots__)[2:]])
    reporter.record(again, is_last=True)
    reporter.record(again, is_last=True)
    reporter.flush()
    reporter.close()
    (found,), _ = commands.read(str(tmp_path))
    assert len([each for each in found.records if each.epoch == EPOCHS - 1]) == 1
    assert [decision.kind for decision in found.records[-1].decisions] == ["rollback"]
    assert found.curves["loss"].epochs == list(range(EPOCHS))


# --- steps -----------------------------------------------------------------------------------------------------------


def test_steps_are_a_run_of_their_own_and_are_tried_again(tmp_path: Path) -> None:
    from conftest import read_scalars

    reporter = make_reporter(tmp_path)
    (tmp_path / "lr_plateau").touch()
    for step in range(5, 30, 5):
        if step == 20:
            assert failure_of(reporter) is not None
            (tmp_path / "lr_plateau").unlink()
        reporter.step(step, {"loss": float(step)}, 1e9 + step)
        reporter.flush()
    assert failure_of(reporter) is None
    found = read_scalars(tmp_path / "lr_plateau" / STEPS)
    assert found == {"lr_plateau/loss": {step: float(step) for step in range(5, 30, 5)}}


def test_closing_twice_and_writing_after_it_is_fine(tmp_path: Path) -> None:
    reporter = make_reporter(tmp_path)
    report(reporter, *range(6))
    reporter.close()
    reporter.close()
    report(reporter, *range(6, EPOCHS))
    check_whole(tmp_path, reporter)


@pytest.fixture
def late_failures(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A disk that reports a full quota only when a file is closed, as network file systems do; the files it was."""
    close, found = EventWriter.close, []

    def fail(self: EventWriter) -> None:
        if self.path not in found:
            close(self)
            found.append(self.path)
            raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(EventWriter, "close", fail)
    return found


def test_a_file_that_fails_on_close_is_a_failure_like_any_other_and_the_other_file_is_closed(
    tmp_path: Path, late_failures: list[Path]
) -> None:
    reporter = make_reporter(tmp_path)
    report(reporter, *range(6), meanwhile=lambda epoch: reporter.step(epoch, {"loss": 1.0}, 1e9))
    reporter.close()
    assert [path.parent.name for path in late_failures] == ["lr_plateau", STEPS]
    assert "quota" in str(failure_of(reporter))
    report(reporter, *range(6, EPOCHS))
    assert failure_of(reporter) is None
    check_whole(tmp_path, reporter)


def test_what_a_file_may_lack_that_fails_on_close_is_written_again_when_training_goes_back(
    tmp_path: Path, late_failures: list[Path]
) -> None:
    reporter = make_reporter(tmp_path)
    report(reporter, *range(8))
    reporter.forget(5)
    (file,) = late_failures
    file.write_bytes(b"")
    report(reporter, *range(5, EPOCHS))
    check_whole(tmp_path, reporter)


# --- listeners -------------------------------------------------------------------------------------------------------


class Listener(Sink):
    """Writes down what it is told, and fails at one decision."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def epoch(self, epoch: int, numbers: Any, time: float) -> None:
        self.told.append(("epoch", epoch, dict(numbers)))

    def decision(self, decision: Any, quantity: str) -> None:
        self.told.append(("decision", decision.epoch, quantity))
        if decision.epoch == 3:
            raise KeyError("a bug of the user")

    def record(self, record: Any) -> None:
        self.told.append(("record", record.epoch, len(record.decisions)))


def test_a_listener_hears_all_and_its_errors_are_reported_and_stop_nothing() -> None:
    listener, errors = Listener(), []
    recorder = Recorder("training", [], [listener], lambda sink, error: errors.append((sink, error)))
    for epoch in range(5):
        recorder.epoch(epoch, {"loss": 1.0}, 1e9)
        recorder.decision(make_decision("cut", epoch, 0.1, 0.05), "learning rate")
        recorder.record(make_record(epoch, make_decision("cut", epoch, 0.1, 0.05)), is_last=False)
    assert listener.told[:3] == [("epoch", 0, {"loss": 1.0}), ("decision", 0, "learning rate"), ("record", 0, 1)]
    assert [told[:2] for told in listener.told[-3:]] == [("epoch", 4), ("decision", 4), ("record", 4)]
    assert [(sink, type(error)) for sink, error in errors] == [(listener, KeyError)]
    assert len(recorder.run.records) == 5
