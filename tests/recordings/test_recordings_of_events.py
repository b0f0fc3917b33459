"""Event files of Keras, of others and of ours."""

import contextlib
import gzip
import struct
from pathlib import Path

import pytest
from conftest import make_decision, make_record
from curve_files import T0, drawn, error_of, events, logged, name_of, only

from keras_lrplateau.history import codec
from keras_lrplateau.history.event_writer import EventWriter
from keras_lrplateau.history.run import Record
from keras_lrplateau.recordings.reading import read


def test_keras_train_and_validation_are_one_recording(tmp_path):
    root = tmp_path / "digits"
    train = [*logged("epoch_loss", 0.5, 0.25), *logged("epoch_learning_rate", 0.125, 0.0625)]
    batches = [("batch_loss", 7, 0.75, 0.5), ("temperature", 1, 37.0, 1.0), ("gradient", 14, 3.0, 1.0)]
    events(root / "train" / name_of(0), *train, *batches)
    validation = [*logged("epoch_loss", 1.5, 1.25), ("evaluation_loss_vs_iterations", 14, 1.5, 1.0)]
    events(root / "validation" / name_of(1), *validation)
    (root / "train" / "events.out.tfevents.1.host.profile-empty").write_bytes(b"")
    found = only(root)
    assert (found.name, found.unit) == ("digits", "epoch")
    assert drawn(found) == {
        "loss": [(0, 0.5), (1, 0.25)],
        "learning_rate": [(0, 0.125), (1, 0.0625)],
        "temperature": [(1, 37.0)],
        "val_loss": [(0, 1.5), (1, 1.25)],
    }
    assert found.curves["val_loss"].times == [T0, T0 + 1]
    assert found.notes == ("'batch_loss', 'evaluation_loss_vs_iterations' and 'gradient': not by epoch, left out.",)
    # From above, from one of the two, and from a file alone.
    assert [each.name for each in read(tmp_path)] == ["digits"]
    assert set(only(root / "validation").curves) == {"val_loss"}
    alone = only(root / "validation" / name_of(1))
    assert (alone.name, set(alone.curves)) == (name_of(1), {"val_loss"})


def test_runs_below_a_log_directory_are_named_as_tensorboard_names_them(tmp_path):
    for run in ("a", "b/c"):
        events(tmp_path / run / "train" / name_of(0), *logged("epoch_loss", 1, 2))
        events(tmp_path / run / "validation" / name_of(0), *logged("epoch_loss", 3, 4))
    events(tmp_path / "plain" / name_of(0), *logged("loss", 1, 2))
    assert [each.name for each in read(tmp_path)] == ["a", "b/c", "plain"]
    assert drawn(read(tmp_path)[1]) == {"loss": [(0, 1.0), (1, 2.0)], "val_loss": [(0, 3.0), (1, 4.0)]}


def test_a_directory_for_each_curve_of_add_scalars(tmp_path):
    for metric, run in (("Loss/a", "Loss_a"), ("acc", "acc")):
        events(tmp_path / "run" / f"{run}_train" / name_of(0), *logged(metric, 1, 2))
        events(tmp_path / "run" / f"{run}_val" / name_of(0), *logged(metric, 3, 4))
    events(tmp_path / "run" / name_of(0), *logged("lr", 0.5, 0.25))
    events(tmp_path / "other_train" / name_of(0), *logged("loss", 1, 2))
    other, run = read(tmp_path)
    assert (other.name, run.name) == ("other_train", "run")
    train, validation = [(0, 1.0), (1, 2.0)], [(0, 3.0), (1, 4.0)]
    assert drawn(run) == {
        "learning_rate": [(0, 0.5), (1, 0.25)],
        "Loss/a": train,
        "val_Loss/a": validation,
        "acc": train,
        "val_acc": validation,
    }
    assert drawn(only(tmp_path / "run" / "acc_val")) == {"val_acc": validation}


def test_no_curve_takes_the_place_of_another_one(tmp_path):
    events(tmp_path / name_of(0), *logged("loss", 1, 2))
    for number, run in enumerate(("train", "val", "validation")):
        events(tmp_path / run / name_of(0), *logged("loss", 3 + number, 4))
    found = only(tmp_path)
    assert {name: curve.values[0] for name, curve in found.curves.items()} == {
        "loss": 1.0,
        "train/loss": 3.0,
        "val_loss": 4.0,
        "validation/loss": 5.0,
    }


def test_a_compressed_event_file_is_called_so(tmp_path):
    path = events(tmp_path / name_of(0), *logged("loss", 1, 2))
    packed = tmp_path / f"{path.name}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert error_of(packed) == "FILE: a compressed event file; unpack it"


def test_a_tensorflow_1_file_by_epoch(tmp_path):
    path = events(tmp_path / name_of(0), *logged("val_loss", 3, 2), *logged("lr", 0.5, 0.25), tf1=True)
    found = only(path)
    assert (found.unit, drawn(found)["learning_rate"]) == ("epoch", [(0, 0.5), (1, 0.25)])
    assert found.notes == ("The steps count up by one and are taken for epochs, which the file does not say.",)


def test_an_event_file_is_known_by_its_content(tmp_path):
    assert drawn(only(events(tmp_path / "renamed.bin", *logged("loss", 1, 2))))["loss"] == [(0, 1.0), (1, 2.0)]


def test_steps_from_1_without_gaps_are_epochs_and_others_are_steps(tmp_path):
    found = only(events(tmp_path / "a" / name_of(0), *logged("Loss/train", 1, 2, start=1)))
    assert (found.unit, drawn(found)["Loss/train"]) == ("epoch", [(0, 1.0), (1, 2.0)])
    found = only(events(tmp_path / "b" / name_of(0), ("loss", 50, 1.0, 0.0), ("loss", 100, 2.0, 1.0)))
    assert (found.unit, drawn(found)["loss"]) == ("step", [(50, 1.0), (100, 2.0)])
    found = only(events(tmp_path / "c" / name_of(0), *logged("loss", 1, 2, start=5)))
    assert (found.unit, drawn(found)["loss"]) == ("step", [(5, 1.0), (6, 2.0)])


def test_a_log_that_counts_epochs_beside_steps_is_joined_by_epoch(tmp_path):
    data = []
    for step in (49, 99, 149, 199):
        data += [
            ("epoch", step, step // 100, step),
            ("train_loss", step, step, step),
            ("lr-Adam", step, 1 / (step + 1), step),
        ]
        if step in (99, 199):
            data.append(("val_loss", step, step / 2, step))
    found = only(events(tmp_path / name_of(0), *data))
    assert found.unit == "epoch"
    assert drawn(found) == {
        "train_loss": [(0, 74.0), (1, 174.0)],
        "learning_rate": [(0, pytest.approx(0.01)), (1, pytest.approx(0.005))],
        "val_loss": [(0, 49.5), (1, 99.5)],
    }
    assert found.curves["val_loss"].times == [T0 + 99, T0 + 199]


def test_values_without_steps_are_counted(tmp_path):
    found = only(events(tmp_path / name_of(0), *(("loss", 0, value, at) for at, value in enumerate((3, 2, 1)))))
    assert drawn(found) == {"loss": [(0, 3.0), (1, 2.0), (2, 1.0)]}
    assert found.notes[0] == "'loss' was logged without steps: its values are counted."


@pytest.mark.parametrize("logs_epoch", [False, True])  # As Lightning does, beside both counts.
def test_a_validation_that_counts_epochs_beside_a_training_that_counts_steps(tmp_path, logs_epoch):
    data = []
    for epoch in range(3):
        data += [("train/loss", 2 * epoch + batch, 4.0 - epoch, 2 * epoch + batch) for batch in range(2)]
        data += [(f"val/{name}", epoch, 9.0 - epoch, 2 * epoch + 1.5) for name in ("acc", "loss")]
        data += [("epoch", step, epoch, 2 * epoch + 1.5) for step in (2 * epoch + 1, epoch)] * logs_epoch
    found = only(events(tmp_path / name_of(0), *data))
    assert found.unit == "epoch"
    assert drawn(found)["train/loss"] == [(0, 4.0), (1, 3.0), (2, 2.0)]
    assert drawn(found)["val/acc"] == drawn(found)["val/loss"] == [(0, 9.0), (1, 8.0), (2, 7.0)]
    assert found.notes[0] == "Rows whose 'step' goes back are of the validation; their 'step' counts epochs."


def test_a_log_directory_used_again_holds_two_trainings(tmp_path):
    root = tmp_path / "digits"
    # The first one was killed in its first epoch, after the training data were logged.
    events(root / "train" / name_of(0), *logged("epoch_loss", 9))
    events(root / "train" / name_of(1), *logged("epoch_loss", 2, 1, time=100))
    events(root / "train" / name_of(2), *logged("epoch_loss", 6, 5, time=200))
    events(root / "validation" / name_of(1), *logged("epoch_loss", 4, 3, time=100))
    events(root / "validation" / name_of(2), *logged("epoch_loss", 8, 7, time=200))
    found = read(root)
    assert [each.name for each in found] == ["digits", "digits (2)"]
    assert drawn(found[0]) == {"loss": [(0, 2.0), (1, 1.0)], "val_loss": [(0, 4.0), (1, 3.0)]}
    assert drawn(found[1]) == {"loss": [(0, 6.0), (1, 5.0)], "val_loss": [(0, 8.0), (1, 7.0)]}
    assert found[0].notes == ("The steps start again: read as 2 trainings.",)


def test_validation_goes_to_the_training_in_whose_time_it_was_logged(tmp_path):
    events(tmp_path / "train" / name_of(0), *logged("epoch_loss", 9, 8))
    events(tmp_path / "train" / name_of(1), *logged("epoch_loss", 2, 1, time=100))
    events(tmp_path / "validation" / name_of(1), *logged("epoch_loss", 4, 3, time=100))
    first, second = read(tmp_path)
    assert drawn(first) == {"loss": [(0, 9.0), (1, 8.0)]}
    assert drawn(second) == {"loss": [(0, 2.0), (1, 1.0)], "val_loss": [(0, 4.0), (1, 3.0)]}


def test_a_resumed_training_replaces_what_it_does_again(tmp_path):
    events(tmp_path / name_of(0), *logged("loss", 5, 4, 3, 2), *logged("gone", 1, 1, 1, 1))
    events(tmp_path / name_of(1), *logged("loss", 30, 20, 10, start=2, time=100))
    found = only(tmp_path)
    assert drawn(found)["loss"] == [(0, 5.0), (1, 4.0), (2, 30.0), (3, 20.0), (4, 10.0)]
    assert found.notes[0] == "The steps of 'loss' go back: what there was from there on is replaced."
    # A writer that says so takes everything back, as in TensorBoard.
    events(tmp_path / name_of(0), *logged("loss", 5, 4, 3, 2), *logged("gone", 1, 1, 1, 1), starts_at=0)
    events(tmp_path / name_of(1), *logged("loss", 30, 20, 10, start=2, time=100), starts_at=2)
    assert drawn(only(tmp_path))["gone"] == [(0, 1.0), (1, 1.0)]
    events(tmp_path / name_of(1), *logged("loss", 7), starts_at=0)
    assert drawn(only(tmp_path)) == {"loss": [(0, 7.0)]}


def test_an_event_file_that_breaks_off_gives_what_is_before(tmp_path):
    path = events(tmp_path / name_of(0), *logged("loss", 4, 3, 2))
    whole = path.read_bytes()
    ends = [0]
    while ends[-1] < len(whole):
        ends.append(ends[-1] + 16 + struct.unpack_from("<Q", whole, ends[-1])[0])
    path.write_bytes(whole[:-5])
    assert drawn(only(path))["loss"] == [(0, 4.0), (1, 3.0)]
    note = f"The event file {path.name} is cut off after {ends[-2]} bytes; what comes before was read."
    assert only(path).notes[0] == only(tmp_path).notes[0] == note
    spoilt = bytearray(whole)
    spoilt[ends[-3] + 20] ^= 0xFF
    path.write_bytes(spoilt)
    assert drawn(only(path))["loss"] == [(0, 4.0)]
    assert f"is damaged after {ends[-3]} bytes" in only(path).notes[0]
    path.write_bytes(whole[: ends[1] + 3])
    assert f"is cut off after {ends[1]} bytes, and there are no scalars before" in error_of(path)


def test_event_files_without_scalars_are_refused_and_beside_others_passed_over(tmp_path):
    assert "no scalars in the event files" in error_of(events(tmp_path / "a" / name_of(0)))
    path = tmp_path / "a" / name_of(1)
    path.write_bytes(b"")
    assert "no scalars in the event files" in error_of(path)
    events(tmp_path / "b" / name_of(0), *logged("loss", 1))
    assert [each.name for each in read(tmp_path)] == ["b"]


def our_run(directory: Path, *losses: float) -> list[Record]:
    records = [make_record(0), make_record(1, make_decision("cut", 1, 0.1, 0.05))]
    with contextlib.closing(EventWriter(directory, 0)) as writer:
        for epoch, loss in enumerate(losses):
            writer.scalars(epoch, {"loss": loss, "learning_rate": 0.5}, T0 + epoch)
        for record in records:
            writer.record(record)
    return records


def test_a_run_of_ours_comes_with_its_records(tmp_path):
    records = our_run(tmp_path / "digits" / "lr_plateau", 2.0, 1.0)
    found = only(tmp_path)
    assert (found.name, found.unit) == ("digits/lr_plateau", "epoch")
    assert list(found.records) == records
    assert drawn(found) == {"loss": [(0, 2.0), (1, 1.0)], "learning_rate": [(0, 0.5), (1, 0.5)]}
    assert only(tmp_path / "digits" / "lr_plateau").name == "lr_plateau"


def test_a_run_of_ours_that_another_release_wrote_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(codec, "VERSION", 99)
    our_run(tmp_path / "lr_plateau", 2.0, 1.0)
    monkeypatch.undo()
    assert "version 99" in error_of(tmp_path / "lr_plateau")
    events(tmp_path / "other" / name_of(0), *logged("loss", 1))
    found = only(tmp_path)
    assert found.name == "other"
    assert "version 99" in found.notes[-1]
