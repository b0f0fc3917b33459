"""The command `keras-lrplateau`.

It reads all epochs from the event files; TensorBoard's server keeps only a thousand. It imports neither Keras nor
TensorFlow. If one of several runs or files fails, the command reports it and goes on with the others.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from keras_lrplateau.cli.arguments import OPTIONS, parse
from keras_lrplateau.cli.printing import complain, print_json, print_table, progress, say
from keras_lrplateau.files.atomic import replace_file
from keras_lrplateau.files.places import is_url, local_path
from keras_lrplateau.history import codec
from keras_lrplateau.history.axes import Axis, Timeline
from keras_lrplateau.history.event_files import event_files
from keras_lrplateau.history.run import Run, told
from keras_lrplateau.recordings.names import direction
from keras_lrplateau.recordings.reading import read as read_recordings
from keras_lrplateau.recordings.recording import CurveError, Recording
from keras_lrplateau.recordings.replay import Replay, replay
from keras_lrplateau.rule.decision import Decision, Rule
from keras_lrplateau.rule.stored import RULES
from keras_lrplateau.settings import RuleName, rule_settings
from keras_lrplateau.views import tables, words


class UserError(Exception):
    """An error that the user can fix; its text says how. It ends the command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The words after the name of the command. None for the arguments of this process.

    Returns:
        The exit status: 0; 1 if a message on standard error says what is wrong; 130 after Ctrl-C.

    Raises:
        SystemExit: The arguments are wrong (status 2), or ask for help or the version.
    """
    try:
        parsed = parse(arguments)
        return COMMANDS[parsed.command](parsed)
    except UserError as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has stopped, as in `| head`. Python would fail again when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


# --- show and compare ------------------------------------------------------------------------------------------------


def show(arguments: argparse.Namespace) -> int:
    """Print the decisions of each run."""
    runs, unreadable = _read_all(arguments.paths)
    if arguments.json:
        print_json([_run_as_json(run) for run in runs])
        return 1 if unreadable else 0
    for run in runs:
        about = tables.summary(run)
        facts = [about["status"], words.length(about), f"best {run.monitor} {words.best(about)}"]
        facts += [f"learning rate {about['rate']}"] if about["rate"] else []
        print_table(
            run.name,
            [run.unit, "decision", run.quantity, run.monitor, "best", "reason"],
            [[*_cells(row), row["best"], row["reason"]] for row in tables.rows(run)],
            ", ".join(facts),
        )
    return 1 if unreadable else 0


def compare(arguments: argparse.Namespace) -> int:
    """Print a line for each run."""
    output = None if arguments.output is None else _output(arguments.output)
    runs, unreadable = _read_all(arguments.paths)
    if arguments.json:
        print_json([_run_as_json(run) for run in runs])
    else:
        heads = ["run", "metric", "best", "epoch", "last", "learning rate", "epochs", "status", "decisions"]
        rows = []
        for run in runs:
            about = tables.summary(run)
            counts = ", ".join(words.counted_kind(count, kind) for kind, count in tables.counts(run).items())
            cells = [
                about["monitor"],
                about["best"] and words.marked(about["best"], about["is_best_undone"]),
                about["best_at"],
                about["last"] and words.last(about),
                about["rate"],
            ]
            cells += [about["epochs"], about["status"], counts]
            rows.append([run.name, *("" if cell is None else str(cell) for cell in cells)])
        print_table("", heads, rows)
    if output is not None:
        runs = _drawable(runs, arguments.axis, unreadable)
        _write_page(
            output,
            words.counted(len(runs), "run"),
            source="comparison",
            runs=runs,
            unreadable=unreadable,
            axis=arguments.axis,
            dark=arguments.dark,
            compares=len(runs) > 1,
        )
    return 1 if unreadable else 0


def _cells(row: Mapping[str, Any]) -> list[str]:
    rates = row["rate"] if row["rate_before"] == row["rate"] else f"{row['rate_before']} -> {row['rate']}"
    return [str(row["epoch"]), row["kind"], rates, row["value"]]


def _run_as_json(run: Run) -> dict[str, Any]:
    """Return a run for JSON; epochs count from 1, and non-finite numbers are texts."""
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


# --- report ----------------------------------------------------------------------------------------------------------


def report(arguments: argparse.Namespace) -> int:
    """Write a page with the figure and the decisions of each run."""
    output = _output(arguments.output)
    runs, unreadable = _read_all([arguments.path])
    runs = _drawable(runs, arguments.axis, unreadable)
    _write_page(
        output,
        words.counted(len(runs), "run"),
        source=Path(arguments.path).resolve().name,
        runs=runs,
        unreadable=unreadable,
        axis=arguments.axis,
        dark=arguments.dark,
    )
    if arguments.png:
        _write_pngs(output, runs, arguments.axis, arguments.dark)
    return 1 if unreadable else 0


def _drawable(runs: Sequence[Run], axis: Axis, unreadable: dict[str, str]) -> list[Run]:
    """Return the runs that can be drawn over an axis, at least one. Report the others, and add them to `unreadable`."""
    for run in runs:
        if Timeline(run).lacks(axis) and run.name not in unreadable:
            unreadable[run.name] = f"it cannot be drawn by {axis}, which was not recorded; use --axis epoch"
            complain(f"{run.name}: {unreadable[run.name]}")
    found = [run for run in runs if not Timeline(run).lacks(axis)]
    if not found:
        raise UserError("no page was written: nothing can be drawn")
    return found


def _write_page(output: Path, what: str, **arguments: Any) -> None:
    """Write the page that `report.page` makes of the arguments."""
    from keras_lrplateau.views.report import page

    try:
        content = page(**arguments)
    except (ImportError, ValueError) as error:
        # Plotly is missing, or the axis was not recorded.
        raise UserError(f"no page was written: {error}") from None
    encoded = content.encode(errors="replace")  # A run's name may not be UTF-8.
    try:
        replace_file(output, lambda stream: stream.write(encoded))
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror or error}") from None
    say(f"{output}: {what}")


def _output(name: str) -> Path:
    """Check the path of the file to write, before the work begins."""
    try:
        path = Path(local_path("--output", name))
    except ValueError as error:
        raise UserError(str(error)) from None
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no directory {path.parent}; make it, or choose another with -o")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a file; choose another name with -o")
    return path


def _write_pngs(output: Path, runs: Sequence[Run], axis: Axis, dark: bool) -> None:
    from keras_lrplateau.views.figure import draw, write_pngs

    names = [f"{output.stem}-{number}-{_as_file_name(run.name)}.png" for number, run in enumerate(runs, 1)]
    if len(runs) == 1:
        names = [f"{output.stem}.png"]
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".png-") as folder:
        unfinished = [Path(folder, name) for name in names]
        try:
            write_pngs([draw([run], axis, dark=dark) for run in runs], unfinished)
            for path in unfinished:
                path.replace(output.with_name(path.name))
        except ImportError as error:
            raise UserError(f"no PNG was written: {error}") from None
        except Exception as error:  # Kaleido and the browser have many ways to fail.
            reason = " ".join(str(error).split())
            raise UserError(
                "no PNG was written: kaleido starts Chrome or Chromium for it. Install one, or say where it is in the "
                f"environment variable BROWSER_PATH. The reason given: {type(error).__name__}: {reason}"
            ) from None
    for name in names:
        say(str(output.with_name(name)))


def _as_file_name(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name).strip("-.")[-80:]


# --- replay ----------------------------------------------------------------------------------------------------------


class _Replayed(NamedTuple):
    """A replay of a recording, labelled with the settings in which it differs from the others."""

    recording: Recording
    label: str
    found: Replay


def replay_files(arguments: argparse.Namespace) -> int:
    """Print the decisions that other settings would have made."""
    output = None if arguments.output is None else _output(arguments.output)
    variants = _variants(arguments)
    replays: list[_Replayed] = []
    failed = 0
    for path in arguments.paths:
        recordings: list[Recording] = []
        try:
            recordings = read_recordings(path)
        except CurveError as error:
            complain(str(error))
            failed += 1
        for recording in recordings:
            try:
                with warnings.catch_warnings(record=True) as told_once:
                    warnings.simplefilter("default")
                    replays += [
                        _Replayed(recording, label, _replay_one(arguments, recording, rule))
                        for label, rule in variants.items()
                    ]
                for warning in told_once:
                    complain(str(warning.message))
            except (TypeError, ValueError) as error:
                message = str(error)
                complain(message if message.startswith(recording.name) else f"{recording.name}: {message}")
                failed += 1
    if not replays:
        raise UserError("no recorded training could be replayed")
    if arguments.json:
        print_json([_replay_as_json(each) for each in replays])
    else:
        for _, group in itertools.groupby(replays, key=lambda each: id(each.recording)):
            _print_replays(list(group))
    if output is not None:
        refused: dict[str, str] = {}
        recorded = _drawable([each.found.recorded for each in replays], arguments.axis, refused)
        drawn = [each for each in replays if any(each.found.recorded is run for run in recorded)]
        _write_page(
            output,
            words.counted(len(drawn), "replay"),
            source="what if",
            runs=[
                replace(found.run, name=f"{recording.name}/{label or 'what if'}") for recording, label, found in drawn
            ],
            unreadable=refused,
            axis=arguments.axis,
            dark=arguments.dark,
            replays=[each.found for each in drawn],
        )
        failed += len(refused)
    return 1 if failed else 0


def _variants(arguments: argparse.Namespace) -> dict[str, Rule[Any]]:
    """Return the rules to replay, by the settings in which they differ. Wrong settings end the command."""
    name: RuleName = "auto" if arguments.auto else "default"
    chosen = {option: values for option in OPTIONS if (values := getattr(arguments, option)) is not None}
    for option in chosen.keys() - rule_settings(name).keys():
        mode = "with --auto" if arguments.auto else "without --auto"
        arguments.parser.error(f"argument --{option.replace('_', '-')}: there is no such setting {mode}")
    found: dict[str, Rule[Any]] = {}
    for values in itertools.product(*chosen.values()):
        settings = dict(zip(chosen, values, strict=True))
        label = ", ".join(f"{option}={settings[option]}" for option in chosen if len(chosen[option]) > 1)
        try:
            found[label] = RULES[name](**settings)
            if arguments.rate is not None:
                found[label].start(arguments.rate)
        except (TypeError, ValueError) as error:
            arguments.parser.error(str(error))
    return found


def _replay_one(arguments: argparse.Namespace, recording: Recording, rule: Rule[Any]) -> Replay:
    monitor = recording.resolve(arguments.monitor)
    mode = arguments.mode
    if mode == "auto":
        own = (record.mode for record in recording.records if record.mode and record.monitor == monitor)
        mode = next(own, None) or direction(monitor)
    if mode is None:
        raise CurveError(
            f"{recording.name}: the name {monitor!r} does not say whether it should fall or rise; give --mode min or "
            "--mode max"
        )
    with progress(len(recording.curve(monitor).values)) as show_progress:
        rule = replace(rule, mode=mode)
        return replay(recording, rule, monitor, rate=arguments.rate, progress=show_progress)


def _print_replays(replays: Sequence[_Replayed]) -> None:
    """Print the replays of one recording in one table."""
    recording, _, first = replays[0]
    run = first.run
    is_labelled = len(replays) > 1
    rows = []
    for _, label, found in replays:
        decided = tables.rows(found.run)
        for row, decision in zip(decided, told(found.decisions), strict=True):
            epoch, *others = _cells(row)
            if found.departs is not None and decision.epoch > found.departs:
                epoch += "?"
            rows.append([*([label] if is_labelled else []), epoch, *others, row["reason"]])
        if not decided:
            rows.append([*([label] if is_labelled else []), "", "none", "", "", ""])
    heads = [run.unit, "decision", "rate / first rate" if first.is_relative else run.quantity, run.monitor, "reason"]
    title = f"{recording.name}: {words.counted(len(run.curves[run.monitor].values), 'observation')} of {run.monitor}"
    print_table(
        title, [*(["settings"] if is_labelled else []), *heads], rows, "\n".join([*recording.notes, _caveat(replays)])
    )


def _caveat(replays: Sequence[_Replayed]) -> str:
    """Return the caveat for these replays: what they cannot know."""
    departing = [(label, found) for _, label, found in replays if found.departs is not None]
    if not departing:
        return replays[0].found.caveat
    when = [
        f"after {found.run.unit} {(found.departs or 0) + 1}" + (f" with {label}" if label else "")
        for label, found in departing
    ]
    return (
        f"The training would have gone another way {', '.join(when)}: decisions marked by a ? rest on what was "
        "observed in the training as it was."
    )


def _replay_as_json(replayed: _Replayed) -> dict[str, Any]:
    recording, _, found = replayed
    about = _run_as_json(found.run)
    return {
        "training": recording.name,
        "notes": list(recording.notes),
        "settings": asdict(found.config),
        "departs": None if found.departs is None else found.departs + 1,
        "caveat": found.caveat,
        "rate_is_relative": found.is_relative,
        **{name: value for name, value in about.items() if name != "run"},
    }


# --- reading runs ----------------------------------------------------------------------------------------------------


def _read_all(paths: Sequence[str]) -> tuple[list[Run], dict[str, str]]:
    """Read all runs of several paths, and report those that cannot be read. At least one run is returned."""
    runs: list[Run] = []
    unreadable: dict[str, str] = {}
    for path in paths:
        try:
            found, others = read(path)
        except UserError as error:
            if len(paths) == 1:
                raise
            complain(str(error))
            unreadable[path] = str(error)
            continue
        runs += found
        unreadable |= others
        for where, reason in others.items():
            complain(f"{where}: {reason}")
    if not runs:
        raise UserError("no run could be read")
    return runs, unreadable


def read(path: str) -> tuple[list[Run], dict[str, str]]:
    """Read all runs in a directory and below.

    Args:
        path: The directory. It may be the run's own.

    Returns:
        The runs, in the order of their groups and names; and by path, the reason for each run that cannot be read. The
        names are TensorBoard's, but have at least two parts: "digits/lr_plateau".

    Raises:
        UserError: There is no such directory, or no run in it.
    """
    from keras_lrplateau.history import event_reader

    root = Path(path)
    if not root.is_dir():
        raise UserError(_not_a_directory(root, path))
    found = event_reader.find_runs(root)
    if not found:
        others = (
            f". Other programs wrote its event files; try: keras-lrplateau replay {path}" if event_files(root) else ""
        )
        raise UserError(
            f"no run of AdaptLROnPlateau in {path}. Give the directory that the callback writes to, as in "
            f'AdaptLROnPlateau(log_dir="logs/run1"), or one above it; an epoch of the training must be over{others}'
        )
    runs = []
    unreadable = {}
    for name, directory in sorted(_named(root, list(found)).items(), key=lambda item: _natural_order(item[0])):
        notes: list[str] = []
        try:
            runs.append(event_reader.read_run(name, found[directory], notes))
        except event_reader.UnreadableError as error:
            unreadable[str(directory)] = str(error)
        for note in notes:
            complain(f"{directory}: {note}")
    return runs, unreadable


def _not_a_directory(root: Path, path: str) -> str:
    """Return what is wrong with a path that is no directory, and what to do."""
    if is_url(path) and not root.exists():
        return f"{path} is a URL; copy it to this machine, and give the directory there"
    if not root.is_file():
        return f"no directory {path}; give the one that AdaptLROnPlateau wrote to"
    if "tfevents" not in root.name:
        with contextlib.suppress(CurveError):
            read_recordings(root)
            return f"{path} is a recorded training, and no run of AdaptLROnPlateau; try: keras-lrplateau replay {path}"
    return f"{path} is a file; give its directory"


def _named(root: Path, directories: Sequence[Path]) -> dict[str, Path]:
    below = [directory.relative_to(root) for directory in directories]
    top = root.resolve()
    parts = top.parts[1:]
    missing = max(2 - min(len(path.parts) for path in below), 0)
    prefix = Path(*parts[len(parts) - missing :]) if missing else Path()
    return {(prefix / path).as_posix(): directory for path, directory in zip(below, directories, strict=True)}


def _natural_order(name: str) -> list[list[tuple[str, int]]]:
    """Return a sort key: group by group, and lr_plateau_2 before lr_plateau_10."""
    group, _, label = name.rpartition("/")
    by_number = [
        [(text, int(number or -1)) for text, number in re.findall(r"(\D*)(\d*)", part)] for part in (group, label)
    ]
    return [by_number[0], [(group, -1)], by_number[1]]  # 0.3 and 0.0003 are two groups.


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "show": show,
    "compare": compare,
    "report": report,
    "replay": replay_files,
}

if __name__ == "__main__":
    sys.exit(main())
