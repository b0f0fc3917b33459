"""The files that a training gets: new ones, or the files of the training that it continues, and no others."""

import gc
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from keras_lrplateau.files import locks
from keras_lrplateau.resume import claim, state_file
from keras_lrplateau.resume.claim import Files, open_files
from keras_lrplateau.resume.entries import Entry
from keras_lrplateau.resume.run_dirs import LOCK
from keras_lrplateau.resume.state_file import Pending, StateFile, StateFileError
from keras_lrplateau.rule import plateau

SETTINGS: dict[str, Any] = {"patience": 3}
OTHERS: dict[str, Any] = {"patience": 4}


@pytest.fixture(autouse=True)
def _release(tmp_path: Path) -> Iterator[None]:
    yield
    for lock in tmp_path.rglob("*.lock"):
        if held := locks.holder(lock):
            held.release()


def entry(epoch: int, is_over: bool = True, steps: int | None = None) -> Entry:
    steps = 10 * (epoch + 1) if steps is None else steps
    return Entry(
        epoch=epoch,
        is_over=is_over,
        iterations_before=steps,
        iterations=steps,
        has_observation=True,
        decisions=(),
        rates_before=(0.1,),
        rates=(0.1,),
        bases=(0.1,),
        adopted=0.1,
        mode="min",
        best=None,
        steps=steps,
        epochs_in_search=0,
        snapshots={},
        window=(),
        state=plateau.Config().start(0.1).to_dict(),
    )


def train(path: Path, epochs: int, settings: Any = SETTINGS, **attributes: Any) -> Path:
    """Leave the files of a training after this many epochs."""
    file = StateFile(path, settings)
    for each in (entry(0, is_over=False, steps=0), *map(entry, range(epochs))):
        file.add(each)
    for name, value in attributes.items():
        setattr(file, name, value)
    file.write()
    return path


def run(log_dir: Path, number: int, epochs: int, settings: Any = SETTINGS, **attributes: Any) -> Path:
    run_dir = log_dir / ("lr_plateau" if number == 1 else f"lr_plateau_{number}")
    train(run_dir / "state.json", epochs, settings, **attributes)
    return run_dir


def begin(log_dir: Path | None, epoch: int = 0, steps: int | None = None, **arguments: Any) -> Files:
    """Begin a training at this epoch, after ten steps in each earlier one."""
    chosen = {"state_path": None, "settings": SETTINGS, **arguments}
    return open_files(
        None if log_dir is None else os.fspath(log_dir),
        epoch=epoch,
        iterations=10 * epoch if steps is None else steps,
        **chosen,
    )


def epochs_known(found: Files) -> list[int]:
    assert found.state is not None
    return [each.epoch for each in found.state.entries if each.is_over]


HOLD = """
import sys, time
from pathlib import Path
from keras_lrplateau.files import locks
claims = [locks.claim(Path(lock)) for lock in sys.argv[1:]]
assert all(claims)
print("held", flush=True)
time.sleep(600)
"""


@contextmanager
def held_by_another_process(*places: Path) -> Iterator[None]:
    command = [sys.executable, "-c", HOLD, *map(str, places)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n", "not held"
        try:
            yield
        finally:
            process.kill()


# --- a new training --------------------------------------------------------------------------------------------------


def test_without_a_place_there_are_no_files() -> None:
    assert begin(None) == begin(None, epoch=3) == begin(None, state_path=False) == Files()


def test_a_new_training_has_its_state_beside_its_events_and_nothing_is_written_yet(tmp_path: Path) -> None:
    found = begin(tmp_path / "logs")
    assert found.run_dir == tmp_path / "logs" / "lr_plateau"
    assert found.state is not None
    assert (found.state.path, len(found.state.entries)) == (found.run_dir / "state.json", 0)
    assert [path.name for path in found.run_dir.iterdir()] == [LOCK]
    assert (found.pending, found.messages, found.failure) == (None, [], None)


def test_each_training_has_a_run_of_its_own(tmp_path: Path) -> None:
    earlier = run(tmp_path, 1, 2)
    before = (earlier / "state.json").read_bytes()
    found = begin(tmp_path)
    assert found.run_dir == tmp_path / "lr_plateau_2"
    assert (earlier / "state.json").read_bytes() == before
    assert found.messages == []


@pytest.mark.parametrize(
    ("epochs", "settings", "arguments", "takes_its_place"),
    [
        (0, SETTINGS, {}, True),
        (1, SETTINGS, {}, True),
        (0, OTHERS, {}, True),
        (1, OTHERS, {}, False),
        (2, SETTINGS, {}, False),
        (1, SETTINGS, {"takes_over": False}, False),
    ],
)
def test_a_new_training_takes_the_place_of_one_that_died_at_once(
    epochs: int, settings: Any, arguments: Any, takes_its_place: bool, tmp_path: Path
) -> None:
    run(tmp_path, 1, epochs, settings)
    found = begin(tmp_path, **arguments)
    assert found.run_dir == tmp_path / ("lr_plateau" if takes_its_place else "lr_plateau_2")
    assert found.messages == []
    assert epochs_known(found) == []


def test_it_does_not_take_the_place_of_one_that_has_ended(tmp_path: Path) -> None:
    run(tmp_path, 1, 1, is_finished=True)
    assert begin(tmp_path).run_dir == tmp_path / "lr_plateau_2"


@pytest.mark.parametrize("epochs", [0, 1, 5])
def test_a_second_training_in_one_log_dir_says_so(epochs: int, tmp_path: Path) -> None:
    first = run(tmp_path, 1, epochs)
    run(tmp_path, 2, 5, is_finished=True)
    with held_by_another_process(first / LOCK):
        found = begin(tmp_path)
    (message,) = found.messages
    assert message.startswith(f"AdaptLROnPlateau: another training is writing to {first} at this moment")
    assert f"this training writes to {tmp_path / 'lr_plateau_3'}." in message
    assert found.run_dir == tmp_path / "lr_plateau_3"


def test_so_it_does_before_the_first_has_written_anything(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path / "lr_plateau" / LOCK):
        found = begin(tmp_path)
    assert found.run_dir == tmp_path / "lr_plateau_2"
    assert len(found.messages) == 1


# --- a training that goes on -----------------------------------------------------------------------------------------


def test_a_training_goes_on_with_the_newest_run_and_what_it_knew_then(tmp_path: Path) -> None:
    run(tmp_path, 1, 9)
    newest = run(tmp_path, 2, 5)
    for epoch in range(1, 6):
        found = begin(tmp_path, epoch)
        assert found.run_dir == newest
        assert epochs_known(found) == list(range(epoch))
        assert (found.messages, found.failure, found.pending) == ([], None, None)


@pytest.mark.parametrize(
    ("epoch", "steps", "is_taken"), [(6, 60, True), (6, 59, False), (5, 50, False), (7, 60, False)]
)
def test_an_observation_without_a_decision_is_for_the_next_epoch_and_its_weights_only(
    epoch: int, steps: int, is_taken: bool, tmp_path: Path
) -> None:
    pending = Pending(5, 60, None, {"val_loss": 1.0})
    run(tmp_path, 1, 5, pending=pending)
    found = begin(tmp_path, epoch, steps)
    assert found.pending == (pending if is_taken else None)
    assert found.state is not None
    assert found.state.pending is None
    assert len(found.messages) == (0 if is_taken or epoch == 5 else 1)


def test_it_is_none_if_the_epoch_was_decided_upon_after_all(tmp_path: Path) -> None:
    run(tmp_path, 1, 6, pending=Pending(5, 60, None, {}))
    assert begin(tmp_path, 6).pending is None


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    run(tmp_path, 1, 5)
    found = begin(tmp_path, 8)
    assert epochs_known(found) == [0, 1, 2, 3, 4]
    (message,) = found.messages
    assert "training goes on in epoch 9, but the state file" in message
    assert "ends with epoch 5. What was observed since is not known" in message


def test_a_training_without_a_state_file_is_said_to_begin_afresh_if_it_should_have_had_one(tmp_path: Path) -> None:
    assert begin(tmp_path / "empty", 3).messages == []
    (tmp_path / "lr_plateau").mkdir()
    (tmp_path / "lr_plateau" / "events.out.tfevents.1").touch()
    for found in (begin(tmp_path, 3), begin(None, 3, state_path=str(tmp_path / "mine.json"))):
        (message,) = found.messages
        assert "there is no state file" in message
        assert "goes on in epoch 4, so its waits and counts begin at zero" in message
        assert epochs_known(found) == []


@pytest.mark.parametrize("settings", [SETTINGS, OTHERS], ids=["as before", "with other settings"])
def test_a_training_that_has_ended_goes_on_as_a_new_phase(settings: dict[str, Any], tmp_path: Path) -> None:
    """In the same line of TensorBoard, and with nothing of the waits and copies of the phase that has ended."""
    run(tmp_path, 1, 5, is_finished=True)
    found = begin(tmp_path, 5, settings=settings)
    assert found.ended is not None
    assert found.ended[-1].epoch == 4
    assert (found.messages, epochs_known(found)) == ([], [])
    assert found.run_dir == tmp_path / "lr_plateau"
    assert found.state is not None
    assert not found.state.is_finished


def test_a_model_that_was_not_built_may_be_when_its_training_goes_on(tmp_path: Path) -> None:
    run(tmp_path, 1, 5, {**SETTINGS, "weights": None})
    found = begin(tmp_path, 5, settings={**SETTINGS, "weights": 19})
    assert epochs_known(found) == [0, 1, 2, 3, 4]
    assert found.state is not None
    assert found.state.settings["weights"] == 19


# --- which one goes on -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "newest",
    [
        {"epochs": 2},
        {"epochs": 9, "settings": OTHERS},
        {"epochs": 3, "is_finished": True},
        {"epochs": 0, "pending": Pending(0, 10, None, {})},
    ],
    ids=["younger", "other settings", "ended", "no epoch"],
)
def test_a_training_that_died_here_goes_on_though_a_later_one_was_started(newest: Any, tmp_path: Path) -> None:
    died = run(tmp_path, 1, 5)
    run(tmp_path, 2, **newest)
    found = begin(tmp_path, 5)
    assert found.run_dir == died
    assert epochs_known(found) == [0, 1, 2, 3, 4]
    (message,) = found.messages
    assert f"goes on with the training in {died}. There is a later one in {tmp_path / 'lr_plateau_2'}" in message


def test_it_may_have_died_before_it_decided(tmp_path: Path) -> None:
    died = run(tmp_path, 1, 5, pending=Pending(5, 60, None, {"loss": 1.0}))
    run(tmp_path, 2, 1)
    found = begin(tmp_path, 6)
    assert found.run_dir == died
    assert found.pending is not None


@pytest.mark.parametrize(
    "earlier",
    [{"epochs": 4}, {"epochs": 5, "settings": OTHERS}, {"epochs": 5, "is_finished": True}],
    ids=["not that far", "other settings", "ended"],
)
def test_an_earlier_one_that_did_not_die_here_is_left_alone(earlier: Any, tmp_path: Path) -> None:
    run(tmp_path, 1, **earlier)
    newest = run(tmp_path, 2, 3)
    found = begin(tmp_path, 5)
    assert found.run_dir == newest
    assert "What was observed since is not known" in found.messages[0]
    with pytest.raises(StateFileError, match="other settings"):
        begin(tmp_path, 5, settings={"patience": 9})


def test_an_earlier_one_never_takes_the_place_of_one_that_cannot_be_read(tmp_path: Path) -> None:
    run(tmp_path, 1, 5)
    newest = run(tmp_path, 2, 5)
    (newest / "state.json").write_text("{")
    with pytest.raises(StateFileError, match=r"lr_plateau_2/state\.json cannot be used"):
        begin(tmp_path, 5)


def test_one_that_cannot_be_read_is_passed_over_on_the_way_to_an_earlier_one(tmp_path: Path) -> None:
    died = run(tmp_path, 1, 5)
    (run(tmp_path, 2, 5) / "state.json").write_text("{")
    run(tmp_path, 4, 1)
    assert begin(tmp_path, 5).run_dir == died


def test_a_training_that_is_running_is_not_the_one_that_died(tmp_path: Path) -> None:
    died, running = run(tmp_path, 1, 5), run(tmp_path, 2, 9)
    with held_by_another_process(running / LOCK):
        assert begin(tmp_path, 5).run_dir == died
    with (
        held_by_another_process(running / LOCK),
        pytest.raises(RuntimeError, match=r"another training is writing to .*lr_plateau_2 .*log_dir="),
    ):
        begin(tmp_path, 8)


def test_what_was_claimed_is_released_if_it_cannot_be_used(tmp_path: Path) -> None:
    run(tmp_path, 1, 5)
    with pytest.raises(StateFileError):
        begin(tmp_path, 6, settings=OTHERS)
    gc.collect()
    with held_by_another_process(tmp_path / "lr_plateau" / LOCK):
        pass


# --- callbacks of one fit --------------------------------------------------------------------------------------------


def test_callbacks_of_one_fit_never_share_a_run(tmp_path: Path) -> None:
    owner: dict[str, Any] = {}
    first, second = (begin(tmp_path, owner=owner) for _ in range(2))
    assert (first.run_dir, second.run_dir) == (tmp_path / "lr_plateau", tmp_path / "lr_plateau_2")
    assert second.messages == []
    assert first.state is not None
    # The same settings, and the first is young: it did not die.
    train(first.state.path, 0)
    assert begin(tmp_path, owner=owner).run_dir == tmp_path / "lr_plateau_3"
    # Another fit in this thread may take turns with this one, so it gets its own directory, without a message.
    another = begin(tmp_path, owner={})
    assert (another.run_dir, another.messages) == (tmp_path / "lr_plateau_4", [])


def test_callbacks_of_one_fit_go_on_with_a_run_each(tmp_path: Path) -> None:
    runs = [run(tmp_path, number, 5, settings) for number, settings in ((1, SETTINGS), (2, OTHERS))]
    for order in (1, -1):
        owner: dict[str, Any] = {}
        found = [begin(tmp_path, 5, settings=each, owner=owner).run_dir for each in (SETTINGS, OTHERS)[::order]]
        assert found == runs[::order]
    # With the same settings it works, too, although the two cannot be told apart.
    runs = [run(tmp_path, number, 5) for number in (1, 2)]
    owner = {}
    assert {begin(tmp_path, 5, owner=owner).run_dir for _ in range(2)} == set(runs)


def test_callbacks_of_one_fit_cannot_share_a_state_path(tmp_path: Path) -> None:
    owner: dict[str, Any] = {}
    path = str(tmp_path / "state.json")
    begin(None, state_path=path, owner=owner)
    with pytest.raises(RuntimeError, match=r"another callback of this model is writing to .*pass another state_path"):
        begin(None, state_path=path, owner=owner)
    begin(None, state_path=path, owner={})


# --- two trainings in one process ------------------------------------------------------------------------------------


def in_a_thread(log_dir: Path, *arguments: Any, **more: Any) -> Files:
    """Begin a training in a thread that runs until the test is over, and return its files."""
    found: list[Files] = []
    is_done, may_end = threading.Event(), threading.Event()

    def train() -> None:
        found.append(begin(log_dir, *arguments, **more))
        is_done.set()
        may_end.wait(300)

    threading.Thread(target=train, daemon=True).start()
    assert is_done.wait(300)
    return found[0]


def test_trainings_in_two_threads_have_a_run_each_as_two_processes_have(tmp_path: Path) -> None:
    first = in_a_thread(tmp_path, owner={})
    assert first.state is not None
    first.state.write()  # It is in its first epoch, as one that died at once.
    second = begin(tmp_path, owner={})
    assert (first.run_dir, second.run_dir) == (tmp_path / "lr_plateau", tmp_path / "lr_plateau_2")
    (message,) = second.messages
    assert message.startswith(f"AdaptLROnPlateau: another training is writing to {first.run_dir} at this moment")


def test_a_run_of_a_training_that_has_come_and_gone_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many trainings begin at once: between the look at the log dir and the claim, a short one may begin and end."""
    claimed = locks.claim

    def slowly(path: Path, *arguments: Any, **more: Any) -> Any:
        if path.parent.name == "lr_plateau":
            train(path.parent / "state.json", 2, is_finished=True)
        return claimed(path, *arguments, **more)

    monkeypatch.setattr(locks, "claim", slowly)
    files = begin(tmp_path)
    assert (tmp_path / "lr_plateau/state.json").exists()
    assert files.run_dir == tmp_path / "lr_plateau_2"
    assert [each.path.parent.name for each in files.claims] == ["lr_plateau_2"]
    assert locks.holder(tmp_path / "lr_plateau" / LOCK) is None


def test_two_threads_go_on_with_a_run_each_and_cannot_share_one(tmp_path: Path) -> None:
    for number in (1, 2):
        run(tmp_path, number, 5)
    found = [in_a_thread(tmp_path, 5, owner={}).run_dir, begin(tmp_path, 5, owner={}).run_dir]
    assert found == [tmp_path / "lr_plateau_2", tmp_path / "lr_plateau"]
    in_a_thread(tmp_path / "other", state_path=str(tmp_path / "mine.json"), owner={})
    with pytest.raises(RuntimeError, match="another training is writing to"):
        begin(None, state_path=str(tmp_path / "mine.json"), owner={})


def test_loops_that_take_turns_in_one_thread_have_a_run_each(tmp_path: Path) -> None:
    found = [begin(tmp_path, owner={}) for _ in range(2)]
    assert [each.run_dir for each in found] == [tmp_path / "lr_plateau", tmp_path / "lr_plateau_2"]
    for files in found:
        locks.release(files.claims)
    for number in (1, 2):
        run(tmp_path, number, 5)
    assert {begin(tmp_path, 5, owner={}).run_dir for _ in range(2)} == {files.run_dir for files in found}


def test_a_fit_that_was_interrupted_can_go_on_in_its_process(tmp_path: Path) -> None:
    interrupted = begin(tmp_path, owner={})
    assert interrupted.state is not None
    train(interrupted.state.path, 5)
    found = begin(tmp_path, 5, owner={})
    assert (found.run_dir, epochs_known(found)) == (interrupted.run_dir, [0, 1, 2, 3, 4])
    assert interrupted.claims


def test_a_removed_log_dir_is_claimed_again(tmp_path: Path) -> None:
    found = begin(tmp_path / "logs")
    assert found.run_dir is not None
    shutil.rmtree(tmp_path / "logs")
    claim.renew(found.claims)
    with (
        pytest.raises(AssertionError, match="not held"),
        held_by_another_process(found.run_dir / LOCK),
    ):
        pass
    shutil.rmtree(tmp_path / "logs")
    with (
        held_by_another_process(found.run_dir / LOCK),
        pytest.raises(OSError, match="was removed, and another training writes there now"),
    ):
        claim.renew(found.claims)


# --- state_path ------------------------------------------------------------------------------------------------------


def test_a_state_path_is_where_the_state_is_whatever_the_log_dir(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "mine.json"
    found = begin(tmp_path / "logs", state_path=str(path))
    assert found.state is not None
    assert (found.run_dir, found.state.path) == (tmp_path / "logs" / "lr_plateau", path)
    assert begin(tmp_path / "logs", state_path=False).state is None


@pytest.mark.parametrize("attributes", [{}, {"is_finished": True}])
def test_a_new_training_keeps_the_file_of_an_earlier_one_under_another_name(attributes: Any, tmp_path: Path) -> None:
    path = train(tmp_path / "mine.json", 5, **attributes)
    state_file.snapshot_folder(path).mkdir()
    before = path.read_bytes()
    found = begin(None, state_path=str(path))
    assert found.messages == [
        f"AdaptLROnPlateau begins a new state file {path}; the old one is now {path}.1: it belongs to another training."
    ]
    assert Path(f"{path}.1").read_bytes() == before
    assert Path(f"{path}.1.snapshots").is_dir()
    assert not path.exists()
    # One that died in its first epoch is not worth that.
    train(path, 1)
    assert begin(None, state_path=str(path)).messages == []


@pytest.mark.parametrize("epoch", [0, 5])
@pytest.mark.parametrize(
    ("content", "reason"),
    [('{"version": 1', "cannot be used"), ('{"version": 9}', "look at it with the release that wrote it")],
)
def test_a_bad_file_is_an_error_that_names_the_remedies_and_stays_as_it_is(
    content: str, reason: str, epoch: int, tmp_path: Path
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(StateFileError, match=rf"mine\.json.*{reason}.*move it away to begin a new one"):
        begin(None, epoch, state_path=str(path))
    assert path.read_text() == content


@pytest.mark.parametrize("epoch", [0, 5])
def test_a_directory_at_the_place_of_the_state_is_refused_and_left_alone(epoch: int, tmp_path: Path) -> None:
    (tmp_path / "mine" / "checkpoints").mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match="mine is a directory"):
        begin(None, epoch, state_path=str(tmp_path / "mine"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_state_path_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        begin(None, state_path=str(tmp_path / "file" / "state.json"))


# --- a log dir that cannot be written --------------------------------------------------------------------------------


def test_a_read_only_log_dir_is_no_error_and_no_run_of_another_training_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(lock: Path, *_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system", str(lock))

    run(tmp_path, 1, 5)
    newest = run(tmp_path, 2, 5)
    monkeypatch.setattr(locks, "claim", refuse)
    found = begin(tmp_path)
    assert found.run_dir == tmp_path / "lr_plateau_3"
    assert "Read-only" in str(found.failure)
    assert found.claims == []
    found = begin(tmp_path, 5)
    assert (found.run_dir, epochs_known(found)) == (newest, [0, 1, 2, 3, 4])
    assert "Read-only" in str(found.failure)


def test_a_log_dir_that_cannot_be_looked_at_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(claim, "next_run_dir", refuse)
    for epoch in (0, 5):
        found = begin(tmp_path, epoch)
        assert found.run_dir == tmp_path / "lr_plateau"
        assert isinstance(found.failure, PermissionError)


def test_runs_that_may_not_be_read_are_of_others_and_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, private = run(tmp_path, 1, 5), run(tmp_path, 2, 5)
    really = Path.iterdir

    def iterdir(self: Path) -> Any:
        if self == private:
            raise PermissionError(13, "Permission denied", str(self))
        return really(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    found = begin(tmp_path)
    assert (found.run_dir, found.failure) == (tmp_path / "lr_plateau_3", None)
    locks.release(found.claims)
    found = begin(tmp_path, 5)
    assert (found.run_dir, epochs_known(found), found.failure) == (mine, [0, 1, 2, 3, 4], None)


@pytest.mark.skipif(os.name != "posix", reason="other names are allowed")
@pytest.mark.parametrize("epoch", [0, 5])
def test_a_log_dir_whose_name_is_too_long_is_no_error(epoch: int, tmp_path: Path) -> None:
    found = begin(tmp_path / ("n" * 300), epoch)
    assert isinstance(found.failure, OSError)
    assert found.state is not None
    with pytest.raises(OSError, match="too long"):
        found.state.write()


@pytest.mark.skipif(sys.platform != "linux", reason="other names are allowed")
def test_a_log_dir_whose_name_is_no_utf8_is_as_any(tmp_path: Path) -> None:
    log_dir = tmp_path / os.fsdecode(b"l\xf6gs")
    found = begin(log_dir)
    assert (found.run_dir, found.failure, found.messages) == (log_dir / "lr_plateau", None, [])
    assert found.state is not None
    found.state.write()
    assert begin(log_dir).run_dir == log_dir / "lr_plateau_2"
