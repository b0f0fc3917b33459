"""The paths that users give: the home directory, and URLs that must never become local folders."""

import os
from pathlib import Path, PurePosixPath

import pytest

from keras_lrplateau.files.places import is_url, local_path

URLS = (
    "gs://bucket/run",
    "s3://bucket",
    "s3a://bucket/run",
    "hdfs:///user/me/run",
    "abfs://container@account.dfs.core.windows.net/run",
    "memory://run",
    "file:///logs/run",
    "dbfs:/mnt/run",
    "simplecache::gs://bucket/run",
    "https://example.org/training.csv",
    "GS://bucket/run",
    " gs://bucket/run",
    "gs:/bucket/run",
)


class Cloud(os.PathLike[str]):
    """As the path objects of cloud libraries: its text is a URL, its path a place in a cache."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache

    def __fspath__(self) -> str:
        return str(self.cache)

    def __str__(self) -> str:
        return "gs://bucket/run"


@pytest.mark.parametrize("url", URLS)
def test_a_url_is_refused_with_the_remedy(url: str) -> None:
    for given in (url, PurePosixPath(url), Path.cwd() / url):
        with pytest.raises(ValueError, match=r"log_dir must be a local path.* is a URL; pass a local folder.*mount"):
            local_path("log_dir", given)
        assert is_url(given)


def test_a_path_object_that_is_a_url_at_heart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="which is a URL"):
        local_path("log_dir", Cloud(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "path",
    [
        "logs",
        "logs/run1",
        "/logs/a:b/c",
        "logs/2026-11-28T10:30:00",
        "C:/logs",
        r"C:\logs",
        "lr=1e-3:momentum=.9/x",
        ":/x",
    ],
)
def test_a_local_path_stays_as_it_is(path: str) -> None:
    assert local_path("log_dir", path) == path


def test_the_home_directory_takes_the_place_of_its_sign(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for given in ("~/logs", Path("~/logs"), Path("~") / "logs"):
        assert Path(local_path("log_dir", given)) == tmp_path / "logs"
    assert local_path("log_dir", "logs/~/x") == "logs/~/x"


@pytest.mark.skipif(os.name != "posix", reason="Windows makes up a home directory for any name")
def test_an_unknown_home_directory_is_refused() -> None:
    with pytest.raises(ValueError, match=r"log_dir begins with a home directory that is not known.*'./~nobody-here/x'"):
        local_path("log_dir", "~nobody-here/x")
    assert local_path("log_dir", "./~nobody-here/x") == "./~nobody-here/x"
