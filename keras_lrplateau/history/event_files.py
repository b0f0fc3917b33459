"""Finds TensorBoard's event files. Unlike their reader, it needs none of TensorBoard's modules."""

from __future__ import annotations

import os
from pathlib import Path


def event_files(root: Path) -> dict[Path, list[Path]]:
    """Find the event files in a directory and below; by their directory, all in order.

    Links are followed, and each directory is visited once.
    """
    found = {}
    seen = set()
    for directory, below, names in os.walk(root, followlinks=True):
        below.sort()
        real = os.path.realpath(directory)
        if real in seen:  # Reached again through a link.
            below.clear()
            continue
        seen.add(real)
        # The profiler's event files hold nothing.
        files = [name for name in sorted(names) if "tfevents" in name and not name.endswith(".profile-empty")]
        if files:
            found[Path(directory)] = [Path(directory, name) for name in files]
    return found
