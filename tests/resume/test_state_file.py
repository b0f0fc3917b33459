"""The state file: it is read back bit for bit, and anything else is refused."""

import itertools
import json
import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keras_lrplateau.files import atomic
from keras_lrplateau.history.run import Observation
from keras_lrplateau.resume import state_file
from keras_lrplateau.resume.entries import WHOLE, Entries, Entry
from keras_lrplateau.resume.state_file import Pending, StateFile, StateFileError
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
        "epochs_in_search": 0,
        "snapshots": {},
        "window": (),
        "state": plateau.Config().start(0.1).to_dict(),
    }
    return Entry(**(fields | changes))


def make_entries(config: Any, count: int) -> list[Entry]:
    """Make the entries of a training with this rule, with numbers of all kinds."""
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


RULES = [plateau.Config(patience=2), auto.Config(observations=150)]


def with_entries(path: Path, *entries: Entry, settings: Any = SETTINGS) -> StateFile:
    file = StateFile(path, settings)
    for entry in entries:
        file.add(entry)
    return file


def store(path: Path, *entries: Entry, settings: Any = SETTINGS, **attributes: Any) -> StateFile:
    file = with_entries(path, *entries, settings=settings)
    for name, value in attributes.items():
        setattr(file, name, value)
    file.write()
    return file


# --- round trip ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", RULES, ids=["default", "auto"])
def test_entries_come_back_bit_for_bit(config: Any, tmp_path: Path) -> None:
    entries = make_entries(config, 150)
    assert {decision.kind for entry in entries for decision in entry.decisions} > {"raise", "diverged"}
    settings = {**SETTINGS, "budget": 0.25} if config.name == "auto" else SETTINGS
    store(tmp_path / "state.json", *entries, settings=settings)
    # As text, in which NaN equals NaN, and -0.0 does not equal 0.0.
    found = state_file.load(tmp_path / "state.json").entries
    assert repr(list(found)) == repr(entries)
    # In any order, and from their texts, which go to other ranks.
    assert repr([found[at] for at in range(-1, -len(entries) - 1, -1)]) == repr(entries[::-1])
    assert repr(list(Entries(found.texts))) == repr(entries)
    assert repr(found.decisions) == repr([each for entry in entries for each in entry.decisions])
    assert found.observed == [entry.epoch for entry in entries if entry.has_observation]


def test_a_number_that_only_changes_its_sign_or_its_type_comes_back(tmp_path: Path) -> None:
    state = make_entry().state
    entries = [
        make_entry(0, best=Observation(0, 0.0), adopted=0.0, state=state),
        make_entry(1, best=Observation(0, -0.0), adopted=-0.0, state={**state, "best": 1.0}),
        make_entry(2, best=Observation(0, 0.0), adopted=0.0, state={**state, "best": 1}),
    ]
    store(tmp_path / "state.json", *entries)
    assert repr(list(state_file.load(tmp_path / "state.json").entries)) == repr(entries)


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


def test_what_is_appended_says_what_a_new_file_would(tmp_path: Path) -> None:
    """Entries are removed and replaced, as when training goes back."""
    rng = random.Random(1)
    entries = make_entries(plateau.Config(patience=2), 300)
    file, mirror = StateFile(tmp_path / "state.json", SETTINGS), list[Entry]()
    for i, entry in enumerate(entries[1:]):
        new = replace(entry, epoch=len(mirror))
        mirror.append(new)
        file.add(new)
        if rng.random() < 0.1:
            kept = rng.randrange(len(mirror))
            file.keep(kept)
            del mirror[kept:]
        file.pending = Pending(i, i, None, {}) if rng.random() < 0.3 else None
        file.is_finished = bool(mirror) and rng.random() < 0.1
        if rng.random() < 0.7:
            file.write()
            found = state_file.load(file.path)
            assert repr(list(found.entries)) == repr(mirror) == repr(list(file.entries))
            assert (found.pending, found.is_finished) == (file.pending, file.is_finished)
            if rng.random() < 0.2:
                file = found  # A process goes on where one has died.
    assert len(mirror) > 3


def test_what_has_not_changed_takes_no_room(tmp_path: Path) -> None:
    store(tmp_path / "state.json", *[make_entry(epoch) for epoch in range(3)])
    sizes = [len(line) for line in (tmp_path / "state.json").read_text().splitlines()[1:]]
    assert sizes[0] > 500
    assert max(sizes[1:]) < 160


# --- strict loading --------------------------------------------------------------------------------------------------


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(StateFileError, match=r"the state file .* cannot be used: ") as caught:
        state_file.load(path)
    assert path.read_bytes() == content
    return str(caught.value)


LINES: list[tuple[Callable[[list[Any]], object], str]] = [
    (lambda lines: lines[0].update(version=state_file.VERSION + 1), "look at it with the release that wrote it"),
    (lambda lines: lines[0].update(version=0), "version 0"),
    (lambda lines: lines[0].update(version=True), "version True"),
    (
        lambda lines: lines[0].pop("version"),
        r"not one of keras-lrplateau, since it has no version. Its fields: \['settings'\]",
    ),
    (lambda lines: lines[0].pop("settings"), r"Missing: \['settings'\]"),
    (lambda lines: lines[0].update(more=1), r"unknown: \['more'\]"),
    (lambda lines: lines[0].update(settings=[]), "settings must be a JSON object"),
    (lambda lines: lines[-1].update(is_finished=0), "is_finished must be true"),
    (lambda lines: lines[-1].update(more=0), r"of known fields. Received: \['more'\]"),
    (lambda lines: lines.insert(1, 1), "a line must be a JSON object"),
    (lambda lines: lines[1].update(entry=1), "entry must be a JSON object"),
    (lambda lines: lines[1].update(entry={}), "entry without"),
    (lambda lines: lines[1:3].reverse(), ""),
    (lambda lines: lines.append({"entry": {**lines[2]["entry"], "epoch": 0}}), "epochs of entries must be in order"),
    (lambda lines: lines.append({"keep": 2}), "keep must be less than the entries before it"),
    (lambda lines: lines.append({"keep": -1}), "keep must be from 0"),
    (lambda lines: lines[-1].update(pending=[]), "pending must be a JSON object"),
    (lambda lines: lines[-1]["pending"].pop("logs"), r"pending does not have .* Missing: \['logs'\]"),
    (lambda lines: lines[-1]["pending"].update(epoch=-1), "epoch must be from 0"),
    (lambda lines: lines[-1]["pending"].update(iterations=1.5), "iterations must be an integer"),
    (lambda lines: lines[-1]["pending"].update(first_loss="low"), "first_loss must be a number"),
    (lambda lines: lines[-1]["pending"].update(logs={"loss": None}), "loss must be a number"),
]


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def content_of(lines: list[Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@pytest.mark.parametrize(("spoil", "words"), LINES)
def test_a_file_that_we_cannot_have_written_is_refused(
    spoil: Callable[[list[Any]], object], words: str, tmp_path: Path
) -> None:
    import re

    store(tmp_path / "state.json", make_entry(0), make_entry(1), pending=Pending(2, 30, None, {"loss": 1.0}))
    lines = lines_of(tmp_path / "state.json")
    assert len(lines) == 4
    if words:
        spoil(lines)
    else:
        lines[1:3] = lines[2:0:-1]
    assert re.search(words, refusal(tmp_path / "state.json", content_of(lines)))


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
    lines = lines_of(tmp_path / "state.json")
    assert name in lines[1]["entry"]
    lines[1]["entry"][name] = value
    refusal(tmp_path / "state.json", content_of(lines))


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
    lines = lines_of(tmp_path / "state.json")
    for name in lines[1]["entry"]["decisions"][0]:
        spoilt = json.loads(json.dumps(lines))
        spoilt[1]["entry"]["decisions"][0][name] = ["nonsense"]
        refusal(tmp_path / "state.json", content_of(spoilt))


def test_what_is_used_of_earlier_entries_is_checked_when_it_is(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    store(path, *map(make_entry, range(5)))
    lines = lines_of(path)
    lines[3]["entry"]["steps"] = "nonsense"  # Of epoch 2.
    path.write_bytes(content_of(lines))
    found = state_file.load(path)
    found.check_use()
    found.keep(3)
    with pytest.raises(StateFileError, match=r"steps must be an integer.*move it away"):
        found.check_use()


def test_a_file_is_read_up_to_the_line_in_which_its_process_died(tmp_path: Path) -> None:
    """This holds at any byte of the line; the next line then takes its place."""
    path = tmp_path / "state.json"
    entries = [make_entry(0, decisions=(A_DECISION,)), make_entry(1), make_entry(2)]
    store(path, *entries)
    content = path.read_bytes()
    first, ends = content.index(b"\n") + 1, [at + 1 for at, byte in enumerate(content) if byte == 10]
    for length in range(len(content)):
        path.write_bytes(content[:length])
        if length < first:
            refusal(path, content[:length])
            continue
        found = state_file.load(path)
        whole = sum(end <= length for end in ends) - 1
        assert repr(list(found.entries)) == repr(entries[:whole])
        if length % 50 == 0:
            found.add(make_entry(9))
            found.write()
            assert repr(list(state_file.load(path).entries)) == repr([*entries[:whole], make_entry(9)])


def test_a_last_line_with_a_hole_is_as_one_that_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    store(path, make_entry(0), make_entry(1))
    content = bytearray(path.read_bytes())
    content[-60:-40] = bytes(20)
    path.write_bytes(content)
    assert [entry.epoch for entry in state_file.load(path).entries] == [0]
    # Not so one before it.
    store(path, make_entry(0), make_entry(1), make_entry(2))
    content[content.index(b"\n") + 10] = 0
    refusal(path, bytes(content) + b"{}\n")


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 500, b"null", b"[]", b'"text"', b"\xff\xfe", b"[" * 100_000, b'{"version": NaN}', b"{}", b"1e999"],
    ids=lambda content: repr(content[:12]),
)
def test_anything_else_is_refused(content: bytes, tmp_path: Path) -> None:
    refusal(tmp_path / "state.json", content)


def test_a_file_of_another_program_is_told_so_with_the_remedy(tmp_path: Path) -> None:
    words = refusal(tmp_path / "state.json", b'{"epoch": 3, "lr": 0.1}')
    assert "not one of keras-lrplateau, since it has no version. Its fields: ['epoch', 'lr']" in words
    assert "move it away to begin a new one, or pass another state_path" in words


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
    with pytest.raises(StateFileError, match=r"other settings: patience=3, now 5, new=None, now 1. Match"):
        file.check_settings(others)


def test_a_model_that_was_not_built_had_an_unknown_number_of_weights(tmp_path: Path) -> None:
    file = store(tmp_path / "state.json", make_entry())
    for weights, is_of in ((10, True), (None, True), (11, False)):
        assert file.is_of({**SETTINGS, "weights": weights}) == is_of
        file.settings = {**SETTINGS, "weights": weights}
        assert file.is_of(SETTINGS) == is_of
        file.settings = SETTINGS
    assert not file.is_of({**SETTINGS, "patience": None})
    with pytest.raises(StateFileError, match=r"settings: weights=10, now 11. Match"):
        file.check_settings({**SETTINGS, "weights": 11})


# --- what a training that goes on keeps ------------------------------------------------------------------------------


def test_a_training_keeps_the_entries_of_the_epochs_before_it(tmp_path: Path) -> None:
    file = with_entries(tmp_path, make_entry(0, is_over=False), *map(make_entry, range(5)))
    assert [file.entries.until(epoch, 0) for epoch in range(7)] == [0, 2, 3, 4, 5, 6, 6]
    assert file.entries.next_epoch == 5


def test_a_training_keeps_what_its_weights_have_seen_of_an_epoch(tmp_path: Path) -> None:
    file = StateFile(tmp_path, SETTINGS)
    within = [make_entry(1, is_over=False, iterations_before=steps, iterations=steps) for steps in (13, 16, 19)]
    for entry in [make_entry(0), *within, make_entry(1)]:
        file.add(entry)
    assert [file.entries.until(1, iterations) for iterations in (10, 12, 13, 17, 19, 30)] == [1, 1, 2, 3, 4, 4]
    assert file.entries.until(2, 0) == 5
    # Of a count that is in none of these places, nothing.
    assert file.entries.until(1, 0) == 1


def test_weights_of_the_end_of_an_epoch_have_seen_nothing_of_the_next_one_though_it_went_back(tmp_path: Path) -> None:
    file = with_entries(tmp_path, make_entry(0), make_entry(1, is_over=False, iterations_before=13, iterations=13))
    for entry in [make_entry(1, is_over=False, iterations_before=16, iterations=5)]:
        file.add(entry)
    for entry in [make_entry(1, is_over=False, iterations_before=8, iterations=8), make_entry(1)]:
        file.add(entry)
    assert [file.entries.until(1, iterations) for iterations in (10, 13, 15, 16, 5, 7, 8, 9)] == [
        1,
        2,
        2,
        3,
        3,
        3,
        4,
        4,
    ]
    # And where the epoch before had gone back, too, when they were saved already.
    file = with_entries(tmp_path, make_entry(0, iterations_before=20, iterations=10), *list(file.entries)[1:])
    assert [file.entries.until(1, iterations) for iterations in (10, 20)] == [1, 1]


def test_the_rate_tells_which_trial_the_weights_have_seen_where_the_count_of_steps_does_not(tmp_path: Path) -> None:
    """Each trial of a search begins with the first weights, at step 0."""
    rates = [(1e-4,), (1e-3,), (1e-2,), (1e-1,)]
    trials = [
        make_entry(1, is_over=False, iterations_before=40, iterations=0, rates_before=before, rates=after)
        for before, after in itertools.pairwise(rates)
    ]
    first = make_entry(0, iterations_before=40, iterations=0, rates_before=(1e-5,), rates=rates[0])
    file = with_entries(tmp_path, first, *trials)
    assert [file.entries.until(1, 10, held) for held in rates] == [1, 2, 3, 4]
    assert file.entries.until(1, 40, (1e-5,)) == 1, "saved before the end of the epoch was decided about"
    for unknown in (None, (0.5,), (1e-3, 1e-3)):
        assert file.entries.until(1, 10, unknown) == 1


def test_a_file_knows_where_a_training_can_go_on(tmp_path: Path) -> None:
    file = with_entries(
        tmp_path, make_entry(0, is_over=False), make_entry(0), make_entry(1, iterations_before=20, iterations=10)
    )
    file.pending = Pending(2, 20, None, {})
    known = [(epoch, steps) for epoch in range(5) for steps in (0, 10, 20, 30) if file.knows(epoch, steps)]
    assert known == [(1, 10), (2, 10), (2, 20), (3, 20)]


def test_copies_are_recent_that_the_last_epoch_or_the_next_one_may_need(tmp_path: Path) -> None:
    file = StateFile(tmp_path, SETTINGS)
    assert file.recent_snapshots == set()
    for entry in [make_entry(epoch, snapshots={"best": f"best-{epoch}"}) for epoch in range(5)]:
        file.add(entry)
    assert file.recent_snapshots == {"best-3", "best-4"}
    for entry in [make_entry(5, is_over=False, snapshots={"best": f"best-5.{i}"}) for i in range(2)]:
        file.add(entry)
    assert file.recent_snapshots == {"best-4", "best-5.0", "best-5.1"}


def test_when_training_has_ended_only_what_its_last_epoch_went_back_to_may_be_needed(tmp_path: Path) -> None:
    """A process that resumes with earlier weights may need it."""
    back = Decision("rollback", "why", 1, 1.0, 1.0, 0.1, 0.05, restore="raise", epoch=4, step=1)
    copies: dict[Any, str] = {"best": "b", "raise": "r"}
    file = StateFile(tmp_path, SETTINGS)
    for entry in [make_entry(epoch, snapshots=copies) for epoch in range(4)]:
        file.add(entry)
    file.is_finished = True
    assert file.recent_snapshots == set()
    for entry in [make_entry(4, decisions=(A_DECISION, back))]:
        file.add(entry)
    file.is_finished = True
    assert file.recent_snapshots == {"r"}


def test_a_file_is_young_until_its_second_epoch(tmp_path: Path) -> None:
    file = StateFile(tmp_path, SETTINGS)
    assert file.is_young
    for entry in [make_entry(0, is_over=False), make_entry(0)]:
        file.add(entry)
    assert file.is_young
    file.is_finished = True
    assert not file.is_young
    file.is_finished = False
    for entry in [make_entry(1)]:
        file.add(entry)
    assert not file.is_young


# --- writing ---------------------------------------------------------------------------------------------------------


def written_by(file: StateFile, monkeypatch: pytest.MonkeyPatch) -> int:
    """Count the bytes that `write` writes to any file."""
    written = 0
    really = os.write

    def write(handle: int, content: Any) -> int:
        nonlocal written
        written += len(content)
        return really(handle, content)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        before = file.path.stat().st_ino
        file.write()
    return written if file.path.stat().st_ino == before else file.path.stat().st_size


def test_an_epoch_costs_the_same_however_many_were_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, costs = StateFile(tmp_path / "state.json", SETTINGS), []
    file.write()
    for epoch in range(10 * WHOLE):
        file.pending = Pending(epoch, epoch, None, {"val_loss": 0.5})
        costs.append(written_by(file, monkeypatch))
        file.add(make_entry(epoch))
        costs[-1] += written_by(file, monkeypatch)
    assert sum(costs) <= 2 * file.path.stat().st_size
    assert max(costs[-WHOLE:]) < max(costs[:WHOLE]) + 50
    assert sum(costs[-WHOLE:]) < sum(costs[:WHOLE]) + 50 * WHOLE


def test_what_is_void_goes_when_it_is_half_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_file, "VOID_IS_FINE", 10)
    file, most, written = StateFile(tmp_path / "state.json", SETTINGS), 0, 0
    for epoch in range(500):
        file.add(make_entry(0))
        file.keep(1)
        written += written_by(file, monkeypatch) if epoch else 0
        if not epoch:
            file.write()
        most = max(most, file.path.stat().st_size)
    store(tmp_path / "one.json", make_entry(0))
    assert 5 * (tmp_path / "one.json").stat().st_size > most
    assert [entry.epoch for entry in state_file.load(file.path).entries] == [0]
    file.add(make_entry(1))
    file.write()
    assert [entry.epoch for entry in state_file.load(file.path).entries] == [0, 1]


def test_a_hundred_thousand_entries_are_read_without_decoding_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keras_lrplateau.resume import entries as module

    file = StateFile(tmp_path / "state.json", SETTINGS)
    file.add(make_entry(0))
    text = make_second_text()
    for epoch in range(1, 100_000):
        if epoch % WHOLE:
            file.entries.take(text.replace('"epoch": 1', f'"epoch": {epoch}', 1), {**json.loads(text), "epoch": epoch})
        else:
            file.add(make_entry(epoch))
    file.write()
    decoded = 0
    really = module.decode_entry

    def decode(plain: Any) -> Entry:
        nonlocal decoded
        decoded += 1
        return really(plain)

    monkeypatch.setattr(module, "decode_entry", decode)
    start = time.process_time()
    found = state_file.load(file.path)
    assert time.process_time() - start < 5
    assert found.entries.until(50_000, 0) == 50_000
    found.keep(50_000)
    found.check_use()
    assert (len(found.entries), found.entries[-1].epoch) == (50_000, 49_999)
    assert decoded < 10


def make_second_text() -> str:
    both = Entries()
    both.append(make_entry(0))
    both.append(make_entry(1))
    return both.texts[1]


def test_a_file_that_was_removed_or_replaced_is_written_whole(tmp_path: Path) -> None:
    file = store(tmp_path / "logs" / "state.json", make_entry(0))
    (tmp_path / "logs" / "state.json").unlink()
    (tmp_path / "logs").rmdir()
    file.add(make_entry(1))
    file.write()
    assert [entry.epoch for entry in state_file.load(file.path).entries] == [0, 1]
    other = store(tmp_path / "other.json", make_entry(7))
    other.path.replace(file.path)
    file.add(make_entry(2))
    file.write()
    assert [entry.epoch for entry in state_file.load(file.path).entries] == [0, 1, 2]


def test_a_write_that_fails_is_made_up_for_by_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = store(tmp_path / "state.json", make_entry(0))
    really, failures = os.write, 0

    def write(handle: int, content: Any) -> int:
        nonlocal failures
        if failures == 0 and len(content) > 5:
            return really(handle, content[:5])
        failures += 1
        raise OSError(28, "No space left on device")

    file.add(make_entry(1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(OSError, match="No space"):
            file.write()
    assert failures == 0 or failures == 1
    assert [entry.epoch for entry in state_file.load(file.path).entries] == [0]
    file.add(make_entry(2))
    file.write()
    assert [entry.epoch for entry in state_file.load(file.path).entries] == [0, 1, 2]


def test_a_line_is_on_the_disk_before_the_call_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = store(tmp_path / "state.json", make_entry(0))
    seen: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append(file.path.read_bytes()))
    file.add(make_entry(1))
    file.write()
    assert seen == [file.path.read_bytes()]


def test_a_line_goes_to_what_a_link_points_at_and_the_mode_stays(tmp_path: Path) -> None:
    link, real = tmp_path / "state.json", tmp_path / "real.json"
    link.symlink_to(real)
    file = store(link, make_entry(0))
    real.chmod(0o600)
    file.add(make_entry(1))
    file.write()
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert [entry.epoch for entry in state_file.load(real).entries] == [0, 1]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs")
def test_a_fifo_in_its_place_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "state.json")
    with pytest.raises(StateFileError, match="not a regular file"):
        state_file.load(tmp_path / "state.json")
    with pytest.raises(OSError, match="not a regular file"):
        store(tmp_path / "state.json", make_entry(0))


def test_what_a_killed_process_has_left_half_written_is_removed(tmp_path: Path) -> None:
    def die(stream: Any) -> None:
        stream.write(b"half")
        stream.flush()
        (left,) = tmp_path.iterdir()
        (tmp_path / "copy").write_bytes(left.read_bytes())
        names.append(left.name)
        raise KeyboardInterrupt

    names: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        atomic.replace_file(tmp_path / "state.json", die)
    (tmp_path / "copy").rename(tmp_path / names[0])
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
