"""The tab in a real TensorBoard, in both of its loading modes, and in a real browser."""

import contextlib
import functools
import json
import re
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import make_record, only
from real_tensorboard import eventually, tensorboard

from keras_lrplateau.history.event_writer import EventWriter
from keras_lrplateau.rule.decision import Decision
from keras_lrplateau.views.colors import COLORS

EPOCHS = 300
"""With a decision at every second one: TensorBoard would keep 100 of them by itself, or 10."""

START = 1.7e9
"""Wall time of the first epoch, in seconds since 1970."""

long = pytest.mark.long

MODES = {
    "load_fast": ["--load_fast=true"],
    "load_slow": ["--load_fast=false"],
    "below a prefix": ["--load_fast=true", "--path_prefix=/a/prefix"],
}
"""Ways in which TensorBoard can be started, each with its flags."""

HOSTILE = "<img src=x onerror=document.title='hacked'>"


def cut(epoch: int, reason: str = "no improvement on 0.5 in 2 observations") -> Decision:
    return Decision("cut", reason, epoch + 1, 0.6, 0.5, 0.2, 0.1, since=epoch, epoch=epoch, since_epoch=epoch - 1)


def write(
    run_dir: Path, epochs: range, decided: dict[int, Decision], level: float = 0.0, **arguments: float | str
) -> None:
    """A training whose metric comes down to a level, and stays there."""
    writer = EventWriter(run_dir, epochs.start)
    if arguments:
        writer.hparams(arguments)
    for epoch in epochs:
        if epoch in decided:
            writer.record(make_record(epoch, decided[epoch], start=START))
        elif epoch == epochs.start:
            writer.record(make_record(epoch, start=START))
        numbers = {"loss": 1 / (epoch + 1), "val_loss": max(2 / (epoch + 1), level), "learning_rate": 0.1}
        writer.scalars(epoch, numbers, START + epoch)
    writer.close()


@pytest.fixture(scope="module")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    logdir = tmp_path_factory.mktemp("logs")
    write(logdir / "long" / "lr_plateau", range(EPOCHS), {epoch: cut(epoch) for epoch in range(1, EPOCHS, 2)})
    write(logdir / "resumed" / "lr_plateau", range(12), {2: cut(2), 10: cut(10)})
    write(logdir / "resumed" / "lr_plateau", range(5, 8), {6: cut(6)})
    write(logdir / "short" / "lr_plateau", range(20), {8: cut(8, f"{HOSTILE} </script> & so on")})
    write(logdir / "short" / "lr_plateau_2", range(20), {12: cut(12)})
    write(logdir / HOSTILE / "lr_plateau", range(4), {2: cut(2)})
    write(logdir / "live" / "lr_plateau", range(10), {5: cut(5)})
    arguments = {"monitor": "val_loss", "patience": 4, "factor": 0.5, "log_dir": HOSTILE}
    write(logdir / "flat" / "lr_plateau", range(16), {7: cut(7)}, level=0.5, **arguments)
    return logdir


@pytest.fixture(scope="module")
def address_of(logdir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The address of a TensorBoard in one of `MODES`, which the first call for that mode starts."""
    output = tmp_path_factory.mktemp("output")
    with contextlib.ExitStack() as running:

        @functools.cache
        def address_of(mode: str) -> str:
            url = running.enter_context(tensorboard(logdir, output / mode, *MODES[mode]))()
            eventually(lambda: is_loaded(url))
            return str(url)

        yield address_of


@pytest.fixture(params=only(["load_fast"], MODES))
def server(request: pytest.FixtureRequest, address_of: Callable[[str], str]) -> str:
    return address_of(request.param)


def get(url: str, path: str, **arguments: str) -> Any:
    with urllib.request.urlopen(
        f"{url}/data/plugin/lr_plateau/{path}?{urllib.parse.urlencode(arguments)}", timeout=60
    ) as got:
        return json.load(got)


def is_loaded(url: str) -> bool:
    """Whether all runs have their last epoch, or, the one that tests add to, any."""
    summaries = {run["name"]: run["summary"] for run in get(url, "runs")["runs"]}
    epochs = {name: summary["epochs"] for name, summary in summaries.items() if summary}
    return bool(epochs.pop("live/lr_plateau", 0)) and sorted(epochs.values()) == [4, 8, 16, 20, 20, EPOCHS]


def test_all_decisions_survive_tensorboards_sampling(server: str) -> None:
    (run,) = get(server, "figure", run="long/lr_plateau")["runs"]
    assert [row["epoch"] for row in run["rows"]] == list(range(2, EPOCHS + 1, 2))


def test_a_resumed_training_is_one_clean_line(server: str) -> None:
    answer = get(server, "figure", run="resumed/lr_plateau")
    (run,) = answer["runs"]
    assert [row["epoch"] for row in run["rows"]] == [3, 7], "what the interrupted training decided later is void"
    (loss,) = (trace for trace in answer["figure"]["data"] if trace["name"] == "loss")
    assert loss["x"] == list(range(1, 9))


def test_what_if_begins_with_the_settings_of_the_training(server: str) -> None:
    found = get(server, "whatif", run="flat/lr_plateau")
    assert (found["settings"]["patience"], found["settings"]["factor"]) == (4, 0.5)
    # The metric stays at 0.5 from the fourth epoch on.
    assert [row["epoch"] for row in found["runs"][1]["rows"]] == [8, 12, 16]
    assert "not in its logs" in get(server, "whatif", run="short/lr_plateau")["caveat"]


def test_the_tab_is_listed(server: str) -> None:
    with urllib.request.urlopen(f"{server}/data/plugins_listing", timeout=60) as got:
        listed = json.load(got)["lr_plateau"]
    assert listed["enabled"]
    assert listed["loading_mechanism"]["module_path"].endswith("/data/plugin/lr_plateau/index.js")


# --- in a browser ----------------------------------------------------------------------------------------------------

FIGURE = "document.querySelector('#figure')"

BROKEN = "() => addEventListener('securitypolicyviolation', event => console.error('CSP ' + event.blockedURI))"


@pytest.fixture
def open_tab(browser: Any, address_of: Callable[[str], str]) -> Iterator[Any]:
    """Open the tab by a link; returns TensorBoard's page and the tab's frame. Afterwards: nothing went wrong in it."""
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    wrong: list[str] = []

    def opened(link: str = "", *, mode: str = "load_fast", query: str = "", expected: str = "#figure .main-svg") -> Any:
        page = context.new_page()
        page.add_init_script(f"({BROKEN})()")
        page.on(
            "console", lambda message: message.type == "error" and wrong.append(f"{message.text} {message.location}")
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.goto(f"{address_of(mode)}/{query}#lr_plateau{link}")
        frame = page.wait_for_selector("iframe[src*='name=lr_plateau']").content_frame()
        frame.wait_for_selector(expected)
        frame.wait_for_selector("#main[aria-busy=false]")
        return page, frame

    yield opened
    context.close()
    assert wrong == []


def link(*runs: str) -> str:
    """As the page writes it."""
    if len(runs) == 1:
        return f"&p.lr_plateau.run={urllib.parse.quote(runs[0], safe='')}"
    return f"&p.lr_plateau.runs={urllib.parse.quote(json.dumps(runs), safe='')}"


def trace_names(frame: Any) -> list[str]:
    return list(frame.evaluate(f"{FIGURE}.data.map(trace => trace.name)"))


def hover(page: Any, frame: Any, kind: str, yaxis: str = "y2") -> str:
    """Put the pointer on the first mark of a kind; returns what is shown."""
    place = frame.evaluate(
        """([kind, yaxis]) => {
            const figure = document.querySelector('#figure');
            const trace = figure._fullData.find(({name, yaxis: axis, mode}) =>
                mode === 'markers' && name === kind && axis === yaxis);
            const {xaxis, [yaxis.replace('y', 'yaxis')]: yAxis} = figure._fullLayout;
            const box = figure.querySelector('.nsewdrag').closest('svg').getBoundingClientRect();
            return [box.x + xaxis._offset + xaxis.d2p(trace.x[0]), box.y + yAxis._offset + yAxis.d2p(trace.y[0])];
        }""",
        [kind, yaxis],
    )
    outer = page.query_selector("iframe[src*='name=lr_plateau']").bounding_box()
    page.mouse.move(outer["x"] + place[0] - 3, outer["y"] + place[1] - 3)
    page.mouse.move(outer["x"] + place[0], outer["y"] + place[1])
    return str(frame.wait_for_selector(".hoverlayer .hovertext").text_content())


def test_the_tab_draws_the_run_and_its_marks_say_why(open_tab: Any) -> None:
    page, frame = open_tab(link("long/lr_plateau"))
    assert {"val_loss (monitor)", "loss", "learning rate", "cut"} <= set(trace_names(frame))
    assert frame.locator("#decisions tbody tr").count() == EPOCHS // 2
    assert "no improvement on 0.5 in 2 observations" in hover(page, frame, "cut")
    assert "no improvement on 0.5 in 2 observations" in hover(page, frame, "cut", "y")
    summary = frame.locator(".summary").text_content()
    counts = f"cut \N{MULTIPLICATION SIGN}{EPOCHS // 2}"
    for text in ("long/lr_plateau", "holding", "0.00666667", "3,000 optimizer steps", counts):
        assert text in summary


@pytest.mark.long
def test_the_tab_works_below_a_path_prefix_too(browser: Any, address_of: Callable[[str], str]) -> None:
    page = browser.new_page()
    wrong: list[str] = []
    # TensorBoard itself does not find its fonts there.
    is_wrong = lambda message: message.type == "error" and ".woff" not in message.location["url"]  # noqa: E731
    page.on("console", lambda message: is_wrong(message) and wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.add_init_script(f"({BROKEN})()")
    page.goto(f"{address_of('below a prefix')}/#lr_plateau{link('short/lr_plateau')}")
    frame = page.wait_for_selector("iframe[src*='name=lr_plateau']").content_frame()
    frame.wait_for_selector("#figure .main-svg")
    assert "cut" in trace_names(frame)
    assert wrong == []
    page.close()


@long
def test_a_log_dir_without_our_data_says_what_to_do(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    with tensorboard(tmp_path / "logs", tmp_path / "output", "--load_fast=true") as address:
        page = browser.new_page()
        page.goto(f"{address()}/#lr_plateau")
        frame = page.wait_for_selector("iframe[src*='name=lr_plateau']").content_frame()
        frame.wait_for_selector("#message:has-text('AdaptLROnPlateau(log_dir=')")
        page.close()


@pytest.mark.long
def test_without_a_link_the_newest_run_is_shown(open_tab: Any) -> None:
    _, frame = open_tab()
    assert frame.locator(".run button[aria-pressed=true]").count() == 1
    assert frame.locator(".summary").get_attribute("data-run") == "long/lr_plateau", "its last epoch is the latest"


@pytest.mark.long
def test_the_filter_leaves_matching_runs(open_tab: Any) -> None:
    _, frame = open_tab(link("short/lr_plateau"))
    assert frame.locator(".run").count() == 7
    for text, count in (("short", 2), ("SHORT.*_2$", 1), ("(", 0), ("img src=x", 1), ("", 7)):
        frame.fill("#filter", text)
        assert frame.locator(".run:visible").count() == count, text
    assert frame.locator("#figure .main-svg").first.is_visible()


@pytest.mark.long
def test_several_runs_are_compared(open_tab: Any) -> None:
    _, frame = open_tab(link("short/lr_plateau"))
    frame.check(".run[data-run='short/lr_plateau_2'] input")
    frame.wait_for_selector(".summary[data-run='short/lr_plateau_2']")
    frame.check(".run[data-run='resumed/lr_plateau'] input")
    frame.wait_for_selector(".summary[data-run='resumed/lr_plateau']")
    assert frame.locator(".summary").count() == 3
    runs = frame.locator("#decisions tbody tr").evaluate_all("rows => rows.map(row => row.dataset.run)")
    assert set(runs) == {"short/lr_plateau", "short/lr_plateau_2", "resumed/lr_plateau"}
    assert {"short · val_loss", "short/lr_plateau_2 · val_loss", "resumed · val_loss"} <= set(trace_names(frame))
    frame.uncheck(".run[data-run='short/lr_plateau'] input")
    frame.wait_for_selector(".summary[data-run='short/lr_plateau']", state="detached")
    frame.click(".run[data-run='short/lr_plateau'] button")
    frame.wait_for_selector("h1:has-text('short/lr_plateau')")
    assert frame.locator(".summary").count() == 1


@pytest.mark.long
def test_a_click_on_a_decision_zooms_to_it_and_again_back(open_tab: Any) -> None:
    _, frame = open_tab(link("long/lr_plateau"))
    whole = frame.evaluate(f"{FIGURE}.layout.xaxis.range")
    frame.click("#decisions tr[data-epoch='100']")
    frame.wait_for_selector("#reset:visible")
    low, high = frame.evaluate(f"{FIGURE}.layout.xaxis.range")
    assert low < 98 < 100 < high < 120
    frame.click("#reset")
    frame.wait_for_selector("#reset", state="hidden")
    assert frame.evaluate(f"{FIGURE}.layout.xaxis.range") == pytest.approx(whole)


@long
def test_the_zoom_survives_what_a_running_training_adds(open_tab: Any, logdir: Path) -> None:
    _, frame = open_tab(link("live/lr_plateau"))
    frame.evaluate(f"Plotly.relayout({FIGURE}, {{'xaxis.range': [2, 7]}})")
    write(logdir / "live" / "lr_plateau", range(10, 14), {13: cut(13, "a later one")})
    frame.wait_for_selector("#decisions tr[data-epoch='14']:has-text('a later one')", timeout=60_000)
    assert frame.evaluate(f"{FIGURE}.data.find(trace => trace.name === 'loss').x.length") == 14
    assert frame.evaluate(f"{FIGURE}.layout.xaxis.range") == [2, 7]


@long
def test_dark_mode_is_that_of_tensorboard(open_tab: Any) -> None:
    page, frame = open_tab(link("short/lr_plateau"))
    light = frame.evaluate("getComputedStyle(document.body).backgroundColor")
    assert frame.evaluate(f"{FIGURE}.layout.paper_bgcolor") == "#ffffff"
    page.click("app-header-dark-mode-toggle button")
    page.click("button:has-text('Dark')")
    frame.wait_for_function(f"{FIGURE}.layout.paper_bgcolor === '#303030'")
    assert frame.evaluate("getComputedStyle(document.body).backgroundColor") != light
    _, frame = open_tab(link("short/lr_plateau"), query="?darkMode=true")
    assert frame.evaluate(f"{FIGURE}.layout.paper_bgcolor") == "#303030"


@long
def test_the_axis_and_the_scale_can_be_chosen_and_are_in_the_address(open_tab: Any) -> None:
    page, frame = open_tab(link("long/lr_plateau"))
    frame.click("#axis label:has([value=step])")
    frame.wait_for_function(f"{FIGURE}.layout.xaxis.title.text === 'optimizer steps'")
    frame.click("#scale label:has([value=linear])")
    frame.wait_for_function(f"{FIGURE}.layout.yaxis.type === 'linear'")
    page.reload()
    frame = page.wait_for_selector("iframe[src*='name=lr_plateau']").content_frame()
    frame.wait_for_selector("#figure .main-svg")
    assert frame.locator(".summary").get_attribute("data-run") == "long/lr_plateau"
    assert frame.evaluate(f"{FIGURE}.layout.xaxis.title.text") == "optimizer steps"
    assert frame.evaluate(f"{FIGURE}.layout.yaxis.type") == "linear"


@long
def test_a_link_to_several_runs_and_to_one_that_is_not_there(open_tab: Any) -> None:
    _, frame = open_tab(link("short/lr_plateau_2", "resumed/lr_plateau"))
    assert frame.locator(".summary").count() == 2
    _, frame = open_tab(link("not/yet"), expected="#message:visible")
    assert "not/yet" in frame.locator("#message").text_content()
    frame.click(".run[data-run='short/lr_plateau'] button")
    frame.wait_for_selector("#figure .main-svg")


def test_hostile_names_and_reasons_are_texts(open_tab: Any) -> None:
    page, frame = open_tab(link(f"{HOSTILE}/lr_plateau", "short/lr_plateau"))
    assert frame.locator(".summary").filter(has_text=HOSTILE).count() == 1
    assert frame.locator("td.reason").filter(has_text=f"{HOSTILE} </script> & so on").count() == 1
    assert HOSTILE in hover(page, frame, "cut")
    assert frame.locator("img").count() == 0
    assert (page.title(), frame.title()) == ("TensorBoard", "LR Plateau")


@pytest.mark.parametrize(
    ("path", "status", "answer", "shown"),
    [
        ("runs", 200, {"runs": [], "message": "nothing here; do this"}, "nothing here; do this"),
        pytest.param("runs", 501, {"error": "no data provider"}, "no data provider", marks=long),
        pytest.param("figure", 400, {"error": "a bad request"}, "a bad request", marks=long),
        pytest.param("plotly.min.js", 404, {"error": "pip install plotly"}, "pip install plotly", marks=long),
    ],
)
def test_trouble_is_told_and_the_page_is_not_blank(
    browser: Any, address_of: Callable[[str], str], path: str, status: int, answer: dict[str, Any], shown: str
) -> None:
    page = browser.new_page()
    page.route(
        re.compile(rf"/lr_plateau/{re.escape(path)}(\?|$)"),
        lambda route: route.fulfill(status=status, content_type="application/json", body=json.dumps(answer)),
    )
    page.goto(f"{address_of('load_fast')}/#lr_plateau{link('short/lr_plateau')}")
    frame = page.wait_for_selector("iframe[src*='name=lr_plateau']").content_frame()
    frame.wait_for_selector(f":visible:text('{shown}')")
    page.close()


# --- what if ---------------------------------------------------------------------------------------------------------

WHAT_IF = "document.querySelector('#whatif-figure')"


def open_what_if(frame: Any) -> None:
    frame.click("#whatif summary")
    frame.wait_for_selector("#whatif-figure .main-svg")
    frame.wait_for_selector("#whatif[aria-busy=false]")


def compared(frame: Any) -> list[list[str]]:
    """The table of the panel: epoch, as trained, what if."""
    rows = frame.locator(".compared tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].slice(0, 3).map(cell => cell.textContent.trim()))"
    )
    return [list(row) for row in rows]


def marks(frame: Any, color: str) -> list[float]:
    """Where the panel's figure has decisions of a color, on the rate."""
    return list(
        frame.evaluate(
            f"color => {WHAT_IF}.data.filter(({{mode, yaxis, marker}}) =>"
            " mode === 'markers' && yaxis === 'y2' && marker.color === color).flatMap(trace => trace.x)",
            color,
        )
    )


REAL, REPLAYED = COLORS[:2]

NOTHING = "\N{EN DASH}"


def test_what_if_shows_where_another_patience_would_have_decided(open_tab: Any) -> None:
    _, frame = open_tab(link("flat/lr_plateau"))
    assert not frame.locator("#whatif form").is_visible()
    open_what_if(frame)
    assert frame.input_value("#whatif [name=patience]") == "4"
    assert frame.locator("#whatif .changed").count() == 0
    assert marks(frame, REAL) == [8]
    assert marks(frame, REPLAYED) == [8, 12, 16]

    frame.fill("#whatif [name=patience]", "6")
    frame.wait_for_selector("#whatif code:has-text('patience=6')")
    frame.wait_for_selector("#whatif[aria-busy=false]")
    assert marks(frame, REAL) == [8]
    assert marks(frame, REPLAYED) == [10, 16]
    assert [row[0] for row in compared(frame)] == ["8", "10", "16"]
    assert compared(frame)[0][1:] == ["cut 0.2 → 0.1", NOTHING]
    assert compared(frame)[1][1:] == [NOTHING, "cut 0.2 → 0.1"]
    assert "After epoch 8 the training would have gone another way" in frame.locator(".caveat").text_content()
    assert frame.locator(".compared .unknown").count() == 2
    assert frame.locator("#whatif .changed").all_text_contents() == ["patience"]

    frame.click("#whatif button:text('Reset')")
    frame.wait_for_function("document.querySelector('#whatif [name=patience]').value === '4'")
    frame.wait_for_selector("#whatif[aria-busy=false]")
    assert marks(frame, REPLAYED) == [8, 12, 16]
    assert frame.evaluate("[...document.querySelectorAll('img')].length") == 0, "the log dir is a text"


@long
def test_what_if_works_by_keyboard_alone(open_tab: Any) -> None:
    page, frame = open_tab(link("flat/lr_plateau"))
    frame.focus("#whatif summary")
    page.keyboard.press("Enter")
    frame.wait_for_selector("#whatif-figure .main-svg")
    page.keyboard.press("Tab")  # The rule: the arrows choose it.
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowUp")
    frame.wait_for_selector("#whatif code:has-text('factor=0.6')")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowUp")
    frame.wait_for_selector("#whatif code:has-text('patience=5')")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowRight")
    frame.wait_for_selector("#whatif code:has-text('AdaptLROnPlateau.auto(')")
    names = frame.evaluate(
        "[...document.querySelectorAll('#whatif input[type=number]')].map(input => input.labels[0].textContent)"
    )
    assert names == ["min_lr", "max_lr", "budget"]


@pytest.mark.long
def test_what_if_auto_mode_has_settings_of_its_own(open_tab: Any) -> None:
    _, frame = open_tab(link("flat/lr_plateau"))
    open_what_if(frame)
    frame.click("#whatif label:has([name=rule][value=auto])")
    frame.wait_for_selector("#whatif [name=budget]:visible")
    frame.wait_for_selector("#whatif[aria-busy=false]")
    assert frame.locator("#whatif [name=patience]").count() == 0
    assert "search" in frame.locator(".compared thead").text_content()
    assert "the search finds here means nothing" in frame.locator(".caveat").text_content()


@long
def test_what_if_says_what_is_wrong_and_goes_on(browser: Any, address_of: Callable[[str], str]) -> None:
    # Not by `open_tab`: the browser writes each refused request to its console.
    page = browser.new_page()
    page.goto(f"{address_of('load_fast')}/#lr_plateau{link('flat/lr_plateau')}")
    frame = page.wait_for_selector("iframe[src*='name=lr_plateau']").content_frame()
    frame.wait_for_selector("#figure .main-svg")
    open_what_if(frame)
    before = compared(frame)
    frame.fill("#whatif [name=factor]", "1.5")
    frame.wait_for_selector("#whatif .error:text('factor must be a number between 0 and 1')")
    assert frame.get_attribute("#whatif [name=factor]", "aria-invalid") == "true"
    assert compared(frame) == before, "what was there stays"
    assert frame.locator("#whatif-figure .main-svg").first.is_visible()
    frame.fill("#whatif [name=factor]", "0.25")
    frame.wait_for_selector("#whatif .error", state="hidden")
    assert frame.get_attribute("#whatif [name=factor]", "aria-invalid") == "false"
    assert compared(frame)[1] == ["12", NOTHING, "cut 0.05 → 0.0125"]
    frame.focus("#whatif [name=factor]")
    page.keyboard.press("End")
    page.keyboard.type("e")
    frame.wait_for_selector("#whatif .error:text('factor:')")
    frame.click("#whatif button:text('Reset')")
    frame.wait_for_selector("#whatif .error", state="hidden")
    assert frame.input_value("#whatif [name=factor]") == "0.5"
    assert compared(frame) == before
    page.close()


@long
def test_what_if_gives_the_call_to_copy(open_tab: Any) -> None:
    page, frame = open_tab(link("flat/lr_plateau"))
    open_what_if(frame)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    frame.fill("#whatif [name=patience]", "7")
    frame.wait_for_selector("#whatif code:has-text('patience=7')")
    frame.click("#whatif button:text('Copy call')")
    frame.wait_for_selector("#whatif button:text('Copied')")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f'AdaptLROnPlateau("val_loss", factor=0.5, patience=7, log_dir="{HOSTILE}")'

    frame.fill("#whatif [name=patience]", "9")
    frame.wait_for_selector("#whatif code:has-text('patience=9')")
    frame.wait_for_selector("#whatif button:text('Copy call')")
    frame.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('not without https')) }")
    frame.click("#whatif button:text('Copy call')")
    frame.wait_for_selector("#whatif button:text('Copied')")
    assert page.evaluate("navigator.clipboard.readText()") == copied.replace("patience=7", "patience=9")
    assert frame.evaluate("document.activeElement.textContent") == "Copied", "the focus is where it was"


@long
def test_what_if_is_in_the_link_and_follows_the_choice_of_run_and_theme(open_tab: Any) -> None:
    page, frame = open_tab(link("flat/lr_plateau"))
    open_what_if(frame)
    frame.fill("#whatif [name=patience]", "6")
    frame.wait_for_selector("#whatif code:has-text('patience=6')")
    page.wait_for_function('decodeURIComponent(location.hash).includes(\'whatif={"patience":"6"}\')')
    page.reload()
    frame = page.wait_for_selector("iframe[src*='name=lr_plateau']").content_frame()
    frame.wait_for_selector("#whatif code:has-text('patience=6')")
    assert frame.input_value("#whatif [name=patience]") == "6"
    assert frame.input_value("#whatif [name=factor]") == "0.5"

    page.click("app-header-dark-mode-toggle button")
    page.click("button:has-text('Dark')")
    frame.wait_for_function(f"{WHAT_IF}.layout?.paper_bgcolor === '#303030'")
    frame.click(".run[data-run='short/lr_plateau'] button")
    frame.wait_for_selector(".caveat:has-text('not in its logs')")
    assert frame.input_value("#whatif [name=factor]") == "0.1", "its own"
    frame.check(".run[data-run='flat/lr_plateau'] input")
    frame.wait_for_selector("#whatif", state="hidden")


@long
def test_what_if_sees_what_a_running_training_adds(open_tab: Any, logdir: Path) -> None:
    _, frame = open_tab(link("live/lr_plateau"))
    open_what_if(frame)
    epochs = f"Math.max(...{WHAT_IF}.data[0].x)"
    before = frame.evaluate(epochs)
    write(logdir / "live" / "lr_plateau", range(int(before), int(before) + 3), {})
    frame.wait_for_function(f"{epochs} === {before + 3}", timeout=60_000)
