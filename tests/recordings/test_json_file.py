"""JSON in all shapes that trainings are written in."""

import json
from typing import Any

import pytest
from curve_files import DRAWN, HISTORY, drawn, error_of, only, points

from keras_lrplateau.recordings.reading import read


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


@pytest.mark.parametrize("key", ["{}", "Epoch {}", "epoch_{}"])
def test_epochs_that_were_sorted_as_texts(write, key):
    data = {key.format(epoch): {"loss": 12.0 - epoch} for epoch in range(12)}
    found = only(write(json.dumps(data, sort_keys=True)))
    assert drawn(found) == {"loss": [(epoch, 12.0 - epoch) for epoch in range(12)]}
    assert not found.notes


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
    assert set(found.curves) == {"learning_rate", "loss", "val_loss"}, "the iterations begin again in each epoch"


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
        ('{"cells": [], "metadata": {}, "nbformat": 4}', "FILE: a notebook; save the output of the cell that trained"),
        ("[1, 2]", "FILE: no training curve in the JSON"),
        ('{"loss": []}', "FILE: there are no numbers in it"),
        ('{"loss": [[2, 1], [4, 3]], "acc": [[1, 2], [3, 4]]}', "FILE: 'loss' and 'acc': lists of lists of numbers"),
        (
            '{"params": [{"lr": 1}, {"lr": 2}], "mean_test_score": [0.5, 0.6], "rank": [2, 1]}',
            "FILE: 'mean_test_score' and 'rank': a number for each of 'params', so these are the results of whole",
        ),
        ('{"loss": ["a", "b"], "acc": ["c", "d"]}', "FILE: 'loss' and 'acc': no numbers in it"),
        ('{"loss": [2, 1]} {"loss": [4, 3]}', "FILE:1: not JSON: Extra data"),
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


# --- several trainings -----------------------------------------------------------------------------------------------

FIRST = {"loss": [3.0, 2.0, 1.0], "val_loss": [4.0, 3.0, 2.0]}
SECOND = {"loss": [0.3, 0.2, 0.1], "val_loss": [0.4, 0.3, 0.2]}


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ([FIRST, SECOND], ["h.json", "h.json (2)"]),
        ([{"history": FIRST, "epoch": [0, 1, 2]}, {"history": SECOND, "epoch": [0, 1, 2]}], ["h.json", "h.json (2)"]),
        ([{"fold": 1, **FIRST}, {"fold": 2, **SECOND}], ["h.json (fold=1)", "h.json (fold=2)"]),
        ([{"fold": 1, "history": FIRST}, {"fold": 2, "history": SECOND}], ["h.json (fold=1)", "h.json (fold=2)"]),
        ({"histories": [FIRST, SECOND]}, ["h.json", "h.json (2)"]),
        ({"fold_1": FIRST, "fold_2": SECOND}, ["h.json (fold_1)", "h.json (fold_2)"]),
        ({"0": FIRST, "1": SECOND}, ["h.json (0)", "h.json (1)"]),
        ({"resnet": FIRST, "vgg": SECOND}, ["h.json (resnet)", "h.json (vgg)"]),
        ({"resnet": {"history": FIRST}, "vgg": {"history": SECOND}}, ["h.json (resnet)", "h.json (vgg)"]),
    ],
)
def test_lists_and_dictionaries_of_histories_are_a_training_each(write, data, names):
    found = read(write(json.dumps(data), "h.json"))
    assert [each.name for each in found] == names
    for each, history in zip(found, (FIRST, SECOND), strict=True):
        assert {name: each.curves[name].values for name in history} == history
        assert each.curves["loss"].epochs == [0, 1, 2]
        assert each.notes[0] == "Read as 2 trainings, which the file holds one beside the other."


def test_a_history_on_each_line_is_a_training_each(write):
    first, second = read(write(f"{json.dumps(FIRST)}\n{json.dumps(SECOND)}\n", "h.jsonl"))
    assert [first.curves["loss"].values, second.curves["loss"].values] == [FIRST["loss"], SECOND["loss"]]


def test_records_of_several_trainings(write):
    data = {f"run{number}": [{"epoch": epoch, "loss": 1.0} for epoch in range(3)] for number in (1, 2)}
    assert [each.name for each in read(write(json.dumps(data), "h.json"))] == ["h.json (run1)", "h.json (run2)"]


RECORDS = [{"epoch": 0, "loss": 1.0}, {"epoch": 1, "loss": 2.0}]


@pytest.mark.parametrize(
    "data",
    [
        {"models": {"a": FIRST, "b": SECOND}},
        {"config": {"lr": 0.1}, "results": [FIRST, SECOND]},
        [RECORDS, RECORDS],
        {"a": RECORDS, "b": RECORDS},
    ],
)
def test_trainings_among_other_things(write, data):
    assert len(read(write(json.dumps(data)))) == 2


def test_the_results_beside_a_configuration(write):
    data = {"config": {"lr": 0.1}, "results": {"train": RECORDS, "val": RECORDS}}
    assert set(only(write(json.dumps(data))).curves) == {"loss", "val_loss"}


def test_plural_names(write):
    found = only(write('{"train_losses": [3, 2, 1], "val_losses": [4, 3, 2]}'))
    assert points(found.curve("val_loss")) == [(0, 4.0), (1, 3.0), (2, 2.0)]


@pytest.mark.parametrize(
    "data",
    [
        {"generator": {"loss": [1.0, 2.0]}, "discriminator": {"loss": [3.0, 4.0]}},
        {"loss": {"train": [1.0, 2.0], "val": [3.0, 4.0]}, "acc": {"train": [1.0, 2.0], "val": [3.0, 4.0]}},
        {"train": {"loss": [1.0, 2.0]}, "valid": {"loss": [3.0, 4.0]}},
    ],
)
def test_the_parts_of_a_training_are_no_trainings(write, data):
    found = only(write(json.dumps(data)))
    assert set(found.curves) == {f"{top}/{below}" for top, inner in data.items() for below in inner}


def rows(**others: Any) -> list[dict[str, Any]]:
    return [{"epoch": epoch, "loss": 3.0 - epoch, **others} for epoch in range(3)]


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ([{"train_loss": 3.0 - epoch, "test_bbox": [0.5, 0.1], "epoch": epoch} for epoch in range(3)], "test_bbox"),
        (rows(iou_per_class=[0.1, 0.2, 0.3]), "iou_per_class"),
        (rows(lr=[0.01, 0.1]), "lr"),
        (rows(gradients={"_type": "histogram", "values": [1, 2], "bins": [0, 1, 2]}), "gradients/bins"),
        (rows(confusion=[[1, 2], [3, 4]]), "confusion"),
        (rows(batch_losses=[3.0, 2.0]), "batch_losses"),
        ([{"loss": 3.0 - epoch, "config": {"layers": [32, 64]}} for epoch in range(3)], "config/layers"),
        ([{"loss": 3.0 - epoch, "f1": [0.1, 0.2], "recall": [0.1, 0.2]} for epoch in range(3)], "f1"),
        ({"history": rows(iou=[0.1, 0.2])}, "iou"),
        ({f"epoch_{row['epoch']}": row for row in rows(iou=[0.1, 0.2])}, "iou"),
        ([{"loss": 3.0, "iou": []}, {"loss": 2.0, "iou": [0.1]}, {"loss": 1.0, "iou": [0.1, 0.2]}], "iou"),
    ],
)
@pytest.mark.parametrize("form", ["json", "lines", "log"])
def test_lists_within_the_records_of_epochs_are_left_out(write, shape, names, form):
    before = "2024-01-31 10:00:00,123 INFO " if form == "log" else ""
    is_list = form != "json" and isinstance(shape, list)
    text = "".join(f"{before}{json.dumps(row)}\n" for row in shape) if is_list else json.dumps(shape)
    found = only(write(text, "log.txt"))
    assert points(found.curve("loss")) == [(0, 3.0), (1, 2.0), (2, 1.0)]
    (note,) = (note for note in found.notes if note.endswith("lists within a record, left out."))
    assert repr(names) in note


@pytest.mark.parametrize(
    "record",
    [
        '{"accuracy": 0.5, "layers": [32, 64]}',
        '{"epoch": N, "ndcg": 0.5, "recall": [0.1, 0.2]}',
        '{"training_iteration": N, "reward": 0.5, "f1": [0.1, 0.2]}',
    ],
)
def test_records_without_a_loss_are_of_epochs_if_they_count_or_have_another_metric(write, record):
    found = only(write("".join(record.replace("N", str(epoch)) + "\n" for epoch in range(3))))
    assert [points(curve) for curve in found.curves.values()] == [[(0, 0.5), (1, 0.5), (2, 0.5)]]


@pytest.mark.parametrize(
    "beside",
    [
        {"fold": 1},
        {"epoch": 12, "test_acc": 0.9},
        {"epochs": 3, "acc": [1, 2, 3]},
        {"best_val_loss": 2.0, "test_acc": 0.9, "seed": 7},
    ],
)
def test_numbers_beside_the_lists_of_several_trainings_make_no_rows(write, beside):
    first, second = read(write(json.dumps([{**FIRST, **beside}, {**SECOND, **beside}])))
    assert [first.curves["loss"].values, second.curves["loss"].values] == [FIRST["loss"], SECOND["loss"]]


@pytest.mark.parametrize(("file", "metric"), [("losses.json", "loss"), ("x.json", "loss"), ("train_acc.json", "acc")])
def test_lists_that_only_say_the_kind_of_data(write, file, metric):
    found = only(write('{"train": [3, 2, 1], "val": [4, 3, 2]}', file))
    assert drawn(found) == {metric: [(0, 3.0), (1, 2.0), (2, 1.0)], f"val_{metric}": [(0, 4.0), (1, 3.0), (2, 2.0)]}
    assert "not what was measured" in found.notes[0]


def test_records_of_two_kinds_of_data(write):
    kinds = {"train": 0.0, "validation": 1.0}
    data = {kind: [{"epoch": epoch, "loss": epoch + at} for epoch in (1, 2)] for kind, at in kinds.items()}
    assert drawn(only(write(json.dumps(data)))) == {"loss": [(0, 1.0), (1, 2.0)], "val_loss": [(0, 2.0), (1, 3.0)]}
    data = {"train": [{"loss": 1.0}, {"loss": 2.0}], "test": [{"loss": 3.0}, {"loss": 4.0}]}
    assert drawn(only(write(json.dumps(data)))) == {"loss": [(0, 1.0), (1, 2.0)], "val_loss": [(0, 3.0), (1, 4.0)]}


# --- exports of others -----------------------------------------------------------------------------------------------


def test_evals_result_of_lightgbm_and_xgboost(write):
    found = only(write('{"training": {"l2": [3, 2, 1]}, "valid_0": {"l2": [4, 3, 2]}}'))
    assert points(found.curve("val_l2")) == [(0, 4.0), (1, 3.0), (2, 2.0)]
    assert found.notes == ("'valid_0': a round of boosting is read as an epoch.",)
    found = only(write('{"validation_0": {"rmse": [3, 2]}, "validation_1": {"rmse": [4, 3]}}'))
    assert set(found.curves) == {"validation_0/rmse", "validation_1/rmse"}, "either may be the training data"
    found = only(write("{'train': OrderedDict([('auc', [0.5, 0.6])]), 'eval': OrderedDict({'auc': [0.4, 0.5]})}"))
    assert points(found.curve("val_auc")) == [(0, 0.4), (1, 0.5)]


@pytest.mark.parametrize(
    ("file", "metric"),
    [
        ("run-digits_train-tag-epoch_loss.json", "loss"),
        ("run-digits_validation-tag-epoch_loss.json", "val_loss"),
        ("run-.-tag-Loss_validation.json", "Loss_validation"),
        ("scalars.json", "value"),
    ],
)
def test_what_tensorboard_gives_out_as_json(write, file, metric):
    found = only(write("[[1700000000.5, 100, 0.5], [1700000010.5, 200, NaN], [1700000020.5, 300, 0.25]]", file))
    assert found.unit == "step"
    assert found.curves[metric].epochs == [100, 200, 300]
    assert str(found.curves[metric].values) == "[0.5, nan, 0.25]"
    assert found.curves[metric].times[0] == 1700000000.5


def test_metrics_of_comet(write):
    metrics = [
        {
            "metricName": "loss",
            "metricValue": str(value),
            "timestamp": 1_700_000_000_000 + epoch,
            "step": 10 * epoch,
            "epoch": epoch,
            "runContext": context,
        }
        for epoch in range(3)
        for value, context in ((3 - epoch, "train"), (4 - epoch, "validate"))
    ]
    found = only(write(json.dumps({"metrics": metrics}), "metrics.json"))
    assert drawn(found) == {"loss": [(0, 3.0), (1, 2.0), (2, 1.0)], "val_loss": [(0, 4.0), (1, 3.0), (2, 2.0)]}


STEPS = [10, 20, 30]
OWN = {"loss": [(10, 3.0), (20, 2.0), (30, 1.0)], "val_loss": [(20, 4.0)]}


@pytest.mark.parametrize(
    "data",
    [
        {  # Sacred
            "loss": {"steps": STEPS, "timestamps": ["2026-11-30T10:00:00"] * 3, "values": [3.0, 2.0, 1.0]},
            "val_loss": {"steps": [20, 40], "timestamps": ["2026-11-30T10:00:00"] * 2, "values": [4.0, None]},
        },
        {"loss": {"train": {"x": STEPS, "y": [3, 2, 1]}, "validation": {"x": [20, 30], "y": [4, None]}}},  # ClearML
        {  # Plotly
            "data": [
                {"name": "loss", "x": STEPS, "y": [3, 2, 1], "type": "scatter"},
                {"name": "val_loss", "x": [20, 30], "y": [4, None], "type": "scatter"},
            ],
            "layout": {"xaxis": {"range": [0, 30]}},
        },
        {
            "train": {"step": STEPS, "loss": [3, 2, 1]},
            "val": {"step": [20, 30], "loss": [4, None]},
            "args": {"milestones": [3, 5]},
        },
        {"train/step": STEPS, "train/loss": [3, 2, 1], "val/step": [20, 30], "val/loss": [4, None]},
    ],
)
def test_parts_that_count_for_themselves(write, data):
    found = only(write(json.dumps(data)))
    assert found.unit == "step"
    assert {monitor: points(found.curve(monitor)) for monitor in OWN} == OWN
    assert len(found.curves) == 2


def test_parts_of_the_same_name_are_told_apart(write):
    data = [{"name": "loss", "x": STEPS, "y": [shift + 2, shift + 1, shift]} for shift in (0, 10)]
    found = only(write(json.dumps(data)))
    assert {name: curve.values for name, curve in found.curves.items()} == {
        "loss": [2.0, 1.0, 0.0],
        "loss (2)": [12.0, 11.0, 10.0],
    }
    assert drawn(only(write(json.dumps({"data": data[:1]})))) == {"loss": [(10, 2.0), (20, 1.0), (30, 0.0)]}


def test_parts_that_count_epochs_and_folds_of_such_parts(write):
    own = {"train": {"epoch": [5, 10], "loss": [2, 1]}, "val": {"epoch": [10, 15], "loss": [3, 2]}}
    found = read(write(json.dumps({"fold 1": own, "fold 2": own})))
    assert [(each.unit, points(each.curve("val_loss"))) for each in found] == [("epoch", [(10, 3.0), (15, 2.0)])] * 2


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"loss": {"steps": [0, 1, 1], "values": [3, 2, 1]}}, "'steps' of 'loss' does not count all of its values up"),
        ({"loss": {"steps": [0, 1], "values": [3, 2, 1]}}, "'steps' of 'loss' does not count all of its values up"),
        (
            {"train": {"step": [0, 9], "loss": [3, 2]}, "val": {"epoch": [0, 1], "loss": [3, 2]}},
            "some of 'train' and 'val' count epochs, and others steps",
        ),
    ],
)
def test_parts_with_counts_that_do_not_fit_are_refused(write, data, error):
    assert error in error_of(write(json.dumps(data)))


def test_lists_of_lists_beside_a_loss_are_left_out(write):
    found = only(write(json.dumps(HISTORY | {"confusion": [[1, 2], [3, 4]], "class_acc": [[0.5, 0.25], [0.5, 0.75]]})))
    assert drawn(found) == DRAWN
    assert "'confusion' and 'class_acc': lists of lists, left out." in found.notes


def test_metric_history_of_mlflow(write):
    metrics = [
        {"key": "val_loss", "value": 1 / step, "timestamp": 1_700_000_000_000, "step": step} for step in (10, 20)
    ]
    found = only(write(json.dumps({"metrics": metrics}), "history.json"))
    assert (found.unit, drawn(found)) == ("step", {"val_loss": [(10, 0.1), (20, 0.05)]})


def test_the_history_of_a_run_of_weights_and_biases_and_its_summary(write):
    lines = [
        json.dumps({"_step": step, "_runtime": 1.5 * step, "_timestamp": 1.7e9 + step, "epoch": step, "val_loss": 1.0})
        for step in range(3)
    ]
    found = only(write("\n".join(lines), "wandb-history.jsonl"))
    assert points(found.curves["val_loss"]) == [(0, 1.0), (1, 1.0), (2, 1.0)]
    assert found.curves["val_loss"].times == [1.7e9, 1.7e9 + 1, 1.7e9 + 2]
    summary = write('{"_step": 2, "_runtime": 3.5, "val_loss": 0.5, "_wandb": {"runtime": 3}}', "wandb-summary.json")
    assert "the summary of a run of Weights & Biases, which holds its last values only" in error_of(summary)


@pytest.mark.parametrize(
    "text",
    [
        "[0]\tvalid-rmse:0.5\n[1]\tvalid-rmse:0.4\n",
        "[nltk_data] Downloading\n",
        "[2024-01-31 10:00:00] started\n",
        "{epoch} of {epochs}\n",
        "[01/01 00:00] x\n",
    ],
)
def test_a_line_in_brackets_is_no_json(write, text):
    assert "no training curve in a form that is known" in error_of(write(text, "log.txt"))
