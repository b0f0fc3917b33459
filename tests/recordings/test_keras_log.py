"""What Keras prints while it trains."""

import math

import pytest
from curve_files import drawn, error_of, only

from keras_lrplateau.recordings.reading import read

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


TRUE = {"loss": [(0, 0.7), (1, 0.5)], "val_loss": [(0, 0.6), (1, 0.4)]}

VERBOSE_1 = """\
Epoch 1/2
 1/14 ━━━━━━━━━━━━━━━━━━━━ 3s 230ms/step - loss: 0.9
14/14 ━━━━━━━━━━━━━━━━━━━━ 0s 20ms/step - loss: 0.7
14/14 ━━━━━━━━━━━━━━━━━━━━ 1s 53ms/step - loss: 0.7 - val_loss: 0.6
Epoch 2/2
14/14 ━━━━━━━━━━━━━━━━━━━━ 0s 29ms/step - loss: 0.5 - val_loss: 0.4
"""

FORMS = {
    "verbose=1": VERBOSE_1,
    "verbose=1 of Keras 2": """\
Epoch 1/2
 1/14 [=>............................] - ETA: 3s - loss: 0.9
14/14 [==============================] - ETA: 0s - loss: 0.8
14/14 [==============================] - 1s 53ms/step - loss: 0.7 - val_loss: 0.6
Epoch 2/2
14/14 [==============================] - 0s 2ms/step - loss: 0.5 - val_loss: 0.4
""",
    "verbose=2": """\
Epoch 1/2
14/14 - 1s - 53ms/step - loss: 0.7 - val_loss: 0.6
Epoch 2/2
14/14 - 0s - 2ms/step - loss: 0.5 - val_loss: 0.4
""",
    "verbose=2 of tf.keras": """\
Epoch 1/2
 - 1s - loss: 0.7 - val_loss: 0.6
Epoch 2/2
 - 0s - loss: 0.5 - val_loss: 0.4
""",
    "carriage returns": VERBOSE_1.replace("\n14/14", "\r14/14"),
    "lost backspaces": """\
Epoch 1/2
 7/14 [==>.] - ETA: 0s - loss: 0.900014/14 [====] - 0s 29ms/step - loss: 0.7000 - val_loss: 0.6000
Epoch 2/2
14/14 [====] - 0s 2ms/step - loss: 0.5000 - val_loss: 0.4000
""",
    "colours": VERBOSE_1.replace("14/14", "\x1b[1m14/14\x1b[0m").replace("━", "\x1b[32m━\x1b[0m"),
    "a narrow terminal": VERBOSE_1.replace(" - val_loss", "\n - val_loss").replace(" - loss", " -\nloss"),
    "timestamps": "".join(f"2024-01-31 10:00:0{at},123 INFO {line}\n" for at, line in enumerate(VERBOSE_1.split("\n"))),
    "a container": "".join(f"web_1  | {line}\n" for line in VERBOSE_1.split("\n")),
    "text before": "[nltk_data] Package is up-to-date!\n[2024-01-31 10:00:00] started\n{not JSON}\n" + VERBOSE_1,
    "MPI": "".join(f"[1,0]<stdout>:{line}\n" for line in VERBOSE_1.split("\n")),
    "Ray": "".join(f"\x1b[36m(train pid=12)\x1b[0m {line}\n" for line in VERBOSE_1.split("\n")),
    "a configuration before": '{\n "rate": 0.1,\n "layers": [1, 2]\n}\n' + VERBOSE_1,
    "a list before": "[1, 2, 3]\n" + VERBOSE_1,
    "warnings between": VERBOSE_1.replace(
        "Epoch 2/2",
        "\nEpoch 1: val_loss improved to 0.6, saving model\nWARNING:absl: a - b: 3 of 4\nEpoch 2/2",
    ),
    "a traceback": VERBOSE_1
    + 'Traceback (most recent call last):\n  File "a.py", line 3, in <module>\nValueError: x - loss: 9\n',
    "evaluate": VERBOSE_1
    + " 1/14 ━━━━━━━━━━━━━━━━━━━━ 0s 20ms/step - loss: 8.0\n14/14 ━━━━━━━━━━━━━━━━━━━━ 0s 1ms/step - loss: 9.0\n",
    "evaluate in a file": VERBOSE_1 + "14/14 - 0s - 1ms/step - loss: 9.0\n",
    "predict": VERBOSE_1 + "14/14 ━━━━━━━━━━━━━━━━━━━━ 0s 1ms/step\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_the_console_log(write, form):
    found = only(write(FORMS[form], "out.log"))
    assert drawn(found) == TRUE
    assert len(found.notes) == 1, found.notes


def test_several_fits_in_one_file_are_a_training_each(write):
    found = read(write(f"{VERBOSE_1}{FORMS['evaluate'].removeprefix(VERBOSE_1)}Second fit\n{VERBOSE_1}", "out.log"))
    assert [drawn(each) for each in found] == [TRUE, TRUE]


def test_a_fit_that_begins_with_a_later_epoch(write):
    text = "".join(f"Epoch {epoch}/13\n8/8 - 0s - 2ms/step - loss: {epoch}.0\n" for epoch in (11, 12, 13))
    assert drawn(only(write(text, "out.log"))) == {"loss": [(10, 11.0), (11, 12.0), (12, 13.0)]}


@pytest.mark.parametrize(
    "tail",
    [
        " 3/14 ━━━━━━━━━━━━━━━━━━━━ 0s 20ms/step - loss: 0.3",
        "14/14 ━━━━━━━━━━━━━━━━━━━━ 0s 20ms/step - loss: 0.3",  # Before the validation.
        "",
    ],
)
def test_an_epoch_that_was_not_over_is_left_out(write, tail):
    found = only(write(VERBOSE_1.replace("/2", "/3") + f"Epoch 3/3\n{tail}\nKeyboardInterrupt\n", "out.log"))
    assert drawn(found) == TRUE
    assert found.notes[1] == "The epoch that begins at line 7, the last one, is incomplete and was left out."


def test_validation_every_second_epoch_is_no_incomplete_epoch(write):
    text = "".join(
        f"Epoch {epoch}/3\n8/8 - 0s - 2ms/step - loss: {epoch}.0{' - val_loss: 5.0' if epoch == 2 else ''}\n"
        for epoch in (1, 2, 3)
    )
    assert drawn(only(write(text, "out.log"))) == {"loss": [(0, 1.0), (1, 2.0), (2, 3.0)], "val_loss": [(1, 5.0)]}


def test_metrics_by_any_name(write):
    names = ("f1-score", "top 5", "mAP(50)", "val_precision@0.5", "F-\u03b2")
    line = " - ".join(f"{name}: {number}.5" for number, name in enumerate(names))
    text = "".join(f"Epoch {epoch}/2\n8/8 - 1s - 2ms/step - {line}\n" for epoch in (1, 2))
    assert drawn(only(write(text, "out.log"))) == {
        name: [(0, number + 0.5), (1, number + 0.5)] for number, name in enumerate(names)
    }


@pytest.mark.parametrize("prefix", ["", "{}: ", "[1,{}]<stdout>:"])
def test_mixed_lines_of_several_processes_are_refused(write, prefix):
    text = ""
    for epoch in (1, 2, 3):
        for line in (f"Epoch {epoch}/3\n", f"8/8 - 1s - 2ms/step - loss: {epoch}.5\n"):
            text += "".join(f"{prefix.format(rank)}{line}" for rank in (0, 1))
    assert "FILE:2: 3 epochs begin twice and then end twice, so several processes wrote" in error_of(write(text))


@pytest.mark.parametrize("lost", ["", "1/8 ━━━ 9s 1s/step - loss: 9.0\r"])
def test_epochs_that_were_begun_again_after_a_crash_are_no_mixed_lines(write, lost):
    text = ""
    for epoch in (1, 2, 3):
        end = f"8/8 ━━━ 1s 2ms/step - loss: {epoch}.0"
        text += f"Epoch {epoch}/3\n{lost}\nEpoch {epoch}/3\n{end}{f'{chr(13)}{end}' if lost else ''}\n"
    assert drawn(only(write(text))) == {"loss": [(0, 1.0), (1, 2.0), (2, 3.0)]}


def test_epochs_of_others_are_not_taken_for_those_of_keras(write):
    text = "".join(f"Epoch {epoch}/3\nTrain Loss: {epoch}.0, Val Loss: {epoch}.5\n" for epoch in (1, 2, 3))
    assert "no training curve in a form that is known" in error_of(write(text, "out.log"))
