"""What a benchmark has measured, kept in a folder, so that nothing is measured twice; nothing to run here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

import keras_lrplateau

Row = dict[str, Any]


class Measured:
    """Lines of JSON by name; those of our callback are in a file that the code behind its decisions names."""

    def __init__(self, folder: Path):
        package = Path(keras_lrplateau.__file__).parent
        code = hashlib.sha256((package / "callback.py").read_bytes())
        for path in sorted([*(package / "rule").glob("*.py"), *(package / "training").glob("*.py")]):
            code.update(path.read_bytes())
        folder.mkdir(parents=True, exist_ok=True)
        backend = keras.backend.backend()
        self._paths = {True: folder / f"{backend}-{code.hexdigest()[:12]}.jsonl", False: folder / f"{backend}.jsonl"}
        self._rows: dict[str, Row] = {}
        for path in self._paths.values():
            for line in path.read_text().splitlines() if path.exists() else ():
                name, row = json.loads(line)
                self._rows[name] = row

    def get(self, name: str, is_ours: bool, measure: Callable[[], Row]) -> Row:
        """What is known under this name, or is measured now."""
        if name not in self._rows:
            self._rows[name] = measure()
            with self._paths[is_ours].open("a") as file:
                file.write(json.dumps([name, self._rows[name]]) + "\n")
        return self._rows[name]
