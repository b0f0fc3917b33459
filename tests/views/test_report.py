"""The command line and the report that it writes: what is in the page, what is said when something is wrong with the
data, and, where there is a browser, what the page does in it."""

import html.parser
import importlib.metadata
import importlib.util
import json
import os
import re
import struct
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import browser_path
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from keras_lrplateau import __version__
from keras_lrplateau.cli import commands
from keras_lrplateau.cli.printing import complain
from keras_lrplateau.history import codec, tags
from keras_lrplateau.history.event_writer import EventWriter
from keras_lrplateau.history.run import Observation, Record, Run
from keras_lrplateau.rule.decision import Decision
from keras_lrplateau.views import figure, picture, report, tables

ROOT = Path(commands.__file__).parents[2]

HOSTILE = """</script><script>alert(1)</script><!-- "'>&amp; <img src=x onerror=alert(1)> %{x}"""
HOSTILE_NAME = "a<script>alert(1)<!-- \"'&amp;"  # A name of a directory has no slash.


def loss_at(epoch: int) -> float:
    return 2 / (epoch + 1)


def decided(epoch: int, *decisions: Decision, monitor: str = "val_loss") -> Record:
    best = Observation(epoch, loss_at(epoch))
    return Record(epoch, decisions, "holding", 10 * (epoch + 1), monitor, "min", "learning rate", best, 1.7e9 + epoch)


def cut(epoch: int, rate: float, reason: str = "no improvement") -> Decision:
    value, best = loss_at(epoch), loss_at(epoch)
    return Decision("cut", reason, epoch, value, best, 2 * rate, rate, epoch=epoch, since_epoch=max(epoch - 2, 0))


def in_a_process(command: list[str]) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def write_run(
    run_dir: Path,
    epochs: range = range(20),
    cuts: tuple[int, ...] = (5, 11),
    reason: str = "no improvement",
    monitor: str = "val_loss",
) -> Path:
    """A run with a cut after each of these epochs, from 0; the rate is 1 at first. Returns its event file."""
    writer = EventWriter(run_dir, epochs.start)
    rate = 1.0
    for epoch in epochs:
        values = {"learning_rate": rate, "loss": loss_at(epoch) / 2, monitor: loss_at(epoch)}
        writer.scalars(epoch, values, 1.7e9 + epoch)
        if epoch in cuts:
            rate /= 2
            writer.record(decided(epoch, cut(epoch, rate, reason), monitor=monitor))
        elif epoch in (epochs[0], epochs[-1]):
            writer.record(decided(epoch, monitor=monitor))
    writer.close()
    return writer.path


def write_run_of_a_newer_release(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(codec, "VERSION", codec.VERSION + 1)
        write_run(run_dir)


def flip_a_bit(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


class Page(html.parser.HTMLParser):
    """What a browser would make of a page, as far as needed here."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag != "meta":
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, "a tag is not closed, or closed too often"

    def handle_data(self, text: str) -> None:
        if self._open:
            self.texts[self._open[-1]][-1] += text

    @property
    def figures(self) -> list[Any]:
        types = [attributes.get("type") for tag, attributes in self.tags if tag == "script"]
        return [json.loads(text) for text, kind in zip(self.texts["script"], types, strict=True) if kind]

    @property
    def ranges(self) -> list[Any]:
        return [json.loads(found) for _, attributes in self.tags if (found := attributes.get("data-range"))]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- what is in the page ---------------------------------------------------------------------------------------------


def test_a_report_shows_the_figure_the_summary_and_the_decisions_of_each_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "logs" / "digits" / "lr_plateau")
    write_run(tmp_path / "logs" / "other" / "lr_plateau", cuts=(), monitor="loss")
    assert commands.main(["report", "logs"]) == 0
    assert capsys.readouterr() == ("report.html: 2 runs\n", "")

    page = Page(tmp_path / "report.html")
    runs, unreadable = commands.read("logs")
    assert [run.name for run in runs] == ["digits/lr_plateau", "other/lr_plateau"]
    assert unreadable == {}
    assert page.figures == [json.loads(json.dumps(figure.draw([run]))) for run in runs]
    assert page.ranges == [row["range"] for row in tables.rows(runs[0])]
    assert page.texts["h1"] == ["LR Plateau · logs"]
    assert page.texts["h2"] == ["digits", "other"]
    assert page.texts["a"] == ["digits", "other"], "each is the only one of its directory"
    assert page.texts["button"] == ["6", "12", "Show all of the training"]
    assert "No decision has been made." in page.texts["p"]
    facts = dict(zip(page.texts["dt"], page.texts["dd"], strict=False))
    assert facts["status"] == "holding"
    assert facts["epochs"] == "20"
    assert facts["optimizer steps"] == "200"
    assert facts["best val_loss"] == "0.1 in epoch 20"
    assert page.texts["time"] == ["2023-11-14 22:13 UTC"] * 2
    for text in ("0.5 → 0.25", "no improvement", "0.166667"):
        assert text in page.texts["td"]


def test_several_runs_have_a_table_of_contents_whose_links_lead_to_them(tmp_path: Path) -> None:
    for number in ("", "_2", "_10"):
        write_run(tmp_path / "logs" / "b" / f"lr_plateau{number}")
    write_run(tmp_path / "logs" / "a" / "deeper" / "lr_plateau")
    write_run(tmp_path / "logs" / "a" / "lr_plateau")
    assert commands.main(["report", "logs"]) == 0
    page = Page(tmp_path / "report.html")
    targets = [str(attributes["href"]) for tag, attributes in page.tags if tag == "a"]
    assert targets == [f"#{attributes['id']}" for tag, attributes in page.tags if tag == "section"]
    assert len(set(targets)) == 5
    assert page.texts["a"] == ["a", "a/deeper", "lr_plateau", "lr_plateau_2", "lr_plateau_10"]
    assert page.texts["h2"] == ["a", "a/deeper", "b"]
    assert page.texts["h3"] == ["lr_plateau", "lr_plateau_2", "lr_plateau_10"], "where there are several"


@pytest.mark.parametrize("path", ["logs", "logs/digits", "logs/digits/lr_plateau", "logs/digits/lr_plateau/", "."])
def test_a_log_dir_and_a_run_dir_will_do_alike(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "logs" / "digits" / "lr_plateau")
    if path == ".":
        monkeypatch.chdir("logs/digits/lr_plateau")
    assert commands.main(["report", path, "-o", str(tmp_path / "one.html")]) == 0
    page = Page(tmp_path / "one.html")
    (name,) = page.texts["h1"]
    assert name == "LR Plateau · digits/lr_plateau"
    assert "nav" not in page.texts, "there is one run"
    assert len(page.figures) == 1


def test_links_are_followed_and_circles_of_them_are_no_harm(tmp_path: Path) -> None:
    write_run(tmp_path / "far" / "away" / "lr_plateau")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "link").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "circle").symlink_to(tmp_path / "logs")
    runs, unreadable = commands.read("logs")
    assert ([run.name for run in runs], unreadable) == (["link/away/lr_plateau"], {})


def test_every_epoch_of_a_long_run_is_read_and_its_extremes_are_drawn(tmp_path: Path) -> None:
    write_run(tmp_path / "logs" / "lr_plateau", range(3000), cuts=tuple(range(100, 3000, 100)))
    (run,), _ = commands.read("logs")
    assert run.curves["loss"].epochs == list(range(3000))
    assert run.curves["learning_rate"].values[-1] == 0.5**29
    assert len(list(run.decisions)) == 29
    assert commands.main(["report", "logs"]) == 0
    page = Page(tmp_path / "report.html")
    assert len(page.ranges) == 29
    losses = next(trace for trace in page.figures[0]["data"] if trace["name"] == "loss")
    assert len(losses["x"]) <= picture.MOST_POINTS + 2
    assert (losses["x"][0], losses["x"][-1]) == (1, 3000)


def test_a_resumed_run_is_one_line_without_what_was_lost(tmp_path: Path) -> None:
    run_dir = tmp_path / "logs" / "lr_plateau"
    write_run(run_dir, range(20), cuts=(5, 17))
    write_run(run_dir, range(10, 30), cuts=(25,))
    (run,), unreadable = commands.read("logs")
    assert unreadable == {}
    assert run.curves["loss"].epochs == list(range(30))
    assert run.curves["learning_rate"].values[12:16] == [1.0] * 4, "those after the resume"
    assert [decision.epoch for decision in run.decisions] == [5, 25], "17 was lost"


@pytest.mark.parametrize("axis", ["epoch", "step", "time"])
def test_the_axis_is_that_of_figures_and_rows(tmp_path: Path, axis: Any) -> None:
    write_run(tmp_path / "logs" / "lr_plateau")
    assert commands.main(["report", "logs", "--axis", axis]) == 0
    page = Page(tmp_path / "report.html")
    (run,), _ = commands.read("logs")
    assert page.figures == [json.loads(json.dumps(figure.draw([run], axis)))]
    assert page.ranges == [row["range"] for row in tables.rows(run, axis)]
    low, high = page.ranges[0]
    marks = next(trace for trace in page.figures[0]["data"] if trace["name"] == "cut")
    assert low < marks["x"][0] < high


def test_light_is_the_default_and_dark_an_option(tmp_path: Path) -> None:
    write_run(tmp_path / "logs" / "lr_plateau")
    for options, is_dark in (((), False), (("--dark",), True)):
        assert commands.main(["report", "logs", *options]) == 0
        page = Page(tmp_path / "report.html")
        paper = figure.THEMES[is_dark].paper
        assert f"--paper: {paper}" in page.texts["style"][0]
        assert page.figures[0]["layout"]["paper_bgcolor"] == paper


def test_plotly_is_in_the_page_once_and_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    for name in "abc":
        write_run(tmp_path / "logs" / name / "lr_plateau")
    assert commands.main(["report", "logs"]) == 0
    page = Page(tmp_path / "report.html")
    assert page.source.count(figure.plotly_js().decode()) == 1
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe", "base", "object")
        assert "src" not in attributes
        assert str(attributes.get("href", "#")).startswith("#")
    assert "url(" not in page.texts["style"][0]
    (policy,) = (a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert str(policy).startswith("default-src 'none'; ")


def test_plotly_that_would_end_its_script_does_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(report, "plotly_js", lambda: b"const text = '</script><b>';")
    write_run(tmp_path / "logs" / "lr_plateau")
    assert commands.main(["report", "logs"]) == 0
    assert r"const text = '<\/script><b>';" in Page(tmp_path / "report.html").texts["script"]


def test_what_runs_hold_of_texts_cannot_do_anything(tmp_path: Path) -> None:
    write_run(tmp_path / "logs" / HOSTILE_NAME / HOSTILE_NAME, reason=HOSTILE, monitor=HOSTILE)
    write_run(tmp_path / "logs" / "tame" / "lr_plateau")
    assert commands.main(["report", "logs"]) == 0
    page = Page(tmp_path / "report.html")
    assert page.texts["h2"] == page.texts["a"] == [f"{HOSTILE_NAME}/{HOSTILE_NAME}", "tame"]
    assert page.texts["td"].count(HOSTILE) == 2
    assert HOSTILE in page.texts["th"]
    assert f"best {HOSTILE}" in page.texts["dt"]
    assert len(page.texts["script"]) == 2 + 2
    assert len(page.figures) == 2
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    # An HTML parser of Python's may be more lenient than a browser.
    for text in re.findall(r'<script type="application/json">(.*?)</script>', page.source, flags=re.DOTALL):
        assert "<" not in text


@pytest.mark.parametrize("name", ["a\nb\x1b[31m", "a\x00b\ud800"])
def test_a_name_that_no_page_or_terminal_can_show_is_no_harm(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(name, {}, [decided(0)])
    page = report.page(name, [run, run], {name: name})
    assert "no improvement" not in page
    (tmp_path / "page.html").write_bytes(page.encode(errors="replace"))
    assert len(Page(tmp_path / "page.html").figures) == 2
    complain(name)
    (message,) = capsys.readouterr().err.splitlines()
    assert message.removeprefix("keras-lrplateau: ").isprintable()


def test_a_run_without_curves_or_decisions_is_reported(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path / "logs" / "lr_plateau", 0)
    writer.record(decided(0))
    writer.close()
    assert commands.main(["report", "logs"]) == 0
    facts = Page(tmp_path / "report.html")
    assert dict(zip(facts.texts["dt"], facts.texts["dd"], strict=True))["last val_loss"] == "none"


# --- what is wrong with the data -------------------------------------------------------------------------------------


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str], output: str = "report.html") -> str:
    """Run the command, which fails and writes no report; returns what it says, which is for users."""
    assert commands.main(arguments) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("keras-lrplateau: ")
    assert "Traceback" not in said.err
    assert not Path(output).exists()
    assert not list(Path().glob(".*tmp"))
    return said.err


def test_a_directory_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no directory logs/digits; give the one" in fails(["report", "logs/digits"], capsys)
    assert "copy it to this machine" in fails(["report", "gs://bucket/logs"], capsys)


def test_a_file_where_a_directory_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_run(tmp_path / "logs" / "lr_plateau")
    assert f"{path} is a file; give its directory" in fails(["report", str(path)], capsys)


def test_a_directory_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").mkdir()
    message = fails(["report", "logs"], capsys)
    assert "no run of AdaptLROnPlateau in logs." in message
    assert "log_dir=" in message


def test_event_files_of_others_are_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag="epoch_loss", simple_value=1.0)])
    writer = EventFileWriter(str(tmp_path / "logs" / "train"))
    writer.add_event(event_pb2.Event(step=0, summary=summary))
    writer.close()
    (tmp_path / "logs" / "train" / "0.tfevents.empty").touch()
    (tmp_path / "logs" / "garbage").mkdir()
    (tmp_path / "logs" / "garbage" / "x.tfevents.1").write_bytes(b"\x00\xff" * 1000)
    assert "no run of AdaptLROnPlateau in logs." in fails(["report", "logs"], capsys)

    write_run(tmp_path / "logs" / "lr_plateau")
    assert commands.main(["report", "logs"]) == 0
    assert [run.name for run in commands.read("logs")[0]] == ["logs/lr_plateau"]


def broken_in_its_first_record(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flip_a_bit(write_run(run_dir), 20)


def not_of_events(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    run_dir.mkdir(parents=True)
    with open(run_dir / "x.tfevents.1", "wb") as file:
        RecordWriter(file).write(b"\xff\xff" + tags.TAG.encode())


def gone(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir.mkdir(parents=True)
    (run_dir / "x.tfevents.1").symlink_to("nowhere")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (write_run_of_a_newer_release, "has version 5; this release of keras-lrplateau reads version 4"),
        (broken_in_its_first_record, "may be damaged; move it elsewhere"),
        (not_of_events, "may be damaged; move it elsewhere"),
        (gone, "may be damaged; move it elsewhere"),
    ],
)
def test_a_run_that_cannot_be_read_is_named_and_the_others_are_reported(
    spoil: Any, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(tmp_path / "logs" / "bad" / "lr_plateau", monkeypatch)
    message = fails(["report", "logs"], capsys)
    assert "logs/bad/lr_plateau: " in message
    assert reason in message
    assert "no run could be read" in message

    write_run(tmp_path / "logs" / "good" / "lr_plateau")
    assert commands.main(["report", "logs"]) == 1
    said = capsys.readouterr()
    assert said.out == "report.html: 1 run\n"
    assert "logs/bad/lr_plateau: " in said.err
    assert reason in said.err
    page = Page(tmp_path / "report.html")
    assert page.texts["h1"] == ["LR Plateau · good/lr_plateau"]
    assert page.texts["b"] == ["logs/bad/lr_plateau"]
    assert reason in page.texts["li"][0]


def test_a_file_that_ends_in_the_middle_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = write_run(tmp_path / "logs" / "lr_plateau")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    (run,), unreadable = commands.read("logs")
    assert unreadable == {}
    assert 6 < run.last_epoch < 19
    assert next(run.decisions).epoch == 5


def test_a_file_that_holds_only_a_part_of_its_first_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_run(tmp_path / "logs" / "lr_plateau")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(tags.TAG.encode()) + 30])
    assert "logs/lr_plateau: its event file cannot be read" in fails(["report", "logs"], capsys)


# --- where it is written ---------------------------------------------------------------------------------------------


def test_an_earlier_report_is_replaced_through_a_link_too(tmp_path: Path) -> None:
    write_run(tmp_path / "logs" / "lr_plateau")
    (tmp_path / "old.html").write_text("old")
    (tmp_path / "link.html").symlink_to("old.html")
    assert commands.main(["report", "logs", "-o", "link.html"]) == 0
    assert (tmp_path / "link.html").is_symlink()
    assert Page(tmp_path / "old.html").figures
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.html", "logs", "old.html"]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("nowhere/report.html", "there is no directory nowhere; make it"),
        ("logs", "logs is not a file; choose another name"),
        (os.devnull, f"{os.devnull} is not a file"),
    ],
)
def test_a_place_where_nothing_can_be_written(
    output: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "logs" / "lr_plateau")
    assert message in fails(["report", "logs", "-o", output], capsys)
    assert Path(output).exists() == (output != "nowhere/report.html")


def test_a_write_that_fails_leaves_the_earlier_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "logs" / "lr_plateau")
    (tmp_path / "old.html").write_text("old")

    def refuse(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    assert "old.html cannot be written: No space left" in fails(["report", "logs", "-o", "old.html"], capsys)
    assert (tmp_path / "old.html").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "old.html"]


# --- PNG -------------------------------------------------------------------------------------------------------------


def png_fails(capsys: pytest.CaptureFixture[str]) -> str:
    assert commands.main(["report", "logs", "--png"]) == 1
    said = capsys.readouterr()
    assert said.out == "report.html: 1 run\n", "the page is written all the same"
    assert Page(Path("report.html")).figures
    assert sorted(path.name for path in Path().iterdir()) == ["logs", "report.html"]
    (message,) = said.err.splitlines()
    return message


def test_without_kaleido_it_is_said_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "logs" / "lr_plateau")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "no PNG was written" in (message := png_fails(capsys))
    assert "pip install 'kaleido>=1'" in message


def test_without_a_browser_it_is_said_how_to_name_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "logs" / "lr_plateau")

    def write_images(figures: list[Any], paths: list[Path], **options: Any) -> None:
        paths[0].write_bytes(b"half of it")
        raise RuntimeError("\n\nKaleido requires Google Chrome to be installed.\n\n")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "plotly.io", types.SimpleNamespace(write_images=write_images))
    message = png_fails(capsys)
    assert "Install one, or say where it is in the environment variable BROWSER_PATH" in message
    assert "RuntimeError: Kaleido requires Google Chrome" in message


@pytest.mark.long
def test_png_writes_a_picture_of_each_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("kaleido")
    monkeypatch.setenv("BROWSER_PATH", browser_path() or pytest.skip("there is no Chromium or Chrome"))
    write_run(tmp_path / "logs" / "a" / "lr_plateau")
    assert commands.main(["report", "logs", "--png"]) == 0
    assert capsys.readouterr().out.split() == ["report.html:", "1", "run", "report.png"]
    write_run(tmp_path / "logs" / HOSTILE_NAME / "lr_plateau")
    assert commands.main(["report", "logs", "--png"]) == 0
    names = ["report-1-a-lr_plateau.png", "report-2-a-script-alert-1-amp-lr_plateau.png"]
    assert capsys.readouterr().out.split()[-2:] == names
    for name in ("report.png", *names):
        content = Path(name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert struct.unpack(">II", content[16:24]) == (2200, 1280)


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [[], ["replay"], ["report"], ["report", "logs", "--axis", "hour"], ["report", "a", "b"]]
)
def test_wrong_arguments_end_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        commands.main(arguments)
    assert "usage: keras-lrplateau" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["report", "--help"]])
def test_help_shows_examples_and_what_the_exit_status_means(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        commands.main(arguments)
    shown = capsys.readouterr().out
    assert "keras-lrplateau report logs" in shown
    assert "exit status: 0 all is well" in shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        commands.main(["--version"])
    assert capsys.readouterr().out == f"keras-lrplateau {__version__}\n"


def test_ctrl_c_ends_it_quietly(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "read", interrupted)
    assert commands.main(["report", "logs"]) == 130
    assert capsys.readouterr() == ("", "")


def test_without_plotly_it_is_said_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "logs" / "lr_plateau")
    monkeypatch.setitem(sys.modules, "plotly", None)
    assert "pip install plotly" in fails(["report", "logs"], capsys)


def test_a_caller_s_process_is_left_as_it_was(tmp_path: Path) -> None:
    write_run(tmp_path / "logs" / "lr_plateau")
    code = (
        "import logging, sys; from keras_lrplateau.cli import commands; commands.main(['report', 'logs'])\n"
        "assert 'tensorboard.compat.notf' not in sys.modules\n"
        "assert logging.getLogger('tensorboard').level == logging.NOTSET"
    )
    # As if TensorFlow were not installed, which would be imported here.
    done = in_a_process([sys.executable, "-c", f"import sys; sys.modules['tensorflow'] = None; {code}"])
    assert done.returncode == 0, done.stderr


def test_the_installed_command_imports_no_backend_and_says_no_more_than_it_should(tmp_path: Path) -> None:
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="keras-lrplateau")
    assert entry.load() is commands.main
    write_run(tmp_path / "logs" / "lr_plateau", range(20))
    write_run(tmp_path / "logs" / "lr_plateau", range(10, 20))  # TensorBoard warns of a resume.
    code = (
        "import sys; from keras_lrplateau.cli.commands import main; status = main()\n"
        "loaded = {'keras', 'tensorflow', 'jax', 'torch', 'pandas'} & sys.modules.keys()\n"
        "assert not loaded, loaded; sys.exit(status)"
    )
    command = Path(sys.executable).with_name("keras-lrplateau")
    for start in ([sys.executable, "-c", code], [sys.executable, "-m", "keras_lrplateau.cli.commands"], [str(command)]):
        if start == [str(command)] and not command.exists():
            continue  # The tests run from the source, which is not installed.
        done = in_a_process([*start, "report", "logs"])
        assert (done.returncode, done.stdout, done.stderr) == (0, "report.html: 1 run\n", "")
        assert len(Page(tmp_path / "report.html").figures) == 1


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture
def open_report(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Make a report of logs/ and open it, offline. Afterwards: nothing went wrong in it, nothing was asked for."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    page = context.new_page()
    wrong: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    uri = (tmp_path / "report.html").as_uri()

    def opened(*options: str) -> Any:
        assert commands.main(["report", "logs", *options]) == 0
        page.goto(uri)
        page.wait_for_selector(".figure .main-svg")
        return page

    yield opened
    page.wait_for_timeout(200)
    assert wrong == []
    assert set(asked) <= {uri}
    context.close()


X_RANGE = "() => document.querySelector('.figure').layout.xaxis.range"


def range_of(page: Any) -> list[float]:
    return [float(end) for end in page.evaluate(X_RANGE)]


def test_the_page_draws_its_figure_and_a_mark_tells_its_reason(open_report: Any, tmp_path: Path) -> None:
    write_run(tmp_path / "logs" / "lr_plateau", reason=HOSTILE)
    page = open_report()
    assert page.title() == "LR Plateau · logs/lr_plateau"
    assert page.locator(".figure .scatterlayer .trace .js-line").count() >= 3
    marks = page.locator(".figure .points path.point")
    assert marks.count() == 4, "two cuts, on the loss and on the rate"
    buttons = page.locator(".modebar-btn").evaluate_all("all => all.map(button => button.dataset.title)")
    assert "Download plot as a PNG" in buttons
    assert "Share chart..." not in buttons, "it would upload the figure"
    tools, axis, figure = (
        page.locator(f".figure {part}").bounding_box()
        for part in (".modebar", ".xaxislayer-above >> nth=-1", ".main-svg >> nth=0")
    )
    assert axis["y"] < tools["y"] < figure["y"] + figure["height"] - tools["height"], "below all that is drawn"
    box = marks.first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    hover = page.locator(".figure .hoverlayer .hovertext")
    hover.wait_for()
    shown = " ".join(hover.text_content().split())
    assert "cut after epoch 6" in shown
    assert "</script><script>alert(1)</script>" in shown


def test_a_row_zooms_to_its_decision_and_a_button_shows_all_again(open_report: Any, tmp_path: Path) -> None:
    write_run(tmp_path / "logs" / "lr_plateau", range(100), cuts=(50, 70))
    page = open_report()
    whole = range_of(page)
    row = page.locator("tr[data-range]").nth(1)
    row.locator("td").last.click()
    page.wait_for_function(f"range => String(({X_RANGE})()) === range", arg=row.get_attribute("data-range")[1:-1])
    low, high = range_of(page)
    assert whole[0] < low < 71 < high < whole[1]
    top = page.evaluate("() => document.querySelector('.figure').layout.yaxis.range[1]")
    assert top < 0.5, "the losses in sight fill the height"
    assert row.get_attribute("aria-current") == "true"
    page.locator(".all").click()
    page.wait_for_function(f"range => String(({X_RANGE})()) === range", arg=",".join(f"{end:.15g}" for end in whole))
    assert page.locator("[aria-current]").count() == 0


@pytest.mark.long
def test_a_row_can_be_chosen_by_the_keyboard(open_report: Any, tmp_path: Path) -> None:
    write_run(tmp_path / "logs" / "lr_plateau", range(100), cuts=(50,))
    page = open_report()
    page.locator("tr[data-range] button").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("tr[aria-current]")


def test_figures_are_drawn_when_they_come_into_sight_and_all_of_them_for_print(
    open_report: Any, tmp_path: Path
) -> None:
    for number in range(6):
        write_run(tmp_path / "logs" / f"trial{number}" / "lr_plateau")
    page = open_report()
    drawn = page.locator(".figure.js-plotly-plot")
    assert 1 <= drawn.count() < 5
    page.locator("tr[data-range]").last.click()
    page.wait_for_selector("section:last-of-type .js-plotly-plot")
    assert drawn.count() < 6
    page.pdf()
    assert drawn.count() == 6


def test_hostile_texts_are_shown_as_they_are(open_report: Any, tmp_path: Path) -> None:
    write_run(tmp_path / "logs" / HOSTILE_NAME / "lr_plateau", reason=HOSTILE, monitor=HOSTILE)
    page = open_report("--dark", "--axis", "time")
    assert page.locator("h1").text_content() == f"LR Plateau · {HOSTILE_NAME}/lr_plateau"
    assert page.locator("tr[data-range] td").last.text_content() == HOSTILE
    page.locator("tr[data-range]").first.click()
    page.wait_for_selector("tr[aria-current]")
    assert page.locator("script").count() == 3
    assert page.locator("img").count() == 0
    dark = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert dark == "rgb(48, 48, 48)"
