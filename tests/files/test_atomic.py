"""A file is written whole or not at all, follows no planted link, and keeps its link and its mode."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from keras_lrplateau.files.atomic import replace_file

posix = pytest.mark.skipif(os.name != "posix", reason="there are no such modes and links")


def write(path: Path, content: bytes = b"new") -> None:
    replace_file(path, lambda stream: stream.write(content))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("bug")])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(error: BaseException, tmp_path: Path) -> None:
    def fail(stream: Any) -> None:
        stream.write(b"half of it")
        raise error

    path = tmp_path / "deep" / "file"
    write(path, b"old")
    with pytest.raises(type(error)):
        replace_file(path, fail)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names, also of new directories, are on disk before the call returns."""
    seen = []

    def fsync(handle: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{handle}")).name
        seen.append(("part" if re.fullmatch(r"\.[0-9a-f]{16}\.file\.tmp", name) else name, path.exists()))

    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc")
    path = tmp_path / "above" / "dir" / "file"
    monkeypatch.setattr(os, "fsync", fsync)
    write(path)
    assert seen == [(tmp_path.name, False), ("above", False), ("part", False), ("dir", True)]


@posix
def test_the_temporary_name_is_new_each_time_and_must_be_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for _ in range(2):
        replace_file(tmp_path / "file", lambda stream: names.append(stream.name) or stream.write(b"new"))
    parts = []
    really = os.open

    def note(path: Any, flags: int, *mode: Any) -> int:
        if str(path).endswith(".tmp"):
            parts.append(Path(path).name)
            # Planted at the last moment.
            (tmp_path / "victim").write_text("precious")
            Path(path).symlink_to(tmp_path / "victim")
        return really(path, flags, *mode)

    monkeypatch.setattr(os, "open", note)
    for _ in range(2):
        with pytest.raises(FileExistsError):
            write(tmp_path / "file")
    assert len(set(parts)) == 2
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "file").read_bytes() == b"new"


@posix
def test_a_link_stays_and_what_it_points_at_is_replaced(tmp_path: Path) -> None:
    link, real = tmp_path / "link", tmp_path / "deep" / "real"
    link.symlink_to(real)
    for content in (b"first", b"second"):
        write(link, content)
        assert link.is_symlink()
        assert real.read_bytes() == content


@posix
def test_the_mode_of_a_file_stays_and_a_new_one_has_what_the_user_wants(tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = os.umask(0o027)
    try:
        write(path)
        assert path.stat().st_mode & 0o777 == 0o640
        for mode in (0o600, 0o664):
            path.chmod(mode)
            write(path)
            assert path.stat().st_mode & 0o777 == mode
    finally:
        os.umask(before)


@posix
def test_other_users_cannot_read_a_private_file_while_it_is_written(tmp_path: Path) -> None:
    modes: list[int] = []
    write(tmp_path / "file")
    (tmp_path / "file").chmod(0o600)
    replace_file(tmp_path / "file", lambda stream: modes.append(os.fstat(stream.fileno()).st_mode & 0o777))
    assert modes == [0o600]


def test_a_directory_in_its_place_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "place" / "inner").mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=r"place is a directory.*Choose another name"):
        write(tmp_path / "place")
    assert (tmp_path / "place" / "inner").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs")
def test_a_fifo_in_its_place_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "place")
    with pytest.raises(OSError, match="not a regular file"):
        write(tmp_path / "place")


@posix
def test_a_name_as_long_as_it_may_be_and_one_that_is_no_utf8_are_written(tmp_path: Path) -> None:
    for name in ("n" * 255, "\xe9" * 127, os.fsdecode(b"l\xf6gs")):
        write(tmp_path / name)
        assert (tmp_path / name).read_bytes() == b"new"
