"""Rows of several kinds: trainings, kinds of data and metrics are told apart, or the table is refused."""

import itertools
import json
import time

import pytest
from curve_files import drawn, error_of, only

from keras_lrplateau.recordings.objects import from_frame
from keras_lrplateau.recordings.reading import read
from keras_lrplateau.recordings.recording import CurveError

LOSS = [(0, 1.0), (1, 0.5), (2, 0.25)]
VAL_LOSS = [(0, 4.0), (1, 3.0), (2, 2.0)]

TRAIN = ["0,{},1", "1,{},0.5", "2,{},0.25"]
VALIDATION = ["0,{},4", "1,{},3", "2,{},2"]


def lines(*rows: str) -> str:
    return "\n".join([*rows, ""])


# --- kinds of data ---------------------------------------------------------------------------------------------------

ORDERS = {
    "interleaved": [row for pair in zip(TRAIN, VALIDATION, strict=True) for row in pair],
    "validation first": [row for pair in zip(VALIDATION, TRAIN, strict=True) for row in pair],
    "block by block": [*TRAIN, *VALIDATION],
    "downwards": [row for pair in zip(TRAIN, VALIDATION, strict=True) for row in pair][::-1],
}


@pytest.mark.parametrize(
    ("name", "train", "validation"),
    [
        ("phase", "train", "val"),
        ("split", "training", "validation"),
        ("mode", "TRAIN", "VALID"),
        ("set", "tr", "dev"),
        ("subset", "Train", "Eval"),
        ("data", "train", "evaluation"),
        ("partition", "train", "test"),
        ("whatever", "train", "held-out"),
    ],
)
@pytest.mark.parametrize("order", ORDERS)
def test_a_column_that_says_train_or_validation(write, name, train, validation, order):
    rows = [row.format(train if row in TRAIN else validation) for row in ORDERS[order]]
    found = only(write(lines(f"epoch,{name},loss", *rows)))
    assert found.unit == "epoch"
    assert drawn(found) == {"loss": LOSS, "val_loss": VAL_LOSS}
    assert found.notes[-1].startswith(
        f"{name!r} says which data a row is about: metrics of {validation!r} begin with 'val_'"
    )


@pytest.mark.parametrize(
    ("name", "train", "validation"),
    [
        ("is_train", "True", "False"),
        ("validation", "false", "true"),
        ("dataset", "train_set", "valid_0"),
        ("x", "tr", "val data"),
    ],
)
def test_other_ways_to_say_it(write, name, train, validation):
    rows = [row.format(train if row in TRAIN else validation) for row in ORDERS["interleaved"]]
    assert drawn(only(write(lines(f"epoch,{name},loss", *rows)))) == {"loss": LOSS, "val_loss": VAL_LOSS}


def test_two_words_for_one_kind_of_data_are_two_curves(write):
    rows = [f"{epoch},{kind},{epoch + at}" for epoch in range(2) for at, kind in enumerate(("train", "val", "dev"))]
    assert set(only(write(lines("epoch,phase,loss", *rows))).curves) == {"loss", "val_loss", "dev_loss"}


def test_test_data_beside_validation_are_test_data(write):
    rows = [f"{epoch},{kind},{epoch + at}" for epoch in range(2) for at, kind in enumerate(("train", "val", "test"))]
    assert set(only(write(lines("epoch,phase,loss", *rows))).curves) == {"loss", "val_loss", "test_loss"}


def test_a_learning_rate_is_the_same_for_all_kinds_of_data(write):
    found = only(write("epoch,phase,loss,lr\n0,train,1,0.1\n0,val,2,0.1\n1,train,1,0.05\n1,val,2,0.05\n"))
    assert drawn(found)["learning_rate"] == [(0, 0.1), (1, 0.05)]
    assert set(found.curves) == {"loss", "val_loss", "learning_rate"}


def test_batches_of_the_training_beside_one_validation_an_epoch(write):
    rows = ["0,train,3", "0,train,1", "0,val,9", "1,train,2", "1,train,0", "1,val,8"]
    found = only(write(lines("epoch,phase,loss", *rows)))
    assert drawn(found) == {"loss": [(0, 2.0), (1, 1.0)], "val_loss": [(0, 9.0), (1, 8.0)]}


def test_without_a_counter_the_rows_of_each_kind_are_counted(write):
    found = only(write("phase,loss\ntrain,1\nval,4\ntrain,0.5\nval,3\ntrain,0.25\nval,2\n"))
    assert drawn(found) == {"loss": LOSS, "val_loss": VAL_LOSS}


def test_a_second_training_behind_the_first_stays_another_one(write):
    rows = [row.format("train" if row in TRAIN else "val") for row in ORDERS["interleaved"]]
    first, second = read(write(lines("epoch,phase,loss", *rows, *rows)))
    assert drawn(first) == drawn(second) == {"loss": LOSS, "val_loss": VAL_LOSS}


def test_lines_of_json_with_a_phase(write):
    records = [
        {"epoch": epoch, "phase": phase, "loss": value[epoch][1]}
        for epoch in range(3)
        for phase, value in (("train", LOSS), ("val", VAL_LOSS))
    ]
    for text in (json.dumps(records), "\n".join(map(json.dumps, records))):
        assert drawn(only(write(text, "log.json"))) == {"loss": LOSS, "val_loss": VAL_LOSS}


# --- metrics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"), [("metric", "value"), ("tag", "Value"), ("name", "score"), ("key", "val"), ("variable", "value")]
)
@pytest.mark.parametrize("by_metric", [False, True])
def test_a_column_with_the_names_of_metrics(write, name, value, by_metric):
    rows = [("loss", *point) for point in LOSS] + [("val_loss", *point) for point in VAL_LOSS]
    rows.sort(key=lambda row: row[0] if by_metric else row[1])
    found = only(write(lines(f"{name},epoch,{value}", *(",".join(map(str, row)) for row in rows))))
    assert drawn(found) == {"loss": LOSS, "val_loss": VAL_LOSS}


def test_names_of_metrics_are_known_by_what_they_are(write):
    found = only(write("epoch,what,number\n0,accuracy,0.5\n0,loss,1\n1,accuracy,0.75\n1,loss,0.5\n"))
    assert drawn(found) == {"accuracy": [(0, 0.5), (1, 0.75)], "loss": [(0, 1.0), (1, 0.5)]}


def test_the_time_for_a_long_table_of_metrics_grows_with_its_rows(write):
    rows = (f"{step},{metric},1" for step in range(50_000) for metric in ("loss", "val_loss"))
    path = write(lines("step,metric,value", *rows))
    start = time.process_time()
    found = only(path)
    assert time.process_time() - start < 10, "with the square of the rows it takes 20 s"
    assert [len(curve.values) for curve in found.curves.values()] == [50_000, 50_000]


@pytest.mark.parametrize("at", [0, 1_700_000_000_000])
def test_experiments_at_the_same_time_in_a_table_of_metrics(write, at):
    rows = [
        f"{key},{metric},{value + shift},{step},{at + step}"
        for step, value in LOSS
        for key, shift in (("k1", 0), ("k2", 10))
        for metric in ("loss", "val_loss")
    ]
    head = "metric_name,metric_value,step,timestamp"
    first, second = read(write(lines(f"experiment_key,{head}", *rows)))  # As Comet writes it.
    assert drawn(first)["loss"] == drawn(first)["val_loss"] == LOSS
    assert drawn(second)["loss"] == [(step, value + 10) for step, value in LOSS]
    assert "the texts in 'who' ('k1', 'k2') tell rows of the same moment apart" in error_of(
        write(lines(f"who,{head}", *rows))
    )


def test_names_of_metrics_and_kinds_of_data_and_trainings_together(write):
    rows = [
        f"{run},{epoch},{phase},{metric},{epoch + at}"
        for run in ("a", "b")
        for epoch in range(3)
        for at, (phase, metric) in enumerate(itertools.product(("train", "val"), ("loss", "acc")))
    ]
    found = read(write(lines("run,epoch,phase,metric,value", *rows), "long.csv"))
    assert [each.name for each in found] == ["long.csv (run=a)", "long.csv (run=b)"]
    assert set(found[0].curves) == {"loss", "acc", "val_loss", "val_acc"}
    assert drawn(found[1])["val_acc"] == [(0, 3.0), (1, 4.0), (2, 5.0)]


# --- trainings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("fold", (1, 2)),
        ("run", ("a", "b")),
        ("seed", (0, 42)),
        ("trial", (3, 4)),
        ("Model", ("cnn", "2")),
        ("exp", "xy"),
    ],
)
@pytest.mark.parametrize("interleaved", [True, False])
def test_a_column_that_tells_trainings_apart(write, name, keys, interleaved):
    rows = [(key, epoch, at + 1 / (epoch + 1)) for at, key in enumerate(keys) for epoch in range(3)]
    if interleaved:
        rows.sort(key=lambda row: row[1])
    found = read(write(lines(f"{name},epoch,loss", *(",".join(map(str, row)) for row in rows))))
    assert [each.name for each in found] == [f"log.csv ({name}={key})" for key in keys]
    for at, each in enumerate(found):
        assert drawn(each) == {"loss": [(epoch, at + 1 / (epoch + 1)) for epoch in range(3)]}
        assert each.notes == (f"Read as 2 trainings, which {name!r} tells apart.",)


NAMES = ["outer_fold", "cv", "seed_id", "run number", "rank", "client", "optimizer", "dataset"]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_columns_that_tell_trainings_apart(write, name):
    rows = [f"{epoch},{key},{epoch}" for epoch in range(3) for key in (0, 1)]
    assert len(read(write(lines(f"epoch,{name},loss", *rows)))) == 2


@pytest.mark.parametrize("name", ["run_time", "seeds_loss", "model_loss", "fold_acc", "trial_duration"])
def test_names_of_columns_that_do_not(write, name):
    assert set(only(write(f"epoch,{name},loss\n0,1,1\n1,2,2\n")).curves) == {name, "loss"}


def test_several_such_columns_tell_them_apart_together(write):
    rows = [f"{epoch},{model},{fold},1" for epoch in range(2) for model in "ab" for fold in (1, 2)]
    found = read(write(lines("epoch,model,fold,loss", *rows)))
    assert [each.name.partition(" ")[2] for each in found] == [
        f"(fold={fold}, model={model})" for model in "ab" for fold in (1, 2)
    ]


@pytest.mark.parametrize(
    ("name", "keys"),
    [("split", range(5)), ("stage", (1, 2)), ("lr", (0.1, 0.01)), ("dropout", (0.1, 0.3)), ("flavour", ("x", "y"))],
)
@pytest.mark.parametrize("by_lines", [False, True])
def test_a_column_of_any_name_that_tells_interleaved_trainings_apart(write, name, keys, by_lines):
    rows = [
        {"epoch": epoch, name: key, "val_loss": at + epoch / 4} for epoch in range(4) for at, key in enumerate(keys)
    ]
    rows.pop()  # The last training was still running.
    csv = lines(",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows))
    found = read(write("\n".join(map(json.dumps, rows)) if by_lines else csv, "log.csv"))
    assert [each.name for each in found] == [f"log.csv ({name}={key})" for key in keys]
    for at, each in enumerate(found):
        epochs = range(3 if at == len(keys) - 1 else 4)
        assert drawn(each)["val_loss"] == [(epoch, at + epoch / 4) for epoch in epochs]
        assert each.notes == (f"Read as {len(keys)} trainings, which {name!r} tells apart.",)
    rates = [each.curves["learning_rate"].values[0] for each in found if "learning_rate" in each.curves]
    assert rates == ([0.1, 0.01] if name == "lr" else [])


def test_two_columns_that_tell_interleaved_trainings_apart_together(write):
    rows = [f"{epoch},{a},{b},0.5,{epoch}" for epoch in range(3) for a in (16, 32) for b in (0, 1)]
    found = read(write(lines("epoch,width,depth,val_acc,val_loss", *rows)))
    assert [each.name.partition(" ")[2] for each in found] == [
        f"(width={a}, depth={b})" for a in (16, 32) for b in (0, 1)
    ]
    assert drawn(found[0])["val_acc"] == [(0, 0.5), (1, 0.5), (2, 0.5)]


def test_a_fold_and_a_column_of_any_name_tell_trainings_apart_together(write):
    rows = [f"{step},{fold},{lr},{step + fold + lr}" for step in (10, 20) for fold in (0, 1) for lr in (0.1, 0.2)]
    found = read(write(lines("step,fold,lr,val_loss", *rows)))
    assert [each.name.partition(" ")[2] for each in found] == [
        f"(fold={fold}, lr={lr})" for fold in (0, 1) for lr in (0.1, 0.2)
    ]
    assert drawn(found[3])["val_loss"] == [(10, 11.2), (20, 21.2)]


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("epoch,batch,loss,val_loss\n0,0,6,9\n0,1,5,8\n1,0,4,7\n1,1,3,6\n", "step"),  # Validated after each batch.
        ("epoch,part,loss,val_loss\n0,0,6,\n0,1,5,8\n1,0,4,\n1,1,3,6\n", "epoch"),
        ("epoch,session,val_loss\n0,1,9\n1,1,8\n2,1,7\n1,2,6\n2,2,5\n", "epoch"),  # A resume.
    ],
)
def test_a_column_that_numbers_the_parts_of_one_training(write, text, unit):
    assert only(write(text)).unit == unit


def test_a_frame_of_several_trainings_is_refused():
    class Frame:
        columns = ("fold", "epoch", "loss")

        def to_dict(self, orient: str):
            return {"fold": [1, 2, 1, 2], "epoch": [0, 0, 1, 1], "loss": [1.0] * 4}

    with pytest.raises(
        CurveError, match=r"^frame: Read as 2 trainings, which 'fold' tells apart. Give the rows of one"
    ):
        from_frame(Frame())


@pytest.mark.parametrize(
    "text",
    [
        "model,accuracy,loss\nresnet,0.9,0.1\nvgg,0.8,0.2\n",
        "Name,State,Created,Runtime,lr,val_loss\nswift-fox-1,finished,2026-11-30,9,0.1,0.5\ncalm-owl-2,failed,,9,0.2,0.6\n",
        "fold,epochs,val_loss\n1,30,0.5\n2,28,0.6\n3,30,0.4\n",
        "seed,val_loss\n1,0.5\n2,0.6\n",
        "model,dataset,accuracy\na,x,0.9\nb,x,0.8\na,y,0.7\nb,y,0.6\n",
        "number,value,params_lr,state\n0,0.5,0.1,COMPLETE\n1,0.4,0.2,COMPLETE\n",
        "number,value,params_lr,state\n0,0.5,0.1,COMPLETE\n1,0.4,0.1,COMPLETE\n",
        ",mean_fit_time,param_alpha,split0_test_score,mean_test_score,rank_test_score\n0,1,0.1,0.5,0.5,2\n1,1,1,0.6,0.6,1\n",
        "param_alpha,mean_test_score\n0.1,0.5\n1,0.6\n",
        "param_alpha,mean_test_score,rank_test_score\n0.1,0.5,2\n1,0.6,1\n",
    ],
)
def test_results_of_whole_trainings_are_no_curve(write, text):
    assert "a row for each, so these are the results of whole trainings and no curve" in error_of(write(text))


def test_names_that_a_number_tells_apart_may_be_those_of_checkpoints(write):
    found = only(write("checkpoint,loss\nmodel-01.keras,1\nmodel-02.keras,0.5\nmodel-03.keras,0.25\n"))
    assert drawn(found) == {"loss": LOSS}


def test_a_number_that_changes_with_every_epoch_tells_no_trainings_apart(write):
    found = only(write("epoch,seed,loss\n0,10,1\n1,11,2\n2,12,3\n"))
    assert drawn(found)["loss"] == [(0, 1.0), (1, 2.0), (2, 3.0)]


@pytest.mark.parametrize(("name", "train"), [("is_training", 1), ("Is Train", 1), ("is_val", 0), ("is_test", 0)])
def test_a_column_of_ones_and_zeros_that_says_which_data_a_row_is_about(write, name, train):
    rows = [row.format(train if row in TRAIN else 1 - train) for row in ORDERS["interleaved"]]
    found = only(write(lines(f"epoch,{name},loss", *rows)))
    assert drawn(found) == {"loss": LOSS, "val_loss": VAL_LOSS}


# --- what is not known -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counter", ["epoch,", "step,", ""])
def test_texts_that_tell_rows_apart_in_an_unknown_way_are_refused(write, counter):
    rows = [f"{epoch},{kind},{epoch}" for epoch in range(3) for kind in ("adam", "sgd")]
    rows = rows if counter else [row.partition(",")[2] for row in rows]
    text = error_of(write(lines(f"{counter}flavour,loss", *rows)))
    assert "the texts in 'flavour' ('adam', 'sgd') tell rows of the same moment apart" in text


@pytest.mark.parametrize("name", ["phase", "split", "Stage"])
def test_numbers_that_tell_kinds_of_data_apart_in_an_unknown_way_are_refused(write, name):
    rows = [f"{epoch},{kind},{epoch + kind}" for epoch in range(3) for kind in (0, 1)]
    assert f"the texts in {name!r} ('0', '1') tell rows of the same moment apart" in error_of(
        write(lines(f"epoch,{name},loss", *rows))
    )


def test_a_kind_of_data_that_comes_once_does_not_let_rows_be_mixed(write):
    """Lightning's check before training, say."""
    rows = ["0,sanity,9", *(f"{epoch},{kind},1" for epoch in range(3) for kind in ("fit", "validate"))]
    assert "tell rows of the same moment apart" in error_of(write(lines("epoch,stage,loss", *rows)))


@pytest.mark.parametrize(
    "rows",
    [
        ["0,a,1", "1,b,2", "2,a,3", "3,b,4"],  # No two rows are of the same moment.
        ["0,a,1", "1,a,2", "0,b,3", "1,b,4"],  # Each kind is by itself: another training.
        ["0,a,1", "1,b,2", "2,c,3", "3,d,4"],
    ],
)
def test_texts_that_tell_nothing_apart_are_left_out(write, rows):
    found = read(write(lines("epoch,note,loss", *rows)))
    assert {"'note': no numbers, left out."} <= set(found[0].notes)
    assert sum(len(each.curves["loss"].values) for each in found) == 4


@pytest.mark.parametrize("name", ["is_best", "Saved checkpoint", "improved"])
def test_a_column_that_marks_some_epochs_tells_nothing_apart(write, name):
    rows = ["1,True", "0.5,True", "0.75,False", "0.25,True", "0.5,False"]
    found = only(write(lines(f"loss,{name}", *rows)))
    assert [value for _, value in drawn(found)["loss"]] == [1.0, 0.5, 0.75, 0.25, 0.5]


def test_trainings_that_appended_to_one_file_at_the_same_time_are_refused(write):
    rows = [f"{epoch},0.1,{loss}" for epoch in range(4) for loss in (1 / (epoch + 1), 9)]
    text = error_of(write(lines("epoch,lr,val_loss", *rows)))
    assert text.startswith("FILE:3: most moments have several rows, each with a validation, and nothing tells the rows")


def test_trainings_that_appended_to_one_file_with_a_head_start_are_refused(write):
    first = ["0,1", "1,2", "2,3", "3,4"]
    rest = [row for epoch in range(4) for row in (f"{epoch},9", f"{epoch + 4},1")]
    text = error_of(write(lines("epoch,val_loss", *first, *rest)))
    assert "FILE:7: 'epoch' goes on here after it went back, and so in 4 rows: trainings were written" in text


def test_two_rows_an_epoch_that_nothing_tells_apart_are_noted(write):
    records = [{"epoch": epoch, "loss": loss} for epoch in range(3) for loss in (1, 2)]  # Perhaps a validation.
    found = only(write("\n".join(map(json.dumps, records)), "log.jsonl"))
    assert found.unit == "step"
    assert found.notes == ("Epochs have several rows: they are counted as the steps of one training.",)


# --- counters that mean different things -----------------------------------------------------------------------------


def test_mmengine_counts_epochs_in_the_rows_of_the_validation(write):
    records = []
    for epoch in (1, 2, 3):
        for batch in (1, 2):
            step = 2 * (epoch - 1) + batch
            records.append({"lr": 0.1, "loss": step / 2, "time": 0.5, "epoch": epoch, "iter": step, "step": step})
        records.append({"accuracy/top1": 10.0 * epoch, "time": 0.1, "step": epoch})
    found = only(write("\n".join(map(json.dumps, records)), "scalars.json"))
    assert found.unit == "epoch"
    assert drawn(found)["accuracy/top1"] == [(0, 10.0), (1, 20.0), (2, 30.0)]
    assert drawn(found)["loss"] == [(0, 0.75), (1, 1.75), (2, 2.75)]
    assert drawn(found)["val_time"] == [(0, 0.1), (1, 0.1), (2, 0.1)]


def test_mmengine_that_validates_every_second_epoch(write):
    records = []
    for epoch in range(1, 7):
        records.append({"loss": 1 / epoch, "epoch": epoch, "iter": 10 * epoch, "step": 10 * epoch})
        if epoch % 2 == 0:
            records.append({"mIoU": 10.0 * epoch, "step": epoch})
    found = only(write("\n".join(map(json.dumps, records)), "scalars.json"))
    assert drawn(found)["mIoU"] == [(1, 20.0), (3, 40.0), (5, 60.0)]
    assert found.curves["loss"].epochs == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    ("names", "train", "validation"),
    [
        ("step,loss,val_loss", "{step},{value},", "{epoch},,{value}"),
        ("step,loss,mine", "{step},{value},", "{epoch},,{value}"),
        ("split,step,loss", "train,{step},{value}", "val,{epoch},{value}"),
        ("metric,step,value", "loss,{step},{value}", "val_loss,{epoch},{value}"),
        ("epoch,step,loss,val_loss", "{epoch},{step},{value},", "{epoch},{epoch},,{value}"),
    ],
)
def test_rows_of_the_validation_that_count_epochs_in_the_step(write, first, names, train, validation):
    rows = []
    for epoch in range(3):
        values = {"epoch": epoch + first}
        rows += [train.format(step=10 * epoch + batch, value=4 - epoch, **values) for batch in (4, 9)]
        rows.append(validation.format(value=9 - epoch, **values))
    found = only(write(lines(names, *rows)))
    assert found.unit == "epoch"
    validated = found.curves["mine" if "mine" in names else "val_loss"]
    assert (validated.epochs, validated.values) == ([0, 1, 2], [9, 8, 7])
    assert drawn(found)["loss"] == [(0, 4.0), (1, 3.0), (2, 2.0)]
    assert "Rows whose 'step' goes back are of the validation; their 'step' counts epochs." in found.notes


@pytest.mark.parametrize("counts", [(2, 4, 6), (1, 3, 5)])  # From 1, and from 0.
def test_a_validation_every_second_epoch_that_counts_epochs_in_the_step(write, counts):
    rows = []
    for at, count in enumerate(counts):
        rows += [*(f"{20 * at + step},1," for step in (4, 9, 14, 19)), f"{count},,{at}"]
    assert drawn(only(write(lines("step,loss,val_loss", *rows))))["val_loss"] == [(1, 0.0), (3, 1.0), (5, 2.0)]


def test_blocks_of_metrics_with_times_are_in_the_order_of_these(write):
    rows = [f"loss,{step},1,{1_700_000_000_000 + step}" for step in range(30)]
    rows += [f"val_loss,{epoch},{epoch},{1_700_000_000_009 + 10 * epoch}" for epoch in range(3)]
    found = only(write(lines("key,step,value,timestamp", *rows)))
    assert (found.unit, drawn(found)["val_loss"]) == ("epoch", [(0, 0.0), (1, 1.0), (2, 2.0)])


def test_a_validation_before_the_training_leaves_steps(write):
    rows = ["0,,9", "4,2,", "9,2,", "1,,8", "14,1,", "19,1,", "2,,7"]
    found = only(write(lines("step,loss,val_loss", *rows)))
    assert found.unit == "step"
    assert drawn(found)["val_loss"] == [(0, 9.0), (9, 8.0), (19, 7.0)]


def test_a_validation_that_comes_late_counts_no_epochs(write):
    rows = ["1,1,", *(row for step in range(1, 6) for row in (f"{step + 1},1,", f"{step},,2"))]
    assert {each.unit for each in read(write(lines("step,loss,val_loss", *rows)))} == {"step"}


def test_steps_of_two_trainings_count_no_epochs(write):
    found = read(write("step,loss\n0,3\n1,2\n2,1\n0,6\n1,5\n2,4\n"))
    assert [each.curves["loss"].values for each in found] == [[3, 2, 1], [6, 5, 4]]


def test_mmcv_by_iterations_validates_where_the_training_is(write):
    records = [{"env_info": "text", "seed": 0}]
    for step in range(50, 301, 50):
        records.append({"mode": "train", "epoch": 1, "iter": step, "lr": 0.1, "loss": 1 / step})
        if step % 100 == 0:
            records.append({"mode": "val", "epoch": 1, "iter": 7, "lr": 0.1, "mIoU": step / 10})
    found = only(write("\n".join(map(json.dumps, records)), "log.json"))
    assert found.unit == "step"
    assert drawn(found)["val_mIoU"] == [(100, 10.0), (200, 20.0), (300, 30.0)]
    assert found.curves["loss"].epochs == [50, 100, 150, 200, 250, 300]
    assert "1 of the records counts neither epochs nor steps: left out." in found.notes


def test_detectron2_evaluates_at_an_iteration(write):
    records = []
    for step in range(19, 100, 20):
        records.append({"iteration": step, "lr": 0.1, "total_loss": 1 / step, "time": 0.3})
        if step in (59, 99):
            records.append({"iteration": step, "bbox/AP": step / 2})
    found = only(write("\n".join(map(json.dumps, records)), "metrics.json"))
    assert drawn(found)["bbox/AP"] == [(59, 29.5), (99, 49.5)]
    assert found.curves["total_loss"].epochs == [19, 39, 59, 79, 99]
