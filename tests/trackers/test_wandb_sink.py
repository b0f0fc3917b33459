"""The sink for Weights & Biases, and `sync_tensorboard=True`, with the real package offline.

What arrives is read from the file that W&B writes for a later upload.
"""

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import fit, kinds, make_decision, scripted, tiny_model

from keras_lrplateau import AdaptLROnPlateau, WandbSink

wandb: Any = pytest.importorskip("wandb", reason="wandb is not installed: pip install wandb")

ROOT = Path(__file__).parents[2]

# Without WANDB_SERVICE, by which a process would share the service of this one.
OFFLINE = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
OFFLINE |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}

PLATEAUS = [1.0, 0.9, 0.9, 0.9, 0.9]
"""Cuts after the third epoch, from 0, and each later one."""


def records(folder: Path) -> list[Any]:
    """All records of an offline run that has ended; W&B may still be writing the last ones."""
    end = time.monotonic() + 180
    while time.monotonic() < end:
        found = list(written(folder))
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        time.sleep(0.1)
    raise TimeoutError("the run has not ended")


def written(folder: Path) -> Iterator[Any]:
    """The records so far, of a LevelDB log, whose first seven bytes say what it is; one half written is left out."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("wandb/offline-run*/run-*.wandb")
    content, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        if at + 7 + length > len(content):
            return
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # Whole, or its last part.
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


def plain(items: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def history(folder: Path) -> list[dict[str, Any]]:
    return [plain(record.history.item) for record in records(folder) if record.WhichOneof("record_type") == "history"]


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for record in records(folder):
        if record.WhichOneof("record_type") == "summary":
            found |= plain(record.summary.update)
    return found


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Begins a run whose files are in `tmp_path`, and returns it."""
    yield lambda: wandb.init(project="plateaus", mode="offline", dir=tmp_path, settings=wandb.Settings(silent=True))
    wandb.finish()


def train(*sinks: Any) -> AdaptLROnPlateau:
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0, sinks=sinks)
    fit(tiny_model(), scripted(*PLATEAUS), adapt, epochs=len(PLATEAUS))
    assert kinds(adapt) == ["cut"] * 3
    return adapt


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Of wandb's own imports.
def test_a_run_has_each_epoch_the_decisions_with_their_reasons_and_a_summary(tmp_path: Path, begin: Any) -> None:
    run = begin()
    adapt = train(WandbSink())
    files = Path(run.dir)
    wandb.finish()

    epochs = [row for row in history(tmp_path) if "lr_plateau/loss" in row]
    assert [row["lr_plateau/epoch"] for row in epochs] == [0, 1, 2, 3, 4]
    assert [row["lr_plateau/val_loss"] for row in epochs] == PLATEAUS
    assert [row["lr_plateau/learning_rate"] for row in epochs] == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.025])

    tables = sorted(files.glob("media/table/lr_plateau/decisions*.json"), key=lambda path: int(path.name.split("_")[1]))
    table = json.loads(tables[-1].read_text())
    assert table["columns"][:2] == ["epoch", "kind"]
    column = table["columns"].index("reason")
    assert [row[column] for row in table["data"]] == [decision.reason for decision in adapt.decisions]
    assert [row[0] for row in table["data"]] == [2, 3, 4]

    found = summary(tmp_path)
    assert found["lr_plateau/best_val_loss"] == 0.9
    assert found["lr_plateau/best_epoch"] == 1
    assert found["lr_plateau/decisions_cut"] == 3
    assert found["lr_plateau/status"] == "holding"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_axis_of_each_curve_is_the_epoch(tmp_path: Path, begin: Any) -> None:
    run = begin()
    run.log({"mine": 1.0})  # W&B's own count of steps is not the epoch.
    train(WandbSink(run))
    wandb.finish()
    metrics = [record.metric for record in records(tmp_path) if record.WhichOneof("record_type") == "metric"]
    axes = {metric.glob_name or metric.name: metric.step_metric for metric in metrics}
    assert axes["lr_plateau/*"] == "lr_plateau/epoch"
    assert axes["lr_plateau_steps/*"] == "lr_plateau_steps/step"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_observations_within_epochs_have_an_axis_of_their_own(tmp_path: Path, begin: Any) -> None:
    run = begin()
    sink = WandbSink(run)
    sink.step(20, {"loss": 0.5, "learning_rate": 0.1}, 1e9)
    sink.close()
    wandb.finish()
    (row,) = history(tmp_path)
    assert {name: row[name] for name in row if not name.startswith("_")} == {
        "lr_plateau_steps/step": 20,
        "lr_plateau_steps/loss": 0.5,
        "lr_plateau_steps/learning_rate": 0.1,
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_annealing_at_every_epoch_makes_one_table(tmp_path: Path, begin: Any) -> None:
    run = begin()
    files, sink = Path(run.dir), WandbSink(run)
    for epoch in range(4):
        sink.decision(make_decision("anneal", epoch, 0.1, 0.05), "learning rate")
        sink.flush()
    assert not list(files.glob("media/table/lr_plateau/*"))
    sink.close()
    (path,) = files.glob("media/table/lr_plateau/*")
    assert len(json.loads(path.read_text())["data"]) == 4


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_without_a_run_the_remedy_is_in_one_warning_and_training_goes_on() -> None:
    with pytest.warns(UserWarning, match=r"call wandb\.init\(\) before model\.fit") as caught:
        train(WandbSink())
    assert len([each for each in caught if "WandbSink" in str(each.message)]) == 1


def test_where_wandb_is_not_installed_the_remedy_is_named() -> None:
    code = "import sys; sys.modules['wandb'] = None; from keras_lrplateau import WandbSink; WandbSink()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "ImportError: WandbSink needs wandb: pip install 'keras-lrplateau[wandb]'" in done.stderr


@pytest.mark.long
def test_the_code_in_the_guide_runs(tmp_path: Path) -> None:
    code = (ROOT / "examples/guides/trackers.md").read_text(encoding="utf-8").split("```python\n")
    training, weights_and_biases = code[1].partition("```")[0], code[3].partition("```")[0]
    assert "WandbSink()" in weights_and_biases
    environment = {**OFFLINE, "PYTHONPATH": str(ROOT)}
    names = "import keras; import numpy as np; from keras_lrplateau import AdaptLROnPlateau\n"
    done = subprocess.run(
        [sys.executable, "-c", names + training + weights_and_biases],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert summary(tmp_path)["lr_plateau/decisions_cut"] == 3


SYNCED = """
import wandb
wandb.tensorboard.patch(root_logdir="logs")
wandb.init(project="plateaus")
from keras_lrplateau.history.event_writer import EventWriter
writer = EventWriter("logs/run1/lr_plateau", first_step=0)
for epoch in range(3):
    writer.scalars(epoch, {"loss": 1.0 - 0.25 * epoch, "learning_rate": 0.5}, 1e9 + epoch)
writer.close()
wandb.finish()
"""


@pytest.mark.long
def test_wandb_follows_our_event_files_as_it_follows_those_of_tensorboard(tmp_path: Path) -> None:
    environment = {**OFFLINE, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SYNCED],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [row for row in history(tmp_path) if any(name.endswith("lr_plateau/loss") for name in row)]
    (name,) = {name for row in rows for name in row if name.endswith("lr_plateau/loss")}
    assert [row[name] for row in rows] == [1.0, 0.75, 0.5]
    assert [row["global_step"] for row in rows] == [0, 1, 2]
    assert summary(tmp_path)[name] == 0.5
    assert summary(tmp_path)[name.replace("loss", "learning_rate")] == 0.5
