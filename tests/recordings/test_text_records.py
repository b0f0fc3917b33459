"""Objects among lines of text."""

import pytest
from curve_files import drawn, error_of, only

TRAINER = """\
  0%|          | 0/6 [00:00<?, ?it/s]
 50%|#####     | 3/6 [00:01<00:01]\r{'loss': 0.9, 'grad_norm': 1.5, 'learning_rate': 4e-05, 'epoch': 1.0}
You're using a fast tokenizer. Please note that {something} is slow.
{'eval_loss': 0.8, 'eval_runtime': 0.5, 'epoch': 1.0}
100%|##########| 6/6 [00:02<00:00] {'loss': 0.7, 'grad_norm': 1.25, 'learning_rate': 2e-05, 'epoch': 2.0}
{'eval_loss': nan, 'eval_runtime': 0.5, 'epoch': 2.0}
{'train_runtime': 3.5, 'train_loss': 0.8, 'epoch': 2.0}
Traceback (most recent call last):
"""


def test_what_the_trainer_of_hugging_face_prints(write):
    found = only(write(TRAINER, "out.log"))
    assert found.unit == "epoch"
    assert found.curves["loss"].values == [0.9, 0.7]
    assert str(found.curve("val_loss").values) == "[0.8, nan]"
    assert found.curves["learning_rate"].values == [4e-05, 2e-05]
    assert found.notes[0] == "Read from the objects in 5 lines; 4 lines without one were passed over."


@pytest.mark.parametrize("before", ["2024-01-31 10:00:00,123 INFO ", "[10:00:00] ", "worker-1 | "])
def test_objects_behind_something_on_their_lines(write, before):
    lines = [f'{before}{{"epoch": {epoch}, "loss": {epoch / 2}}} (done)' for epoch in range(3)]
    found = only(write("\n".join(["[nltk_data] ok", *lines, "Error: {x}"]), "out.log"))
    assert drawn(found) == {"loss": [(0, 0.0), (1, 0.5), (2, 1.0)]}


@pytest.mark.parametrize("before", ["", "History: ", "history = "])
def test_a_history_that_was_printed_among_other_things(write, before):
    history = "{'loss': [0.5, nan], 'val_loss': [np.float32(1.5), 2]}"
    found = only(write(f"Training done\n{before}{history}\nBye\n", "out.log"))
    assert str(drawn(found)) == "{'loss': [(0, 0.5), (1, nan)], 'val_loss': [(0, 1.5), (1, 2.0)]}"


def test_objects_that_are_no_records_are_none(write):
    lines = [f'{{"level": "info", "pid": {number}}}' for number in range(5)]
    assert "no training curve" in error_of(write("\n".join(["begin", *lines]), "out.log"))


def test_objects_in_cells_of_a_table_are_cells(write):
    found = only(write('epoch,loss,extra\n0,1,"{""loss"": 3}"\n1,2,"{""loss"": 4}"\n2,3,"{""loss"": 5}"\n'))
    assert drawn(found) == {"loss": [(0, 1.0), (1, 2.0), (2, 3.0)]}
