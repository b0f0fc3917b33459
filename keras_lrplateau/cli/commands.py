"""The command `keras-lrplateau`.

It reads event files itself: all epochs, where TensorBoard's server keeps a thousand. It imports neither Keras nor
TensorFlow.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import itertools
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from rich import box
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table
from rich.text import Text

from keras_lrplateau import __version__
from keras_lrplateau.history import codec
from keras_lrplateau.history.axes import Axis, Timeline
from keras_lrplateau.history.run import Run, told
from keras_lrplateau.recordings.names import direction
from keras_lrplateau.recordings.reading import read as read_recordings
from keras_lrplateau.recordings.recording import CurveError, Recording
from keras_lrplateau.recordings.replay import Replay, replay
from keras_lrplateau.rule import auto
from keras_lrplateau.rule.decision import Decision
from keras_lrplateau.rule.plateau import Config
from keras_lrplateau.views import tables

STATUS = """
exit status: 0 all is well; 1 a run, a file or the output is at fault, and a message says which; 2 wrong arguments
"""

EXAMPLES = """\
examples:
  keras-lrplateau show logs/digits                    what was decided, and why
  keras-lrplateau compare logs/a logs/b               how the runs have ended
  keras-lrplateau report logs                         all runs below logs, into report.html
  keras-lrplateau replay training.csv --patience 3,5,10
                                                      what would have been decided

Each command has examples of its own: keras-lrplateau COMMAND --help
"""

REPORT_EXAMPLES = """\
examples:
  keras-lrplateau report logs                         all runs below logs, into report.html
  keras-lrplateau report logs/digits -o digits.html   those of one log directory
  keras-lrplateau report logs/digits/lr_plateau       a single run
  keras-lrplateau report logs --axis step --dark --png
"""

SHOW_EXAMPLES = """\
examples:
  keras-lrplateau show logs/digits
  keras-lrplateau show logs/digits/lr_plateau --json | jq '.[].decisions[].reason'
"""

COMPARE_EXAMPLES = """\
examples:
  keras-lrplateau compare logs/a logs/b
  keras-lrplateau compare logs -o comparison.html     also one figure of all of them
"""

REPLAY_EXAMPLES = """\
examples:
  keras-lrplateau replay training.csv                 with the settings that ReduceLROnPlateau has by default
  keras-lrplateau replay training.csv --patience 3,5,10 --factor 0.5 -o whatif.html
                                                      three trainings that might have been, and a picture of them
  keras-lrplateau replay lightning_logs/version_*/metrics.csv --monitor val_acc --patience 5
  keras-lrplateau replay logs/run1 --auto             a log directory of TensorBoard, in auto mode
  keras-lrplateau replay trainer_state.json --monitor eval_loss --json

FILE is what CSVLogger, timm, Lightning, Ultralytics or pandas wrote as CSV, History.history or trainer_state.json as
JSON, an event file of TensorBoard, or a log directory. What it is, its content tells.
"""

SETTINGS: dict[str, tuple[type, Any]] = {
    "patience": (int, Config.patience),
    "factor": (float, Config.factor),
    "min_delta": (float, Config.min_delta),
    "threshold_mode": (str, Config.threshold_mode),
    "cooldown": (int, Config.cooldown),
    "min_lr": (float, Config.min_lr),
    "max_lr": (float, Config.max_lr),
    "raise_factor": (float, Config.raise_factor),
    "raise_after": (int, Config.raise_after),
    "max_raises": (int, Config.max_raises),
    "budget": (float, auto.Config.budget),
}
"""What `replay` can be told, with type and default; the last one in auto mode only."""

PIPE_WIDTH = 120

PNG_SIZE = {"width": 1100, "height": 640, "scale": 2}


class UserError(Exception):
    """What the user has to see to, in a text for them; it ends the command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: What follows the name of the command. None for those of this process, which is then the command's.

    Returns:
        The exit status: 0; 1 if a message on standard error says what is wrong; 130 after Ctrl-C.

    Raises:
        SystemExit: The arguments are wrong (status 2), or ask for help or the version.
    """
    try:
        parsed = _parser().parse_args(arguments)
        return int(parsed.command(parsed))
    except UserError as error:
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # As with `| head`: who reads has seen enough. Python would fail once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keras-lrplateau",
        description="Shows what AdaptLROnPlateau decided in a training, or would have decided, and why.",
        epilog=EXAMPLES + STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    show = _add(commands, "show", _show, SHOW_EXAMPLES, "print the decisions of each run")
    show.add_argument("path", metavar="LOGDIR_OR_RUN", help="where to look for runs, also below")
    show.add_argument("--json", action="store_true", help="print JSON")

    compare = _add(commands, "compare", _compare, COMPARE_EXAMPLES, "print a line for each run")
    compare.add_argument("paths", metavar="LOGDIR_OR_RUN", nargs="+", help="where to look for runs, also below")
    compare.add_argument("--json", action="store_true", help="print JSON")
    _add_page(compare, None, "also write a page with one figure of all runs")

    report = _add(
        commands, "report", _report, REPORT_EXAMPLES, "write a page with the figure and the decisions of each run"
    )
    report.add_argument("path", metavar="LOGDIR_OR_RUN", help="where to look for runs, also below")
    _add_page(report, "report.html", "the page (default: %(default)s)")
    report.add_argument("--png", action="store_true", help="also write each figure as a PNG beside the page")

    what_if = _add(
        commands, "replay", _replay, REPLAY_EXAMPLES, "print the decisions that other settings would have taken"
    )
    what_if.usage = "%(prog)s FILE [FILE ...] [--monitor NAME] [--patience VALUE[,VALUE...]] [further options]"
    what_if.add_argument("paths", metavar="FILE", nargs="+", help="a recorded training curve, or a log directory")
    what_if.add_argument("--monitor", default="val_loss", help="the metric to watch (default: %(default)s)")
    what_if.add_argument(
        "--mode", choices=("auto", "min", "max"), default="auto", help="auto: by the name of the metric (default)"
    )
    what_if.add_argument("--rate", type=float, help="the learning rate to start from (default: the first recorded one)")
    what_if.add_argument("--auto", action="store_true", help="auto mode, instead of the rule with patience and factor")
    what_if.add_argument("--json", action="store_true", help="print JSON")
    _add_page(what_if, None, "also write a page with a figure of each replay")
    rules = what_if.add_argument_group(
        "settings", "As the constructor has them. Several values with commas between them are replayed in turn."
    )
    for name, (kind, default) in SETTINGS.items():
        told = "none" if default is None else default
        rules.add_argument(
            f"--{name.replace('_', '-')}", type=_several(kind), metavar="VALUE[,VALUE...]", help=f"default: {told}"
        )
    return parser


def _add(
    commands: Any, name: str, command: Callable[[argparse.Namespace], int], examples: str, about: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=examples + STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command, parser=parser)
    return parser


def _add_page(parser: argparse.ArgumentParser, default: str | None, about: str) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", default=default, help=f"{about}; it opens without a network")
    parser.add_argument(
        "--axis", choices=get_args(Axis), default="epoch", help="what is to the right in figures (default: %(default)s)"
    )
    parser.add_argument("--dark", action="store_true", help="light on dark")


def _several(kind: type) -> Callable[[str], list[Any]]:
    def values(text: str) -> list[Any]:
        try:
            return [kind(part) for part in text.split(",")]
        except ValueError:
            wanted = "an integer, or several as in 3,5,10" if kind is int else "a number, or several as in 0.1,0.5"
            raise argparse.ArgumentTypeError(f"must be {wanted}. Received: {text!r}") from None

    return values


def _complain(message: str) -> None:
    print(f"keras-lrplateau: {_printable(message)}", file=sys.stderr)


def _printable(text: str) -> str:
    """The text without what a terminal would obey or refuse: names of directories may hold anything."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


# --- report ----------------------------------------------------------------------------------------------------------


def _report(arguments: argparse.Namespace) -> int:
    from keras_lrplateau.views import report

    output = _output(arguments.output)
    runs, unreadable = _read_all([arguments.path])
    source = Path(arguments.path).resolve().name
    with _needing_plotly():
        content = report.page(source, runs, unreadable, arguments.axis, dark=arguments.dark)
    _write_page(output, content, _plural(len(runs), "run"))
    if arguments.png:
        _write_pngs(output, runs, arguments.axis, arguments.dark)
    return 1 if unreadable else 0


@contextlib.contextmanager
def _needing_plotly() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise UserError(str(error)) from None


def _write_page(output: Path, content: str, what: str) -> None:
    _write(output, content.encode(errors="replace"))  # A name that is no UTF-8 cannot be shown as it is.
    print(f"{_printable(str(output))}: {what}")


def _output(name: str) -> Path:
    """The file to write, as far as can be told before it is written."""
    path = Path(name)
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no directory {path.parent}; make it, or choose another with -o")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a file; choose another name with -o")
    return path


def _write(path: Path, content: bytes) -> None:
    """Write a file, or leave what was there as it was."""
    target = path.resolve()  # A link stays, and what it points to is replaced.
    unfinished = target.with_name(f".{os.getpid()}.tmp")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(target)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def _write_pngs(output: Path, runs: Sequence[Run], axis: Axis, dark: bool) -> None:
    from keras_lrplateau.views.figure import draw

    try:
        if importlib.util.find_spec("kaleido") is None:
            raise ImportError
        from plotly.io import write_images
    except ImportError:
        raise UserError(
            "no PNG was written: that takes kaleido and plotly 6.1 or newer: pip install 'kaleido>=1' 'plotly>=6.1.1'"
        ) from None
    names = [f"{output.stem}-{number}-{_as_file_name(run.name)}.png" for number, run in enumerate(runs, 1)]
    if len(runs) == 1:
        names = [f"{output.stem}.png"]
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".png-") as folder:
        unfinished = [Path(folder, name) for name in names]
        try:
            # As plain data: an object of plotly's would bring a style of its own.
            figures = [draw([run], axis, dark=dark) for run in runs]
            write_images(figures, unfinished, **PNG_SIZE, validate=False)
            for path in unfinished:
                path.replace(output.with_name(path.name))
        except Exception as error:  # Kaleido and the browser have many ways to fail.
            reason = " ".join(str(error).split())
            raise UserError(
                "no PNG was written: kaleido starts Chrome or Chromium for it. Install one, or tell by the environment "
                f"variable BROWSER_PATH where it is. The reason given: {type(error).__name__}: {reason}"
            ) from None
    for name in names:
        print(_printable(str(output.with_name(name))))


def _as_file_name(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name).strip("-.")[-80:]


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


# --- show and compare ------------------------------------------------------------------------------------------------


def _show(arguments: argparse.Namespace) -> int:
    runs, unreadable = _read_all([arguments.path])
    if arguments.json:
        _print_json([_run_as_json(run) for run in runs])
        return 1 if unreadable else 0
    for run in runs:
        about = tables.summary(run)
        best = "none" if about["best"] is None else f"{about['best']} in epoch {about['best_at']}"
        facts = [about["status"], _plural(about["epochs"], "epoch"), f"best {run.monitor} {best}"]
        facts += [f"learning rate {about['rate']}"] if about["rate"] else []
        _print_table(
            run.name,
            ["epoch", "decision", run.quantity, run.monitor, "best", "reason"],
            [[*_cells(row), row["best"], row["reason"]] for row in tables.rows(run)],
            ", ".join(facts),
        )
    return 1 if unreadable else 0


def _compare(arguments: argparse.Namespace) -> int:
    from keras_lrplateau.views import report

    output = None if arguments.output is None else _output(arguments.output)
    runs, unreadable = _read_all(arguments.paths)
    if arguments.json:
        _print_json([_run_as_json(run) for run in runs])
    else:
        heads = ["run", "metric", "best", "epoch", "last", "learning rate", "epochs", "status", "decisions"]
        rows = []
        for run in runs:
            about = tables.summary(run)
            counts = ", ".join(f"{count} {kind}" for kind, count in tables.counts(run).items())
            cells = [about["monitor"], about["best"], about["best_at"], about["last"], about["rate"]]
            cells += [about["epochs"], about["status"], counts]
            rows.append([run.name, *("" if cell is None else str(cell) for cell in cells)])
        _print_table("", heads, rows)
    if output is not None:
        with _needing_plotly():
            content = report.page(
                "comparison", runs, unreadable, arguments.axis, dark=arguments.dark, compares=len(runs) > 1
            )
        _write_page(output, content, _plural(len(runs), "run"))
    return 1 if unreadable else 0


def _cells(row: dict[str, Any]) -> list[str]:
    rates = row["rate"] if row["rate_before"] == row["rate"] else f"{row['rate_before']} -> {row['rate']}"
    return [str(row["epoch"]), row["kind"], rates, row["value"]]


def _run_as_json(run: Run) -> dict[str, Any]:
    """What is known of a run; epochs count from 1, and what is not finite is a text."""
    best = run.best
    return {
        "run": run.name,
        "monitor": run.monitor,
        "mode": run.mode,
        "status": run.status,
        f"{run.unit}s": int(Timeline(run).over),
        "best": None if best is None else best.value,
        f"best_{run.unit}": None if best is None else best.epoch + 1,
        "quantity": run.quantity,
        "rate": None if run.rate is None else codec.encode_number(run.rate),
        "decisions": [_decision_as_json(decision) for decision in run.decisions],
    }


def _decision_as_json(decision: Decision) -> dict[str, Any]:
    counted = {name: getattr(decision, name) for name in ("epoch", "since_epoch")}
    return codec.encode_decision(decision) | {
        name: None if epoch is None else epoch + 1 for name, epoch in counted.items()
    }


# --- replay ----------------------------------------------------------------------------------------------------------


def _replay(arguments: argparse.Namespace) -> int:
    output = None if arguments.output is None else _output(arguments.output)
    chosen = {name: values for name in SETTINGS if (values := getattr(arguments, name)) is not None}
    fields = {field.name for field in dataclasses.fields(auto.Config if arguments.auto else Config)}
    for name in chosen.keys() - fields:
        mode = "with --auto" if arguments.auto else "without --auto"
        arguments.parser.error(f"argument --{name.replace('_', '-')}: there is no such setting {mode}")
    variants = [dict(zip(chosen, values, strict=True)) for values in itertools.product(*chosen.values())]
    varied = [name for name, values in chosen.items() if len(values) > 1]

    replays: list[tuple[Recording, str, Replay]] = []
    failed = 0
    for path in arguments.paths:
        try:
            for recording in read_recordings(path):
                found = [_replay_one(arguments, recording, variant) for variant in variants]
                labels = [", ".join(f"{name}={variant[name]}" for name in varied) for variant in variants]
                replays += zip([recording] * len(found), labels, found, strict=True)
        except CurveError as error:
            _complain(str(error))
            failed += 1
    if not replays:
        raise UserError("no recorded training could be replayed")
    if arguments.json:
        _print_json([_replay_as_json(*each) for each in replays])
    else:
        for _, group in itertools.groupby(replays, key=lambda each: id(each[0])):
            _print_replays(list(group))
    if output is not None:
        _write_replays(output, replays, arguments)
    return 1 if failed else 0


def _replay_one(arguments: argparse.Namespace, recording: Recording, settings: dict[str, Any]) -> Replay:
    monitor = recording.resolve(arguments.monitor)
    mode = arguments.mode
    if mode == "auto":
        own = (record.mode for record in recording.records if record.mode and record.monitor == monitor)
        mode = next(own, None) or direction(monitor)
    if mode is None:
        raise CurveError(
            f"{recording.name}: whether {monitor!r} should fall or rise its name does not say; give --mode min or "
            "--mode max"
        )
    try:
        config = (auto.Config if arguments.auto else Config)(mode=mode, **settings)
        with _progress(len(recording.curve(monitor).values)) as progress:
            return replay(recording, config, monitor, rate=arguments.rate, progress=progress)
    except (TypeError, ValueError) as error:
        arguments.parser.error(str(error))
        raise AssertionError from error  # Not reached.


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, for what takes longer than a second."""
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


def _print_replays(replays: list[tuple[Recording, str, Replay]]) -> None:
    """Those of one recording in one table."""
    recording, _, first = replays[0]
    run = first.run
    labelled = len(replays) > 1
    rows = []
    for _, label, found in replays:
        decided = tables.rows(found.run)
        for row, decision in zip(decided, told(found.decisions), strict=True):
            epoch, *others = _cells(row)
            if found.departs is not None and (decision.epoch or 0) > found.departs:
                epoch += "?"
            rows.append([*([label] if labelled else []), epoch, *others, row["reason"]])
        if not decided:
            rows.append([*([label] if labelled else []), "", "none", "", "", ""])
    heads = [run.unit, "decision", "rate / first rate" if first.is_relative else run.quantity, run.monitor, "reason"]
    title = f"{recording.name}: {_plural(len(run.curves[run.monitor].values), 'observation')} of {run.monitor}"
    _print_table(
        title, [*(["settings"] if labelled else []), *heads], rows, "\n".join([*recording.notes, _caveat(replays)])
    )


def _caveat(replays: list[tuple[Recording, str, Replay]]) -> str:
    """What all of these replays cannot know."""
    departing = [(label, found) for _, label, found in replays if found.departs is not None]
    if not departing:
        return replays[0][2].caveat
    when = [
        f"after {found.run.unit} {(found.departs or 0) + 1}" + (f" with {label}" if label else "")
        for label, found in departing
    ]
    return (
        f"The training would have gone another way {', '.join(when)}: what is marked by a ? was decided on what was "
        "observed in the training as it was."
    )


def _replay_as_json(recording: Recording, label: str, found: Replay) -> dict[str, Any]:
    about = _run_as_json(found.run)
    return {
        "training": recording.name,
        "notes": list(recording.notes),
        "settings": dataclasses.asdict(found.config),
        "departs": None if found.departs is None else found.departs + 1,
        "caveat": found.caveat,
        "rate_is_relative": found.is_relative,
        **{name: value for name, value in about.items() if name != "run"},
    }


def _write_replays(output: Path, replays: list[tuple[Recording, str, Replay]], arguments: argparse.Namespace) -> None:
    from keras_lrplateau.views import report

    runs = [
        dataclasses.replace(found.run, name=f"{recording.name}/{label or 'what if'}")
        for recording, label, found in replays
    ]
    found = [each for _, _, each in replays]
    with _needing_plotly():
        content = report.page("what if", runs, None, arguments.axis, dark=arguments.dark, replays=found)
    _write_page(output, content, _plural(len(runs), "replay"))


# --- printing --------------------------------------------------------------------------------------------------------


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2, allow_nan=False))


def _print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], below: str = "") -> None:
    """A table for people, on a terminal or in a pipe, where nobody knows how wide the paper is."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for head in heads:
        shown.add_column(Text(_printable(head)), overflow="fold")
    for row in rows:
        doubtful = any(cell.endswith("?") for cell in row[:2])
        shown.add_row(*(Text(_printable(cell)) for cell in row), style="dim" if doubtful else None)
    if title:
        console.print(Text(_printable(title), style="bold"))
    if rows:
        console.print(shown)
    for line in below.splitlines():
        console.print(Text(_printable(line)))
    console.print()


# --- reading ---------------------------------------------------------------------------------------------------------


def _read_all(paths: Sequence[str]) -> tuple[list[Run], dict[str, str]]:
    """As `read`, of several paths, at least one run; what cannot be read is complained of."""
    runs: list[Run] = []
    unreadable: dict[str, str] = {}
    for path in paths:
        found, others = read(path)
        runs += found
        unreadable |= others
    for where, reason in unreadable.items():
        _complain(f"{where}: {reason}")
    if not runs:
        raise UserError("no run could be read")
    return runs, unreadable


def read(path: str) -> tuple[list[Run], dict[str, str]]:
    """Read all runs in a directory and below.

    Args:
        path: The directory. It may be that of a run.

    Returns:
        The runs, in the order of their groups and names. The names are as TensorBoard would give them, but have two
        parts at least: "digits/lr_plateau". And, by the path of a run that cannot be read, why.

    Raises:
        UserError: There is no such directory, or no run in it.
    """
    from keras_lrplateau.history import event_reader

    root = Path(path)
    if not root.is_dir():
        remedy = "copy it to this machine first" if "://" in path else "give the one that AdaptLROnPlateau wrote to"
        raise UserError(f"{path} is a file; give its directory" if root.is_file() else f"no directory {path}; {remedy}")
    found = event_reader.find_runs(root)
    if not found:
        raise UserError(
            f"no run of AdaptLROnPlateau in {path}. Give the directory that the callback writes to, as in "
            f'AdaptLROnPlateau(log_dir="logs/run1"), or one above it; an epoch of the training must be over'
        )
    runs = []
    unreadable = {}
    for name, directory in sorted(_named(root, list(found)).items(), key=lambda item: _natural_order(item[0])):
        try:
            runs.append(event_reader.read_run(name, found[directory]))
        except event_reader.UnreadableError as error:
            unreadable[str(directory)] = str(error)
    return runs, unreadable


def _named(root: Path, directories: Sequence[Path]) -> dict[str, Path]:
    below = [directory.relative_to(root) for directory in directories]
    top = root.resolve()
    parts = top.parts[1:]
    missing = max(2 - min(len(path.parts) for path in below), 0)
    prefix = Path(*parts[len(parts) - missing :]) if missing else Path()
    return {(prefix / path).as_posix(): directory for path, directory in zip(below, directories, strict=True)}


def _natural_order(name: str) -> list[list[tuple[str, int]]]:
    """A key to sort by: group by group, and lr_plateau_2 before lr_plateau_10."""
    group, _, label = name.rpartition("/")
    by_number = [
        [(text, int(number or -1)) for text, number in re.findall(r"(\D*)(\d*)", part)] for part in (group, label)
    ]
    return [by_number[0], [(group, -1)], by_number[1]]  # 0.3 and 0.0003 are two groups.


if __name__ == "__main__":
    sys.exit(main())
