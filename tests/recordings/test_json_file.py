"""JSON in all shapes that trainings are written in."""

import json
from typing import Any

import pytest
from curve_files import DRAWN, HISTORY, drawn, error_of, only, points


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
