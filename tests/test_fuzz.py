"""Runs some of the cases of `python tests/fuzz.py`, and lets hypothesis choose others."""

from dataclasses import replace

import fuzz
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_lrplateau.resume.state_file import StateFileError, load
from keras_lrplateau.rule import auto, plateau

CASES = {
    "streams through auto": 150,
    "stored states of auto": 150,
    "state files": 150,
    "checkpoints of users": 150,
    **{name: 150 for name, _, _ in fuzz.fuzz_recordings.KINDS},
    "streams through the callback": 40,
    "streams resumed by a state file": 15,
}
"""Of each kind, where they are not 300."""


def named(kind):
    return kind.name


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", fuzz.KINDS, ids=named)
def test_bad_input_is_refused_with_the_documented_error_and_good_input_keeps_all_promises(kind, times):
    tally = fuzz.run(kind, times * CASES.get(kind.name, 300), seed=times)
    assert not tally.failed, fuzz.report([tally], seed=times)
    assert tally.refused < tally.cases, "some of it is good"
    assert tally.refused > 0 or kind.name.startswith("streams"), "some of it is bad"


# Those that make files and models are not for a tool that calls them again and again.
FILES = {"state files", *(name for name, _, _ in fuzz.fuzz_recordings.KINDS)}
QUICK = [kind for kind in fuzz.KINDS if kind.most is None and kind.name not in FILES]


@pytest.mark.parametrize("kind", QUICK, ids=named)
def test_hypothesis_finds_nothing_that_the_generator_has_missed(kind):
    """It makes the random numbers, so it looks where branches are, and what it finds it makes small."""

    @settings(max_examples=50, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False))
    def check(rng):
        kind.case(rng)

    check()


def begun(rule, rate=0.1):
    config = rule(patience=1, raise_after=1) if rule is plateau.Config else rule(observations=60)
    return fuzz.Follower(config, replace(config.start(rate), loss_before=1.0))


@pytest.mark.parametrize("rule", [plateau.Config, auto.Config])
def test_whatever_numbers_come_the_rules_keep_their_promises(rule):
    numbers = st.floats() | st.sampled_from(fuzz.NUMBERS)

    @settings(max_examples=100)
    @given(st.lists(st.tuples(numbers, st.none() | numbers), max_size=40), st.integers(0, 40))
    def check(values, at):
        follower = begun(rule)
        for i, (value, loss) in enumerate(values):
            if i == at:
                follower.fork()
            follower.step(value, loss)
        follower.finish()

    check()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(fuzz.JSON_VALUES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("rule", [plateau.Config, auto.Config])
def test_a_stored_state_with_other_values_is_refused_or_can_be_gone_on_from(rule):
    outcomes = set()

    @settings(max_examples=150)
    @given(st.data(), st.sampled_from(fuzz.pool(rule)))
    def check(data, stored):
        changes = st.dictionaries(st.sampled_from(sorted(stored)), json_values, max_size=3)
        try:
            state = rule.read_state({**stored, **data.draw(changes)})
        except ValueError:
            outcomes.add("refused")
            return
        outcomes.add("taken")
        follower = fuzz.Follower(begun(rule).config, state)
        fuzz.reload(state)
        for value in (1.0, fuzz.NAN, 2.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 3.0):
            follower.step(value, value)
        follower.finish()

    check()
    assert outcomes == {"refused", "taken"}


def test_a_state_file_cut_at_any_byte_says_what_its_whole_lines_say(tmp_path):
    whole = min((content for content in fuzz.state_contents() if b"snapshots" in content), key=len)
    path = tmp_path / "state.json"
    path.write_bytes(whole)
    entries = load(path).entries.texts
    assert entries
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        if size <= whole.index(b"\n"):
            with pytest.raises(StateFileError):
                load(path)
        else:
            found = load(path).entries.texts
            assert found == entries[: len(found)]
            assert len(found) >= min(whole[:size].count(b"\n") - 1, len(entries))


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_a_table_and_says_that_there_was_no_other_failure(capsys):
    assert fuzz.main(["--kind", "arguments of plateau.Config", "--cases", "50", "--seed", "3"]) == 0
    first, row, total, last = capsys.readouterr().out.splitlines()
    assert first.split()[-5:] == ["cases", "refused", "accepted", "failed", "seconds"]
    assert row.startswith("arguments of plateau.Config ")
    cases, refused, accepted, failed = map(int, total.split()[1:5])
    assert (cases, failed) == (50, 0)
    assert refused + accepted == 50
    assert last.endswith("No other failure.")


def test_the_command_fails_when_a_case_does_and_prints_how_to_run_it_alone(capsys, monkeypatch):
    def broken(rng):
        if rng.random() < 0.3:
            raise ZeroDivisionError("a defect")
        return False

    kinds = (fuzz.Kind("broken", broken, 0.5), fuzz.Kind("whole", lambda rng: True, 0.5))
    monkeypatch.setattr(fuzz, "KINDS", kinds)
    assert fuzz.main(["--cases", "40", "--seed", "2"]) == 1
    out = capsys.readouterr().out
    assert "ZeroDivisionError: a defect" in out
    command = next(line for line in out.splitlines() if line.startswith("python tests/fuzz.py"))
    options = command.replace("'", "").split()[2:]
    assert options[:2] == ["--kind", "broken"]
    assert fuzz.main(options) == 1, "the same case again"


def test_a_kind_of_cases_is_the_same_each_time():
    kind = fuzz.KINDS[0]
    outcomes = [[fuzz.run_case(kind, seed, index) for index in range(30)] for seed in (1, 1, 2)]
    assert outcomes[0] == outcomes[1] != outcomes[2]
