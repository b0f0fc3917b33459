"""Directories, and what reading needs to load."""

import subprocess
import sys
from pathlib import Path

import pytest
from curve_files import error_of, events, logged, name_of

import keras_lrplateau
from keras_lrplateau.recordings.reading import read

ROOT = Path(keras_lrplateau.__file__).parents[1]


def test_a_directory_without_event_files_gives_the_curves_that_are_in_it(write, tmp_path):
    write("epoch,loss\n0,1\n", "b.csv")
    write('{"loss": [1]}', "a.json")
    write("Nothing here\nis a curve.\n", "notes.txt")
    write("epoch,loss\n0,1\n", "model.py")
    write(b"", "events.out.tfevents.1.host.profile-empty")
    write("epoch,loss\n0,1\n", "below/c.csv")
    found = read(tmp_path)
    assert [each.name for each in found] == ["a.json", "b.csv"]
    assert "notes.txt:1: no training curve" in found[0].notes[-1]


def test_a_directory_without_curves_is_refused(write, tmp_path):
    write("Nothing here\nis a curve.\n", "sub/notes.txt")
    assert "no event file below it" in error_of(tmp_path)
    assert "notes.txt:1: no training curve" in error_of(tmp_path / "sub")


# --- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["gs://bucket/training.csv", "https://example.org/a.csv", Path("s3://bucket/a.csv")])
def test_a_url_is_refused_with_the_remedy(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "this is a URL; download it" in error_of(url)
    place = tmp_path / "gs:/bucket"
    place.mkdir(parents=True)
    (place / "training.csv").write_text("epoch,loss\n0,1\n")
    assert [each.name for each in read("gs:/bucket/training.csv")] == ["training.csv"]  # It is there.


def test_the_home_directory_may_be_given_by_its_sign(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write("epoch,loss\n0,1\n", "a.csv")
    for given in ("~/a.csv", Path("~/a.csv"), "~"):
        assert [each.name for each in read(given)] == ["a.csv"]


# --- imports ---------------------------------------------------------------------------------------------------------


def test_neither_the_import_nor_event_files_bring_what_they_do_not_need(tmp_path):
    path = events(tmp_path / name_of(0), *logged("loss", 1))
    code = (
        "import sys\n"
        "from keras_lrplateau.recordings import reading\n"
        "heavy = ['tensorboard', 'pandas', 'numpy', 'tensorflow', 'keras', 'plotly']\n"
        "assert not [name for name in heavy if name in sys.modules]\n"
        f"assert reading.read({str(path)!r})\n"
        "assert 'tensorboard' in sys.modules\n"
        "assert not [name for name in ('tensorflow', 'keras', 'pandas') if name in sys.modules]\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=300)
