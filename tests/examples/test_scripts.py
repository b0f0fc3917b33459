"""What the example scripts print while they train and at the end; the trainings themselves are made up here."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import make_decision

ROOT = Path(__file__).parents[2]


def main_of(script: str, **names: Any) -> Any:
    """The `main` of an example, with other things under these names."""
    main = runpy.run_path(str(ROOT / "examples" / script))["main"]
    main.__globals__.update(names)
    return main


def recovered(**_: Any) -> Any:
    """A callback after the longest training of examples/recover.py."""
    rates = (("diverged", 10_000.0, 300.0), ("diverged", 300.0, 9.0), ("restart", 0.000324, 0.0324))
    decisions = [make_decision(kind, epoch, before, after) for epoch, (kind, before, after) in enumerate(rates)]
    return SimpleNamespace(decisions=decisions)


@pytest.mark.parametrize(
    ("script", "train", "begins"),
    [
        ("recover.py", lambda rate, callback: (0.1, 0.9), "from 0.1"),
        ("stalled.py", lambda seed, callback: 0.9, "with seed 0"),
    ],
)
def test_a_script_says_in_a_pipe_how_far_it_is(
    script: str, train: Any, begins: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    trained = 0

    def spied(*arguments: Any) -> Any:
        nonlocal trained
        if trained == 2:
            assert f"trained {begins}, twice" in capsys.readouterr().err, "before the next one begins"
        trained += 1
        return train(*arguments)

    main_of(script, train=spied, AdaptLROnPlateau=recovered)()
    assert trained == 10


def test_the_table_of_recover_fits_a_terminal_of_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main_of("recover.py", train=lambda rate, callback: (0.123, 0.9), AdaptLROnPlateau=recovered)()
    said = capsys.readouterr().out
    for how in ("diverged: 10000 -> 300 ", "diverged: 300 -> 9 ", "restart: 0.000324 -> 0.0324 "):
        assert said.count(f"│ {how}") == 5


def test_gan_prints_the_decisions_before_what_came_of_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def made(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(decisions=[make_decision("cut", 3, 0.02, 0.01)])

    main_of("gan.py", train=lambda *_: {"distance": [1.0, 0.5]}, AdaptLROnPlateau=made)()
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["epoch 4", "a rate that stays", "AdaptLROnPlateau"]


@pytest.mark.long
@pytest.mark.parametrize("script", ["digits.py", "finetune.py"])
def test_each_decision_is_printed_once(script: str, tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / script).write_text((ROOT / "examples" / script).read_text())
    environment = os.environ | {"KERAS_BACKEND": "jax", "COLUMNS": "200"}  # The quickest one for such a network.
    command = [sys.executable, f"examples/{script}"]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    changes = [line for line in said.splitlines() if " -> " in line]
    assert len(changes) >= 4
    assert all(re.match(r"Epoch \d+: AdaptLROnPlateau ", line) for line in changes), "no second list of them"
    assert len(set(changes)) == len(changes)
