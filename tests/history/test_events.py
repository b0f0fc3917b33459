"""The event writer's output, read back by TensorBoard itself: by both loaders, and by its stock tabs over HTTP."""

import dataclasses
import html.parser
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from conftest import only, read_values
from hypothesis import given
from hypothesis import strategies as st
from real_tensorboard import LOADERS, data_provider_of, eventually, tensorboard
from tensorboard import context
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.data import provider as provider_api

import keras_lrplateau
from keras_lrplateau.history import codec, tags
from keras_lrplateau.history import event_writer as writer_module
from keras_lrplateau.history.event_writer import EventWriter
from keras_lrplateau.history.run import Observation, Record
from keras_lrplateau.rule.decision import Decision, Kind, Snapshot, Status

ROOT = Path(keras_lrplateau.__file__).parents[1]

BOTH = "loss and log10(learning rate)"
"""The chart of both."""

CUT = Decision("cut", "no improvement on 0.9 in 2 observations", 4, 0.93, 0.9, 0.1, 0.05, since=3, since_epoch=2)
ROLLBACK = Decision("rollback", "training ended", 4, None, 0.9, 0.05, 0.1, restore="raise")

HOSTILE = {
    "html": '<script>alert(1)</script><img src=x onerror="alert(1)"><b>bold</b> a < b',
    "markdown": "**bold** _it_ __b__ `code` ~~no~~ [x](http://y) ![i](z) [ref][1] \\* \\",
    "blocks": "a\n\n# title\n\n- item\n1. one\n> quote\n\n```\nfence\n```\n|a|b|\n|-|-|\n\n---\n    code",
    "entities": "&lt;b&gt; &amp; &#42; &copy;",
    "unicode": "η → 0.1 ≤ 学习率 🎯 \u202eabc\u2028line",
    "control": "a\x00b\x02wzxhzdk:0\x03 \r\n\tc\ud800",
}


def run_python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def numpy_scalar(kind: str, value: float) -> Any:
    """Make a numpy scalar, which callers may pass in spite of the annotation."""
    return np.dtype(kind).type(value)


def time_of(step: int) -> float:
    return 1.5e9 + 60.25 * step


def record_of(epoch: int, *decisions: Decision, **changes: Any) -> Record:
    """Make the record that the callback would write for an epoch."""
    fields: dict[str, Any] = {
        "status": "holding",
        "steps": 10 * (epoch + 1),
        "monitor": "val_loss",
        "mode": "min",
        "quantity": "learning rate",
        "best": Observation(0, 0.9),
        "time": time_of(epoch),
        "loss_before": 1.5,
    }
    return Record(epoch, decisions, **fields | changes)


def loss_of(step: int) -> float:
    return 1 / (step + 1)


def write_losses(writer: EventWriter, steps: range, extra: float = 0.0) -> None:
    for step in steps:
        values = {"learning_rate": 0.1, "loss": loss_of(step) + extra, "val_loss": 2 * loss_of(step) + extra}
        writer.scalars(step, values, time_of(step))


PLAIN = [
    record_of(0, best=None, mode=None),
    record_of(5, CUT),
    record_of(7, CUT),
    record_of(numpy_scalar("int64", 7), CUT, ROLLBACK, status="in restart"),
]

BEFORE_THE_CRASH = [record_of(0), record_of(2, CUT), record_of(10, CUT, status="exhausted")]

AFTER_IT = record_of(5)


@pytest.fixture(scope="module")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write runs of all kinds; the losses of each go from step 0 to 7."""
    logdir = tmp_path_factory.mktemp("logs")

    writer = EventWriter(logdir / "plain" / "lr_plateau", 0)
    writer.layout("val_acc", ["learning_rate", "loss", "val_loss", "acc", "val_acc", "loss_scale"])
    writer.hparams(
        {"patience": 3, "factor": numpy_scalar("float32", 0.5), "mode": "min", "recover": True, "max_lr": math.inf}
    )
    write_losses(writer, range(8))
    others = {"acc": 0.5, "nan": math.nan, "huge": 1e300, "numpy": numpy_scalar("float32", 0.25), "loss_scale": 1.0}
    writer.scalars(0, others, time_of(0))
    for record in PLAIN:
        writer.record(record)
    writer.close()

    writer = EventWriter(logdir / "resumed" / "lr_plateau", 0)
    write_losses(writer, range(12), extra=100.0)
    for record in BEFORE_THE_CRASH:
        writer.record(record)
    writer.close()
    writer = EventWriter(logdir / "resumed" / "lr_plateau", 5)
    writer.record(AFTER_IT)
    write_losses(writer, range(5, 8))
    writer.close()

    writer = EventWriter(logdir / "truncated" / "lr_plateau", 0)
    write_losses(writer, range(6))
    writer.close()
    os.truncate(writer.path, writer.path.stat().st_size - 5)
    writer = EventWriter(logdir / "truncated" / "lr_plateau", 5)
    write_losses(writer, range(5, 8))
    writer.close()

    writer = EventWriter(logdir / "tail" / "lr_plateau", 0)
    write_losses(writer, range(9))
    writer.close()
    os.truncate(writer.path, writer.path.stat().st_size - 5)

    writer = EventWriter(logdir / "hostile" / "lr_plateau", 0)
    write_losses(writer, range(8))
    for step, reason in enumerate(HOSTILE.values()):
        writer.record(record_of(step, dataclasses.replace(CUT, reason=reason), monitor=reason))
    writer.close()
    return logdir


RUNS = {f"{name}/lr_plateau" for name in ("plain", "resumed", "truncated", "tail", "hostile")}


# --- TensorBoard's loaders -------------------------------------------------------------------------------------------


class Loaded:
    """The log directory as one of TensorBoard's data providers sees it."""

    def __init__(self, provider: Any) -> None:
        self.provider = provider
        self.scope = {"ctx": context.RequestContext(), "experiment_id": ""}

    def scalars(self, run: str, tag: str) -> dict[int, float]:
        filter_ = provider_api.RunTagFilter([f"{run}/lr_plateau"], [tag])
        found = self.provider.read_scalars(**self.scope, plugin_name="scalars", downsample=1000, run_tag_filter=filter_)
        data = found.get(f"{run}/lr_plateau", {}).get(tag, [])
        assert len({datum.step for datum in data}) == len(data), "a step twice"
        return {datum.step: datum.value for datum in data}

    def records(self, run: str) -> list[Record]:
        filter_ = provider_api.RunTagFilter([f"{run}/lr_plateau"], [tags.TAG])
        found = self.provider.read_tensors(
            **self.scope, plugin_name=tags.PLUGIN_NAME, downsample=1000, run_tag_filter=filter_
        )
        data = found[f"{run}/lr_plateau"][tags.TAG]
        return [codec.decode(datum.numpy.item(), datum.wall_time) for datum in data]


@pytest.fixture(scope="module", params=LOADERS)
def loaded(request: pytest.FixtureRequest, logdir: Path) -> Any:
    def has_all(provider: Any) -> bool:
        return all(7 in Loaded(provider).scalars(run.split("/")[0], "lr_plateau/loss") for run in RUNS)

    with data_provider_of(request.param, logdir, has_all) as provider:
        yield Loaded(provider)


def test_scalars_come_back_as_they_were_given(loaded: Loaded) -> None:
    assert loaded.scalars("plain", "lr_plateau/loss") == pytest.approx({step: loss_of(step) for step in range(8)})
    assert loaded.scalars("plain", "lr_plateau/numpy") == {0: 0.25}
    assert math.isnan(loaded.scalars("plain", "lr_plateau/nan")[0])
    assert loaded.scalars("plain", "lr_plateau/huge") == {0: math.inf}  # TensorBoard's scalars are single precision


def test_scalars_have_the_time_that_was_given(loaded: Loaded) -> None:
    filter_ = provider_api.RunTagFilter(["plain/lr_plateau"], ["lr_plateau/loss"])
    found = loaded.provider.read_scalars(**loaded.scope, plugin_name="scalars", downsample=1000, run_tag_filter=filter_)
    times = {datum.step: datum.wall_time for datum in found["plain/lr_plateau"]["lr_plateau/loss"]}
    assert times == {step: time_of(step) for step in range(8)}


def test_records_come_back_whole(loaded: Loaded) -> None:
    found = loaded.records("plain")
    assert found[:2] == PLAIN[:2]
    assert found[-1] == PLAIN[-1]


def test_the_last_record_of_an_epoch_holds_all_its_decisions(loaded: Loaded) -> None:
    last = {record.epoch: record.decisions for record in loaded.records("plain")}
    assert last == {0: (), 5: (CUT,), 7: (CUT, ROLLBACK)}


def test_a_resumed_training_shows_one_clean_line(loaded: Loaded) -> None:
    line = loaded.scalars("resumed", "lr_plateau/loss")
    assert line[4] > 100, "the first training went on past the resume"
    assert list(line) == list(range(8))
    assert [line[step] for step in range(5, 8)] == pytest.approx([loss_of(step) for step in range(5, 8)])


def test_a_resume_voids_the_later_decisions_though_no_new_one_has_come(loaded: Loaded) -> None:
    assert loaded.records("resumed") == [*BEFORE_THE_CRASH[:2], AFTER_IT]


def test_half_a_record_at_the_end_is_left_out(loaded: Loaded) -> None:
    assert list(loaded.scalars("tail", "lr_plateau/val_loss")) == list(range(8))


def test_half_a_record_does_not_stop_the_next_file(loaded: Loaded) -> None:
    line = loaded.scalars("truncated", "lr_plateau/loss")
    assert line == pytest.approx({step: loss_of(step) for step in range(8)})


def test_hostile_texts_come_back_whole(loaded: Loaded) -> None:
    texts = [(record.decisions[0].reason, record.monitor) for record in loaded.records("hostile")]
    assert texts == [(text, text) for text in HOSTILE.values()]


# --- stock TensorBoard -----------------------------------------------------------------------------------------------


class Server:
    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, route: str, **query: str) -> Any:
        return self._load(f"{route}?{urllib.parse.urlencode(query)}", None)

    def post(self, route: str, body: Any) -> Any:
        return self._load(route, json.dumps(body).encode())

    def series(self, run: str, tag: str) -> dict[int, Any]:
        request = json.dumps([{"plugin": "scalars", "tag": tag}])
        found = self.get("timeseries/timeSeries", requests=request)[0]["runToSeries"]
        return {point["step"]: point["value"] for point in found.get(f"{run}/lr_plateau", [])}

    def texts(self, run: str) -> list[tuple[int, str]]:
        found = self.get("text/text", run=f"{run}/lr_plateau", tag="lr_plateau/decision", markdown="true")
        return [(item["step"], item["text"]) for item in found]

    def is_ready(self) -> bool:
        try:
            return all(7 in self.series(run.split("/")[0], "lr_plateau/loss") for run in RUNS)
        except (urllib.error.URLError, ConnectionError):
            return False

    def _load(self, route: str, body: bytes | None) -> Any:
        address = f"{self.url}/experiment/defaultExperimentId/data/plugin/{route}"
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)


@pytest.fixture(scope="module", params=only([], ["true", "false"]), ids=["load_fast", "load_slow"])
def server(request: pytest.FixtureRequest, logdir: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A real TensorBoard."""
    output = tmp_path_factory.mktemp("output") / "log"
    with tensorboard(logdir, output, f"--load_fast={request.param}") as address:
        found = Server(address())
        eventually(found.is_ready)
        yield found


def test_time_series_shows_the_scalars_in_a_group_of_ours(server: Server) -> None:
    tags = server.get("timeseries/tags")["scalars"]["runTagInfo"]
    assert tags.keys() == RUNS
    assert set(tags["plain/lr_plateau"]) >= {"lr_plateau/learning_rate", "lr_plateau/loss", "lr_plateau/val_loss"}
    assert server.series("plain", "lr_plateau/loss") == pytest.approx({step: loss_of(step) for step in range(8)})
    assert server.series("plain", "lr_plateau/nan") == {0: "NaN"}


def test_time_series_shows_the_logarithm_of_the_rate_beside_it(server: Server) -> None:
    rates = server.series("plain", "lr_plateau/learning_rate")
    logarithms = server.series("plain", "lr_plateau/log10(learning_rate)")
    assert logarithms == pytest.approx({step: math.log10(rate) for step, rate in rates.items()})


def test_time_series_shows_a_resumed_training_as_one_line(server: Server) -> None:
    assert list(server.series("resumed", "lr_plateau/loss")) == list(range(8))


def test_the_text_tab_tells_the_decisions(server: Server) -> None:
    cut = (
        "<p><strong>cut</strong> in epoch {}: no improvement on 0.9 in 2 observations · learning rate 0.1 → 0.05 · "
        "metric 0.93 · best 0.9</p>"
    )
    end = "<p><strong>rollback</strong> in epoch 8: training ended · learning rate 0.05 → 0.1 · best 0.9</p>"
    texts = server.texts("plain")
    assert texts[0] == (5, cut.format(6)), (
        "of the record of the first epoch, without decisions, there is nothing to tell"
    )
    assert texts[-1] == (7, f"{cut.format(8)}\n{end}")


def test_the_text_tab_marks_the_resume_and_forgets_what_came_later(server: Server) -> None:
    texts = server.texts("resumed")
    assert [step for step, _ in texts] == [2, 5]
    assert texts[1][1] == "<p><strong>resumed</strong> in epoch 6</p>"


def test_the_text_tab_shows_hostile_reasons_as_they_are(server: Server) -> None:
    texts = [text for _, text in server.texts("hostile")]
    assert len(texts) == len(HOSTILE)
    for text, reason in zip(texts, HOSTILE.values(), strict=True):
        assert_shows_literally(text, reason)


def test_custom_scalars_shows_rate_and_metrics_side_by_side(server: Server) -> None:
    (category,) = server.get("custom_scalars/layout")["category"]
    assert category["title"] == "LR plateau"
    charts = {chart["title"]: chart["multiline"]["tag"] for chart in category["chart"]}
    assert list(charts) == ["learning rate", "loss", "acc", BOTH]

    def drawn(chart: str) -> set[str]:
        regex = "|".join(f"({tag})" for tag in charts[chart])  # as the tab joins them
        return set(server.get("custom_scalars/scalars", run="plain/lr_plateau", tag=regex)["tag_to_events"])

    assert drawn("learning rate") == {"lr_plateau/learning_rate"}
    assert drawn("loss") == {"lr_plateau/loss", "lr_plateau/val_loss"}
    assert drawn("acc") == {"lr_plateau/acc"}
    assert drawn(BOTH) == {"lr_plateau/loss", "lr_plateau/val_loss", "lr_plateau/log10(learning_rate)"}


def test_hparams_lists_the_configuration(server: Server) -> None:
    infos = server.post("hparams/experiment", {"experimentName": ""})["hparamInfos"]
    assert {info["name"] for info in infos} == {"patience", "factor", "mode", "recover", "max_lr"}
    request = {"experimentName": "", "allowedStatuses": ["STATUS_UNKNOWN"], "startIndex": 0, "sliceSize": 10}
    (group,) = server.post("hparams/session_groups", request)["sessionGroups"]
    assert re.fullmatch(r"plain \([0-9a-f]{8}\)", group["name"])
    tags = {value["name"]["tag"] for value in group["metricValues"]}
    assert {"lr_plateau/best(val_loss)", "lr_plateau/learning_rate"} <= tags, "by which runs can be ranked"
    # A number that JSON does not have would make the whole tab fail.
    assert group["hparams"] == {"patience": 3.0, "factor": 0.5, "mode": "min", "recover": True, "max_lr": "inf"}


# --- the text of a decision ------------------------------------------------------------------------------------------


class Shown(html.parser.HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_shows_literally(source: str, reason: str) -> None:
    shown = Shown(source)
    assert shown.tags == ["p", "strong"]
    line = " ".join("".join(char if char.isprintable() else " " for char in reason).split())
    text = re.sub(r" in epoch \d+", "", shown.text, count=1)
    assert text.startswith(f"cut: {line} · learning rate" if line or reason else "cut · learning rate")


# TensorBoard's own, when its sanitizer is imported.
@pytest.mark.filterwarnings("ignore:html5lib's sanitizer is deprecated:DeprecationWarning")
@given(st.text(st.characters(exclude_categories=[])) | st.text("*_`[]()<>!&#;x|\\-\n ", max_size=20))
def test_no_reason_has_markup(reason: str) -> None:
    from tensorboard import plugin_util

    if not reason or reason.isspace() or not any(char.isprintable() and char != " " for char in reason):
        reason = "x" + reason
    with tempfile.TemporaryDirectory() as folder:
        text = written_text(Path(folder), dataclasses.replace(CUT, reason=reason))
    assert_shows_literally(plugin_util.markdown_to_safe_html(text), reason)
    # With markdown switched off, the tab shows the asterisks of the bold word, and the reason as it is.
    unmarked = Shown(plugin_util.safe_html(text))
    assert unmarked.tags == []
    assert unmarked.text.replace("**cut**", "cut", 1) == Shown(plugin_util.markdown_to_safe_html(text)).text


# --- the payload -----------------------------------------------------------------------------------------------------

numbers = st.floats(allow_nan=True, allow_infinity=True)
integers = st.integers(0, 2**40)
decisions = st.builds(
    Decision,
    kind=st.sampled_from(get_args(Kind)),
    reason=st.text(),
    observation=integers,
    value=st.none() | numbers,
    best=st.none() | numbers,
    rate_before=numbers,
    rate=numbers,
    save=st.none() | st.sampled_from(get_args(Snapshot)),
    restore=st.none() | st.sampled_from(get_args(Snapshot)),
    since=st.none() | integers,
    epoch=integers,
    since_epoch=st.none() | integers,
)
records = st.builds(
    Record,
    epoch=integers,
    decisions=st.lists(decisions, max_size=3).map(tuple),
    status=st.sampled_from(get_args(Status)),
    steps=integers,
    monitor=st.text(),
    mode=st.sampled_from(["min", "max", None]),
    quantity=st.text(),
    best=st.none() | st.builds(Observation, integers, st.floats(allow_nan=False, allow_infinity=False)),
    time=st.floats(0, 1e10),
)


@given(records)
def test_a_record_comes_back_whole(record: Record) -> None:
    # By repr, since a NaN is not equal to itself.
    assert repr(codec.decode(codec.encode(record), record.time)) == repr(record)
    assert repr(codec.decode(codec.encode(record).encode(), record.time)) == repr(record)


@given(records)
def test_the_payload_is_strict_json(record: Record) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(codec.encode(record), parse_constant=refuse)


def test_numpy_scalars_come_back_as_plain_numbers() -> None:
    half, nan, three = numpy_scalar("float32", 0.5), numpy_scalar("float32", math.nan), numpy_scalar("int64", 3)
    given_ = dataclasses.replace(CUT, value=nan, rate=half, observation=three, since=three, since_epoch=three)
    record = record_of(three, given_, steps=three, best=Observation(three, half))
    found = codec.decode(codec.encode(record), numpy_scalar("float64", 1.5))
    (decision,) = found.decisions
    assert found.best is not None
    assert repr(decision.value) == "nan"
    for number in (decision.rate, found.best.value, found.time):
        assert type(number) is float
    for number in (decision.observation, decision.since, decision.since_epoch):
        assert type(number) is int
    for number in (found.epoch, found.steps, found.best.epoch):
        assert type(number) is int


def changed(**changes: Any) -> str:
    """A good payload, but for some fields of its one decision."""
    data = json.loads(codec.encode(record_of(3, CUT)))
    data["decisions"][0] |= changes
    return json.dumps(data)


LACKS = object()


def altered(**changes: Any) -> str:
    """A good payload, but for some fields of the record; LACKS takes a field away."""
    data = json.loads(codec.encode(record_of(3, CUT))) | changes
    return json.dumps({name: value for name, value in data.items() if value is not LACKS})


@pytest.mark.parametrize(
    ("foreign", "complaint"),
    [
        ("", "Expecting value"),
        (b"\xff", "codec can't decode"),
        ("[]", "must be a JSON object"),
        ("{}", "no version"),
        (altered(version=99), "version 99"),
        (altered(version=True), "version True"),
        (altered(epoch=LACKS), r"Missing: \['epoch'\]"),
        (altered(status=LACKS, best=LACKS), r"Missing: \['best', 'status'\]"),
        (altered(more=1), r"unknown: \['more'\]"),
        (altered(time=1.0), r"unknown: \['time'\]"),
        (altered(epoch=0.5), "epoch must be an integer"),
        (altered(epoch=True), "epoch must be an integer"),
        (altered(decisions={}), "must be a list"),
        (altered(decisions=[{}]), "Missing: .*'kind'"),
        (altered(decisions=[1]), "decision must be a JSON object"),
        (altered(status="asleep"), "status must be one of"),
        (altered(status=None), "status must be a string"),
        (altered(steps=None), "steps must be an integer"),
        (altered(steps=1.0), "steps must be an integer"),
        (altered(monitor=None), "monitor must be a string"),
        (altered(monitor=["val_loss"]), "monitor must be a string"),
        (altered(mode="auto"), "mode must be one of"),
        (altered(mode=1), "mode must be a string"),
        (altered(quantity={}), "quantity must be a string"),
        (altered(best=0.5), "best must be null or a pair"),
        (altered(best=[1]), "best must be null or a pair"),
        (altered(best=[1, 2, 3]), "best must be null or a pair"),
        (altered(best={"epoch": 1, "value": 2}), "best must be null or a pair"),
        (altered(best=[0.5, 1.0]), "epoch of best must be an integer"),
        (altered(best=[1, None]), "best must be a number"),
        (altered(best=[1, "good"]), "best must be a number"),
        (altered(best=[1, math.inf]), "strict JSON has no Infinity"),
        (changed(more=1), r"unknown: \['more'\]"),
        (changed(kind="explode"), "kind must be one of"),
        (changed(restore="yesterday"), "restore must be one of"),
        (changed(kind=None), "kind must be a string"),
        (changed(reason=[]), "reason must be a string"),
        (changed(rate=None), "rate must be a number"),
        (changed(rate="fast"), "rate must be a number"),
        (changed(rate=True), "rate must be a number"),
        (changed(rate=10**400), "too long"),
        (changed(rate=math.nan), "strict JSON has no NaN"),
        (changed(value=[]), "value must be a number"),
        (changed(observation=1.5), "observation must be an integer"),
        (changed(observation=None), "observation must be an integer"),
        (changed(epoch="3"), "epoch must be an integer"),
        (changed(since=1.5), "since must be an integer"),
        (changed(since_epoch="3"), "since_epoch must be an integer"),
        # What would make the figure fail, or TensorBoard.
        (altered(epoch=10**400), "epoch"),
        (altered(epoch=-1), "epoch"),
        (altered(steps=10**400), "steps"),
        (altered(steps=-1), "steps"),
        (altered(best=[10**400, 1.0]), "best"),
        (altered(best=[1, "nan"]), "best"),
        (altered(loss_before="small"), "loss_before"),
        (altered(loss_before=10**400), "loss_before"),
        (changed(epoch=10**400), "epoch"),
        (changed(since_epoch=10**400), "since_epoch"),
        ("[" * 200_000, "deep"),
        ('{"version":' * 200_000, "deep"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_foreign_payload_is_refused(foreign: str | bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        codec.decode(foreign, 0.0)


def test_the_plugin_content_has_a_version() -> None:
    content = tags.summary_metadata().plugin_data.content
    tags.check_plugin_content(content)
    with pytest.raises(ValueError, match="version 99"):
        tags.check_plugin_content(content.replace(str(codec.VERSION).encode(), b"99"))


# --- the file --------------------------------------------------------------------------------------------------------


def read(run_dir: Path) -> dict[str, list[int]]:
    """The steps of each tag, by the Python loader."""
    accumulator = event_accumulator.EventAccumulator(str(run_dir), size_guidance={event_accumulator.TENSORS: 0})
    accumulator.Reload()
    return {tag: [event.step for event in accumulator.Tensors(tag)] for tag in accumulator.Tags()["tensors"]}


def test_writing_imports_neither_tensorflow_nor_keras(tmp_path: Path) -> None:
    code = """
import sys
class Watch:  # so that the test holds where they are not installed, too
    def find_spec(self, name, path=None, target=None):
        assert name.split(".")[0] not in ("tensorflow", "keras"), name
sys.meta_path.insert(0, Watch())
from keras_lrplateau.rule.decision import Decision
from keras_lrplateau.history.run import Record
from keras_lrplateau.history.event_writer import EventWriter
writer = EventWriter(sys.argv[1], 0)
writer.layout("val_loss", ["learning_rate", "loss", "val_loss"])
writer.hparams({"patience": 3, "mode": "min"})
cut = Decision("cut", "why", 1, 1.0, 1.0, 0.1, 0.01)
writer.record(Record(0, (cut,), "holding", 1, "loss", "min", "learning rate", None, 1.0))
writer.scalars(0, {"loss": 1.0}, 1.0)
writer.close()
print({name.split(".")[0] for name in sys.modules} & {"tensorflow", "keras"})
"""
    done = run_python(code, str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "set()\n"), done.stderr
    assert read(tmp_path)["lr_plateau/loss"] == [0]


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from keras_lrplateau.rule.decision import Decision
from keras_lrplateau.history.run import Record
from keras_lrplateau.history.event_writer import EventWriter
writer = EventWriter(sys.argv[1], 0)
cut = Decision("cut", "why", 1, 1.0, 1.0, 0.1, 0.01)
writer.record(Record(0, (cut,), "holding", 1, "loss", "min", "learning rate", None, 1.0))
writer.scalars(0, {"loss": 1.0}, 1.0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = run_python(code, str(tmp_path / "run"))
    assert done.returncode == -9, done.stderr
    assert read(tmp_path / "run") == {
        "lr_plateau/loss": [0],
        "lr_plateau/decisions": [0],
        "lr_plateau/decision": [0],
    }


def test_a_full_disk_raises_oserror_and_a_new_writer_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("resource", reason="file size limits are a matter of POSIX")
    code = """
import resource, sys
from keras_lrplateau.history.event_writer import EventWriter
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
writer, step = EventWriter(sys.argv[1], 0), 0
try:
    while True:
        writer.scalars(step, {"loss": 1.0}, 1.0)
        step += 1
except OSError:
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
try:
    writer.scalars(step, {"loss": 1.0}, 1.0)  # after half a record, it would be lost
except OSError as error:
    assert "closed" in str(error)
else:
    raise AssertionError("the failed file was written to")
writer.close()
again = EventWriter(sys.argv[1], step)
for later in range(step, step + 3):
    again.scalars(later, {"loss": 1.0}, 1.0)
again.close()
print(step, writer.path.stat().st_size)
"""
    done = run_python(code, str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    failed_at, size = map(int, done.stdout.split())
    assert failed_at > 1
    assert size == 1000, "the record was not cut in two"
    assert read(tmp_path / "run")["lr_plateau/loss"] == list(range(failed_at + 3))


def test_a_directory_that_cannot_be_made_raises_oserror(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        EventWriter(tmp_path / "file" / "run", 0)


def test_a_closed_writer_says_so(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path, 0)
    writer.close()
    writer.close()
    with pytest.raises(OSError, match="closed"):
        writer.scalars(0, {"loss": 1.0}, 1.0)


def test_a_new_file_sorts_after_the_earlier_ones(tmp_path: Path) -> None:
    # Many within a second, and one from a machine whose clock is ahead: TensorBoard reads them in order of names.
    paths = []
    for step in range(12):
        writer = EventWriter(tmp_path, step)
        writer.scalars(step, {"loss": 1.0}, 1.0)
        writer.close()
        paths.append(writer.path)
        if step == 5:
            ahead = f"events.out.tfevents.{int(time.time()) + 9000}.host.1.0"
            paths[-1] = writer.path.rename(tmp_path / ahead)
    assert paths == sorted(paths)
    assert read(tmp_path)["lr_plateau/loss"] == list(range(12))


@pytest.mark.parametrize(
    ("monitor", "tags", "charts"),
    [
        ("val_loss", ["loss", "val_loss", "learning_rate"], ["learning rate", "loss", BOTH]),
        ("loss", ["loss"], ["loss"]),
        ("val_a.b+c", ["learning_rate_adam", "val_a.b+c"], ["learning rate", "a.b+c"]),
    ],
)
def test_the_layout_has_only_charts_with_something_to_draw(
    tmp_path: Path, monitor: str, tags: list[str], charts: list[str]
) -> None:
    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

    writer = EventWriter(tmp_path, 0)
    writer.layout(monitor, tags)
    writer.close()
    accumulator = event_accumulator.EventAccumulator(str(tmp_path))
    accumulator.Reload()
    (event,) = accumulator.Tensors("custom_scalars__config__")
    layout = Layout.FromString(event.tensor_proto.string_val[0])
    assert [chart.title for chart in layout.category[0].chart] == charts
    patterns = [pattern for chart in layout.category[0].chart for pattern in chart.multiline.tag]
    for tag in tags:
        shown = [bool(re.match(pattern, f"lr_plateau/{tag}")) for pattern in patterns].count(True)
        assert shown == (2 if BOTH in charts and "loss" in tag else 1)
        assert not any(re.match(pattern, f"lr_plateau/{tag}x") for pattern in patterns)
    assert not any(re.match(pattern, "lr_plateau/val_aXb+c") for pattern in patterns)


def test_hyperparameters_of_a_wrong_type_are_refused(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path, 0)
    with pytest.raises(TypeError, match="max_lr"):
        writer.hparams({"max_lr": None})  # type: ignore[dict-item]  # the mistake under test
    writer.close()


def test_the_trial_id_is_that_of_the_directory(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams import metadata as hparams_metadata

    def trial(run_dir: Path) -> str:
        writer = EventWriter(run_dir, 0)
        writer.hparams({"patience": 3})
        writer.close()
        accumulator = event_accumulator.EventAccumulator(str(run_dir))
        accumulator.Reload()
        content = accumulator.SummaryMetadata(hparams_metadata.SESSION_START_INFO_TAG).plugin_data.content
        return str(hparams_metadata.parse_session_start_info_plugin_data(content).group_name)

    first, other = trial(tmp_path / "a" / "lr_plateau"), trial(tmp_path / "b" / "lr_plateau")
    assert first != other, "TensorBoard would average over both"
    assert trial(tmp_path / "a" / "lr_plateau") == first


def written_text(run_dir: Path, decision: Decision) -> str:
    """Return the text that a writer makes of a decision for the Text tab."""
    writer = EventWriter(run_dir, 0)
    writer.record(record_of(6, decision))
    writer.close()
    ((_, value),) = read_values(run_dir, "text")
    return str(value.tensor.string_val[0].decode())


def texts(run_dir: Path) -> dict[int, str]:
    """Return the Text tab's text for each epoch, from the Python loader."""
    accumulator = event_accumulator.EventAccumulator(str(run_dir), size_guidance={event_accumulator.TENSORS: 0})
    accumulator.Reload()
    if writer_module.TEXT_TAG not in accumulator.Tags()["tensors"]:
        return {}
    events = accumulator.Tensors(writer_module.TEXT_TAG)
    return {event.step: event.tensor_proto.string_val[0].decode() for event in events}


def test_a_record_without_decisions_says_nothing_in_the_text_tab(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path, 0)
    assert not writer.resumes
    writer.record(record_of(0))
    writer.record(record_of(3, status="exhausted"))
    writer.close()
    assert read(tmp_path)["lr_plateau/decisions"] == [0, 3]
    assert texts(tmp_path) == {}


def test_only_the_first_epoch_after_a_resume_is_marked_as_such_each_time_it_is_written(tmp_path: Path) -> None:
    EventWriter(tmp_path, 0).close()
    writer = EventWriter(tmp_path, 5)
    assert writer.resumes
    for record in (record_of(5), record_of(5, CUT), record_of(6, CUT)):
        writer.record(record)
    writer.close()
    cut = written_text(tmp_path / "not resumed", CUT)
    assert texts(tmp_path) == {5: f"**resumed** in epoch 6\n\n{cut.replace('epoch 7', 'epoch 6')}", 6: cut}


def test_names_that_are_no_utf8_are_written_with_question_marks(tmp_path: Path) -> None:
    run_dir = tmp_path / "l\udcf6gs"
    writer = EventWriter(run_dir, 0)
    writer.layout("m\ud800", ["learning_rate", "m\ud800"])
    writer.hparams({"log_dir": str(run_dir), "patience": 3})
    writer.scalars(0, {"m\ud800": 1.0}, 1.0)
    writer.record(Record(0, (CUT,), "holding", 1, "m\ud800", "min", "learning rate", None, 1.0))
    writer.close()
    run_dir.rename(tmp_path / "logs")  # TensorBoard cannot look there otherwise.
    assert read(tmp_path / "logs")["lr_plateau/m?"] == [0]
