"""Each new training gets its own run directory, and a resumed one gets the newest."""

from pathlib import Path

from keras_lrplateau.history.event_writer import EventWriter
from keras_lrplateau.resume.run_dirs import next_run_dir


def fill(run_dir: Path) -> Path:
    EventWriter(run_dir, 0).close()
    return run_dir


def test_each_training_gets_a_run_directory_of_its_own(tmp_path: Path) -> None:
    names = [fill(next_run_dir(tmp_path / "logs", resume=False)).name for _ in range(11)]
    assert names == ["lr_plateau"] + [f"lr_plateau_{number}" for number in range(2, 12)]
    assert next_run_dir(tmp_path / "logs", resume=True).name == "lr_plateau_11"


def test_a_resume_without_an_earlier_training_is_the_first(tmp_path: Path) -> None:
    assert next_run_dir(str(tmp_path / "none"), resume=True) == tmp_path / "none" / "lr_plateau"


def test_a_gap_is_not_filled(tmp_path: Path) -> None:
    fill(tmp_path / "lr_plateau_3")
    assert next_run_dir(tmp_path, resume=False).name == "lr_plateau_4"
    assert next_run_dir(tmp_path, resume=True).name == "lr_plateau_3"


def test_other_names_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "lr_plateau").mkdir()  # no event file
    for name in ("train", "lr_plateau_x", "lr_plateau_03", "my_lr_plateau"):
        fill(tmp_path / name)
    for resume in (False, True):
        assert next_run_dir(tmp_path, resume=resume).name == "lr_plateau"
