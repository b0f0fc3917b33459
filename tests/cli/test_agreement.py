"""The tab, the command and Python give the same answers about a run, and these match its decisions."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keras_lrplateau import Config, auto
from keras_lrplateau.cli import commands
from keras_lrplateau.history.event_writer import EventWriter
from keras_lrplateau.history.run import Observation, Record, Run
from keras_lrplateau.recordings.reading import read
from keras_lrplateau.recordings.replay import replay
from keras_lrplateau.rule.decision import Decision
from keras_lrplateau.tensorboard import whatif

VALUES = [1.0, 0.9, *[0.95 + 0.01 * epoch for epoch in range(12)]]


def write_run(
    run_dir: Path, config: Any, first: float, rates: Callable[[float, int], dict[str, float]], quantity: str
) -> list[Decision]:
    """Write a run as a callback could have, with ten steps per epoch, and return its decisions.

    Args:
        run_dir: Where to write.
        config: The rule.
        first: Its first number.
        rates: The learning rates, by the rule's number and the epoch.
        quantity: What the number is.
    """
    writer = EventWriter(run_dir, 0)
    state, decisions = config.start(first), []
    best = Observation(0, VALUES[0])
    for epoch, value in enumerate(VALUES):
        used = state.rate
        state, decision = config.step(state, value, value)
        best = min(best, Observation(epoch, value), key=lambda each: each.value)
        found = [decision]
        if epoch + 1 == len(VALUES):
            state, last = config.finish(state)
            found.append(last)
        dated = tuple(replace(each, epoch=epoch, step=10 * epoch + 10) for each in found if each.is_action)
        writer.scalars(epoch, {"val_loss": value, "loss": value, **rates(used, epoch)}, 1.7e9 + epoch)
        if dated or epoch in (0, len(VALUES) - 1):
            record = Record(
                epoch, dated, state.status, 10 * epoch + 10, "val_loss", "min", quantity, best, 1.7e9 + epoch
            )
            writer.record(record)
        decisions += dated
    writer.close()
    return decisions


RATE, MULTIPLIER = "learning rate", "multiplier of the schedule"

RUNS = {
    "its first rate is its highest": (
        {"patience": 2, "factor": 0.5, "max_lr": 0.1, "max_raises": 0},
        0.1,
        lambda rate, epoch: {"learning_rate": rate},
        RATE,
    ),
    "its first rate is its lowest": (
        {"patience": 2, "factor": 0.5, "min_lr": 0.1, "raise_after": 1},
        0.1,
        lambda rate, epoch: {"learning_rate": rate},
        RATE,
    ),
    "it has two optimizers": (
        {"patience": 2, "factor": 0.1, "min_lr": 1e-3, "max_raises": 0},
        0.01,
        lambda rate, epoch: {"learning_rate_a": rate, "learning_rate_b": rate / 10},
        RATE,
    ),
    "it follows a schedule": (
        {"patience": 2, "factor": 0.5, "max_raises": 0},
        1.0,
        lambda rate, epoch: {"learning_rate": 0.1 * 0.9**epoch * rate},
        MULTIPLIER,
    ),
    "it nears the end of its schedule": (
        {"patience": 2, "factor": 0.5, "max_raises": 0},
        1.0,
        lambda rate, epoch: {"learning_rate": 0.1 * (1 - epoch / (len(VALUES) - 1)) * rate},
        MULTIPLIER,
    ),
}


def as_told(decisions: Any) -> list[tuple[int, str, float, float]]:
    return [(each.epoch, each.kind, each.rate_before, each.rate) for each in decisions]


@pytest.mark.parametrize("settings", [{}, {"patience": 4}], ids=["its own settings", "others"])
@pytest.mark.parametrize("name", RUNS)
def test_they_agree(name: str, settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, first, rates, quantity = RUNS[name]
    planned = Config(**own).for_length(len(VALUES))
    decided = write_run(tmp_path / "lr_plateau", planned, first, rates, quantity)
    assert decided
    asked = own | settings

    (recording,) = read(tmp_path)
    in_python = replay(recording, Config(**asked))
    if settings:
        assert as_told(in_python.decisions) != as_told(decided)
    else:
        assert as_told(in_python.decisions) == as_told(decided)
        assert in_python.departs is None
        for curve in in_python.recorded.rates:
            assert in_python.run.curves[curve].values == pytest.approx(recording.curves[curve].values)
    assert not in_python.is_relative

    run = Run("lr_plateau", recording.curves, list(recording.records))
    in_tab = whatif.answer(run, {}, {key: str(value) for key, value in asked.items()})
    assert as_told(in_tab.runs[1].decisions) == as_told(in_python.decisions)
    assert in_tab.departs == in_python.departs
    assert in_tab.runs[1].records == in_python.run.records

    options = [f"--{key.replace('_', '-')}={value}" for key, value in asked.items()]
    assert commands.main(["replay", str(tmp_path), *options, "--json"]) == 0
    (by_command,) = json.loads(capsys.readouterr().out)
    told = [(each["epoch"] - 1, each["kind"], each["rate_before"], each["rate"]) for each in by_command["decisions"]]
    assert told == as_told(in_python.decisions)
    assert by_command["departs"] == (None if in_python.departs is None else in_python.departs + 1)
    assert by_command["quantity"] == quantity


def test_they_agree_in_auto_mode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = auto.Config(observations=len(VALUES), budget=0.2)
    decided = write_run(tmp_path / "lr_plateau", config, 0.1, lambda rate, epoch: {"learning_rate": rate}, RATE)
    assert decided
    (recording,) = read(tmp_path)
    in_python = replay(recording, auto.Config(budget=0.2))
    assert as_told(in_python.decisions) == as_told(decided)
    run = Run("lr_plateau", recording.curves, list(recording.records))
    in_tab = whatif.answer(run, {}, {"rule": "auto", "budget": "0.2"})
    assert as_told(in_tab.runs[1].decisions) == as_told(decided)
    assert commands.main(["replay", str(tmp_path), "--auto", "--budget=0.2", "--json"]) == 0
    (by_command,) = json.loads(capsys.readouterr().out)
    assert [each["rate"] for each in by_command["decisions"]] == [each.rate for each in decided]
