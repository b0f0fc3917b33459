"""Runs of MLflow, and their metric files."""

from pathlib import Path

import pytest
from curve_files import drawn, error_of, only

from keras_lrplateau.recordings.reading import read

T0 = 1_700_000_000_000


def write_run(run: Path, name: str | None = None, **metrics: list[tuple[int, float]]) -> None:
    (run / "tags").mkdir(parents=True)
    (run / "artifacts").mkdir()
    (run / "meta.yaml").write_text("artifact_uri: x\n")
    if name is not None:
        (run / "tags" / "mlflow.runName").write_text(name)
    for metric, values in metrics.items():
        file = run / "metrics" / metric.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{T0 + 1000 * at} {value} {step}\n" for at, (step, value) in enumerate(values)))


LOSS = [(0, 1.0), (1, 0.5), (2, 0.25)]
VAL_LOSS = [(0, 2.0), (1, 1.5), (2, 1.25)]


@pytest.fixture
def mlruns(tmp_path):
    root = tmp_path / "mlruns"
    write_run(root / "0" / "a1", "swift-fox", loss=LOSS, val_loss=VAL_LOSS)
    write_run(root / "0" / "b2", "calm-owl", loss=LOSS, val__loss=VAL_LOSS)
    write_run(root / "1" / "c3", "calm-owl", loss=[(100, 1.0), (300, 0.5)])
    (root / "1" / "meta.yaml").write_text("name: other\n")
    return root


def test_each_run_is_a_training(mlruns):
    found = read(mlruns)
    assert [each.name for each in found] == ["swift-fox", "calm-owl (b2)", "calm-owl (c3)"]
    assert drawn(found[0]) == {"loss": LOSS, "val_loss": VAL_LOSS}
    assert drawn(found[1]) == {"loss": LOSS, "val/loss": VAL_LOSS}
    assert found[0].curves["loss"].times == [T0 / 1000, T0 / 1000 + 1, T0 / 1000 + 2]
    assert (found[2].unit, drawn(found[2])) == ("step", {"loss": [(100, 1.0), (300, 0.5)]})
    assert {each.notes[0] for each in found} == {"Read as a run of MLflow."}


@pytest.mark.parametrize("place", ["0/a1", "0/a1/metrics"])
def test_a_run_and_its_metrics_alone(mlruns, place):
    assert drawn(only(mlruns / place)) == {"loss": LOSS, "val_loss": VAL_LOSS}


def test_a_run_without_a_name_is_called_as_its_directory(tmp_path, monkeypatch):
    write_run(tmp_path / "runs" / "a1", loss=LOSS)
    run = tmp_path / "runs" / "a1"
    assert [only(place).name for place in (run, run / "metrics", run.parent)] == ["a1", "a1", "a1"]
    monkeypatch.chdir(run)
    assert only(Path()).name == "a1"


def test_another_folder_that_is_called_metrics_is_no_run(tmp_path):
    curves = tmp_path / "metrics" / "train"
    curves.mkdir(parents=True)
    (curves / "loss.tsv").write_text("step\tloss\n0\t1.5\n1\t0.5\n")  # As DVCLive writes it.
    assert "no event file below it and no curve in it" in error_of(tmp_path / "metrics")
    (tmp_path / "metrics" / "curve.csv").write_text("epoch,loss\n0,1.5\n1,0.5\n")
    (tmp_path / "params").mkdir()
    assert drawn(only(tmp_path / "metrics")) == {"loss": [(0, 1.5), (1, 0.5)]}
    (tmp_path / "log.csv").write_text("epoch,loss\n0,1.5\n1,0.25\n")
    assert drawn(only(tmp_path)) == {"loss": [(0, 1.5), (1, 0.25)]}


def test_a_metric_file_alone(mlruns):
    found = only(mlruns / "0" / "a1" / "metrics" / "val_loss")
    assert drawn(found) == {"val_loss": VAL_LOSS}
    assert found.curves["val_loss"].times[0] == T0 / 1000


def test_values_without_steps_are_counted(tmp_path):
    write_run(tmp_path / "run", loss=[(0, 3.0), (0, 2.0), (0, 1.0)])
    found = only(tmp_path)
    assert drawn(found) == {"loss": [(0, 3.0), (1, 2.0), (2, 1.0)]}
    assert "'loss' was logged without steps: its values are counted." in found.notes


def test_a_step_before_the_first_one_is_left_out(tmp_path):
    write_run(tmp_path / "run", loss=[(-1, 9.0), (99, 2.0), (199, 1.0)], before=[(-1, 1.0)])
    found = only(tmp_path)
    assert drawn(found) == {"loss": [(99, 2.0), (199, 1.0)]}
    assert "'loss': 1 of its steps are impossible and were left out." in found.notes


def test_values_that_are_not_finite_and_a_last_line_that_was_cut_off(tmp_path):
    write_run(tmp_path / "run", loss=[(0, 1.0)])
    file = tmp_path / "run" / "metrics" / "loss"
    file.write_text(f"{T0} nan 0\n{T0} inf 1\n{T0} 0.5 2\n{T0} 0.")
    assert str(only(tmp_path).curves["loss"].values) == "[nan, inf, 0.5]"


def test_a_run_without_metrics_is_refused(tmp_path):
    write_run(tmp_path / "run")
    (tmp_path / "run" / "metrics").mkdir()
    assert "the runs of MLflow in it have no metrics" in error_of(tmp_path)
