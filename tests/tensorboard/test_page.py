"""The page of the tab with many runs, in a browser, on the plugin's own answers; TensorBoard itself is not needed."""

import csv
import io
import json
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import make_decision, make_record
from test_plugin import client, get

from keras_lrplateau.history.event_writer import EventWriter
from keras_lrplateau.history.run import Observation
from keras_lrplateau.views.colors import COLORS

FACTORS, SEEDS = (0.1, 0.2, 0.5), range(8)

EPOCHS = 4

ADDRESS = "http://tab.test/"

PAGE = """<!doctype html><html><head><title>TensorBoard</title></head><body class="{theme}">
<script type="module">import {{ render }} from "./index.js"; render();</script></body></html>"""


def name_of(factor: float, seed: int) -> str:
    return f"sweep/net_f{factor}_s{seed}/lr_plateau"


def level(factor: float, seed: int) -> float:
    """The best val_loss of a run: the lower the factor, the better, and the higher the seed."""
    return factor + (10 - seed) / 100


NAMES = [name_of(factor, seed) for factor in FACTORS for seed in SEEDS]


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A sweep of 24 runs; the first one has ended, and its last value is of weights that were taken back."""
    logdir = tmp_path_factory.mktemp("logs")
    for factor in FACTORS:
        for seed in SEEDS:
            writer = EventWriter(logdir / name_of(factor, seed), 0)
            # What differs, what is the same everywhere, and a text that is another one in each run.
            writer.hparams({"factor": factor, "monitor": "val_loss", "note": f'=HYPERLINK("{seed}, {factor}")'})
            decisions = [make_decision("cut", EPOCHS - 2, 0.1, 0.1 * factor, since_epoch=0)]
            is_first = (factor, seed) == (FACTORS[0], 0)
            if is_first:
                decisions.append(make_decision("rollback", EPOCHS - 1, 0.1, 0.05, restore="best"))
            for epoch in range(EPOCHS):
                decided = [each for each in decisions if each.epoch == epoch]
                if decided or epoch in (0, EPOCHS - 1):
                    record = make_record(epoch, *decided, start=1.7e9 + seed)
                    is_over = is_first and epoch == EPOCHS - 1
                    best = Observation(EPOCHS - 1, level(factor, seed))
                    writer.record(replace(record, best=best, is_over=is_over))
                value = level(factor, seed) + (EPOCHS - 1 - epoch) / 10
                numbers = {"loss": value, "val_loss": value, "learning_rate": 0.1}
                writer.scalars(epoch, numbers, 1.7e9 + seed + epoch)
            writer.close()
    return client(logdir)


@pytest.fixture
def open_page(browser: Any, tab: Any) -> Iterator[Callable[..., Any]]:
    """Open the page by a link. Afterwards: nothing went wrong in it."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    wrong: list[str] = []

    def answer(route: Any) -> None:
        url = urllib.parse.urlsplit(route.request.url)
        if url.path == "/":
            theme = "dark-mode" if "dark" in url.query else ""
            route.fulfill(content_type="text/html", body=PAGE.format(theme=theme))
            return
        found = get(tab, url.path[1:], **urllib.parse.parse_qs(url.query))
        route.fulfill(status=found.status_code, headers=dict(found.headers), body=found.data)

    def opened(link: str = "", *, query: str = "") -> Any:
        page = context.new_page()
        page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.route(f"{ADDRESS}**", answer)
        page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        page.goto(f"{ADDRESS}{query}#lr_plateau{link}")
        settle(page)
        return page

    yield opened
    context.close()
    assert wrong == []


def settle(page: Any) -> None:
    page.wait_for_selector("#figure .main-svg")
    page.wait_for_selector("#main[aria-busy=false]")


def make_wide(page: Any, width: int) -> None:
    """Make the window this wide, and wait until the figure is, too."""
    page.set_viewport_size({"width": width, "height": 800})
    page.wait_for_function(
        "() => Math.abs(document.querySelector('#figure').clientWidth"
        " - document.querySelector('#figure .main-svg').clientWidth) < 2"
    )


def linked(*runs: str, **others: str) -> str:
    return "".join(
        f"&p.lr_plateau.{key}={urllib.parse.quote(text, safe='')}"
        for key, text in {"runs": json.dumps(runs), **others}.items()
    )


def texts(page: Any, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_text_contents()]


# --- the list --------------------------------------------------------------------------------------------------------


def test_the_list_has_a_line_for_each_run_with_what_distinguishes_its_name(open_page: Any) -> None:
    page = open_page(linked(NAMES[0]))
    assert texts(page, "#list .name") == [f"f{factor}_s{seed}" for factor in FACTORS for seed in SEEDS]
    assert page.locator("#list button").first.get_attribute("title") == NAMES[0]
    assert page.locator("#prefix").text_content() == "sweep/net_…"
    assert len({round(box["height"]) for box in map(lambda row: row.bounding_box(), page.locator(".run").all())}) == 1
    assert page.locator(".run").first.bounding_box()["height"] < 30
    assert page.locator("#head #best").text_content() == "Best val_loss"
    assert texts(page, "#list .best")[:2] == ["0.2", "0.19"]
    assert texts(page, "#list .badge")[:2] == ["finished", "holding"]
    assert "of weights that were rolled back" in page.locator(".summary").text_content()


def test_the_list_is_ordered_and_grouped_and_the_groups_have_colors(open_page: Any) -> None:
    page = open_page(linked(*NAMES[6:10]))
    page.select_option("#order select", "best")
    assert texts(page, "#list .name")[:2] == ["f0.1_s7", "f0.1_s6"]
    page.select_option("#order select", "time")
    assert texts(page, "#list .name")[:2] == ["f0.1_s7", "f0.2_s7"]
    assert page.locator("#group option").all_text_contents() == ["folder", "nothing", "factor"]
    page.select_option("#group select", "factor")
    assert texts(page, "#list .group") == ["factor: 0.1", "factor: 0.2", "factor: 0.5"]
    settle(page)
    color = "getComputedStyle(document.querySelectorAll('#list .swatch')[%d]).backgroundColor"
    page.wait_for_function(f"{color % 0} === 'rgb(0, 114, 178)' && {color % 1} === 'rgb(213, 94, 0)'")
    shown = page.evaluate("document.querySelector('#figure').data.map(({line}) => line?.color)")
    assert set(shown) - {None} == set(COLORS[:2]), "of the four runs two have the one factor, two the other"
    assert "order=time" in page.url
    assert "group=factor" in page.url
    page.reload()
    settle(page)
    assert texts(page, "#list .group") == ["factor: 0.1", "factor: 0.2", "factor: 0.5"]
    assert page.input_value("#order select") == "time"


@pytest.mark.long
def test_a_run_keeps_its_color_when_another_one_goes(open_page: Any) -> None:
    page = open_page(linked(*NAMES[:3]))
    color = f"[...document.querySelectorAll('#list .run')].find(({{dataset}}) => dataset.run === '{NAMES[2]}')"
    before = page.evaluate(f"{color}.firstChild.style.accentColor")
    page.uncheck(f".run[data-run='{NAMES[0]}'] input")
    page.wait_for_selector(f"#comparison tr[data-run='{NAMES[0]}']", state="detached")
    settle(page)
    assert page.evaluate(f"{color}.firstChild.style.accentColor") == before != ""


@pytest.mark.long
def test_runs_in_several_folders_are_named_within_their_folder(open_page: Any) -> None:
    page = open_page(linked(NAMES[0]))
    runs = ["a/x_1", "a/x_2", "b/c/y_1", "b/c/y_1", "b/c/y_2", "alone"]
    names = [f"{name}/lr_plateau" for name in runs]
    names[3] += "_2"
    arranged = """async names => {
        const { arranged, shortened } = await import("./runs.js");
        const runs = names.map(name => {
            const [, group, label] = /^(.*)\\/(.*)$/.exec(name);
            return {name, group, label, error: "unreadable", summary: null, settings: {}};
        });
        return arranged(runs, "name", "folder").map(({title, runs}) => {
            const {prefix, short} = shortened(runs.map(({name}) => name));
            return [title, prefix, ...runs.map(({name}) => short(name))];
        });
    }"""
    assert page.evaluate(arranged, names) == [
        ["a/", "a/x_", "1", "2"],
        [None, "", "alone"],
        ["b/c/", "b/c/y_", "1", "1/lr_plateau_2", "2"],
    ]


@pytest.mark.long
def test_names_and_orders(open_page: Any) -> None:
    page = open_page(linked(NAMES[0]))
    shortened = """async names => {
        const { prefix, short } = (await import("./runs.js")).shortened(names);
        return [prefix, ...names.map(short)];
    }"""
    for names, expected in (
        (["a/lr_plateau"], ["", "a"]),
        (["lr_plateau", "lr_plateau_2"], ["", "lr_plateau", "lr_plateau_2"]),
        (["x/a/lr_plateau", "x/a/lr_plateau_2"], ["x/", "a", "a/lr_plateau_2"]),
        (["x/lr_0.10/lr_plateau", "x/lr_0.1/lr_plateau"], ["x/lr_", "0.10", "0.1"]),
        (["x/", "x/a"], ["", "x/", "x/a"]),
    ):
        assert page.evaluate(shortened, names) == expected
    natural = 'async texts => texts.sort((await import("./common.js")).natural)'
    assert page.evaluate(natural, ["a10", "lr0.1", "a9", "lr1e-3", "lr0.01", "lr"]) == [
        *("a9", "a10", "lr", "lr1e-3", "lr0.01", "lr0.1")
    ]


# --- the comparison --------------------------------------------------------------------------------------------------


def test_all_runs_are_compared_in_order_and_go_into_a_file(open_page: Any) -> None:
    page = open_page(linked(NAMES[0]))
    page.check("#all")
    page.wait_for_selector("#comparison h1:has-text('24 runs compared')")
    settle(page)
    assert texts(page, "#comparison th") == [
        *("Run", "Best val_loss", "factor", "Final rate", "Decisions", "Status"),
        *("Epochs", "Best epoch", "Last val_loss", "Updated"),
    ]
    names = "#comparison td:first-child"
    by_best = [f"f{factor}_s{seed}" for factor in FACTORS for seed in reversed(SEEDS)]
    assert texts(page, names) == by_best
    row = f"#comparison tr[data-run='{NAMES[0]}']"
    assert texts(page, f"{row} td")[1:9] == ["0.2", "0.1", "0.05", "2", "finished", "4", "4", "0.2 rolled back"]

    page.click("#comparison th:has-text('factor') button")
    page.click("#comparison th:has-text('factor') button")
    assert page.get_attribute("#comparison th:has-text('factor')", "aria-sort") == "descending"
    assert texts(page, names)[:8] == [f"f0.5_s{seed}" for seed in SEEDS]

    with page.expect_download() as download:
        page.click("text=Download CSV")
    content = Path(download.value.path()).read_text(encoding="utf-8-sig")
    head, *lines = csv.reader(io.StringIO(content, newline=""))
    assert "Last rolled back" in head
    assert [line[0] for line in lines][:8] == [name_of(0.5, seed) for seed in SEEDS]
    first = dict(zip(head, next(line for line in lines if line[0] == NAMES[0]), strict=True))
    assert (first["Best val_loss"], first["factor"]) == ("0.2", "0.1")
    assert (first["Best rolled back"], first["Last rolled back"]) == ("no", "yes")

    page.uncheck("#all")
    page.wait_for_selector("#message:visible")


@pytest.mark.long
def test_a_cell_of_the_file_is_no_formula_and_keeps_its_commas(open_page: Any) -> None:
    page = open_page(linked(NAMES[0]))
    csv_of = """async cells => {
        const columns = cells.map(cell => ({title: "t", text: () => cell}));
        return (await import("./comparison.js")).csvOf([{}], columns).split("\\r\\n")[1];
    }"""
    cells = ['=HYPERLINK("a,b")', "-0.5", "a,b", 'say "x"', "+cmd", "-inf"]
    assert next(csv.reader([page.evaluate(csv_of, cells)])) == [
        *('\'=HYPERLINK("a,b")', "-0.5", "a,b", 'say "x"', "'+cmd", "'-inf")
    ]


@pytest.mark.long
def test_of_more_runs_than_the_figure_holds_the_first_are_drawn_and_the_table_has_all(
    open_page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keras_lrplateau.tensorboard.plugin.MOST_COMPARED", 5)
    page = open_page(linked(*NAMES, order="best"))
    assert "The figure shows 5 of 24 runs" in page.locator("#notice").text_content()
    assert page.locator("#comparison tbody tr").count() == 24
    shown = page.locator("#comparison tbody tr:has(.swatch:not([hidden]))").count()
    assert shown == 5


# --- the controls ----------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_the_metric_is_smoothed_by_the_slider(open_page: Any) -> None:
    page = open_page(linked(NAMES[0]))
    names = "document.querySelector('#figure').data.map(({name}) => name)"
    assert "val_loss (raw)" not in page.evaluate(names)
    page.focus("#smoothing input")
    page.keyboard.press("End")
    page.wait_for_function(f"{names}.includes('val_loss (raw)')")
    assert page.locator("#smoothing output").text_content() == "0.99"
    assert "smoothing=0.99" in page.url
    page.reload()
    settle(page)
    assert "val_loss (raw)" in page.evaluate(names)


def focused(page: Any) -> str:
    return str(page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent"))


# --- the figure and the table of decisions ---------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1280, 800])
def test_the_tools_of_the_figure_cover_neither_the_legend_nor_the_lines(open_page: Any, width: int) -> None:
    page = open_page(linked(NAMES[0]))
    make_wide(page, width)
    page.hover("#figure .nsewdrag", force=True)
    page.wait_for_selector("#figure .modebar-btn")
    covered = page.evaluate(
        """() => {
            const boxOf = (selector) => document.querySelector(`#figure ${selector}`).getBoundingClientRect();
            const tools = boxOf(".modebar"), figure = document.querySelector("#figure").getBoundingClientRect();
            const meets = ({ top, right, bottom, left }) =>
                tools.left < right && left < tools.right && tools.top < bottom && top < tools.bottom;
            const isOutside = tools.bottom > figure.bottom + 1 || tools.right > figure.right + 1;
            return [isOutside && "outside", ...[".legend", ".bglayer", ".xtitle"].filter((each) => meets(boxOf(each)))];
        }"""
    )
    assert covered == [False]


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("width", [1280, 800, 640])
def test_the_reason_of_each_decision_is_wholly_in_sight(open_page: Any, width: int, runs: int) -> None:
    page = open_page(linked(*NAMES[:runs]))
    make_wide(page, width)
    boxes = page.locator("#decisions td").evaluate_all(
        """all => all.map(cell =>
            [cell.className, cell.scrollWidth - cell.clientWidth, cell.getBoundingClientRect().right])"""
    )
    assert {name for name, *_ in boxes} == {"", "reason"}
    assert all(cut_off <= 0 and right <= width for _, cut_off, right in boxes)
    section = page.locator("#decisions")
    assert section.evaluate("section => section.scrollWidth <= section.clientWidth"), "nothing to scroll sideways"
    places = {
        name: page.locator(f"#decisions tbody tr:first-child {name}").bounding_box()
        for name in ("td:first-child", ".reason")
    }
    first, reason = places["td:first-child"], places[".reason"]
    assert (reason["y"] >= first["y"] + first["height"]) == (width <= 900), "a line of its own where there is no room"


def test_a_number_under_the_pointer_has_no_zeros_at_its_end(open_page: Any) -> None:
    page = open_page(linked(NAMES[0]))
    place = page.evaluate(
        """() => {
            const figure = document.querySelector("#figure");
            const { x, y } = figure._fullData.find(({ name }) => name === "learning rate");
            const { xaxis, yaxis2 } = figure._fullLayout;
            const box = figure.querySelector(".main-svg").getBoundingClientRect();
            return [box.x + xaxis._offset + xaxis.d2p(x[0]) + 2, box.y + yaxis2._offset + yaxis2.d2p(y[0])];
        }"""
    )
    page.mouse.move(place[0] + 2, place[1] + 2)
    page.mouse.move(*place)
    shown = page.wait_for_selector(".hoverlayer .hovertext").text_content()
    assert "learning rate 0.1" in shown
    assert "0.10" not in shown


@pytest.mark.long
def test_a_list_of_many_runs_is_one_stop_and_can_be_skipped(open_page: Any) -> None:
    page = open_page(linked(NAMES[1]))
    page.keyboard.press("Tab")
    assert focused(page) == "Skip the list of runs"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.url.startswith(f"{ADDRESS}#lr_plateau")

    page.focus("#all")
    page.keyboard.press("Tab")
    assert focused(page) == f"Compare {NAMES[1]}", "the run that is shown"
    page.keyboard.press("ArrowDown")
    assert focused(page) == f"Compare {NAMES[2]}"
    page.keyboard.press("Space")
    page.wait_for_selector("#comparison h1:has-text('2 runs compared')")
    assert focused(page) == f"Compare {NAMES[2]}", "the focus stays"
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    assert focused(page).startswith("f0.5_s7")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "axis", "and on to the controls"


VIEWS = {
    "one": (linked(NAMES[0]), "article.summary"),
    "what if": (linked(NAMES[0], whatif="{}"), "#whatif-figure .main-svg"),
    "comparison": (linked(*NAMES[:9], order="best"), "#comparison h1:has-text('9 runs compared')"),
    "groups": (linked(*NAMES[6:10], group="factor", smoothing="0.6"), "#list .group"),
}
"""By name: the link to each view, and what shows that it is there."""


@pytest.mark.long
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_nothing_that_some_people_could_not_use(open_page: Any, theme: str) -> None:
    page = open_page(VIEWS["one"][0], query=f"?{theme}")
    assert page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")
    for view, (link, selector) in VIEWS.items():
        page.evaluate("link => { location.hash = link }", f"#lr_plateau{link}")
        page.wait_for_selector(f"{selector}:visible")
        settle(page)
        found = Axe().run(page, options=None).response
        assert len(found["passes"]) > 20, "it has looked"
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]] == [], view
