"""The state file: what is written is read back bit for bit, whatever is not exactly that is refused, locks are kept."""

import json
import math
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keras_lrplateau.history.run import Observation
from keras_lrplateau.resume import state_file
from keras_lrplateau.resume.state_file import Entry, Pending, StateFile, StateFileError
from keras_lrplateau.rule import auto, plateau
from keras_lrplateau.rule.decision import Decision

SETTINGS = {"monitor": "val_loss", "patience": 3, "max_lr": None, "optimizer": ["Adam"], "weights": 10}


def make_entry(epoch: int = 0, **changes: Any) -> Entry:
    fields: dict[str, Any] = {
        "epoch": epoch,
        "is_over": True,
        "iterations_before": 10 * (epoch + 1),
        "iterations": 10 * (epoch + 1),
        "has_observation": True,
        "decisions": (),
        "rates_before": (0.1,),
        "rates": (0.1,),
        "bases": (0.1,),
        "adopted": 0.1,
        "mode": "min",
        "best": None,
        "steps": 10 * (epoch + 1),
        "snapshots": {},
        "window": (),
        "state": plateau.Config().start(0.1).to_dict(),
    }
    return Entry(**(fields | changes))


def make_entries(config: Any, count: int) -> list[Entry]:
    """Those of a training by this rule, with numbers of all kinds."""
    rng = random.Random(0)
    state = config.start(0.1)
    entries = [make_entry(is_over=False, iterations=0, iterations_before=0, steps=0, state=state.to_dict())]
    for epoch in range(count):
        value = rng.choice([math.nan, math.inf, -math.inf, *[rng.gauss(0, 1) for _ in range(20)]])
        state, decision = config.step(state, value, rng.random())
        entries.append(
            make_entry(
                epoch,
                decisions=(replace(decision, epoch=epoch, step=epoch),) if decision.is_action else (),
                iterations=rng.randrange(100),
                rates_before=entries[-1].rates,
                rates=(decision.rate / 3, math.nan),
                bases=(0.1, math.inf),
                best=None if rng.random() < 0.2 else Observation(epoch, rng.gauss(0, 1)),
                snapshots=rng.choice([{}, {"best": f"best-{epoch}.snapshot"}, {"best": "b", "raise": "r"}]),
                window=rng.choice([(), (math.nan, 3.0, -math.inf, 2.0), (rng.random(), 1.0, 0.0, 0.0)]),
                state=state.to_dict(),
            )
        )
    return entries


RULES = [plateau.Config(patience=2), auto.Config(observations=60)]


def store(path: Path, *entries: Entry, settings: Any = SETTINGS, **attributes: Any) -> StateFile:
    file = StateFile(path, settings)
    file.entries += entries
    for name, value in attributes.items():
        setattr(file, name, value)
    file.write()
    return file


# --- round trip ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", RULES, ids=["default", "auto"])
def test_entries_come_back_bit_for_bit(config: Any, tmp_path: Path) -> None:
    entries = make_entries(config, 60)
    assert {decision.kind for entry in entries for decision in entry.decisions} > {"raise", "diverged"}
    settings = {**SETTINGS, "budget": 0.25} if config.name == "auto" else SETTINGS
    store(tmp_path / "state.json", *entries, settings=settings)
    # As text, in which NaN equals NaN, and -0.0 does not equal 0.0.
    assert repr(state_file.load(tmp_path / "state.json").entries) == repr(entries)
    plain = json.loads(json.dumps(state_file.entries_to_json(entries)))
    assert repr(state_file.entries_from_json(plain)) == repr(entries)


def test_a_number_that_only_changes_its_sign_or_its_type_comes_back(tmp_path: Path) -> None:
    state = make_entry().state
    entries = [
        make_entry(0, best=Observation(0, 0.0), adopted=0.0, state=state),
        make_entry(1, best=Observation(0, -0.0), adopted=-0.0, state={**state, "best": 1.0}),
        make_entry(2, best=Observation(0, 0.0), adopted=0.0, state={**state, "best": 1}),
    ]
    store(tmp_path / "state.json", *entries)
    assert repr(state_file.load(tmp_path / "state.json").entries) == repr(entries)


def test_an_observation_that_is_not_decided_upon_comes_back(tmp_path: Path) -> None:
    logs = {"loss": math.nan, "val_loss": math.inf, "low": -math.inf, "é\ud800": -0.0, "tiny": 5e-324}
    for pending in (Pending(3, 40, 0.1, logs), Pending(0, 0, None, {}), None):
        store(tmp_path / "state.json", make_entry(2), pending=pending)
        assert repr(state_file.load(tmp_path / "state.json").pending) == repr(pending)


@pytest.mark.parametrize("is_finished", [False, True])
def test_settings_and_the_end_come_back(is_finished: bool, tmp_path: Path) -> None:
    store(tmp_path / "state.json", make_entry(), is_finished=is_finished)
    found = state_file.load(tmp_path / "state.json")
    assert (found.settings, found.is_finished, found.path) == (SETTINGS, is_finished, tmp_path / "state.json")


def test_what_is_encoded_once_is_what_a_new_file_would_hold(tmp_path: Path) -> None:
    """Entries are taken away and others put in their place, as they are when training goes back."""
    rng = random.Random(1)
    entries = make_entries(plateau.Config(patience=2), 200)
    file = StateFile(tmp_path / "state.json", SETTINGS)
    for i, entry in enumerate(entries[1:]):
        file.entries.append(replace(entry, epoch=len(file.entries)))
        if rng.random() < 0.3:
            del file.entries[rng.randrange(len(file.entries)) :]
        if file.entries and rng.random() < 0.2:
            file.entries[-1] = replace(file.entries[-1], steps=i)
        file.write()
        store(tmp_path / "new.json", *file.entries)
        assert file.path.read_bytes() == (tmp_path / "new.json").read_bytes()
    assert len(file.entries) > 3


def test_what_has_not_changed_takes_no_room(tmp_path: Path) -> None:
    store(tmp_path / "state.json", *[make_entry(epoch) for epoch in range(3)])
    sizes = [len(line) for line in (tmp_path / "state.json").read_text().splitlines()[1:-1]]
    assert sizes[0] > 500
    assert max(sizes[1:]) < 160


# --- strict loading --------------------------------------------------------------------------------------------------


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(StateFileError, match=r"the state file .* cannot be used: ") as caught:
        state_file.load(path)
    assert path.read_bytes() == content
    return str(caught.value)


WHOLE = [
    (lambda data: data.update(version=state_file.VERSION + 1), "look at it with the release that wrote it"),
    (lambda data: data.update(version=0), "version 0"),
    (lambda data: data.update(version=True), "version True"),
    (lambda data: data.pop("version"), "version None"),
    (lambda data: data.pop("pending"), r"Missing: \['pending'\]"),
    (lambda data: data.update(more=1), r"unknown: \['more'\]"),
    (lambda data: data.update(settings=[]), "settings must be a JSON object"),
    (lambda data: data.update(is_finished=0), "is_finished must be true or false"),
    (lambda data: data.update(entries={}), "entries must be a list"),
    (lambda data: data.update(entries=[1]), "entry must be a JSON object"),
    (lambda data: data.update(entries=[{}]), "entry without"),
    (lambda data: data["entries"].reverse(), ""),
    (lambda data: data["entries"].append({**data["entries"][1], "epoch": 0}), "epochs of entries must be in order"),
    (lambda data: data.update(pending=[]), "pending must be a JSON object"),
    (lambda data: data["pending"].pop("logs"), r"pending does not have .* Missing: \['logs'\]"),
    (lambda data: data["pending"].update(epoch=-1), "epoch must be from 0"),
    (lambda data: data["pending"].update(iterations=1.5), "iterations must be an integer"),
    (lambda data: data["pending"].update(first_loss="nan"), "first_loss must be a finite number"),
    (lambda data: data["pending"].update(logs={"loss": None}), "loss must be a number"),
]


@pytest.mark.parametrize(("spoil", "words"), WHOLE)
def test_a_file_that_nobody_has_written_is_refused(spoil: Callable[[Any], object], words: str, tmp_path: Path) -> None:
    import re

    store(tmp_path / "state.json", make_entry(0), make_entry(1), pending=Pending(2, 30, None, {"loss": 1.0}))
    data = json.loads((tmp_path / "state.json").read_bytes())
    spoil(data)
    assert re.search(words, refusal(tmp_path / "state.json", json.dumps(data).encode()))


A_DECISION = Decision("cut", "why", 1, 1.0, 1.0, 0.1, 0.05, epoch=0, step=1)

FIELDS: list[tuple[str, Any]] = [
    *(("epoch", value) for value in (-1, 1.0, True, None, "0", 2**53 + 1)),
    *(("is_over", value) for value in (0, None, "true")),
    *(("iterations_before", value) for value in (-1, 0.5, None)),
    *(("iterations", value) for value in (-1, 0.5, None)),
    *(("has_observation", value) for value in (1, None)),
    *(("decisions", value) for value in (None, {}, [1], [{}])),
    *(("rates_before", value) for value in (None, 0.1, [None], ["x"])),
    *(("rates", value) for value in (None, [], [0.1, 0.1], [True])),
    *(("bases", value) for value in (None, [], ["many"])),
    *(("adopted", value) for value in (None, "nan", "x", True)),
    *(("mode", value) for value in ("auto", 1, "")),
    *(("best", value) for value in ([], [1], [-1, 0.5], [1, "nan"], [1, None], {}, 1)),
    *(("steps", value) for value in (-1, 1.5, None)),
    *(("snapshots", value) for value in (None, [], {"other": "a"}, {"best": 1}, {"best": ""})),
    *(("snapshots", {"best": name}) for name in ("../secret", "/etc/passwd", "a/b", ".", "..")),
    *(("window", value) for value in (None, [1.0], [1.0, 2.0, 3.0, None], [0.0] * 5)),
    *(("state", value) for value in (None, [], {}, {"phase": "search"})),
]


@pytest.mark.parametrize(("name", "value"), FIELDS, ids=str)
def test_an_entry_with_a_value_that_none_has_is_refused(name: str, value: Any, tmp_path: Path) -> None:
    store(tmp_path / "state.json", make_entry(0))
    data = json.loads((tmp_path / "state.json").read_bytes())
    assert name in data["entries"][0]
    data["entries"][0][name] = value
    refusal(tmp_path / "state.json", json.dumps(data).encode())


@pytest.mark.parametrize("config", RULES, ids=["default", "auto"])
def test_a_state_with_a_value_that_none_has_is_refused(config: Any, tmp_path: Path) -> None:
    entry = make_entries(config, 8)[-1]
    for name in entry.state:
        store(tmp_path / "state.json", replace(entry, state={**entry.state, name: "nonsense"}))
        with pytest.raises(StateFileError, match=r"cannot be used"):
            state_file.load(tmp_path / "state.json")
    more = {**entry.state, "more": 1}
    store(tmp_path / "state.json", replace(entry, state=more))
    with pytest.raises(StateFileError, match="more"):
        state_file.load(tmp_path / "state.json")


def test_a_decision_with_a_value_that_none_has_is_refused(tmp_path: Path) -> None:
    store(tmp_path / "state.json", make_entry(0, decisions=(A_DECISION,)))
    data = json.loads((tmp_path / "state.json").read_bytes())
    for name in data["entries"][0]["decisions"][0]:
        spoilt = json.loads(json.dumps(data))
        spoilt["entries"][0]["decisions"][0][name] = ["nonsense"]
        refusal(tmp_path / "state.json", json.dumps(spoilt).encode())


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    store(tmp_path / "state.json", make_entry(0, decisions=(A_DECISION,)), make_entry(1))
    content = (tmp_path / "state.json").read_bytes().rstrip()
    for length in range(0, len(content), 7):
        refusal(tmp_path / "cut.json", content[:length])


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 500, b"null", b"[]", b'"text"', b"\xff\xfe", b"[" * 100_000, b'{"version": NaN}', b"{}", b"1e999"],
    ids=lambda content: repr(content[:12]),
)
def test_anything_else_is_refused(content: bytes, tmp_path: Path) -> None:
    refusal(tmp_path / "state.json", content)


def test_where_there_is_no_file_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "state.json", tmp_path / "no" / "state.json", tmp_path / "file" / "state.json"):
        with pytest.raises(FileNotFoundError, match=r"there is no state file .*state\.json"):
            state_file.load(path)


def test_a_directory_in_its_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateFileError, match="cannot be used"):
        state_file.load(tmp_path)


@pytest.mark.parametrize("config", RULES, ids=["default", "auto"])
def test_a_state_of_the_other_rule_is_refused(config: Any, tmp_path: Path) -> None:
    settings = SETTINGS if config.name == "auto" else {**SETTINGS, "budget": 0.25}
    store(tmp_path / "state.json", *make_entries(config, 2), settings=settings)
    with pytest.raises(StateFileError, match="of the rule of the settings"):
        state_file.load(tmp_path / "state.json")


def test_other_settings_are_named(tmp_path: Path) -> None:
    file = store(tmp_path / "state.json", make_entry())
    file.check_settings(dict(SETTINGS))
    others = {**SETTINGS, "patience": 5, "new": 1}
    with pytest.raises(StateFileError, match=r"other settings: patience=3, now 5, new=None, now 1$"):
        file.check_settings(others)


def test_a_model_that_was_not_built_had_an_unknown_number_of_weights(tmp_path: Path) -> None:
    file = store(tmp_path / "state.json", make_entry())
    for weights, is_of in ((10, True), (None, True), (11, False)):
        assert file.is_of({**SETTINGS, "weights": weights}) == is_of
        file.settings = {**SETTINGS, "weights": weights}
        assert file.is_of(SETTINGS) == is_of
        file.settings = SETTINGS
    assert not file.is_of({**SETTINGS, "patience": None})
    with pytest.raises(StateFileError, match=r"settings: weights=10, now 11$"):
        file.check_settings({**SETTINGS, "weights": 11})


# --- what a training that goes on keeps ------------------------------------------------------------------------------


def test_a_training_keeps_the_entries_of_the_epochs_before_it(tmp_path: Path) -> None:
    file = StateFile(tmp_path, SETTINGS)
    file.entries = [make_entry(0, is_over=False), *map(make_entry, range(5))]
    assert [file.until(epoch, 0) for epoch in range(7)] == [0, 2, 3, 4, 5, 6, 6]
    assert file.next_epoch == 5


def test_a_training_keeps_what_its_weights_have_seen_of_an_epoch(tmp_path: Path) -> None:
    file = StateFile(tmp_path, SETTINGS)
    within = [make_entry(1, is_over=False, iterations_before=steps, iterations=steps) for steps in (13, 16, 19)]
    file.entries = [make_entry(0), *within, make_entry(1)]
    assert [file.until(1, iterations) for iterations in (10, 12, 13, 17, 19, 30)] == [1, 1, 2, 3, 4, 4]
    assert file.until(2, 0) == 5
    # Of a count that is in none of these places, nothing.
    assert file.until(1, 0) == 1


def test_weights_of_the_end_of_an_epoch_have_seen_nothing_of_the_next_one_though_it_went_back(tmp_path: Path) -> None:
    file = StateFile(tmp_path, SETTINGS)
    file.entries = [make_entry(0), make_entry(1, is_over=False, iterations_before=13, iterations=13)]
    file.entries += [make_entry(1, is_over=False, iterations_before=16, iterations=5)]
    file.entries += [make_entry(1, is_over=False, iterations_before=8, iterations=8), make_entry(1)]
    assert [file.until(1, iterations) for iterations in (10, 13, 15, 16, 5, 7, 8, 9)] == [1, 2, 2, 3, 3, 3, 4, 4]
    # And where the epoch before had gone back, too, when they were saved already.
    file.entries[0] = make_entry(0, iterations_before=20, iterations=10)
    assert [file.until(1, iterations) for iterations in (10, 20)] == [1, 1]


def test_a_file_knows_where_a_training_can_go_on(tmp_path: Path) -> None:
    file = StateFile(tmp_path, SETTINGS)
    file.entries = [make_entry(0, is_over=False), make_entry(0), make_entry(1, iterations_before=20, iterations=10)]
    file.pending = Pending(2, 20, None, {})
    known = [(epoch, steps) for epoch in range(5) for steps in (0, 10, 20, 30) if file.knows(epoch, steps)]
    assert known == [(1, 10), (2, 10), (2, 20), (3, 20)]


def test_copies_are_recent_that_the_last_epoch_or_the_next_one_may_need(tmp_path: Path) -> None:
    file = StateFile(tmp_path, SETTINGS)
    assert file.recent_snapshots == set()
    file.entries = [make_entry(epoch, snapshots={"best": f"best-{epoch}"}) for epoch in range(5)]
    assert file.recent_snapshots == {"best-3", "best-4"}
    file.entries += [make_entry(5, is_over=False, snapshots={"best": f"best-5.{i}"}) for i in range(2)]
    assert file.recent_snapshots == {"best-4", "best-5.0", "best-5.1"}


def test_when_training_has_ended_only_what_its_last_epoch_went_back_to_may_be_needed(tmp_path: Path) -> None:
    """By a process that goes on with weights from before."""
    back = Decision("rollback", "why", 1, 1.0, 1.0, 0.1, 0.05, restore="raise", epoch=4, step=1)
    copies: dict[Any, str] = {"best": "b", "raise": "r"}
    file = StateFile(tmp_path, SETTINGS)
    file.is_finished = True
    file.entries = [make_entry(epoch, snapshots=copies) for epoch in range(4)]
    assert file.recent_snapshots == set()
    file.entries += [make_entry(4, decisions=(A_DECISION, back))]
    assert file.recent_snapshots == {"r"}


def test_a_file_is_young_until_its_second_epoch(tmp_path: Path) -> None:
    file = StateFile(tmp_path, SETTINGS)
    assert file.is_young
    file.entries = [make_entry(0, is_over=False), make_entry(0)]
    assert file.is_young
    file.is_finished = True
    assert not file.is_young
    file.is_finished = False
    file.entries += [make_entry(1)]
    assert not file.is_young


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("bug")])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(error: BaseException, tmp_path: Path) -> None:
    def fail(stream: Any) -> None:
        stream.write(b"half of it")
        raise error

    path = tmp_path / "deep" / "file"
    state_file.replace_file(path, lambda stream: stream.write(b"old"))
    with pytest.raises(type(error)):
        state_file.replace_file(path, fail)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the name is on the disk before the call returns."""
    seen = []

    def fsync(handle: int) -> None:
        seen.append((Path(os.readlink(f"/proc/self/fd/{handle}")).name, (tmp_path / "dir" / "file").exists()))

    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc")
    monkeypatch.setattr(os, "fsync", fsync)
    state_file.replace_file(tmp_path / "dir" / "file", lambda stream: stream.write(b"new"))
    assert seen == [("file.tmp", False), ("dir", True)]


def test_what_a_killed_process_has_left_half_written_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "state.json.tmp").write_bytes(b"half")
    store(tmp_path / "state.json", make_entry())
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_file_set_aside_keeps_its_copies_and_takes_no_name_that_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    asides = []
    for content in ("first", "second"):
        path.write_text(content)
        folder = state_file.snapshot_folder(path)
        folder.mkdir()
        (folder / "best-1.snapshot").write_text(content)
        asides.append(state_file.set_aside(path))
        assert not path.exists()
        assert not folder.exists()
    assert [aside.name for aside in asides] == ["state.json.1", "state.json.2"]
    for aside, content in zip(asides, ("first", "second"), strict=True):
        assert aside.read_text() == content
        assert (state_file.snapshot_folder(aside) / "best-1.snapshot").read_text() == content


# --- locks -----------------------------------------------------------------------------------------------------------

posix = pytest.mark.skipif(os.name != "posix", reason="there are no such locks")

HOLD = """
import os, sys, time
from pathlib import Path
from keras_lrplateau.resume import state_file
print(state_file.is_held_elsewhere(Path(sys.argv[1])), state_file.hold(Path(sys.argv[1])), flush=True)
"""


def other_process(lock: Path, more: str = "") -> subprocess.Popen[str]:
    """One that says whether the lock is held, tries to hold it, says whether it could, and goes on with `more`."""
    return subprocess.Popen([sys.executable, "-c", HOLD + more, str(lock)], stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def asked(lock: Path) -> str:
    """What another process says, which ends then."""
    with other_process(lock) as process:
        return said(process)


@posix
def test_a_lock_is_held_until_its_process_dies_however_it_dies(tmp_path: Path) -> None:
    lock = tmp_path / "run" / ".lock"
    with other_process(lock, "time.sleep(60)") as process:
        assert said(process) == "False True"
        assert not state_file.hold(lock)
        assert state_file.is_held_elsewhere(lock)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not state_file.is_held_elsewhere(lock)
    assert state_file.hold(lock)
    state_file.release([lock])


@posix
def test_a_process_holds_a_lock_as_often_as_it_has_claimed_it(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    first, second = [lock], [lock]
    assert state_file.hold(lock)
    assert state_file.hold(lock)
    assert not state_file.is_held_elsewhere(lock)
    assert asked(lock) == "True False"
    state_file.release(first)
    state_file.release(first)
    assert asked(lock) == "True False"
    state_file.release(second)
    assert asked(lock) == "False True"


@posix
def test_a_forked_process_does_not_keep_the_lock_of_its_parent(tmp_path: Path) -> None:
    """As a worker of a data loader would that outlives its training; and it cannot go on in its parent's place."""
    lock = tmp_path / ".lock"
    more = """
if (child := os.fork()) == 0:
    print(state_file.hold(Path(sys.argv[1])), flush=True)
    time.sleep(60)
print(child, flush=True)
time.sleep(60)
"""
    process = other_process(lock, more)
    assert said(process) == "False True"
    lines = {said(process), said(process)}
    assert "False" in lines
    (child,) = map(int, lines - {"False"})
    try:
        assert asked(lock) == "True False"
        process.kill()
        process.wait()
        os.kill(child, 0)
        assert asked(lock) == "False True"
    finally:
        os.kill(child, signal.SIGKILL)
        assert process.stdout is not None
        process.stdout.close()


@posix
def test_a_lock_whose_file_was_removed_is_made_anew(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    assert state_file.hold(lock)
    lock.unlink()
    with other_process(lock, "time.sleep(60)") as process:
        assert said(process) == "False True"
        assert not state_file.hold(lock)
        process.kill()
    assert state_file.hold(lock)
    assert asked(lock) == "True False"
    state_file.release([lock])


def test_to_look_at_a_lock_makes_none(tmp_path: Path) -> None:
    assert not state_file.is_held_elsewhere(tmp_path / "run" / ".lock")
    assert list(tmp_path.iterdir()) == []


def test_where_there_are_no_locks_a_claim_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert state_file.hold(tmp_path / ".lock")
    assert not state_file.is_held_elsewhere(tmp_path / ".lock")
    monkeypatch.setitem(sys.modules, "fcntl", None)
    assert state_file.hold(tmp_path / "other")
    state_file.release([tmp_path / ".lock", tmp_path / "other"])
    assert not state_file.is_held_elsewhere(tmp_path / "other")
