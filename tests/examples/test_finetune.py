"""examples/finetune.py tells one story of two phases."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_the_second_phase_goes_on_where_the_first_has_ended_and_is_better(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "finetune.py", tmp_path / "examples")
    command = [sys.executable, "examples/finetune.py"]
    environment = os.environ | {"KERAS_BACKEND": "jax"}  # The quickest one for such a network.
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert "Epoch 61: AdaptLROnPlateau phase" in said
    losses = [float(loss) for loss in re.findall(r"validation loss (\d\.\d+)", said)]
    assert len(losses) == 2
    assert losses[1] < losses[0]
    assert [path.name for path in (tmp_path / "logs" / "finetune").iterdir()] == ["lr_plateau"], "one run"
