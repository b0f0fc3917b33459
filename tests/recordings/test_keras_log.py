"""What Keras prints while it trains."""

import math

from curve_files import drawn, only

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
