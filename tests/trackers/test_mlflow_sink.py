"""The sink for MLflow, with the real package and a store in a directory."""

import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

pytest.importorskip("mlflow", reason="MLflow is not installed: pip install mlflow-skinny")

from conftest import fit, kinds, scripted, tiny_model

from keras_lrplateau import AdaptLROnPlateau, MlflowSink

ROOT = Path(__file__).parents[2]

PLATEAUS = [1.0, 0.9, 0.9, 0.9, 0.9]
"""Cuts after the third epoch, from 0, and each later one."""

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # Of MLflow's own.


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    yield mlflow
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(before)


def train(*sinks: Any) -> AdaptLROnPlateau:
    adapt = AdaptLROnPlateau(patience=1, factor=0.5, max_raises=0, sinks=sinks)
    fit(tiny_model(), scripted(*PLATEAUS), adapt, epochs=len(PLATEAUS))
    assert kinds(adapt) == ["cut"] * 3
    return adapt


def values(mlflow: Any, run_id: str, name: str) -> dict[int, float]:
    return {each.step: each.value for each in mlflow.MlflowClient().get_metric_history(run_id, name)}


def check(mlflow: Any, run_id: str, adapt: AdaptLROnPlateau, tmp_path: Path) -> None:
    """The run has the metrics, the table and the tags of this training."""
    assert values(mlflow, run_id, "lr_plateau/val_loss") == dict(enumerate(PLATEAUS))
    rates = [0.1, 0.1, 0.1, 0.05, 0.025]
    assert values(mlflow, run_id, "lr_plateau/learning_rate") == pytest.approx(dict(enumerate(rates)))
    path = mlflow.artifacts.download_artifacts(
        run_id=run_id, artifact_path="lr_plateau/decisions.csv", dst_path=str(tmp_path / "downloaded")
    )
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [2, 3, 4]
    assert [row["reason"] for row in rows] == [decision.reason for decision in adapt.decisions]
    tags = mlflow.get_run(run_id).data.tags
    assert tags["lr_plateau.status"] == "holding"
    assert (tags["lr_plateau.best"], tags["lr_plateau.best_epoch"]) == ("0.9", "1")
    assert tags["lr_plateau.cut"] == "3"
    assert tags["lr_plateau.last_decision"] == adapt.decisions[-1].describe()


def test_the_active_run_has_the_numbers_and_the_decisions_and_stays_open(mlflow: Any, tmp_path: Path) -> None:
    with mlflow.start_run() as run:
        adapt = train(MlflowSink())
        assert mlflow.active_run() is not None
    check(mlflow, run.info.run_id, adapt, tmp_path)


def test_where_no_run_is_active_each_training_has_one_of_its_own(mlflow: Any, tmp_path: Path) -> None:
    sink = MlflowSink()
    adapts = [train(sink), train(sink)]
    assert mlflow.active_run() is None
    runs = mlflow.MlflowClient().search_runs(["0"], order_by=["attributes.start_time"])
    assert len(runs) == 2
    for number, (run, adapt) in enumerate(zip(runs, adapts, strict=True)):
        assert run.info.status == "FINISHED"
        check(mlflow, run.info.run_id, adapt, tmp_path / str(number))


def test_runs_are_found_by_their_decisions(mlflow: Any) -> None:
    train(MlflowSink())
    client = mlflow.MlflowClient()
    assert len(client.search_runs(["0"], "tags.`lr_plateau.cut` = '3'")) == 1
    assert client.search_runs(["0"], "tags.`lr_plateau.cut` = '4'") == []


def test_a_name_that_mlflow_does_not_allow_is_made_one(mlflow: Any) -> None:
    with mlflow.start_run() as run:
        sink = MlflowSink()
        sink.epoch(0, {"precision@0.5": 0.25, "loss": 1.0}, 1e9)
        sink.close()
    assert mlflow.get_run(run.info.run_id).data.metrics == {"lr_plateau/precision_0.5": 0.25, "lr_plateau/loss": 1.0}


def test_beside_autolog_both_log_to_one_run(mlflow: Any, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    import mlflow.keras

    mlflow.keras.autolog(log_models=False, log_datasets=False, silent=True)
    try:
        adapt = train(MlflowSink())
    finally:
        mlflow.keras.autolog(disable=True)
    (run,) = mlflow.MlflowClient().search_runs(["0"])
    check(mlflow, run.info.run_id, adapt, tmp_path)
    logged = values(mlflow, run.info.run_id, "loss")
    assert list(logged) == list(values(mlflow, run.info.run_id, "lr_plateau/loss")), "autolog's steps are ours"
    assert run.data.params["optimizer_name"].startswith("sgd"), "autolog has logged, too"


def test_the_code_in_the_guide_runs(mlflow: Any) -> None:
    code = (ROOT / "examples/guides/trackers.md").read_text(encoding="utf-8").split("```python\n")
    names: dict[str, Any] = {"keras": keras, "np": np, "AdaptLROnPlateau": AdaptLROnPlateau}
    for block in (code[1], code[4]):
        exec(block.partition("```")[0], names)
    assert mlflow.get_run(names["run"].info.run_id).data.tags["lr_plateau.cut"] == "3"


def test_where_mlflow_is_not_installed_the_remedy_is_named() -> None:
    code = "import sys; sys.modules['mlflow'] = None; from keras_lrplateau import MlflowSink; MlflowSink()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "ImportError: MlflowSink needs MLflow: pip install 'keras-lrplateau[mlflow]'" in done.stderr
