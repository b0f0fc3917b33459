"""Tables of texts: as their writers write them, and what happens to such files afterwards."""

import gzip
import math
import os
import pickle

import numpy as np
import pytest
from curve_files import drawn, error_of, only, points

from keras_lrplateau.history.run import Curve
from keras_lrplateau.recordings.reading import read


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
    "text",
    [
        "epoch;step;mse;lr\n0;1.170;2.200;0,01\n1;2.340;983;0,01\n",
        "epoch;step;mse;lr\n0;1.170;2.200,0;0,01\n1;2.340;983,00;1,0E-2\n",
        'epoch\tstep\tmse\tlr\n0\t"1,170"\t"2,200"\t0.01\n1\t"2,340"\t983\t0.01\n',
        'epoch,step,mse,lr\n0,"1,170","2,200.00",0.01\n1,"2,340",983,1e-2\n',
    ],
)
def test_thousands_are_grouped_by_the_mark_that_is_not_the_decimal_one(write, text):
    found = only(write(text))
    assert drawn(found) == {"mse": [(0, 2200.0), (1, 983.0)], "learning_rate": [(0, 0.01), (1, 0.01)]}


@pytest.mark.parametrize(
    "text",
    [
        "epoch;loss\n0;2.200\n1;1.983\n",
        "epoch;loss\n0;2,200\n1;1,983\n",
        "epoch;loss;lr;momentum\n0;2,200;0.01;0,5\n1;1,983;0.01;0,5\n",
        'epoch,loss,lr\n0,"2,200","0,01"\n1,"1,983","0,01"\n',
    ],
)
def test_three_digits_behind_a_mark_are_decimals_where_nothing_else_says_that_they_are_none(write, text):
    assert drawn(only(write(text)))["loss"] == [(0, 2.2), (1, 1.983)]


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


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (",train,val\n,loss,loss\nepoch,,\n0,1,2\n1,3,4\n", ["train/loss", "val/loss"]),  # Levels in pandas.
        (",loss,loss\nseed,0,1\nepoch,,\n0,1,2\n1,3,4\n", ["loss/0", "loss/1"]),  # pivot
        ("Run 7,,,,\n,train,,val,\nepoch,loss,acc,loss,acc\n0,1,,2,\n1,3,,4,\n", ["train/loss", "val/loss"]),
        ("epoch,time,loss\n,s,\n0,1,2\n1,3,4\n", ["time/s", "loss"]),
        ("model,a,\nseed,7,\nepoch,loss,\n0,1,\n1,3,\n", ["loss"]),
    ],
)
def test_names_in_several_lines(write, text, names):
    found = drawn(only(write(text)))
    assert found == dict(zip(names, ([(0, 1.0), (1, 3.0)], [(0, 2.0), (1, 4.0)]), strict=False))


def test_a_counter_that_comes_twice(write):
    found = drawn(only(write("epoch,loss,epoch,val_loss\n1,1,1,2\n2,3,2,4\n3,5,,\n")))
    assert found == {"loss": [(0, 1.0), (1, 3.0), (2, 5.0)], "val_loss": [(0, 2.0), (1, 4.0)]}
    assert "FILE:2: 'step' and 'step (3)' count differently;" in error_of(
        write("step,loss,step,val_loss\n10,1,20,2\n20,3,40,4\n")
    )
    assert "'step' and 'step.1' count differently;" in error_of(write("step,loss,step.1,val_loss\n10,1,20,2\n"))


@pytest.mark.parametrize(
    ("name", "unit"),
    [("Epoch No.", "epoch"), ("n_epoch", "epoch"), ("num_updates", "step"), ("total_timesteps", "step")],
)
def test_more_names_of_counters(write, name, unit):
    found = only(write(f"{name},loss\n5,1\n10,2\n"))
    assert (found.unit, drawn(found)) == (unit, {"loss": [(5, 1.0), (10, 2.0)]})


def test_settings_before_the_table_are_not_taken_for_one(write):
    assert drawn(only(write("model,resnet\nseed,42\nepoch,loss\n0,1\n"))) == {"loss": [(0, 1.0)]}


@pytest.mark.parametrize(
    "cells",
    [
        ("1/9", "2/9"),
        ("1 of 9", "2 of 9"),
        ("Epoch-1", "Epoch-2"),
        ("epoch 1", "epoch 2"),
        ('"1,001"', '"1,002"'),
        ("1.0", "2.0"),
    ],
)
def test_counters_by_whatever_spelling(write, cells):
    found = only(write(f"epoch,loss\n{cells[0]},5\n{cells[1]},6\n"))
    first = 1001 if "," in cells[0] else 0
    assert drawn(found) == {"loss": [(first, 5.0), (first + 1, 6.0)]}


def test_shares_in_percent(write):
    assert drawn(only(write("epoch,accuracy\n0,87.5%\n1,88 %\n2,0\n")))["accuracy"] == [(0, 87.5), (1, 88.0), (2, 0.0)]
    found = only(write("epoch;accuracy\n0;87,5%\n1;88,25 %\n"))
    assert drawn(found)["accuracy"] == [(0, 87.5), (1, 88.25)]
    text = error_of(write("epoch,accuracy\n0,51.1%\n1,0.45\n2,60%\n"))
    assert text.startswith("FILE:3: 0.45 in 'accuracy' is not in percent, and other cells of the column are;")


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
        ("epoch 1, loss 0.5, val_loss 0.25\nepoch 2, loss 0.4, val_loss 0.2\n", "FILE:1: no training curve in a form"),
        ("step,loss\n1k,0.5\n2k,0.25\n", "FILE:2: '1k' in 'step' is not a number"),
        ("metric,epoch 1,epoch 2\nloss,3,2\nval_loss,4,3\n", "FILE: 'epoch 1' and 'epoch 2' are epochs or steps"),
        ("Dear all,\nit went well, and so on.\n", "FILE:1: no training curve in a form that is known"),
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
        ('"' + 200_000 * "a", "FILE:1: no training curve in a form that is known"),
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


def test_a_learning_rate_below_0_is_refused_unless_it_is_the_logarithm_of_another(write):
    text = error_of(write("epoch,loss,lr\n0,1,nan\n1,1,-1\n2,1,0.1\n"))
    assert text.startswith("FILE:3: -1 in 'lr' is no learning rate; correct it, or leave it empty")
    found = only(write("epoch,loss,lr,log_lr\n0,1,0.1,-1\n1,1,0.1,-1\n"))
    assert drawn(found)["learning_rate"] == [(0, 0.1), (1, 0.1)]


def test_texts_instead_of_numbers_are_shown(write):
    text = error_of(write('epoch,loss\n0,"2,200"\n1,"1,763"\n'))
    assert "no numbers in it but counters; 'loss' holds texts such as '2,200'; give" in text


def test_no_file_and_a_workbook(write, tmp_path):
    assert "No such file" in error_of(tmp_path / "none.csv")
    assert "Excel" in error_of(write(b"PK\x03\x04" + bytes(40), "log.csv"))


# --- text around the rows --------------------------------------------------------------------------------------------

ROWS = ["epoch,loss,val_loss", "0,1,4", "1,0.5,3", "2,0.25,2"]
CURVES = {"loss": [(0, 1.0), (1, 0.5), (2, 0.25)], "val_loss": [(0, 4.0), (1, 3.0), (2, 2.0)]}

TRACEBACK = [
    "Traceback (most recent call last):",
    '  File "train.py", line 3, in <module>',
    "    ~~~~^^^^",
    "KeyError: 'a', b",
]


@pytest.mark.parametrize(
    "lines",
    [
        ["[nltk_data] Package is up-to-date!", "[2024-01-31 10:00:00] started, now", "{not JSON}", *ROWS],
        [*ROWS[:2], "UserWarning: this, that and", "  warnings.warn(x)", *ROWS[2:]],
        [ROWS[0], "WARNING:absl:slow, very slow, too slow, so slow", *ROWS[1:]],
        [*ROWS, *TRACEBACK],
        [*ROWS, "Done."],
        [f"\x1b[32m{row}\x1b[0m" for row in ROWS],
        [f"\r 50%|###  | 1/2{' ' * 20}\r{row}" for row in ROWS],
        [f"2024-01-31 10:00:00,12{at} - INFO - {row}" for at, row in enumerate(ROWS)],
        [f"[10:00:0{at}] {row}" for at, row in enumerate(ROWS)],
        [*(f"2024-01-31T10:00:0{at}Z {row}" for at, row in enumerate(ROWS)), *TRACEBACK],
    ],
)
def test_text_before_between_and_after_the_rows_is_passed_over(write, lines):
    found = only(write("\n".join([*lines, ""]), "out.log"))
    assert drawn(found) == CURVES


def test_what_is_passed_over_is_noted(write):
    found = only(write("\n".join([*ROWS[:3], "UserWarning: slow", ROWS[3], *TRACEBACK, ""]), "out.log"))
    assert found.notes == ("5 lines that are no row, the first at line 4, were passed over.",)


def test_a_time_in_a_column_of_its_own_stays(write):
    rows = [f"2024-01-31 10:00:0{at},{row}" for at, row in enumerate(ROWS[1:])]
    found = only(write("\n".join([f"timestamp,{ROWS[0]}", *rows, ""])))
    assert drawn(found) == CURVES
    assert found.curves["loss"].times[1] - found.curves["loss"].times[0] == 1.0


def test_another_log_is_in_no_form_that_is_known_and_the_known_ones_are_listed(write):
    lines = [
        f"[01/01 00:00:{at:02d}] INFO: Epoch: [{at}] learning_rate: 0.001 loss: {1 / (at + 1):.4f}" for at in range(9)
    ]
    text = error_of(write("\n".join(lines), "out.log"))
    assert text.startswith("FILE:1: no training curve in a form that is known; write it as CSV with a line of names")
    assert ". Known are JSON" in text
    for form in ("CSV", "what Keras prints", "Hugging Face", "MLflow", "TensorBoard's event files"):
        assert form in text


def test_a_table_in_markdown(write):
    text = "| epoch | loss | val_loss |\n|-------|-----:|:---|\n| 0 | 1 | 4 |\n| 1 | 0.5 | 3 |\n"
    found = only(write(text, "log.md"))
    assert drawn(found) == {"loss": [(0, 1.0), (1, 0.5)], "val_loss": [(0, 4.0), (1, 3.0)]}
    assert not found.notes


MODEL_CARD = """\
---
license: mit
---

# my-model

| Split | Size |
|:-----:|:----:|
| train | 100 |

This model achieves:
- Loss: 0.55
- Accuracy: 0.9

## Training results

| Training Loss | Epoch | Step | Validation Loss | Accuracy |
|:-------------:|:-----:|:----:|:---------------:|:--------:|
| No log        | 1.0   | 100  | 2.5             | 0.25     |
| 1.5           | 2.0   | 200  | 1.5             | 0.5      |


### Framework versions

- Transformers 4.40.0
"""


def test_the_table_in_a_model_card_of_hugging_face(write):
    found = only(write(MODEL_CARD, "README.md"))
    assert drawn(found) == {
        "Training Loss": [(1, 1.5)],
        "Validation Loss": [(0, 2.5), (1, 1.5)],
        "Accuracy": [(0, 0.25), (1, 0.5)],
    }
    assert found.notes[0] == "The table begins at line 17; what is before it was not read."
    assert error_of(write(MODEL_CARD.replace("| 0.25     |", "|"), "card.md")).startswith("FILE:19: only 4 of 5 cells")


def test_a_table_as_hugging_face_shows_it_in_a_notebook(write):
    found = only(write("Epoch\tTraining Loss\tValidation Loss\n1\tNo log\t2.5\n2\t1.5\t1.25\n"))
    assert drawn(found) == {"Training Loss": [(1, 1.5)], "Validation Loss": [(0, 2.5), (1, 1.25)]}


# --- exports of others -----------------------------------------------------------------------------------------------


def test_a_chart_of_weights_and_biases_has_a_training_for_each_run(write):
    names = ['"Step"', *(f'"{run} - val_loss{end}"' for run in ("a-1", "b - 2") for end in ("", "__MIN", "__MAX"))]
    rows = [",".join(names), "0,1,1,1,3,3,3", "1,0.5,0.5,0.5,2,2,2", '2,0.25,0.25,0.25,"","",""']
    first, second = read(write("\n".join([*rows, ""]), "wandb_export.csv"))
    assert [first.name, second.name] == ["wandb_export.csv (a-1)", "wandb_export.csv (b - 2)"]
    assert drawn(first) == {"val_loss": [(0, 1.0), (1, 0.5), (2, 0.25)]}
    assert drawn(second) == {"val_loss": [(0, 3.0), (1, 2.0)]}


def test_metrics_of_aim(write):
    lines = ["Run,Metric,Context,Value,Step,Epoch"]
    lines += [
        f'{run},loss,"{{""subset"": ""{subset}""}}",{value},{10 * epoch},{epoch}'
        for run in ("a1b2", "c3d4")
        for epoch in range(3)
        for subset, value in (("train", 3 - epoch), ("val", 4 - epoch))
    ]
    first, second = read(write("\n".join([*lines, ""]), "metrics.csv"))
    assert [first.name, second.name] == ["metrics.csv (Run=a1b2)", "metrics.csv (Run=c3d4)"]
    assert drawn(first) == {"loss": [(0, 3.0), (1, 2.0), (2, 1.0)], "val_loss": [(0, 4.0), (1, 3.0), (2, 2.0)]}
    lines = ["run.hash,metric.name,metric.context.subset,step,value", "a,loss,train,0,3", "a,loss,val,0,4"]
    assert set(only(write("\n".join([*lines, ""]))).curves) == {"loss", "val_loss"}


def test_a_tag_that_tensorboard_gave_out_has_its_name(write):
    text = "Wall time,Step,Value\n1700000000.5,100,0.5\n1700000010.5,200,0.25\n"
    assert set(only(write(text, "run-digits_validation-tag-epoch_loss.csv")).curves) == {"val_loss"}


# --- what is no text -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("data", [{"loss": [1.0, 0.5]}, [{"loss": [1.0]}], {"loss": np.array([1.0, 0.5])}], ids=repr)
def test_a_pickle_is_not_loaded_and_the_error_says_how_to(write, protocol, data):
    text = error_of(write(pickle.dumps(data, protocol), "trainHistoryDict"))
    assert text.startswith("FILE: a pickle; it may run any code when it is loaded, so it is not loaded here.")
    assert "pickle.load" in text
    assert "from_history" in text
    assert "json.dump" in text


def test_loading_a_pickle_is_left_to_the_user(write, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    error_of(write(pickle.dumps(Trap()), "trap.pkl"))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "an HDF5 file"),
        (b"\x93NUMPY\x01\0", "an array of NumPy"),
        (b"PAR1" + b"\0" * 99, "a Parquet or Feather file"),
        (b"ARROW1" + b"\0" * 99, "a Parquet or Feather file"),
        (b"BZh91AY&SY", "a compressed file"),
        (b"\xfd7zXZ\0", "a compressed file"),
        (b"\xd0\xcf\x11\xe0\xa1", "a zip archive or an Excel workbook"),
        (b"<table><tr><td>epoch", "a web page"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"PK\x03\x04", "a zip archive"),
        (b"<!DOCTYPE html>\n<html>", "a web page"),
        (b"\x89PNG\r\n", "a picture"),
    ],
)
def test_files_of_other_kinds_are_called_what_they_are(write, content, what):
    assert error_of(write(content, "file")).startswith(f"FILE: {what}")
