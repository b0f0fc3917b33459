"""The types that a user meets: a script that reads decisions passes the strict checkers."""

import os
import shutil
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


def check(tmp_path: Path, script: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Check a script as a user would, outside of this repository."""
    (tmp_path / "script.py").write_text(script)
    environment = {**os.environ, "MYPYPATH": str(ROOT), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.long
def test_a_script_that_reads_decisions_passes_mypy_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache")]
    done = check(tmp_path, SCRIPT, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = check(tmp_path, WRONG, *command).stdout
    assert "script.py:4: error" in wrong, "the types are seen"
    assert "script.py:5: error" in wrong


@pytest.mark.long
def test_a_script_that_reads_decisions_passes_pyright(tmp_path: Path) -> None:
    program = shutil.which("pyright") or shutil.which("pyright", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("pyright is not installed: pip install pyright")
    (tmp_path / "pyrightconfig.json").write_text(f'{{"extraPaths": ["{ROOT}"], "typeCheckingMode": "strict"}}')
    done = check(tmp_path, SCRIPT, program, "--pythonpath", sys.executable)
    assert done.returncode == 0, done.stdout + done.stderr
    assert check(tmp_path, WRONG, program, "--pythonpath", sys.executable).returncode == 1, "the types are seen"
