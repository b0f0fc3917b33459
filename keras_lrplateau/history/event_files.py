"""Where TensorBoard's event files are. Apart from their reader, which takes TensorBoard's modules to load."""

from __future__ import annotations

import os
from pathlib import Path


def event_files(root: Path) -> dict[Path, list[Path]]:
    """The event files in a directory and below, by the directory that they are in, all in order.

    Links are followed, and each directory is looked into once.
    """
    found = {}
    seen = set()
    for directory, below, names in os.walk(root, followlinks=True):
        below.sort()
        real = os.path.realpath(directory)
        if real in seen:  # By a link.
            below.clear()
            continue
        seen.add(real)
        # Those of the profiler hold nothing.
        files = [name for name in sorted(names) if "tfevents" in name and not name.endswith(".profile-empty")]
        if files:
            found[Path(directory)] = [Path(directory, name) for name in files]
    return found
