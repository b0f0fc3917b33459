"""The places that users give to the callback: path objects, the home directory, URLs, and odd names."""

import contextlib
import os
import shutil
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
from conftest import at_epoch_end, fit, kinds, read_records, read_scalars, scripted, tiny_model

from keras_lrplateau import AdaptLROnPlateau

MAKERS = pytest.mark.parametrize("make", [AdaptLROnPlateau, AdaptLROnPlateau.auto], ids=["default", "auto"])


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@MAKERS
@pytest.mark.parametrize("argument", ["log_dir", "state_path"])
@pytest.mark.parametrize(
    "url", ["gs://bucket/run", "s3://bucket/run", "memory://run", "hdfs:///run", Path("gs://b/run")]
)
def test_a_url_is_refused_at_construction_and_leaves_no_folder(
    make: Any, argument: str, url: Any, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be a local path.*{argument}=.*is a URL.*copy it.*mount"):
        make(**{argument: url})
    assert list(tmp_path.iterdir()) == []


@MAKERS
def test_the_home_directory_and_path_objects(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    adapt = make(log_dir="~/logs", state_path=Path("~/state.json"), rollback="disk")
    assert (adapt.log_dir, adapt.state_path) == (str(tmp_path / "home/logs"), str(tmp_path / "home/state.json"))
    assert make(**adapt.get_config()).get_config() == adapt.get_config()
    fit(tiny_model(), scripted(1.0, 2.0), adapt, epochs=2)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert {"logs", "state.json"} <= {path.name for path in (tmp_path / "home").iterdir()}


@MAKERS
def test_a_name_that_no_file_can_have_is_refused_at_construction(make: Any) -> None:
    with pytest.raises(ValueError, match=r"log_dir has a character that no name of a file can have.*choose another"):
        make(log_dir="logs/\ud83d")  # Half of an emoji, as broken JSON holds.


ODD_NAMES = pytest.mark.parametrize(
    ("name", "is_good_dir", "is_good_file"),
    [
        pytest.param(
            "l\udcf6gs", True, True,
            marks=pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there"),
        ),
        ("x" * 300, False, False),
        ("a" * 250 + "/" + "b" * 250, True, False),
    ],
    ids=["not UTF-8", "too long", "too long for a lock beside it"],
)  # fmt: skip
"""Names, whether a directory can have them, and whether a file can beside which there is a lock with a longer name."""


@pytest.mark.skipif(os.name != "posix", reason="has other limits")
@ODD_NAMES
def test_a_log_dir_with_an_odd_name_is_used_or_said_to_be_unusable(
    name: str, is_good_dir: bool, is_good_file: bool, tmp_path: Path
) -> None:
    adapt = AdaptLROnPlateau(patience=1, max_raises=0, log_dir=tmp_path / name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tiny_model(), scripted(1.0, 2.0, 3.0), adapt, epochs=3)
    assert kinds(adapt) == ["cut", "cut"]
    ours = [str(each.message) for each in caught if "AdaptLROnPlateau" in str(each.message)]
    assert len(ours) == (not is_good_dir)
    assert [path.name for path in tmp_path.iterdir()] == ([name.partition("/")[0]] if is_good_dir else [])


@pytest.mark.skipif(os.name != "posix", reason="has other limits")
@ODD_NAMES
def test_a_state_path_with_an_odd_name_is_used_or_refused_before_training(
    name: str, is_good_dir: bool, is_good_file: bool, tmp_path: Path
) -> None:
    adapt = AdaptLROnPlateau(patience=1, max_raises=0, state_path=tmp_path / name)
    with contextlib.nullcontext() if is_good_file else pytest.raises(OSError, match="too long"):
        fit(tiny_model(), scripted(1.0, 2.0, 3.0), adapt, epochs=3)
    assert kinds(adapt) == (["cut", "cut"] if is_good_file else [])
    assert not is_good_file or os.path.isfile(tmp_path / name)


@pytest.mark.skipif(os.name != "posix", reason="has no FIFOs")
@pytest.mark.parametrize("kind", ["directory", "FIFO"])
def test_a_state_path_that_cannot_be_a_file_is_refused_before_training(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "state"
    if kind == "directory":
        place.mkdir()
        (place / "precious").write_text("x")
    else:
        os.mkfifo(place)
    adapt = AdaptLROnPlateau(state_path=place)
    with pytest.raises(OSError, match=r"state is (a directory|not a regular file).*Choose another name, or move it"):
        fit(tiny_model(), scripted(1.0), adapt, epochs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


@pytest.mark.skipif(os.name != "posix", reason="links need a right there")
def test_a_log_dir_that_is_a_link_to_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    """As to a disk that was just mounted."""
    (tmp_path / "logs").symlink_to(tmp_path / "disk/logs", target_is_directory=True)
    adapt = AdaptLROnPlateau(log_dir=tmp_path / "logs")
    fit(tiny_model(), scripted(1.0), adapt, epochs=1)
    assert (tmp_path / "logs").is_symlink()
    assert [path.name for path in (tmp_path / "disk/logs").iterdir()] == ["lr_plateau"]


# --- a log dir that is removed during training -----------------------------------------------------------------------

STATE = pytest.mark.parametrize("state_path", [None, False], ids=["with a state file", "without"])


def remove(log_dir: Path, when: int) -> Any:
    return at_epoch_end(lambda epoch, logs: shutil.rmtree(log_dir) if epoch == when else None)


@STATE
def test_a_removed_log_dir_still_belongs_to_its_training(state_path: Any, tmp_path: Path) -> None:
    """So another one gets a run of its own."""
    others = []

    def train_another(epoch: int, logs: Any) -> None:
        if epoch == 3:
            other = AdaptLROnPlateau(log_dir=tmp_path / "logs", state_path=state_path)
            thread = threading.Thread(target=lambda: fit(tiny_model(), scripted(5.0, 4.0), other, epochs=2))
            thread.start()
            thread.join()
            others.append(other)

    adapt = AdaptLROnPlateau(log_dir=tmp_path / "logs", state_path=state_path)
    before, after = remove(tmp_path / "logs", 1), at_epoch_end(train_another)
    with pytest.warns(UserWarning, match="another training is writing to"):
        fit(tiny_model(), scripted(1.0, 0.9, 0.8, 0.7, 0.6), before, adapt, after, epochs=5)
    assert others
    runs = sorted((tmp_path / "logs").iterdir())
    assert [run.name for run in runs] == ["lr_plateau", "lr_plateau_2"]
    values = [list(read_scalars(run)["lr_plateau/val_loss"].values()) for run in runs]
    assert values == [pytest.approx([1.0, 0.9, 0.8, 0.7, 0.6]), pytest.approx([5.0, 4.0])]


@STATE
def test_a_removed_log_dir_that_another_training_has_taken_is_left_to_it(state_path: Any, tmp_path: Path) -> None:
    has_begun, may_end = threading.Event(), threading.Event()
    other = AdaptLROnPlateau(log_dir=tmp_path / "logs", state_path=state_path)

    def wait(epoch: int, logs: Any) -> None:
        has_begun.set()
        assert may_end.wait(300)

    thread = threading.Thread(target=lambda: fit(tiny_model(), scripted(5.0), other, at_epoch_end(wait), epochs=1))

    def make_room(epoch: int, logs: Any) -> None:
        if epoch == 1:
            shutil.rmtree(tmp_path / "logs")
            thread.start()
            assert has_begun.wait(300)
        if epoch == 3:
            may_end.set()
            thread.join()

    adapt = AdaptLROnPlateau(patience=1, max_raises=0, log_dir=tmp_path / "logs", state_path=state_path)
    with pytest.warns(UserWarning, match="was removed, and another training writes there now"):
        fit(tiny_model(), scripted(1.0, 0.9, *[1.0] * 3), at_epoch_end(make_room), adapt, epochs=5)
    assert not thread.is_alive()
    assert kinds(adapt) == ["cut"] * 3
    (run,) = (tmp_path / "logs").iterdir()
    assert list(read_scalars(run)["lr_plateau/val_loss"].values()) == pytest.approx([5.0])
    assert [record.best.value for record in read_records(run)] == pytest.approx([5.0])
