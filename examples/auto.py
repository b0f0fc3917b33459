"""Five starting rates over six decades: with auto mode, all end in about the same place.

    pip install -e '.[examples]' && python examples/auto.py

prints a table, and draws loss and rate of every run, with the rate as given and with `AdaptLROnPlateau.auto`, into
`logs/auto/auto.html`. `--picture FILE --browser PATH` takes a picture of that page, for which Playwright is needed. It
runs on every Keras backend (KERAS_BACKEND).
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets with pages otherwise.

import keras
import plotly.colors
from plotly.graph_objects import Figure, Scatter
from plotly.subplots import make_subplots
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from keras_lrplateau import AdaptLROnPlateau

LOGS = Path(__file__).resolve().parents[1] / "logs" / "auto"
RATES = (1e-5, 3e-4, 1e-2, 0.3, 10.0)
EPOCHS = 60


def train(rate: float, callbacks: list[keras.callbacks.Callback]) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The history of a training from that rate, and loss and accuracy on the test set after it."""
    images, digits = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(images / 16, digits, test_size=500, random_state=0, stratify=digits)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((64,)), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10, activation="softmax")]
    )
    optimizer = keras.optimizers.SGD(rate, momentum=0.9)
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, batch_size=64, epochs=EPOCHS, validation_split=0.2, callbacks=callbacks, verbose=0)
    return history.history, model.evaluate(x_test, y_test, verbose=0, return_dict=True)


def draw(runs: dict[float, tuple[dict[str, list[float]], dict[str, list[float]]]]) -> Figure:
    """Loss above, rate below; the rate as given to the left, auto mode to the right."""
    figure = make_subplots(
        rows=2,
        cols=2,
        shared_xaxes=True,
        shared_yaxes="rows",
        column_titles=["the rate as given", "AdaptLROnPlateau.auto"],
        horizontal_spacing=0.03,
        vertical_spacing=0.04,
    )
    colors = plotly.colors.sample_colorscale("Viridis", len(RATES), high=0.9)
    for (rate, histories), color in zip(runs.items(), colors, strict=True):
        for column, history in enumerate(histories, start=1):
            epochs = list(range(1, EPOCHS + 1))
            rates = history.get("learning_rate", [rate] * EPOCHS)
            style = {"name": f"from {rate:g}", "legendgroup": f"{rate:g}", "line_color": color}
            figure.add_trace(Scatter(x=epochs, y=history["val_loss"], showlegend=column == 2, **style), 1, column)
            figure.add_trace(Scatter(x=epochs, y=rates, showlegend=False, line_shape="hv", **style), 2, column)
    figure.update_yaxes(type="log", exponentformat="power", dtick=1)
    # A loss of 10^9, or a rate of 10^-9 at the very end, would leave no room for the others.
    figure.update_yaxes(range=[-1.2, 1], row=1)
    figure.update_yaxes(range=[-5.5, 2.5], row=2)
    figure.update_yaxes(title_text="validation loss", row=1, col=1)
    figure.update_yaxes(title_text="learning rate", row=2, col=1)
    figure.update_xaxes(title_text="epoch", row=2)
    figure.update_layout(template="plotly_white", width=1100, height=640, margin={"t": 40, "b": 50, "l": 70, "r": 20})
    return figure


def take_picture(page: Path, picture: Path, browser: str | None) -> None:
    """What a browser shows of the page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = chromium.new_page(viewport={"width": 1110, "height": 650})
        tab.goto(page.as_uri())
        tab.locator(".legendtext").first.wait_for()
        tab.screenshot(path=picture)
        chromium.close()


def main() -> None:
    """Train from every rate with and without auto mode; print and draw what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--picture", type=Path, help="also take a picture of the page, into this file")
    parser.add_argument("--browser", help="path of Chromium or Chrome (default: the one that Playwright has installed)")
    arguments = parser.parse_args()

    table = Table(
        "starting rate",
        "as given",
        "AdaptLROnPlateau.auto",
        "found in the search",
        title=f"Test loss and accuracy after {EPOCHS} epochs",
    )
    runs = {}
    progress = Console(stderr=True)
    for rate in track(RATES, "training from each rate, twice", console=progress, transient=True):
        fixed, before = train(rate, [])
        adapt = AdaptLROnPlateau.auto(log_dir=LOGS / f"{rate:g}")
        adapted, after = train(rate, [adapt])
        runs[rate] = (fixed, adapted)
        (settled,) = (decision for decision in adapt.decisions if decision.kind == "settle")
        results = [f"{result['loss']:.3g}  {result['accuracy']:.1%}" for result in (before, after)]
        table.add_row(f"{rate:g}", *results, f"{settled.rate:.3g} in epoch {settled.epoch + 1}")
        if not progress.is_terminal:  # There is no bar in a pipe.
            progress.print(f"trained from {rate:g}, twice")
    page = LOGS / "auto.html"
    draw(runs).write_html(page)
    if arguments.picture:
        take_picture(page, arguments.picture, arguments.browser)
    console = Console()
    console.print(table)
    console.print(f"The picture: {os.path.relpath(page)}")
    console.print(f"Every run with its decisions: tensorboard --logdir {os.path.relpath(LOGS)}")


if __name__ == "__main__":
    main()
