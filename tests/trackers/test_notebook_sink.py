"""The live figure, in a real kernel."""

import os
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
FIGURE = "application/vnd.plotly.v1+json"

TRAIN = """
import time
import keras, numpy as np
from keras_lrplateau import AdaptLROnPlateau, LiveFigure
x = np.ones((8, 2), "float32")
def train(adapt, epochs):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    slowly = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: time.sleep(0.4))
    model.fit(x, x[:, :1], epochs=epochs, verbose=0, callbacks=[adapt, slowly])
adapt = AdaptLROnPlateau("loss", patience=2, min_delta=100.0, max_raises=0, sinks=[LiveFigure(dark=True)])
"""


class Watching(nbclient.NotebookClient):
    """Writes down what each update of a display shows."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.updates: list[Any] = []

    def process_message(self, message: Any, cell: Any, cell_index: int) -> Any:
        if message["msg_type"] == "update_display_data":
            self.updates.append(message["content"]["data"][FIGURE])
        return super().process_message(message, cell, cell_index)


def epochs_of(figure: Any) -> int:
    return max(len(trace["customdata"]) for trace in figure["data"] if trace["name"].startswith("loss"))


def test_the_figure_is_below_the_cell_and_grows_while_fit_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    cells = [nbformat.v4.new_code_cell(source) for source in (TRAIN, "train(adapt, 8)", "train(adapt, 3)")]
    client = Watching(nbformat.v4.new_notebook(cells=cells), timeout=300)
    made, first, second = client.execute().cells
    assert not made.outputs
    for cell, epochs in ((first, 8), (second, 3)):
        (output,) = cell.outputs
        assert epochs_of(output.data[FIGURE]) == epochs
        assert "cut" in {trace["name"] for trace in output.data[FIGURE]["data"]}
    seen = [epochs_of(figure) for figure in client.updates]
    assert len(seen) >= 3
    assert min(seen) < 8, "while it trained"
