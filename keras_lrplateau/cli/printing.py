"""How the command prints: tables for people, JSON for programs, messages, and a bar for what takes long.

What it prints comes from files and names of others. Nothing in it reaches the terminal that a terminal would obey.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table
from rich.text import Text

from keras_lrplateau.views.words import printable

PIPE_WIDTH = 120
"""The width of a table in a pipe, where nobody knows how wide the paper is."""


def complain(message: str) -> None:
    """Say on standard error what is wrong."""
    print(f"keras-lrplateau: {printable(message)}", file=sys.stderr)


def say(message: str) -> None:
    """Print a line."""
    print(printable(message))


def print_json(content: Any) -> None:
    """Print strict JSON in ASCII; of the control characters, JSON itself leaves DEL as it is."""
    print(json.dumps(content, indent=2, allow_nan=False).replace("\x7f", r"\u007f"))


def print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], below: str = "") -> None:
    """Print a table for people, with a title above and lines of text below. A row with "?" in a first cell is dim."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for head in heads:
        shown.add_column(Text(printable(head)), overflow="fold")
    for row in rows:
        is_doubtful = any(cell.endswith("?") for cell in row[:2])
        shown.add_row(*(Text(printable(cell)) for cell in row), style="dim" if is_doubtful else None)
    if title:
        console.print(Text(printable(title), style="bold"))
    if rows:
        console.print(shown)
    for line in below.splitlines():
        console.print(Text(printable(line)))
    console.print()


@contextlib.contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, for what takes longer than a second; call what it yields with what is done."""
    with contextlib.ExitStack() as stack:
        began = time.monotonic()
        bars: list[tuple[Progress, TaskID]] = []

        def show(done: int) -> None:
            if not bars and time.monotonic() - began > 1:
                bar = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
                bars.append((bar, bar.add_task("replaying", total=total)))
            for bar, task in bars:
                bar.update(task, completed=done)

        yield show
