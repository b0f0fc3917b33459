"""Writes a file so that there is always the old one or the whole new one, also after a crash of the machine.

The content goes to a new file beside the old one, and takes its name when the disk has it. The new file is opened
under a name that nobody can know before, and only if nothing has that name: a link planted there is never followed.
A link in the place of the file stays a link, and what it points at is replaced. The mode of a file that is there stays.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO

LONGEST_TAIL = 50
"""So much of a name is part of the temporary one. File systems allow 255 bytes, and a character takes up to four."""


def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file whole or not at all. When this returns, the disk has it.

    Args:
        path: Its path. The directory is made if need be.
        write: Writes the content to the stream that it is given.

    Raises:
        IsADirectoryError: There is a directory in its place.
        OSError: It cannot be written, or something else than a file is in its place. The old file is still there.
    """
    target = Path(os.path.realpath(path))
    mode = check_place(target)
    make_folder(target.parent)
    part = target.with_name(f".{secrets.token_hex(8)}.{target.name[-LONGEST_TAIL:]}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    # Nobody else may read it before it has the mode of the old one.
    handle = os.open(part, flags, 0o666 if mode is None else 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            if mode is not None:
                part.chmod(mode)
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    sync_folder(target.parent)


def check_place(path: Path) -> int | None:
    """Check that a file is here, or may come here.

    Args:
        path: Links are followed.

    Returns:
        The mode of the file; None if there is none.

    Raises:
        IsADirectoryError: There is a directory.
        OSError: There is something else that is no file, such as a FIFO; or the place cannot be looked at.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(
            f"{path} is a directory, where a file is to be written. Choose another name, or move it"
        )
    if not stat.S_ISREG(mode):
        raise OSError(f"{path} is not a regular file. Choose another name, or move it")
    return stat.S_IMODE(mode)


def make_folder(folder: Path) -> None:
    """Make a directory and those above it, so that the disk has them all.

    Raises:
        OSError: One cannot be made.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a directory.

    Raises:
        OSError: It cannot.
    """
    if os.name != "posix":  # Elsewhere a directory cannot be opened.
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes have left half written in the place of a file that only one process writes.

    Raises:
        OSError: Something cannot be removed.
    """
    target = Path(os.path.realpath(path))
    pattern = re.compile(rf"\.[0-9a-f]{{16}}\.{re.escape(target.name[-LONGEST_TAIL:])}\.tmp")
    for other in list(target.parent.iterdir()) if target.parent.is_dir() else []:
        if pattern.fullmatch(other.name):
            other.unlink(missing_ok=True)
