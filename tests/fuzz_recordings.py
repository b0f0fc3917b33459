"""Bad recordings for `fuzz.py`: tables with rows of several kinds, logs of training, and event files.

Each case makes a recording whose curves it knows, in one of the shapes in which people write them down. As it is, it
must be read as these curves. Damaged, it is refused with a `CurveError`, or read as curves that a replay takes.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import json
import math
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.summary.writer.record_writer import RecordWriter

from keras_lrplateau import Config
from keras_lrplateau.history import event_reader, tags
from keras_lrplateau.recordings.names import direction
from keras_lrplateau.recordings.reading import read
from keras_lrplateau.recordings.recording import CurveError, Recording
from keras_lrplateau.recordings.replay import replay

Curves = dict[str, list[tuple[int, float]]]

WORDS = (
    "train",
    "val",
    "epoch",
    "loss",
    "nan",
    "",
    "-",
    "{",
    "}",
    "[",
    '"',
    ",",
    "\n",
    "\r",
    " - ",
    ": ",
    "1/2",
    "0.5",
    "1e999",
)


@functools.cache
def folder() -> Path:
    place = tempfile.TemporaryDirectory(prefix="fuzz-")
    atexit.register(place.cleanup)
    return Path(place.name)


def damaged(rng: random.Random, text: str) -> str:
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(text) + 1)
        end = at + rng.choice((0, 1, 5, 30, len(text)))
        text = text[:at] + rng.choice((*WORDS, text[at:end] * 2)) + text[end:]
    return text


def check(found: list[Recording]) -> None:
    """What holds for whatever is read."""
    assert found
    for recording in found:
        assert recording.curves
        for curve in recording.curves.values():
            assert len(curve.epochs) == len(curve.values) == len(curve.times) > 0
            assert all(type(each) is int for each in curve.epochs)
            assert all(type(each) is float for each in (*curve.values, *curve.times))
            assert all(one < other for one, other in itertools.pairwise(curve.epochs))
            assert all(map(math.isfinite, curve.times))
        refused = ""
        try:
            monitor = next(iter(recording.curves))
            mode = direction(monitor) or "min"
            replay(recording, Config(mode=mode, patience=2, min_lr=1e-6, max_lr=1e6), monitor)
        except ValueError as error:
            refused = str(error)
        # A rate that no training has, or a run of ours with negative epochs.
        assert not refused or "rate" in refused or recording.records, refused


def drawn(recording: Recording) -> Curves:
    return {name: list(zip(curve.epochs, curve.values, strict=True)) for name, curve in recording.curves.items()}


def as_read(text: str, name: str, expected: list[Curves] | None) -> bool:
    """Whether a text is refused; as it is, it must be read as these trainings."""
    path = folder() / name
    path.write_text(text, errors="surrogatepass")
    found, refused = [], ""
    try:
        found = read(path)
    except CurveError as error:
        refused = str(error)
    if refused:
        assert expected is None, refused
        assert str(path) in refused
        return True
    check(found)
    if expected is not None:
        told = [
            {key: list(zip(each.epochs, each.values, strict=True)) for key, each in one.curves.items()} for one in found
        ]
        assert told == expected, (text, told, expected)
    return False


def either(rng: random.Random, text: str, name: str, expected: list[Curves]) -> bool:
    if rng.random() < 0.4:
        return as_read(text, name, expected)
    return as_read(damaged(rng, text), name, None)


def points(rng: random.Random, epochs: int) -> list[tuple[int, float]]:
    return [(epoch, round(rng.uniform(0, 10), rng.randint(0, 6))) for epoch in range(epochs)]


def table(rng: random.Random, names: list[str], rows: list[list[Any]]) -> tuple[str, str]:
    """The rows as CSV with some separator, or as JSON."""
    if rng.random() < 0.25:
        records = [dict(zip(names, row, strict=True)) for row in rows]
        return (
            (json.dumps(records), "t.json") if rng.random() < 0.5 else ("\n".join(map(json.dumps, records)), "t.jsonl")
        )
    separator = rng.choice((",", ";", "\t", "|"))
    return "".join(separator.join(map(str, row)) + "\n" for row in (names, *rows)), "t.csv"


def long_tables(rng: random.Random) -> bool:
    """Rows of several trainings, kinds of data or metrics, in some order."""
    epochs = rng.randint(2, 8)
    group, runs = rng.choice((("fold", range(1, 1 + rng.randint(2, 3))), ("run", ["a", "b"]), (None, [None])))
    split, kinds = rng.choice((("phase", ["train", "val"]), ("Set", ["training", "validation"]), (None, ["train"])))
    metrics = rng.sample(["loss", "accuracy", "f1"], rng.randint(1, 3))
    by_metric = (split is None and group is None) or rng.random() < 0.5
    found: list[Curves] = []
    rows: list[dict[str, Any]] = []
    for run in runs:
        curves: Curves = {}
        for kind, metric in itertools.product(kinds, metrics):
            values = curves[f"{'val_' if kind != kinds[0] else ''}{metric}"] = points(rng, epochs)
            for epoch, value in values:
                row = {"epoch": epoch, group: run, split: kind, "metric": metric, "value": value}
                rows.append({key: cell for key, cell in row.items() if key is not None})
        found.append(curves)
    if not by_metric:
        wide: dict[Any, dict[str, Any]] = {}
        for row in rows:
            key = (row["epoch"], row.get(group), row.get(split))
            wide.setdefault(key, {name: row[name] for name in row if name not in ("metric", "value")})
            wide[key][row["metric"]] = row["value"]
        rows = list(wide.values())
    order = rng.choice(("as made", "by epoch", "by kind"))
    if order == "by epoch":
        rows.sort(key=lambda row: row["epoch"])
    elif order == "by kind" and split is not None:
        rows.sort(key=lambda row: row[split])
    names = list(rows[0])
    rng.shuffle(names)
    return either(rng, *table(rng, names, [[row[name] for name in names] for row in rows]), found)


def mixed_counters(rng: random.Random) -> bool:
    """OpenMMLab's logs: rows of the validation count something else than rows of the training."""
    epochs, batches = rng.randint(2, 8), rng.randint(2, 5)
    loss, metric = points(rng, epochs), points(rng, epochs)
    records: list[dict[str, Any]] = []
    is_new = rng.random() < 0.5
    for epoch in range(epochs):
        for batch in range(1, batches + 1):
            step = batches * epoch + batch
            value = {"lr": 0.1, "loss": loss[epoch][1], "epoch": epoch + 1}
            records.append(value | ({"iter": step, "step": step} if is_new else {"mode": "train", "iter": batch}))
        own = {"step": epoch + 1} if is_new else {"mode": "val", "epoch": epoch + 1, "iter": rng.randint(1, 9)}
        records.append({"mAP": metric[epoch][1]} | own)
    text = "\n".join(map(json.dumps, records))
    if rng.random() < 0.6:
        return as_read(damaged(rng, text), "scalars.json", None)
    path = folder() / "scalars.json"
    path.write_text(text)
    (found,) = read(path)
    check([found])
    curve = found.curves["mAP" if is_new else "val_mAP"]
    assert list(zip(curve.epochs, curve.values, strict=True)) == metric
    assert found.curves["loss"].epochs == list(range(epochs))
    return False


def log_text(rng: random.Random) -> bool:
    """What Keras and others print, among lines of something else."""
    epochs = rng.randint(2, 6)
    curves = {name: [(at, round(value, 4)) for at, value in points(rng, epochs)] for name in ("loss", "val_loss")}
    noise = ("", "WARNING:absl:slow, slow", "[nltk_data] ok", "Restoring - weights", "  0%|   | 0/8 [00:00<?, ?it/s]")
    before = rng.choice(("", "2024-01-31 10:00:00 ", "[10:00:00] INFO ", "web_1  | "))
    is_keras = rng.random() < 0.6
    lines = [rng.choice(noise) for _ in range(rng.randint(0, 3))]
    for epoch in range(epochs):
        loss, val_loss = (curves[name][epoch][1] for name in ("loss", "val_loss"))
        if not is_keras:
            lines.append(f"{before}{ {'epoch': epoch + 1, 'loss': loss, 'val_loss': val_loss} }")
            lines += [rng.choice(noise)] * rng.randint(0, 2)
            continue
        lines.append(f"{before}Epoch {epoch + 1}/{epochs}")
        if rng.random() < 0.5:
            lines += [f"{before}{batch}/8 ━━━━ {8 - batch}s 9ms/step - loss: 99.0" for batch in (1, 5)]
            lines.append(f"{before}8/8 ━━━━ 0s 9ms/step - loss: {loss}")
        lines.append(f"{before}8/8 - 0s - 9ms/step - loss: {loss} - val_loss: {val_loss}")
        lines += [rng.choice(noise)] * rng.randint(0, 2)
    if rng.random() < 0.3:
        lines += ["Traceback (most recent call last):", '  File "a.py", line 3, in f', "ValueError: {x: 1} - loss: 3"]
    text = rng.choice(("\n", "\r\n")).join(lines) + "\n"
    return either(rng, text, "out.log", [curves])


def tensor(rng: random.Random) -> TensorProto:
    """Of any kind, shape and content."""
    made = TensorProto(dtype=rng.choice((0, 1, 2, 3, 7, 7, 7, 8, 9, 14, 19, 20, 21, 99)))
    made.float_val.extend([rng.uniform(-1, 1)] * rng.choice((0, 0, 1, 2)))
    made.string_val.extend(
        [rng.choice((b"", b"{}", b"[" * 9999, b"\xff", b'{"version": 3}'))] * rng.choice((0, 1, 1, 2))
    )
    made.int64_val.extend([rng.randrange(-9, 9)] * rng.choice((0, 0, 1)))
    made.tensor_content = rng.choice((b"", b"", b"abc", b"\0" * 8))
    sizes = rng.choice(((), (), (1,), (0,), (2,), (-1,), (1, 1), (2**40,), (2**40, 2**40)))
    made.tensor_shape.CopyFrom(TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes]))
    return made


def event_tensors(rng: random.Random) -> bool:
    """An event file with malformed tensors, steps and times, of ours or of others."""
    directory = folder() / "events"
    directory.mkdir(exist_ok=True)
    path = directory / "events.out.tfevents.1.host"
    is_ours = rng.random() < 0.5
    with open(path, "wb") as file:
        writer = RecordWriter(file)
        for at in range(rng.randint(1, 8)):
            step = rng.choice((at, at, at, -1, 2**62, -(2**62), 0))
            time = rng.choice((1.7e9 + at, 1.7e9 + at, 1e18, -1e300, math.nan, math.inf, 0.0))
            scalars = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
            plain = TensorProto(
                dtype=1, float_val=[rng.choice((0.5, math.nan, math.inf))], tensor_shape=TensorShapeProto()
            )
            prefix = tags.PREFIX if is_ours else rng.choice(("", "epoch_"))
            values = [Summary.Value(tag=f"{prefix}loss", tensor=plain, metadata=scalars)]
            if rng.random() < 0.5:
                values.append(Summary.Value(tag=f"{prefix}other", tensor=tensor(rng), metadata=scalars))
            if is_ours and rng.random() < 0.7:
                values.append(Summary.Value(tag=tags.TAG, tensor=tensor(rng), metadata=tags.summary_metadata()))
            event = Event(step=step, wall_time=time, summary=Summary(value=values))
            if rng.random() < 0.1:
                event = Event(step=step, wall_time=time, session_log=SessionLog(status=SessionLog.START))
            writer.write(event.SerializeToString())
    if rng.random() < 0.3:
        content = bytearray(path.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content[: rng.randint(1, len(content))])
    for call in (lambda: event_reader.read_run("run", [path]), lambda: read(directory)):
        try:
            found: Any = call()
        except (event_reader.UnreadableError, CurveError):
            refused = True
            continue
        refused = False
        if isinstance(found, list):
            check(found)
    return refused


KINDS: tuple[tuple[str, Callable[[random.Random], bool], float], ...] = (
    ("long-format tables", long_tables, 0.03),
    ("mixed counters", mixed_counters, 0.02),
    ("text of logs", log_text, 0.03),
    ("tensors in event files", event_tensors, 0.02),
)
