"""Recorded curves: the formats as their writers write them, and what happens to such files afterwards."""

import contextlib
import gzip
import json
import math
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import make_decision, make_record
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT
from tensorboard.summary.writer.record_writer import RecordWriter

from keras_lrplateau.history import codec
from keras_lrplateau.history.event_writer import EventWriter
from keras_lrplateau.history.run import Curve, Record
from keras_lrplateau.recordings import curves
from keras_lrplateau.recordings.curves import CurveError, Recording, from_frame, from_history, read

ROOT = Path(curves.__file__).parents[2]


@pytest.fixture
def write(tmp_path):
    """Write a file and return its path."""

    def write(content: str | bytes, name: str = "log.csv") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


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


# --- CSV -------------------------------------------------------------------------------------------------------------


def test_csvlogger(write):
    found = only(write("epoch,accuracy,learning_rate,loss,val_loss\r\n0,0.5,0.01,0.7,0.75\r\n1,0.6,0.005,0.5,0.6\r\n"))
    assert (found.name, found.unit, found.records, found.notes) == ("log.csv", "epoch", (), ())
    assert drawn(found) == {
        "accuracy": [(0, 0.5), (1, 0.6)],
        "learning_rate": [(0, 0.01), (1, 0.005)],
        "loss": [(0, 0.7), (1, 0.5)],
        "val_loss": [(0, 0.75), (1, 0.6)],
    }
    assert found.curves["loss"].times == [0.0, 0.0]


@pytest.mark.parametrize(
    "name",
    [
        "lr",
        "LR",
        "learning_rate",
        "Learning Rate",
        "learningRate",
        "lr-Adam",
        "lr-AdamW/pg1",
        "lr/pg0",
        "x/lr0",
        " lr ",
    ],
)
def test_a_single_learning_rate_is_learning_rate_by_whatever_name(write, name):
    assert drawn(only(write(f"epoch,{name},loss\n0,0.1,1\n")))["learning_rate"] == [(0, 0.1)]


@pytest.mark.parametrize("name", ["lr_mult", "lr_loss", "val_lr_error", "clr_score", "rate", "learning_curve"])
def test_what_only_looks_like_a_learning_rate_keeps_its_name(write, name):
    assert set(only(write(f"epoch,{name},loss\n0,0.1,1\n")).curves) == {name, "loss"}


def test_equal_parameter_groups_are_one_learning_rate_and_others_are_told_apart(write):
    found = only(write("epoch,loss,lr/pg0,lr/pg1\n0,1,0.1,0.1\n1,1,0.2,0.2\n"))
    assert drawn(found)["learning_rate"] == [(0, 0.1), (1, 0.2)]
    assert set(found.curves) == {"loss", "learning_rate"}
    assert found.notes == ("'lr/pg0' and 'lr/pg1' are equal throughout: read as one 'learning_rate'.",)
    found = only(write("epoch,loss,lr/pg0,lr/pg1\n0,1,0.1,0.1\n1,1,0.2,0.3\n"))
    assert set(found.curves) == {"loss", "learning_rate_pg0", "learning_rate_pg1"}
    found = only(write("epoch,loss,lr,learning_rate\n0,1,0.1,0.2\n"))
    assert set(found.curves) == {"loss", "learning_rate", "learning_rate_learning_rate"}


@pytest.mark.parametrize(
    "cell",
    ["0.1", " 0.1 ", "1e-1", "+.1", "'0.1'", "[0.1]", "(0.1)", "np.float32(0.1)", "numpy.float64(0.1)", "tensor(0.1)"],
)
def test_a_number_by_whatever_spelling(write, cell):
    assert drawn(only(write(f"epoch,loss\n0,{cell}\n1,0.5\n")))["loss"] == [(0, 0.1), (1, 0.5)]
    assert drawn(only(write(f'epoch,loss\n0,"[{cell}]"\n1,0.5\n')))["loss"] == [(0, 0.1), (1, 0.5)]


@pytest.mark.parametrize(
    "cell",
    [
        "tf.Tensor(0.1, shape=(), dtype=float32)",
        "<tf.Tensor: shape=(), dtype=float32, numpy=0.1>",
        "<tf.Variable 'lr:0' shape=() dtype=float32, numpy=0.1>",
        "<Variable path=sgd/learning_rate, shape=(), dtype=float32, value=0.1>",
        "tensor(0.1, device='cuda:0')",
        "tensor([0.1], device='cuda:0', grad_fn=<MeanBackward0>)",
        "array(0.1, dtype=float32)",
        "Array(0.1, dtype=float32, weak_type=True)",
        "(0.1,)",
        '""[0.1]""',  # CSVLogger, of an array.
    ],
)
def test_a_number_in_a_repr_with_commas_which_the_csv_module_quotes(write, cell):
    assert drawn(only(write(f'epoch,loss,acc\n0,"{cell}",0.5\n1,0.5,0.6\n')))["loss"] == [(0, 0.1), (1, 0.5)]


def test_nan_and_infinite_values_are_values_and_empty_cells_are_none(write):
    found = only(write("epoch,loss,val_loss\n0,nan,\n1,inf,NA\n2,-Infinity,None\n3,NaN,0.5\n4,1,\n"))
    assert [str(value) for value in found.curves["loss"].values] == ["nan", "inf", "-inf", "nan", "1.0"]
    assert drawn(found)["val_loss"] == [(3, 0.5)]
    assert found.notes == ("'val_loss' is empty in 4 of 5 rows, first at line 2.",)


def test_an_ultralytics_file_counts_from_1_and_pads_with_spaces(write):
    text = (
        "                  epoch,         train/box_loss,           val/box_loss,                 lr/pg0\n"
        "                      1,                 1.5665,                    inf,             0.00033077\n"
        "                      2,                 1.6411,                 1.8907,             0.00065753\n"
    )
    assert drawn(only(write(text))) == {
        "train/box_loss": [(0, 1.5665), (1, 1.6411)],
        "val/box_loss": [(0, math.inf), (1, 1.8907)],
        "learning_rate": [(0, 0.00033077), (1, 0.00065753)],
    }


@pytest.mark.parametrize("name", ["train_lr", "epoch_lr", "train/learning_rate", "lr_group_0"])
def test_a_learning_rate_with_a_word_more_is_learning_rate(write, name):
    assert set(only(write(f"epoch,{name},loss\n0,0.1,1\n")).curves) == {"learning_rate", "loss"}


def test_a_timm_summary(write):
    found = only(write("epoch,train_loss,eval_loss,eval_top1,lr\n0,6.9,6.8,0.5,1e-06\n1,6.5,6.1,2.5,0.002\n"))
    assert drawn(found)["learning_rate"] == [(0, 1e-6), (1, 0.002)]
    assert points(found.curve("val_loss")) == [(0, 6.8), (1, 6.1)]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "  "])
def test_the_separator_is_found(write, separator):
    lines = ["epoch,loss,val_loss", "0,0.5,0.25", "1,0.125,0.75"]
    found = only(write("\n".join(lines).replace(",", separator) + "\n"))
    assert drawn(found) == {"loss": [(0, 0.5), (1, 0.125)], "val_loss": [(0, 0.25), (1, 0.75)]}


def test_decimal_commas_between_semicolons(write):
    found = only(write('"epoch";"loss";"lr"\r\n0;0,5;1,0E-3\r\n1;,25;0,001\r\n'))
    assert drawn(found) == {"loss": [(0, 0.5), (1, 0.25)], "learning_rate": [(0, 0.001), (1, 0.001)]}


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8-sig", "epoch,loss"),
        ("utf-16", "epoch,loss"),
        ("utf-16-le", "epoch,loss"),
        ("latin-1", "epoch,loss,prüf"),
    ],
)
def test_encodings_of_windows(write, encoding, text):
    rows = "\r\n0,0.5,0.1\r\n" if "ü" in text else "\r\n0,0.5\r\n"
    assert drawn(only(write((text + rows).encode(encoding))))["loss"] == [(0, 0.5)]


def test_line_ends_of_old_macs_and_blank_lines_and_null_bytes(write):
    assert drawn(only(write("epoch,loss\r0,1\r1,2\r")))["loss"] == [(0, 1.0), (1, 2.0)]
    assert drawn(only(write("\n\nepoch,loss\n\n0,1\n,\n1,2\n\n  \n")))["loss"] == [(0, 1.0), (1, 2.0)]
    found = only(write("epoch,loss\n0,1\n1,2\n" + "\0" * 50))
    assert drawn(found)["loss"] == [(0, 1.0), (1, 2.0)]
    assert found.notes == ("There were null bytes in the file, which were ignored.",)


def test_a_gzipped_file(write):
    content = gzip.compress(b"epoch,loss\n0,1\n")
    assert drawn(only(write(content, "log.csv.gz")))["loss"] == [(0, 1.0)]
    assert "damaged or cut off" in error_of(write(content[:-9], "cut.csv.gz"))


def test_rows_are_counted_where_nothing_else_counts_them(write):
    found = only(write("loss,accuracy,lr\n0.5,0.1,0.01\n0.25,0.2,0.01\n"))
    assert drawn(found)["loss"] == [(0, 0.5), (1, 0.25)]
    assert found.unit == "epoch"


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index"])
def test_the_index_of_pandas_counts_unless_there_are_epochs(write, name):
    assert drawn(only(write(f"{name},loss\n3,0.5\n4,0.25\n"))) == {"loss": [(3, 0.5), (4, 0.25)]}
    assert drawn(only(write(f"{name},epoch,loss\n3,0,0.5\n4,1,0.25\n"))) == {"loss": [(0, 0.5), (1, 0.25)]}


def test_gaps_between_epochs_stay(write):
    assert drawn(only(write("epoch,loss\n0,3\n10,2\n20,1\n")))["loss"] == [(0, 3.0), (10, 2.0), (20, 1.0)]


def test_columns_of_texts_are_left_out_with_a_note(write):
    found = only(write("epoch,phase,loss,checkpoint\n0,warm,1,\n1,main,2,a.ckpt\n"))
    assert drawn(found) == {"loss": [(0, 1.0), (1, 2.0)]}
    assert found.notes == ("'phase' and 'checkpoint': no numbers, left out.",)


def test_what_is_before_the_names_is_skipped(write):
    preamble = "Best Validation Accuracy:\t0.87% at Epoch 58\nTest Accuracy:\t0.88%\n"
    found = only(write(f"{preamble}Epoch\tloss_t\tloss_v\n1\t2.4\t2.1\n2\t1.9\t1.8\n"))
    assert drawn(found) == {"loss_t": [(0, 2.4), (1, 1.9)], "loss_v": [(0, 2.1), (1, 1.8)]}
    assert found.notes == ("The table begins at line 3; what is before it was not read.",)


@pytest.mark.parametrize("text", ["# epoch loss\n0 1\n1 2\n", "#epoch,loss\n0,1\n1,2\n", "% epoch\tloss\n0\t1\n1\t2\n"])
def test_names_behind_the_mark_of_a_comment(write, text):
    assert drawn(only(write(text))) == {"loss": [(0, 1.0), (1, 2.0)]}


def test_settings_before_the_table_are_not_taken_for_one(write):
    assert drawn(only(write("model,resnet\nseed,42\nepoch,loss\n0,1\n"))) == {"loss": [(0, 1.0)]}


@pytest.mark.parametrize("cells", [("1/9", "2/9"), ("epoch 1", "epoch 2"), ('"1,001"', '"1,002"'), ("1.0", "2.0")])
def test_counters_by_whatever_spelling(write, cells):
    found = only(write(f"epoch,loss\n{cells[0]},5\n{cells[1]},6\n"))
    first = 1001 if "," in cells[0] else 0
    assert drawn(found) == {"loss": [(first, 5.0), (first + 1, 6.0)]}


def test_shares_in_percent(write):
    assert drawn(only(write("epoch,accuracy\n0,87.5%\n1,88 %\n")))["accuracy"] == [(0, 87.5), (1, 88.0)]


def test_rows_that_count_down_are_turned_round(write):
    found = only(write("epoch,loss\n3,1\n2,2\n1,3\n"))
    assert drawn(found)["loss"] == [(0, 3.0), (1, 2.0), (2, 1.0)]
    assert found.notes == ("The rows count down and were read from the last one up.",)


def test_wall_times_are_the_times_of_the_curves(write):
    found = only(write("Wall time,Step,Value\n1700000000.5,0,0.5\n1700000010.5,1,0.25\n"))
    assert found.unit == "step"
    assert found.curves == {"Value": Curve([0, 1], [0.5, 0.25], [1700000000.5, 1700000010.5])}
    found = only(write("timestamp,epoch,loss\n2024-01-01T00:00:00+00:00,0,1\n2024-01-01T00:01:00+00:00,1,2\n"))
    assert found.curves["loss"].times == [1704067200.0, 1704067260.0]
    found = only(write("epoch,time,loss\n1,12.5,1\n2,25.0,2\n"))
    assert drawn(found)["time"] == [(0, 12.5), (1, 25.0)], "seconds since the start"


def test_two_columns_of_the_same_name_are_told_apart(write):
    found = only(write("epoch,loss,loss\n0,1,2\n"))
    assert drawn(found) == {"loss": [(0, 1.0)], "loss (3)": [(0, 2.0)]}
    assert "'loss'" in found.notes[0]


def test_validation_that_is_0_throughout_is_noted(write):
    found = only(write("epoch,loss,val_loss\n1,3,0\n2,2,0\n3,1,0.5\n"))
    assert drawn(found)["val_loss"] == [(0, 0.0), (1, 0.0), (2, 0.5)]
    assert found.notes == ("'val_loss': 0 in all rows but perhaps the last; most likely there was no validation.",)


# --- restarts --------------------------------------------------------------------------------------------------------


def test_epochs_that_start_again_are_another_training(write):
    found = read(write("epoch,loss\n0,1\n1,2\n0,3\n0,4\n1,5\n"))
    assert [each.name for each in found] == ["log.csv", "log.csv (2)", "log.csv (3)"]
    assert [points(each.curves["loss"]) for each in found] == [[(0, 1.0), (1, 2.0)], [(0, 3.0)], [(0, 4.0), (1, 5.0)]]
    assert {each.notes for each in found} == {("The epochs start again at lines 4, 5: read as 3 trainings.",)}


def test_epochs_that_go_back_to_a_later_one_are_a_resume_which_replaces(write):
    found = only(write("epoch,loss\n1,1\n2,2\n3,3\n4,4\n3,30\n4,40\n5,50\n"))
    assert drawn(found)["loss"] == [(0, 1.0), (1, 2.0), (2, 30.0), (3, 40.0), (4, 50.0)]
    assert found.notes == ("Line 6 goes back to epoch 3: what there was from there on is replaced.",)


def test_an_epoch_done_twice_by_a_resume_is_replaced(write):
    assert drawn(only(write("epoch,loss\n0,1\n1,2\n1,20\n2,3\n")))["loss"] == [(0, 1.0), (1, 20.0), (2, 3.0)]


def test_names_repeated_amid_the_rows_are_skipped_or_begin_another_training(write):
    found = only(write("epoch,loss\n0,1\n1,2\nepoch,loss\n2,3\n"))
    assert drawn(found)["loss"] == [(0, 1.0), (1, 2.0), (2, 3.0)]
    found = read(write("loss,acc\n1,0.5\n2,0.5\nloss,acc\n3,0.5\n"))
    assert [points(each.curves["loss"]) for each in found] == [[(0, 1.0), (1, 2.0)], [(0, 3.0)]]
    assert found[0].notes == ("The names of the columns come again before line 5: read as 2 trainings.",)


def test_several_rows_an_epoch_are_steps_and_no_restarts(write):
    found = only(write("epoch,batch,loss\n0,0,6\n0,1,5\n1,0,4\n1,1,3\n2,0,2\n2,1,1\n"))
    assert found.unit == "step"
    assert drawn(found)["loss"] == [(0, 6.0), (1, 5.0), (2, 4.0), (3, 3.0), (4, 2.0), (5, 1.0)]


def test_several_rows_an_epoch_with_one_validation_are_epochs_and_the_mean(write):
    found = only(write("epoch,loss,val_loss\n0,6,\n0,4,5\n1,3,\n1,1,2\n"))
    assert found.unit == "epoch"
    assert drawn(found) == {"loss": [(0, 5.0), (1, 2.0)], "val_loss": [(0, 5.0), (1, 2.0)]}
    assert found.notes == ("'loss': several values in an epoch, of which the mean is taken.",)


def test_a_training_without_numbers_is_passed_over(write):
    found = only(write("epoch,loss\n0,\n0,1\n1,2\n"))
    assert (found.name, drawn(found)) == ("log.csv", {"loss": [(0, 1.0), (1, 2.0)]})


def test_a_restart_by_steps(write):
    found = read(write("step,loss\n10,1\n20,2\n10,3\n20,4\n"))
    assert [(each.unit, points(each.curves["loss"])) for each in found] == [
        ("step", [(10, 1.0), (20, 2.0)]),
        ("step", [(10, 3.0), (20, 4.0)]),
    ]


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["2,0.4", "2", "2,0.4,1e-", '2,0.4,"tf.Tensor(0.1, sha'])
def test_an_incomplete_last_line_is_left_out(write, end):
    found = only(write(f"epoch,loss,val_loss\n0,1,2\n1,3,4\n{end}"))
    assert drawn(found)["val_loss"] == [(0, 2.0), (1, 4.0)]
    assert found.notes == ("Line 4, the last one, is incomplete and was left out.",)


def test_a_last_line_without_an_end_counts_but_is_noted(write):
    found = only(write("epoch,loss\n0,1\n1,0.12"))
    assert drawn(found)["loss"] == [(0, 1.0), (1, 0.12)]
    assert "may be cut short" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "FILE: the file is empty"),
        (" \n\n", "FILE: the file is empty"),
        ('""\n', "FILE:1: an empty table"),
        ("epoch,loss\n", "FILE:1: the names of 2 columns (epoch, loss) and no row of numbers"),
        (
            "Best:\t0.87% at 42\nTest:\t0.87%\nEpoch\tloss_t\tloss_v\n",
            "FILE:3: the names of 3 columns (Epoch, loss_t, loss_v)",
        ),
        ("0,0.5,0.25\n1,0.25,0.125\n", "FILE:1: numbers without the names of their columns"),
        ("Nothing here\nis a curve.\n", "FILE:1: no training curve in a form that is known"),
        (
            "file,source,kind,bytes\na,b,c,12\nd,e,f,13\n",
            "FILE: no training curve: more columns of texts than of numbers",
        ),
        ("epoch,loss\n0,1\n\n1,oops\n2,3\n", "FILE:4: 'oops' in 'loss' is not a number"),
        ("epoch,loss\n0,1\n1,2,3\n2,3\n", "FILE:3: 3 cells where there are 2 names"),
        ("epoch,loss,acc\n0,1,2\n1,2\n2,3,4\n", "FILE:3: only 2 of 3 cells"),
        ("epoch,loss\n0,1\nepoch,acc\n1,2\n", "FILE:3: names of columns again, and other ones"),
        ("epoch,loss\n0,1\n,2\n2,3\n", "FILE:3: the epoch is missing"),
        ("epoch,loss\n0,1\nnan,2\n2,3\n", "FILE:3: the epoch is nan"),
        ("epoch,step\n0,1\n1,2\n", "FILE: there are no numbers in it but counters"),
        ("epoch,loss,acc\n0,1", "FILE: no complete row"),
        ("epoch,loss\n0,1\nepoch,loss,acc\n1,2,3\n", "FILE:3: 3 cells where there are 2 names"),
        ('epoch,acc,loss\n0,0.5,"1\n1,0.6,2\n2,0.7,3\n', "FILE:2: a quote is opened in this line and never closed"),
        ("\x7fELF\x02\x01\x01", "FILE: a binary file"),
        ('"' + 200_000 * "a", "FILE: no training curve in a form that is known"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_line_and_a_remedy(write, text, message):
    assert error_of(write(text)).startswith(message)


def test_a_line_is_counted_right_after_cells_with_line_breaks_and_many_rows(write):
    rows = "".join(f'{epoch},"a\nb",{epoch}\n' for epoch in range(5000))
    assert error_of(write(f"epoch,note,loss\n{rows}5000,a,oops\n5001,a,1\n")).startswith("FILE:10002: 'oops'")


def test_damage_far_down_a_long_file_is_found(write):
    rows = [f"{epoch},{epoch / 7}" for epoch in range(6000)]
    before = "a preamble\n\n"
    text = before + "epoch,loss\n" + "\n".join(rows) + "\n"
    assert len(only(write(text)).curves["loss"].values) == 6000
    assert points(only(write(text + "6000,")).curves["loss"])[-1] == (5999, 5999 / 7)
    rows[5000] = "5000,x"
    assert error_of(write(before + "epoch,loss\n" + "\n".join(rows) + "\n")).startswith("FILE:5004: 'x'")


def test_no_file_and_a_workbook(write, tmp_path):
    assert "No such file" in error_of(tmp_path / "none.csv")
    assert "Excel" in error_of(write(b"PK\x03\x04" + bytes(40), "log.csv"))


# --- Lightning -------------------------------------------------------------------------------------------------------

LIGHTNING = """\
epoch,lr-Adam,step,test_loss,train_loss,val_loss
,0.1,49,,,
0,,99,,,6.0
,0.1,99,,,
0,,99,,5.0,
,0.05,149,,,
1,,199,,,4.0
1,,199,,3.0,
,0.025,249,,,
2,,200,2.0,,
"""


def test_a_sparse_lightning_file_is_joined_by_epoch(write):
    text = LIGHTNING.replace(",0.025,249,,,\n", "")
    assert drawn(only(write(text))) == {
        "learning_rate": [(0, 0.1), (1, 0.05)],
        "test_loss": [(2, 2.0)],
        "train_loss": [(0, 5.0), (1, 3.0)],
        "val_loss": [(0, 6.0), (1, 4.0)],
    }


def test_a_learning_rate_after_the_last_epoch_is_of_the_one_that_had_begun(write):
    text = LIGHTNING.replace("2,,200,2.0,,\n", "")
    assert drawn(only(write(text)))["learning_rate"] == [(0, 0.1), (1, 0.05), (2, 0.025)]


def test_a_learning_rate_logged_at_the_start_of_an_epoch_is_of_that_epoch(write):
    found = only(write("epoch,lr-SGD,step,val_loss\n,0.1,0,\n0,,99,6\n,0.05,100,\n1,,199,4\n"))
    assert drawn(found)["learning_rate"] == [(0, 0.1), (1, 0.05)]


def test_lightning_training_metrics_logged_by_step_become_their_mean_beside_one_validation(write):
    found = only(write("epoch,step,train_loss,val_loss\n0,49,8,\n0,99,6,\n0,99,,5\n1,149,4,\n1,199,2,\n1,199,,3\n"))
    assert found.unit == "epoch"
    assert drawn(found) == {"train_loss": [(0, 7.0), (1, 3.0)], "val_loss": [(0, 5.0), (1, 3.0)]}


def test_several_validations_an_epoch_make_steps(write):
    found = only(write("epoch,step,train_loss,val_loss\n0,49,,8\n0,99,,6\n0,99,5,\n1,149,,4\n1,199,,2\n1,199,1,\n"))
    assert found.unit == "step"
    assert drawn(found)["val_loss"] == [(49, 8.0), (99, 6.0), (149, 4.0), (199, 2.0)]


def test_a_repeated_test_after_the_training_makes_no_steps(write):
    found = only(write("epoch,step,test_loss,val_loss\n0,99,,8\n1,199,,6\n2,200,5,\n2,200,4,\n"))
    assert (found.unit, drawn(found)["test_loss"]) == ("epoch", [(2, 4.0)])
    assert found.notes == ("'test_loss': several values in an epoch, of which the last one is taken.",)


def test_lightning_that_validates_every_second_epoch_still_counts_from_0(write):
    found = only(write("val_loss,epoch,step\n3,1,199\n2,3,399\n1,5,599\n"))
    assert drawn(found)["val_loss"] == [(1, 3.0), (3, 2.0), (5, 1.0)]


# --- JSON ------------------------------------------------------------------------------------------------------------

HISTORY = {"loss": [0.5, 0.25], "lr": [0.1, 0.05]}
DRAWN = {"loss": [(0, 0.5), (1, 0.25)], "learning_rate": [(0, 0.1), (1, 0.05)]}


@pytest.mark.parametrize(
    "data",
    [
        HISTORY,
        {"history": HISTORY},
        {"history": HISTORY, "epoch": [0, 1], "params": {"epochs": 2}},
        [{"loss": 0.5, "lr": 0.1}, {"loss": 0.25, "lr": 0.05}],
        [{"epoch": 1, "loss": 0.5, "lr": 0.1}, {"epoch": 2, "loss": "0.25", "lr": [0.05]}],
        {"0": {"loss": 0.5, "lr": 0.1}, "1": {"loss": 0.25, "lr": 0.05}},
        {"loss": {"0": 0.5, "1": 0.25}, "lr": {"0": 0.1, "1": 0.05}},  # DataFrame.to_json()
        {"epoch_1": {"loss": 0.5, "lr": 0.1}, "epoch_2": {"loss": 0.25, "lr": 0.05}},
        {"name": "run", "epochs": [{"epoch": 1, "loss": 0.5, "lr": 0.1}, {"epoch": 2, "loss": 0.25, "lr": 0.05}]},
        {"columns": ["loss", "lr"], "index": [0, 1], "data": [[0.5, 0.1], [0.25, 0.05]]},
    ],
)
def test_shapes_of_json(write, data):
    assert drawn(only(write(json.dumps(data, indent=1), "history.json"))) == DRAWN


def test_a_history_printed_by_python(write):
    text = "{'loss': [np.float64(0.5), 0.25], 'lr': [0.1, float32(0.05)]}\n"
    assert drawn(only(write(text, "history.txt"))) == DRAWN
    found = only(write("{'loss': [0.5, nan, None], 'flag': [True, False, None]}"))
    assert [str(value) for value in found.curves["loss"].values] == ["0.5", "nan"]


def test_json_lines(write):
    found = only(
        write('{"train_lr": 0.1, "test_loss": 2, "epoch": 0}\n{"train_lr": 0.2, "test_loss": 1, "epoch": 1}\n{"tra')
    )
    assert drawn(found) == {"learning_rate": [(0, 0.1), (1, 0.2)], "test_loss": [(0, 2.0), (1, 1.0)]}
    assert found.notes == ("Line 3, the last one, is incomplete and was left out.",)
    lines = ['{"env_info": "text"}']
    for epoch in (1, 2):
        lines += [
            f'{{"mode": "train", "epoch": {epoch}, "iter": {at}, "lr": 0.1, "loss": {at / epoch}}}' for at in (10, 20)
        ]
        lines += [f'{{"mode": "val", "epoch": {epoch}, "iter": 7, "lr": 0.1, "loss": {epoch}}}']
    found = only(write("\n".join(lines) + "\n"))
    assert drawn(found)["val_loss"] == [(0, 1.0), (1, 2.0)]
    assert drawn(found)["loss"] == [(0, 15.0), (1, 7.5)]
    assert set(found.curves) == {"iter", "learning_rate", "loss", "val_loss"}


def test_json_that_is_not_strict(write):
    found = only(write('\ufeff{"loss": [NaN, Infinity, "nan", "-inf", null, 1]}'))
    assert [str(value) for value in found.curves["loss"].values] == ["nan", "inf", "nan", "-inf", "1.0"]
    assert found.curves["loss"].epochs == [0, 1, 2, 3, 5]


def test_metrics_in_groups_get_their_names_from_the_groups(write):
    found = only(write('{"train": {"loss": [2, 1]}, "val": {"loss": [4, 3]}, "seed": 7}'))
    assert drawn(found) == {"train/loss": [(0, 2.0), (1, 1.0)], "val/loss": [(0, 4.0), (1, 3.0)]}
    assert points(found.curve("val_loss")) == [(0, 4.0), (1, 3.0)]
    assert found.notes == ("'seed': no list of numbers, left out.",)


def test_validation_every_few_epochs_leaves_shorter_lists(write):
    found = only(write('{"loss": [7, 6, 5, 4, 3, 2, 1], "acc": [0, 0, 0, 0, 0, 0, 0], "val_loss": [50, 30]}'))
    assert drawn(found)["val_loss"] == [(2, 50.0), (5, 30.0)]
    assert "every 3 epochs" in found.notes[0]
    text = error_of(write('{"loss": [3, 2, 1], "acc": [1, 2, 3], "val_loss": [3, 2]}'))
    assert text.startswith("FILE: 'val_loss' has 2 values where others have 3")
    found = only(write('{"loss": [3, 2, 1], "acc": [1, 2, 3], "bins": [1, 2, 3, 4, 5]}'))
    assert set(found.curves) == {"loss", "acc"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n"loss": [0.5,\n 0.4', "FILE:3: not JSON"),
        ('{"loss": 0.5}\n{"loss": 0.\n{"loss": 0.25}\n', "FILE:2: not JSON"),
        ('{"config": {"units": "many"}}', "FILE: no training curve in the JSON"),
        ("[]", "FILE: no training curve in the JSON"),
        ("[1, 2]", "FILE: no training curve in the JSON"),
        ('{"loss": []}', "FILE: there are no numbers in it"),
        ("[" * 100_000, "FILE: nested too deeply"),
        ('{"loss": 1}\n' + "[" * 100_000 + '\n{"loss": 2}\n', "FILE:2: not JSON"),
        (f'{{"loss": [{"9" * 5000}]}}', "FILE: a number in it is too long"),
        ('[{"epoch": 0, "loss": 1}, {"epoch": 1, "loss": "oops"}]', "FILE: row 2: 'oops' in 'loss' is not a number"),
    ],
)
def test_json_that_cannot_be_read_is_refused(write, text, message):
    assert error_of(write(text, "history.json")).startswith(message)


def trainer_state(evals: list[int]) -> str:
    """As Hugging Face's Trainer writes it: 100 steps an epoch, a log every 50, evaluations after these steps."""
    log: list[dict[str, Any]] = []
    for step in range(50, 301, 50):
        log.append({"epoch": step / 100, "learning_rate": 1e-3 * step, "loss": float(step), "step": step})
        if step in evals:
            log.append({"epoch": step / 100, "eval_loss": step / 2, "eval_runtime": 8.7, "step": step})
    log.append({"epoch": 3.0, "step": 300, "total_flos": 1e17, "train_loss": 9.0})
    return json.dumps({"best_metric": None, "global_step": 300, "log_history": log, "trial_params": None}, indent=2)


def test_a_trainer_state_with_an_evaluation_an_epoch_is_by_epoch(write):
    found = only(write(trainer_state([100, 200, 300]), "trainer_state.json"))
    assert found.unit == "epoch"
    assert points(found.curve("val_loss")) == [(0, 50.0), (1, 100.0), (2, 150.0)]
    assert drawn(found)["loss"] == [(0, 75.0), (1, 175.0), (2, 275.0)]
    assert drawn(found)["learning_rate"] == [(0, 0.1), (1, 0.2), (2, pytest.approx(0.3))]


def test_a_trainer_state_with_evaluations_amid_epochs_is_by_step(write):
    found = only(write(trainer_state([50, 100, 150]), "trainer_state.json"))
    assert found.unit == "step"
    assert points(found.curve("val_loss")) == [(50, 25.0), (100, 50.0), (150, 75.0)]
    assert drawn(found)["loss"][0] == (50, 50.0)


# --- what Keras prints -----------------------------------------------------------------------------------------------

BAR = "\x1b[1m14/14\x1b[0m \x1b[32m━━━━━━━━━━━━━━━━━━━━\x1b[0m\x1b[37m\x1b[0m"

PRINTED = f"""\
Epoch 1/3
 1/14 [=>....] - ETA: 3s - loss: 0.9 - accuracy: 0.1\x08\x08{BAR} 3s 53ms/step - accuracy: 0.4 - loss: 0.7\
 - val_loss: 0.6

Epoch 2/3
{BAR} 0s 29ms/step - accuracy: 0.5 - loss: nan - val_loss: inf - learning_rate: 0.0010
Epoch 2: ReduceLROnPlateau reducing learning rate to 0.0005.
Epoch 3/3
 5/14 [=>....] - ETA: 0s - loss: 0.1 - accuracy: 0.2"""


def test_what_keras_prints_is_read_from_the_last_line_of_each_epoch(write):
    found = only(write(PRINTED, "out.txt"))
    assert drawn(found)["val_loss"] == [(0, 0.6), (1, math.inf)]
    assert drawn(found)["learning_rate"] == [(1, 0.001)]
    assert [str(value) for value in found.curves["loss"].values] == ["0.7", "nan"]
    assert "rounded" in found.notes[0]
    assert "begins at line 7" in found.notes[1]


# --- objects ---------------------------------------------------------------------------------------------------------


class Frame:
    """As much of a DataFrame as is asked for."""

    def __init__(self, data: dict[str, list[Any]], index: Any = None):
        self.data, self.columns, self.index = data, list(data), index

    def to_dict(self, orient: str = "dict") -> dict[str, list[Any]]:
        assert orient == "list"
        return self.data


class Index(list[int]):
    name = "epoch"


def test_a_frame():
    found = from_frame(Frame({"epoch": [1, 2], "loss": ["0.5", 0.25], "lr": [0.1, 0.05]}), name="mine")
    assert (found.name, drawn(found)) == ("mine", DRAWN)
    assert drawn(from_frame(Frame({"loss": [0.5, 0.25]}, Index([3, 4]))))["loss"] == [(3, 0.5), (4, 0.25)]


def test_a_frame_of_pandas():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"loss": [0.5, 0.25, 0.2], "lr": [0.1, 0.1, 0.05], "val_loss": [1.0, None, 0.5]})
    frame.index.name = "epoch"
    found = drawn(from_frame(frame))
    assert found["loss"] == [(0, 0.5), (1, 0.25), (2, 0.2)]
    assert found["learning_rate"] == [(0, 0.1), (1, 0.1), (2, 0.05)]
    assert found["val_loss"] == [(0, 1.0), (2, 0.5)]
    assert drawn(from_frame(frame.iloc[::2]))["loss"] == [(0, 0.5), (2, 0.2)]


def test_nan_in_a_frame_is_a_value_only_at_the_end_of_a_column():
    nan = math.nan
    found = from_frame(Frame({"loss": [1.0, nan, nan], "val_loss": [nan, 2.0, nan], "none": [nan, nan, nan]}))
    assert [str(value) for value in found.curves["loss"].values] == ["1.0", "nan", "nan"]
    assert drawn(found)["val_loss"] == [(1, 2.0)]
    assert "none" not in found.curves
    sparse = Frame(
        {"epoch": [nan, 0.0, nan, 1.0], "step": [0, 9, 10, 19], "lr": [0.1, nan, 0.2, nan], "loss": [nan, 2, nan, 1]}
    )
    assert drawn(from_frame(sparse))["learning_rate"] == [(0, 0.1), (1, 0.2)]


def test_a_frame_with_two_trainings_or_none_is_refused():
    with pytest.raises(CurveError, match=r"^frame: The epochs start again at row 3: read as 2 trainings"):
        from_frame(Frame({"epoch": [0, 1, 0, 1], "loss": [1, 2, 3, 4]}))
    with pytest.raises(CurveError, match=r"^frame: "):
        from_frame(Frame({}))
    with pytest.raises(CurveError, match="not a data frame"):
        from_frame([1, 2])


class History:
    def __init__(self, history: dict[str, list[float]], epoch: list[int]):
        self.history, self.epoch = history, epoch


def test_a_history_with_its_epochs_and_a_dict_without():
    assert drawn(from_history(HISTORY)) == DRAWN
    found = from_history(History({"loss": [0.5, 0.25]}, [1, 2]), name="resumed")
    assert (found.name, drawn(found)["loss"]) == ("resumed", [(1, 0.5), (2, 0.25)])
    with pytest.raises(CurveError, match=r"give what model\.fit returns"):
        from_history(None)
    with pytest.raises(CurveError, match="history: there are no numbers"):
        from_history({})


# --- event files -----------------------------------------------------------------------------------------------------

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


# --- directories -----------------------------------------------------------------------------------------------------


def test_a_directory_without_event_files_gives_the_curves_that_are_in_it(write, tmp_path):
    write("epoch,loss\n0,1\n", "b.csv")
    write('{"loss": [1]}', "a.json")
    write("Nothing here\nis a curve.\n", "notes.txt")
    write("epoch,loss\n0,1\n", "model.py")
    write(b"", "events.out.tfevents.1.host.profile-empty")
    write("epoch,loss\n0,1\n", "below/c.csv")
    found = read(tmp_path)
    assert [each.name for each in found] == ["a.json", "b.csv"]
    assert "notes.txt:1: no training curve" in found[0].notes[-1]


def test_a_directory_without_curves_is_refused(write, tmp_path):
    write("Nothing here\nis a curve.\n", "sub/notes.txt")
    assert "no event file below it" in error_of(tmp_path)
    assert "notes.txt:1: no training curve" in error_of(tmp_path / "sub")


# --- imports ---------------------------------------------------------------------------------------------------------


def test_neither_the_import_nor_event_files_bring_what_they_do_not_need(tmp_path):
    path = events(tmp_path / name_of(0), *logged("loss", 1))
    code = (
        "import sys\n"
        "from keras_lrplateau.recordings import curves\n"
        "heavy = ['tensorboard', 'pandas', 'numpy', 'tensorflow', 'keras', 'plotly']\n"
        "assert not [name for name in heavy if name in sys.modules]\n"
        f"assert curves.read({str(path)!r})\n"
        "assert 'tensorboard' in sys.modules\n"
        "assert not [name for name in ('tensorflow', 'keras', 'pandas') if name in sys.modules]\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("monitor", "name"),
    [
        ("val_loss", "val_loss"),
        ("val_loss", "eval_loss"),
        ("val_loss", "val/loss"),
        ("val_loss", "Loss/validation"),
        ("val_loss", "valid_loss"),
        ("val_accuracy", "val_acc"),
        ("loss", "train_loss"),
        ("loss", "train/loss"),
        ("loss", "Training Loss"),
        ("lr", "learning_rate"),
    ],
)
def test_a_metric_is_found_by_the_name_that_others_give_it(monitor, name):
    curve = Curve([0], [1.0], [0.0])
    found = Recording("log", "epoch", {name: curve, "else": Curve(), "val_else": Curve()})
    assert found.resolve(monitor) == name
    assert found.curve(monitor) is curve


@pytest.mark.parametrize("name", ["val/box_loss", "test_loss", "loss", "val_loss_2", "metrics/mAP50(B)"])
def test_another_metric_is_no_stand_in(name):
    with pytest.raises(CurveError, match="no metric 'val_loss'"):
        Recording("log", "epoch", {name: Curve()}).resolve("val_loss")


def test_a_metric_that_is_not_there_is_refused_with_the_nearest_and_all_names():
    with pytest.raises(
        CurveError, match=r"^log: there is no metric 'val_los'; .*nearest: 'val_loss'.* It has 'val_loss', 'x'$"
    ):
        Recording("log", "epoch", {"val_loss": Curve(), "x": Curve()}).curve("val_los")
    with pytest.raises(CurveError, match="may be 'eval_loss' and 'val/loss'"):
        Recording("log", "epoch", {"eval_loss": Curve(), "val/loss": Curve()}).curve("val_loss")
