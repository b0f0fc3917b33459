"""The commands show, compare and replay: their output, in a pipe and as JSON, and what they refuse."""

import contextlib
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import make_record
from test_report import in_a_process, write_run

from keras_lrplateau import Config
from keras_lrplateau.cli import commands, printing
from keras_lrplateau.cli.arguments import EXAMPLES
from keras_lrplateau.history import codec
from keras_lrplateau.history.event_writer import EventWriter
from keras_lrplateau.recordings.reading import read
from keras_lrplateau.recordings.replay import replay
from keras_lrplateau.settings import rule_settings

ROOT = Path(__file__).parents[2]

VALUES = [1.0, 0.9, 0.95, 0.93, 0.94, 0.96, 0.97, 0.5, 0.6, 0.7]
"""With patience 2 there are cuts after the 4th and the 6th, and after the 10th; with patience 5, after the 7th."""


def write_csv(path: Path, values: list[float] = VALUES, rates: list[float] | None = None) -> Path:
    rates = [0.1] * len(values) if rates is None else rates
    rows = [f"{epoch},{rate},{value}" for epoch, (rate, value) in enumerate(zip(rates, values, strict=True))]
    path.write_text("\n".join(["epoch,learning_rate,val_loss", *rows, ""]))
    return path


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)  # Parallel tests have one.


def figures_of(page: Path) -> list[dict[str, Any]]:
    text = page.read_text()
    return [json.loads(each) for each in re.findall(r'<script type="application/json">(.*?)</script>', text)]


# --- show ------------------------------------------------------------------------------------------------------------


def test_show_prints_the_decisions_of_each_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "logs" / "lr_plateau", cuts=(5, 11), reason="it was [bold]flat[/bold]")
    write_run(tmp_path / "logs" / "lr_plateau_2", cuts=())
    assert commands.main(["show", "logs"]) == 0
    text = capsys.readouterr().out
    first, second = text.split("logs/lr_plateau_2")
    rows = [re.split(r"  +", line.strip()) for line in first.splitlines() if " cut " in line]
    assert rows == [
        ["6", "cut", "1 -> 0.5", "0.333333", "0.333333", "it was [bold]flat[/bold]"],
        ["12", "cut", "0.5 -> 0.25", "0.166667", "0.166667", "it was [bold]flat[/bold]"],
    ]
    assert "holding, 20 epochs, best val_loss 0.1 in epoch 20, learning rate 0.25" in first
    assert " cut " not in second


def test_show_prints_strict_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "logs" / "lr_plateau", cuts=(5,))
    assert commands.main(["show", "logs", "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (run["run"], run["epochs"], run["best_epoch"]) == ("logs/lr_plateau", 20, 20)
    (decision,) = run["decisions"]
    assert (decision["kind"], decision["epoch"], decision["since_epoch"], decision["rate"]) == ("cut", 6, 4, 0.5)


@pytest.mark.parametrize("command", [["show", "logs"], ["compare", "logs"]], ids=str)
def test_a_run_that_cannot_be_read_is_named_and_the_others_are_shown(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "logs" / "good" / "lr_plateau")
    with monkeypatch.context() as patch:
        patch.setattr(codec, "VERSION", 99)
        write_run(tmp_path / "logs" / "newer" / "lr_plateau")
    assert commands.main(command) == 1
    caught = capsys.readouterr()
    assert "good/lr_plateau" in caught.out
    assert "newer/lr_plateau" in caught.err
    assert "version 99" in caught.err


@pytest.mark.parametrize("command", [["show", "logs"], ["compare", "logs"], ["report", "logs"]], ids=str)
def test_a_run_whose_end_is_damaged_is_shown_up_to_there_and_that_is_said(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "logs" / "lr_plateau")
    (file,) = (tmp_path / "logs" / "lr_plateau").glob("*tfevents*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    assert commands.main(command) == 0
    error = capsys.readouterr().err
    assert f"logs{os.sep}lr_plateau: The event file {file.name} is damaged after " in error
    assert "bytes; what comes before was read." in error


def test_show_takes_several_directories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "a" / "lr_plateau", cuts=(5,))
    write_run(tmp_path / "b" / "lr_plateau", cuts=())
    assert commands.main(["show", "a", "b", "--json"]) == 0
    assert [run["run"] for run in json.loads(capsys.readouterr().out)] == ["a/lr_plateau", "b/lr_plateau"]


@pytest.mark.parametrize("command", ["show", "compare"])
def test_of_several_directories_one_at_fault_is_named_and_the_others_are_answered(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "good" / "lr_plateau")
    (tmp_path / "empty").mkdir()
    assert commands.main([command, "gone", "empty", "good"]) == 1
    caught = capsys.readouterr()
    assert "good/lr_plateau" in caught.out
    assert "no directory gone" in caught.err
    assert "no run of AdaptLROnPlateau in empty" in caught.err


@pytest.mark.parametrize("command", ["show", "compare", "report"])
def test_a_file_that_replay_can_read_is_said_to_be_one(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(tmp_path / "training.csv")
    (tmp_path / "poem.txt").write_text("Roses are red")
    assert commands.main([command, "training.csv"]) == 1
    assert "try: keras-lrplateau replay training.csv" in capsys.readouterr().err
    assert commands.main([command, "poem.txt"]) == 1
    assert "poem.txt is a file; give its directory" in capsys.readouterr().err


# --- compare ---------------------------------------------------------------------------------------------------------


def test_compare_prints_a_line_for_each_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "a" / "lr_plateau", range(20), cuts=(5, 11))
    write_run(tmp_path / "b" / "lr_plateau", range(10), cuts=(5,))
    assert commands.main(["compare", "a", "b", "-o", "comparison.html"]) == 0
    lines = [re.split(r"  +", line.strip()) for line in capsys.readouterr().out.splitlines() if "lr_plateau " in line]
    assert lines == [
        ["a/lr_plateau", "val_loss", "0.1", "20", "0.1", "0.25", "20", "holding", "2 cuts"],
        ["b/lr_plateau", "val_loss", "0.2", "10", "0.2", "0.5", "10", "holding", "1 cut"],
    ]
    together, *alone = figures_of(tmp_path / "comparison.html")
    names = {trace["name"] for trace in together["data"]}
    assert {"a · val_loss", "b · val_loss"} <= names
    assert len(alone) == 2


def test_compare_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "a" / "lr_plateau")
    assert commands.main(["compare", "a", "--json"]) == 0
    assert [run["run"] for run in json.loads(capsys.readouterr().out)] == ["a/lr_plateau"]


# --- replay ----------------------------------------------------------------------------------------------------------


def test_replay_prints_what_each_setting_would_have_decided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(tmp_path / "training.csv")
    command = ["replay", "training.csv", "--patience", "2,5", "--factor", "0.5,0.1", "--max-raises", "0"]
    assert commands.main(command) == 0
    text = capsys.readouterr().out
    assert "training.csv: 10 observations of val_loss" in text
    rows = [re.split(r"  +", line.strip()) for line in text.splitlines() if " cut " in line]
    assert [row[:4] for row in rows] == [
        ["factor=0.5, patience=2", "4", "cut", "0.1 -> 0.05"],
        ["factor=0.5, patience=2", "6?", "cut", "0.05 -> 0.025"],
        ["factor=0.5, patience=2", "10?", "cut", "0.025 -> 0.0125"],
        ["factor=0.5, patience=5", "7", "cut", "0.1 -> 0.05"],
        ["factor=0.1, patience=2", "4", "cut", "0.1 -> 0.01"],
        ["factor=0.1, patience=2", "6?", "cut", "0.01 -> 0.001"],
        ["factor=0.1, patience=2", "10?", "cut", "0.001 -> 0.0001"],
        ["factor=0.1, patience=5", "7", "cut", "0.1 -> 0.01"],
    ]
    unwrapped = " ".join(text.split())
    assert "The training would have gone another way after epoch 4 with factor=0.5, patience=2, after" in unwrapped
    assert "after epoch 7 with factor=0.1, patience=5: decisions marked by a ? rest" in unwrapped


def test_every_setting_of_the_rule_can_be_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(tmp_path / "training.csv", [1.0, math.nan, 0.9])
    assert commands.main(["replay", "training.csv", "--recover", "true,false", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [[each["kind"] for each in one["decisions"]] for one in found] == [["diverged"], []]
    for rule in ("default", "auto"):
        for name, setting in rule_settings(rule).items():
            value = "none" if setting.default is None else str(setting.default)
            command = ["replay", "training.csv", f"--{name.replace('_', '-')}", value, "--json"]
            assert commands.main([*command, *(["--auto"] if rule == "auto" else [])]) == 0
            (one,) = json.loads(capsys.readouterr().out)
            assert one["settings"][name] == setting.default


def test_replay_of_steps_claims_no_epochs_and_no_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{100 * row},{1 if row == 1 else 2}" for row in range(1, 31)]
    (tmp_path / "steps.csv").write_text("\n".join(["step,val_loss", *rows, ""]))
    command = ["replay", "steps.csv", "--patience", "5", "--max-raises", "0"]
    assert commands.main([*command, "-o", "page.html"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"step +decision", text)
    assert "epoch" not in text
    page = re.sub(r"<script.*?</script>|<style>.*?</style>", "", (tmp_path / "page.html").read_text(), flags=re.S)
    terms = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    assert (terms["optimizer steps"], terms["best val_loss"]) == ("3,000", "1 at step 100")
    assert not {"epochs", "last recorded"} & terms.keys()
    assert "epoch" not in page
    assert "1970" not in page
    assert commands.main([*command, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["steps"], found["best_step"]) == (3000, 100)


def test_replay_of_epochs_claims_no_steps_and_no_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(tmp_path / "training.csv")
    assert commands.main(["replay", "training.csv", "-o", "page.html"]) == 0
    terms = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", (tmp_path / "page.html").read_text()))
    assert terms["epochs"] == "10"
    assert not {"optimizer steps", "last recorded"} & terms.keys()
    capsys.readouterr()
    for axis in ("step", "time"):
        assert commands.main(["replay", "training.csv", "-o", "none.html", "--axis", axis]) == 1
        caught = capsys.readouterr()
        assert "10 observations" in caught.out, "what can be answered is"
        assert f"training.csv: it cannot be drawn by {axis}, which was not recorded; use --axis epoch" in caught.err
        assert not (tmp_path / "none.html").exists()


def test_of_several_runs_one_without_wall_times_is_left_out_of_a_page_over_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "logs" / "good" / "lr_plateau")
    writer = EventWriter(tmp_path / "logs" / "timeless" / "lr_plateau", 0)
    writer.record(make_record(0, start=0.0))
    writer.close()
    for command in ("report", "compare"):
        assert commands.main([command, "logs", "-o", "page.html"]) == 0
        assert commands.main([command, "logs", "-o", "page.html", "--axis", "time"]) == 1
        caught = capsys.readouterr()
        assert "page.html: 1 run" in caught.out
        assert "timeless/lr_plateau: it cannot be drawn by time" in caught.err
        page = (tmp_path / "page.html").read_text()
        assert "Could not be read or drawn" in page
        assert "1970" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)


def test_of_several_recordings_one_at_fault_is_named_and_the_others_are_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(tmp_path / "good.csv")
    write_csv(tmp_path / "high.csv", rates=[1.0] * len(VALUES))
    (tmp_path / "other.csv").write_text("epoch,loss\n0,1\n1,2\n")
    assert commands.main(["replay", "high.csv", "other.csv", "gone.csv", "good.csv", "--max-lr", "0.5"]) == 1
    caught = capsys.readouterr()
    assert "good.csv: 10 observations" in caught.out
    assert "high.csv: max_lr must not be below the learning rate" in caught.err
    assert "other.csv: there is no metric 'val_loss'" in caught.err
    assert "gone.csv: cannot be read" in caught.err


def test_replay_tells_words_apart_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(tmp_path / "training.csv")
    assert commands.main(["replay", "training.csv", "--threshold-mode", "abs,rel", "--patience", "2"]) == 0
    text = capsys.readouterr().out
    assert "threshold_mode=abs " in text
    assert "threshold_mode=rel " in text


def test_replay_of_a_schedule_says_that_it_is_scaled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(tmp_path / "training.csv", [1.0] * 12, [0.1 * 0.9**epoch for epoch in range(12)])
    assert commands.main(["replay", "training.csv", "--patience", "5"]) == 0
    text = capsys.readouterr().out
    assert "multiplier of the schedule" in text
    assert "1 -> 0.1 " in text


def test_replay_says_that_nothing_would_have_been_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(tmp_path / "training.csv")
    assert commands.main(["replay", "training.csv"]) == 0
    text = capsys.readouterr().out
    assert "none" in text
    assert "The same decisions as in the training." in text


def test_replay_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_csv(tmp_path / "training.csv", [1.0, math.nan, 0.9])
    assert commands.main(["replay", "training.csv", "--patience", "2,3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert [each["settings"]["patience"] for each in found] == [2, 3]
    expected = replay(read(path)[0], Config(patience=2)).decisions
    assert [(each["epoch"], each["rate"], each["value"]) for each in found[0]["decisions"]] == [
        (decision.epoch + 1, decision.rate, "nan") for decision in expected
    ]
    assert found[0]["departs"] == 2


def test_replay_writes_a_picture_beside_the_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(tmp_path / "training.csv")
    assert commands.main(["replay", "training.csv", "--patience", "2,5", "-o", "what.html"]) == 0
    assert "what.html: 2 replays" in capsys.readouterr().out
    figures = figures_of(tmp_path / "what.html")
    assert len(figures) == 2
    for figure, departs in zip(figures, (4, 7), strict=True):
        assert {"as trained · val_loss", "as trained · learning rate"} <= {trace["name"] for trace in figure["data"]}
        (band,) = [each for each in figure["layout"]["shapes"] if each["name"] == "would have been different"]
        assert band["x0"] == departs
    assert "After epoch 7 the training would have gone another way" in (tmp_path / "what.html").read_text()


def test_replay_of_a_run_of_ours_knows_its_direction_and_its_decisions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "logs" / "lr_plateau", cuts=(5,), monitor="val_quality")
    assert commands.main(["replay", "logs", "--monitor", "val_quality"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "The training would have gone another way after epoch 6: decisions marked by a ?" in text


def test_replay_tells_once_of_a_mode_that_contradicts_the_metric(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log.csv").write_text("epoch,val_acc\n0,0.5\n1,0.75\n")
    options = ["--monitor", "val_acc", "--mode", "min", "--patience", "1,2"]
    assert commands.main(["replay", str(tmp_path / "log.csv"), *options]) == 0
    assert capsys.readouterr().err.count("log.csv: mode='min' contradicts the metric 'val_acc'") == 1


def test_replay_in_auto_mode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(tmp_path / "training.csv")
    assert commands.main(["replay", "training.csv", "--auto"]) == 0
    assert "search" in capsys.readouterr().out


def test_rates_that_are_not_known_are_said_to_be_relative(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bare.csv").write_text("epoch,val_loss\n0,1\n1,2\n2,2\n")
    assert commands.main(["replay", "bare.csv", "--patience", "2"]) == 0
    assert "rate / first rate" in capsys.readouterr().out
    assert commands.main(["replay", "bare.csv", "--patience", "2", "--rate", "0.3"]) == 0
    assert "0.3 -> 0.03" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["training.csv", "missing.csv"], 1, ["missing.csv", "check the path"]),
        (["missing.csv"], 1, ["missing.csv", "no recorded training could be replayed"]),
        (["training.csv", "--monitor", "val_los"], 1, ["no metric 'val_los'", "'val_loss'"]),
        (
            ["training.csv", "--patience", "2.5"],
            2,
            ["--patience", "an integer, such as 10", "'2.5'", "by commas"],
        ),
        (["training.csv", "--factor", "0.5,x"], 2, ["--factor", "a number, such as 0.1", "'x'"]),
        (["training.csv", "--factor", "2"], 2, ["factor must be a number between 0 and 1", "factor=2.0"]),
        (["training.csv", "--recover", "maybe"], 2, ["--recover", "true or false", "'maybe'"]),
        (["training.csv", "--min-lr", "2", "--max-lr", "1"], 2, ["max_lr must not be below min_lr"]),
        (["training.csv", "--rate", "-1"], 2, ["rate must be a finite number"]),
        (["training.csv", "--auto", "--patience", "3"], 2, ["--patience: there is no such setting with --auto"]),
        (["training.csv", "--budget", "0.1"], 2, ["--budget: there is no such setting without --auto"]),
        (["training.csv", "--monitor", "learning_rate"], 1, ["'learning_rate'", "give --mode min or --mode max"]),
        (["training.csv", "-o", "nowhere/page.html"], 1, ["there is no directory nowhere"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_mistakes_are_named_with_their_remedy(
    arguments: list[str], status: int, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(tmp_path / "training.csv")
    try:
        found = commands.main(["replay", *arguments])
    except SystemExit as ended:
        found = int(str(ended.code))
    assert found == status
    caught = capsys.readouterr()
    for word in words:
        assert word in caught.err
    assert ("10 observations" in caught.out) == (arguments[1:] == ["missing.csv"]), "what can be replayed is"


def test_progress_is_shown_only_when_it_takes_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv(tmp_path / "training.csv", [1.0] * 25_000)
    assert commands.main(["replay", "training.csv"]) == 0
    assert "replaying" not in capsys.readouterr().err
    clock = iter(range(1_000_000))
    monkeypatch.setattr("keras_lrplateau.cli.printing.time.monotonic", lambda: next(clock))
    monkeypatch.setenv("FORCE_COLOR", "1")  # As on a terminal.
    assert commands.main(["replay", "training.csv"]) == 0
    caught = capsys.readouterr()
    assert "replaying" in caught.err
    assert "replaying" not in caught.out


# --- what terminals obey ---------------------------------------------------------------------------------------------

HOSTILE = "a\x1b[31m\x07\x7f\x9b\u202eb"
CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def test_control_characters_in_names_reach_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / HOSTILE / "lr_plateau", cuts=(5,), reason=f"why {HOSTILE}", monitor=f"val_{HOSTILE}")
    write_csv(tmp_path / f"{HOSTILE}.csv")
    (tmp_path / "names.csv").write_text(f"epoch,{HOSTILE}_loss,other_loss\n0,1,2\n1,2,3\n")
    (tmp_path / f"{HOSTILE}.txt").write_text("nothing")
    for arguments in (
        ["show", "."],
        ["show", ".", "--json"],
        ["show", HOSTILE, f"{HOSTILE}/gone", f"{HOSTILE}.csv", f"{HOSTILE}.txt"],
        ["compare", ".", "-o", f"{HOSTILE}.html"],
        ["compare", ".", "--json"],
        ["report", ".", "-o", f"{HOSTILE}/page.html"],
        ["report", ".", "-o", f"{HOSTILE}{HOSTILE}/page.html"],
        ["replay", f"{HOSTILE}.csv", "--patience", "2", "-o", f"{HOSTILE}.html"],
        ["replay", f"{HOSTILE}.csv", "--json"],
        ["replay", f"{HOSTILE}.csv", "--monitor", HOSTILE],
        ["replay", "names.csv"],
        ["replay", "names.csv", "--monitor", f"{HOSTILE}_loss", "--json"],
        ["replay", "names.csv", "--patience", HOSTILE],
        ["replay", "names.csv", f"--{HOSTILE}"],
        [HOSTILE],
    ):
        with contextlib.suppress(SystemExit):
            commands.main(arguments)
        caught = capsys.readouterr()
        assert caught.out + caught.err, arguments
        assert not CONTROLS.findall(caught.out + caught.err), arguments


# --- as a command ----------------------------------------------------------------------------------------------------


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    write_csv(tmp_path / "training.csv", [1.0] * 3000)
    command = f"{sys.executable} -m keras_lrplateau.cli.commands replay training.csv --patience 1 --json | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[\n", "")


def test_in_a_pipe_a_line_is_as_long_as_it_has_to_be_and_no_longer(tmp_path: Path) -> None:
    write_csv(tmp_path / "training.csv")
    done = in_a_process(
        [sys.executable, "-m", "keras_lrplateau.cli.commands", "replay", "training.csv", "--patience", "2"]
    )
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "4       cut        0.1 -> 0.01" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= printing.PIPE_WIDTH


def test_a_table_is_as_wide_as_columns_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(tmp_path / "training.csv")
    command = [sys.executable, "-m", "keras_lrplateau.cli.commands", "replay", "training.csv", "--patience", "2"]
    widths = {}
    for columns in ("80", "160"):
        monkeypatch.setenv("COLUMNS", columns)
        widths[columns] = max(map(len, in_a_process(command).stdout.splitlines()))
    assert widths["80"] <= 80 < widths["160"] <= 160


def test_bash_completes_commands_options_and_files(tmp_path: Path) -> None:
    pytest.importorskip("shtab", reason="shtab is not installed: pip install shtab")
    write_csv(tmp_path / "training.csv")
    (line,) = [line for line in EXAMPLES.splitlines() if "shtab --" in line]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = (
        line
        + """
complete_words() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    $(complete -p keras-lrplateau | sed 's/.*-F \\([^ ]*\\).*/\\1/') keras-lrplateau "${@: -1}"
    echo "${COMPREPLY[@]}"
}
complete_words keras-lrplateau re
complete_words keras-lrplateau replay --pat
complete_words keras-lrplateau replay train
"""
    )
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert [set(found.split()) for found in done.stdout.splitlines()] == [
        {"report", "replay"},
        {"--patience"},
        {"training.csv"},
    ], done.stderr


def test_replay_loads_neither_keras_nor_tensorflow(tmp_path: Path) -> None:
    write_csv(tmp_path / "training.csv")
    code = (
        "import sys; from keras_lrplateau.cli import commands, printing; commands.main(['replay', 'training.csv'])\n"
        "found = {'keras', 'tensorflow', 'jax', 'torch', 'pandas'} & set(sys.modules)\n"
        "assert not found, found"
    )
    done = in_a_process([sys.executable, "-c", code])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["show", "compare", "report", "replay"])
def test_help_has_examples_and_the_exit_status(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        commands.main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"  keras-lrplateau {command} " in text
    assert "exit status: 0 all is well" in text


# --- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["show", "compare", "report", "replay"])
def test_a_url_is_refused_with_the_remedy(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main([command, "gs://bucket/run"]) == 1
    assert re.search(r"gs://bucket/run.*is a URL; (copy it to this machine|download it)", capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["compare", "report", "replay"])
def test_an_output_at_a_url_is_refused_before_anything_is_read(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.main([command, "nowhere", "-o", "s3://bucket/page.html"]) == 1
    assert "--output must be a local path. Received: --output='s3://bucket/page.html'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_home_directory_may_be_given_by_its_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write_run(tmp_path / "logs" / "lr_plateau", cuts=(5,))
    write_csv(tmp_path / "training.csv")
    for words in (
        ["show", "~/logs"],
        ["compare", "~/logs"],
        ["replay", "~/training.csv"],
        ["report", "~/logs", "-o", "~/a.html"],
    ):
        assert commands.main(words) == 0, capsys.readouterr().err
    assert (tmp_path / "a.html").is_file()
