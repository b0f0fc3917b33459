"""examples/notebook.ipynb runs from top to bottom, in a kernel of its own, and shows its figures."""

import base64
import copy
import os
import re
from pathlib import Path
from typing import Any

import pytest

from keras_lrplateau.views.figure import THEMES

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
PATH = ROOT / "examples" / "notebook.ipynb"
FIGURE = "application/vnd.plotly.v1+json"


@pytest.fixture(scope="module")
def notebook() -> Any:
    return nbformat.read(PATH, as_version=4)


@pytest.fixture(scope="module")
def outputs(notebook: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """All that its cells show, in order."""
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        # Nothing of the user's: no settings, and no traces in their history.
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(folder / name))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        resources = {"metadata": {"path": str(folder)}}
        # An error in a cell is raised.
        run = nbclient.NotebookClient(copy.deepcopy(notebook), timeout=300, resources=resources).execute()
    return [output for cell in run.cells if cell.cell_type == "code" for output in cell.outputs]


def test_it_is_stored_with_pictures_that_show_where_no_script_runs(notebook: Any, outputs: list[Any]) -> None:
    nbformat.validate(notebook)
    stored = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output.data for output in stored if "data" in output]
    assert len(pictures) == len([output for output in outputs if FIGURE in output.get("data", {})])
    assert all(set(picture) == {"image/png"} for picture in pictures)
    assert all(base64.b64decode(picture["image/png"]).startswith(b"\x89PNG") for picture in pictures)
    printed = "".join(output.text for output in stored if output.get("name") == "stdout")
    assert {"restart", "success"} <= set(re.findall(r"^epoch +\d+  (\w+):", printed, flags=re.MULTILINE)), "a rescue"
    assert PATH.stat().st_size < 400_000


def test_it_tells_each_decision(outputs: list[Any]) -> None:
    printed = "".join(output.text for output in outputs if output.get("name") == "stdout")
    lines = [line for line in printed.splitlines() if line.startswith("epoch ")]
    assert lines
    assert any(" cut: learning rate " in line for line in lines)
    assert printed.count("validation loss ") == 2


def test_it_shows_its_figures(outputs: list[Any]) -> None:
    figures = [output.data[FIGURE] for output in outputs if FIGURE in output.get("data", {})]
    assert [figure["layout"]["xaxis"]["title"]["text"] for figure in figures] == [
        "epoch",
        "optimizer steps",
        "epoch",
        "epoch",
    ]
    papers = [figure["layout"]["paper_bgcolor"] for figure in figures]
    assert papers == [THEMES[is_dark].paper for is_dark in (False, True, False, False)]
    named = [{trace["name"] for trace in figure["data"]} for figure in figures]
    assert all({"val_loss (monitor)", "learning rate", "cut"} <= names for names in named[:2])
    assert {"as trained · val_loss", "what if · learning rate"} <= named[2], "a replay"
    assert {"search", "settle"} <= named[3], "auto mode"
