"""Prints for the command: tables for people, JSON for programs, messages, and a progress bar.

The content may come from foreign files, so no control characters in it reach the terminal.
"""

from __future__ import annotations

import contextlib
import json
import os
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
"""The width of a table in a pipe, where there is no terminal to ask, without COLUMNS."""


def complain(message: str) -> None:
    """Print an error message on standard error."""
    print(f"keras-lrplateau: {printable(message)}", file=sys.stderr)


def say(message: str) -> None:
    """Print a line."""
    print(printable(message))


def print_json(content: Any) -> None:
    """Print strict JSON in ASCII. JSON escapes all control characters but DEL, which is escaped here."""
    print(json.dumps(content, indent=2, allow_nan=False).replace("\x7f", r"\u007f"))


def print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], below: str = "") -> None:
    """Print a table with a title above and text below. A row is dim if one of its first two cells ends with "?"."""
    # Rich knows the width of a terminal, and takes that of COLUMNS first.
    is_known = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    console = Console(highlight=False, width=None if is_known else PIPE_WIDTH)
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
    """Show a bar on standard error after one second. It yields a function to call with the number of items done."""
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
