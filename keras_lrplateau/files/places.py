"""Takes the paths that users give: `~` is the home directory, and a URL is refused.

Python takes `gs://bucket/run` for a folder called `gs:` below the current directory, whose files are lost with the
machine. We write to local folders only, and not through a library such as `fsspec`: the state file needs locks, appends
that are on disk before the next epoch begins, and renames that are whole or not at all. Object stores have none of
these; a mounted one passes them on as well as it can.
"""

from __future__ import annotations

import os
import re

_SCHEME = re.compile(r"(?:^|[/\\])\s*[A-Za-z][\w.+:-]+:(?=[/\\]|$)")
"""A part of a path that is the scheme of a URL, also of a chained one, and after `pathlib` has merged the slashes.

The drives of Windows have one letter.
"""


def local_path(argument: str, path: str | os.PathLike[str]) -> str:
    """Return the path of a local file or folder that is to be written, with the home directory in place of `~`.

    Args:
        argument: Where the user gave it, for errors.
        path: What the user gave.

    Raises:
        ValueError: It is a URL, begins with the home directory of an unknown user, or has a character that the file
            system cannot encode.
    """
    if is_url(path):
        raise ValueError(
            f"{argument} must be a local path. Received: {argument}={path!r}, which is a URL; pass a local folder and "
            "copy it when training is over, or mount the remote place and pass the folder where it is mounted"
        )
    given = os.fspath(path)
    expanded = os.path.expanduser(given)
    if given.startswith("~") and expanded == given:
        raise ValueError(
            f"{argument} begins with a home directory that is not known. Received: {argument}={path!r}; pass the full "
            f"path, or './{given}' if ~ is part of the name"
        )
    try:
        os.fsencode(expanded)
    except UnicodeEncodeError:
        raise ValueError(
            f"{argument} has a character that no name of a file can have here. Received: {argument}={path!r}; choose "
            "another name"
        ) from None
    return expanded


def is_url(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is the URL of a remote place."""
    # As text: the path objects of some cloud libraries give a place in their cache for `os.fspath`.
    return _SCHEME.search(str(path)) is not None
