"""The types that a user meets: a script that reads decisions passes the strict checkers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SCRIPT = """
from collections.abc import Mapping

from keras_lrplateau import AdaptLROnPlateau, Decision, Sink

class Numbers(Sink):
    def epoch(self, epoch: int, numbers: Mapping[str, float], time: float) -> None:
        print(epoch + 1, numbers["loss"] / 2)

def tell(decision: Decision) -> None:
    print(decision.epoch + 1, decision.kind.upper(), decision.rate / 2)

adapt = AdaptLROnPlateau(patience=5, log_dir="logs", sinks=[Numbers()], on_decision=tell)
last: int = max(decision.epoch for decision in adapt.decisions)
auto: AdaptLROnPlateau = AdaptLROnPlateau.auto(on_decision=tell)
print(last, adapt.best / 2, adapt.decisions_frame(), auto.figure())
"""

WRONG = """
from keras_lrplateau import AdaptLROnPlateau

adapt = AdaptLROnPlateau(patience="5")
adapt.decisions[0].epoch.upper()
"""


def check(tmp_path: Path, *command: str) -> str:
    """Check both scripts as a user would, outside of this repository; returns what is said of them."""
    (tmp_path / "right.py").write_text(SCRIPT)
    (tmp_path / "wrong.py").write_text(WRONG)
    environment = {**os.environ, "MYPYPATH": str(ROOT), "PYTHONPATH": str(ROOT)}
    command = (sys.executable, "-m", *command, "right.py", "wrong.py")
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.long
def test_a_script_that_reads_decisions_passes_mypy_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    said = check(tmp_path, "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"))
    assert "right.py" not in said
    assert "wrong.py:4: error" in said, "the types are seen"
    assert "wrong.py:5: error" in said


@pytest.mark.long
def test_a_script_that_reads_decisions_passes_pyright(tmp_path: Path) -> None:
    pytest.importorskip("basedpyright")  # Pyright as a wheel: its own package loads itself from npm when it runs.
    (tmp_path / "pyrightconfig.json").write_text(f'{{"extraPaths": ["{ROOT}"], "typeCheckingMode": "strict"}}')
    said = check(tmp_path, "basedpyright", "--pythonpath", sys.executable)
    assert "right.py" not in said, said
    assert set(re.findall(r"wrong\.py:(\d+):\d+ - error", said)) == {"4", "5"}, "the types are seen"
