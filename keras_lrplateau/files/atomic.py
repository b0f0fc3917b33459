"""Writes a file atomically: even after the machine crashes, either the old file or the whole new one is there.

The content goes to a temporary file beside the old one, which takes its name once the content is on disk. The temporary
name is random, and the file is opened only if that name is free, so a planted link is never followed. If the path is a
link, it stays one, and its target is replaced. An existing file keeps its mode.
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
"""How many characters of a name the temporary name keeps. A name may have 255 bytes, a character up to four."""


def replace_file(path: Path, write: Callable[[IO[bytes]], object], like: Path | None = None) -> None:
    """Write a file whole or not at all. When this returns, the file is on disk.

    Args:
        path: The file to write. A missing directory is made.
        write: Receives a stream, and writes the content to it.
        like: A file whose mode a new file takes, if it exists. Without it, the user's mask decides.

    Raises:
        IsADirectoryError: The path is a directory.
        OSError: The file cannot be written, or the path is not a regular file. The old file is still there.
    """
    target = Path(os.path.realpath(path))
    mode = check_place(target)
    if mode is None and like is not None:
        mode = check_place(like)
    make_folder(target.parent)
    part = target.with_name(f".{secrets.token_hex(8)}.{target.name[-LONGEST_TAIL:]}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    # Until it has the mode that it is to have, other users must not be able to read it.
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
    """Check that a path is a regular file, or free for one.

    Args:
        path: Links are followed.

    Returns:
        The mode of the file; None if there is none.

    Raises:
        IsADirectoryError: The path is a directory.
        OSError: The path is something else, such as a FIFO, or cannot be examined.
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


def identity_of(file: Path | int) -> tuple[int, int] | None:
    """Return what tells a file from another one that takes its name later; None if there is no file.

    Args:
        file: Its path, where links are followed, or its descriptor.
    """
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def make_folder(folder: Path) -> None:
    """Make a directory and its parents, and wait until they are on disk.

    Args:
        folder: Links are followed, also one to a directory that is not there yet.

    Raises:
        OSError: One of them cannot be made.
    """
    if folder.is_dir():
        return
    folder = Path(os.path.realpath(folder))
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a directory are on disk.

    Raises:
        OSError: The system cannot write them.
    """
    if os.name != "posix":  # Elsewhere a directory cannot be opened.
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files that killed processes left beside a file. Only one process may write that file.

    Raises:
        OSError: One of them cannot be removed.
    """
    target = Path(os.path.realpath(path))
    pattern = re.compile(rf"\.[0-9a-f]{{16}}\.{re.escape(target.name[-LONGEST_TAIL:])}\.tmp")
    for other in list(target.parent.iterdir()) if target.parent.is_dir() else []:
        if pattern.fullmatch(other.name):
            other.unlink(missing_ok=True)
