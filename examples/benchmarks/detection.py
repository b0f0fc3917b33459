"""Which rule tells a plateau from slow or noisy progress?

Measured on *stretches*: the longest parts of a recorded curve in which the learning rate does not change, of at least
20 epochs; a curve without rates is one stretch. The metric is the validation loss, or the training loss where there is
none. In each stretch a rule starts again, and what counts is its first *call* of a plateau:

    real improvement    more than x = 2 % (of the magnitude) better than at the real improvement before it, or than the
                        first epoch; it is looked for along the curve
    false call          within the next 50 epochs of the stretch the metric is more than x better than its best so far
    right call          it is not, with at least 10 epochs left in which it could have been
    open call           it is not, with fewer epochs left: not judged
    delay               epochs from the last real improvement to the call
    missed              no call, though the last real improvement is at least 10 epochs before the end; its delay is
                        counted to the end, which is less than it would have become

The rate of false calls is that among the judged ones, false and right. The delay is the mean over all calls that are
not false and the missed plateaus. A rule has a knob that trades one for the other, so rules are compared at the same
delay: the one that patience counting has with a patience of 5, 10 and 20. Between two settings of a knob the rate is
interpolated; "-" is where no setting has that delay.

    patience        epochs without a new best by 1e-4: Keras' ReduceLROnPlateau. Knob: the patience
    relative        epochs without a new best by 2 %. Knob: the patience
    GreedyLR        epochs without a new best by 1e-6, of the metric and of its mean over 50 epochs: Hugging Face
                    transformers' GreedyLR, without and with smoothing. Knob: the patience
    dlib            epochs, looking back, over which a line does not fall with a probability of 0.51; the same without
                    the largest tenth of the values; the lesser. Knob: the epochs
    slope           a line through the last 10, 20 or 50 epochs, at least 6, as in keras_lrplateau/trend.py. Knob: its
                    slope in standard errors. Auto mode calls a plateau at 10 and 0
    evidence        the rule proposed here, see `evidence`. Knob: the evidence

Curves are split by their source, since those of one source are alike: a source whose name has a SHA-256 that ends in an
odd byte is for tuning, the others are for reporting. The source of a file is what INDEX.csv, if there is one beside it,
says in its column source_repo; else the first word of its name. All of `evidence` was chosen on the sources for tuning
and on synthetic curves with other seeds.

On the synthetic curves the rule sees noise, but its calls are judged, and delays counted, on the curve without it. They
fall to a floor exponentially or by a power, fall in steps, or rise again as if overfitting. The noise is 0 to 20 % of
the metric, normal or with heavy tails, or spikes.

The intervals, 90 %, are a bootstrap over the recordings. Sources are too few for one over sources, so the intervals for
sources not yet seen would be wider.

Run it, with a directory of recorded curves or without, a quarter of a minute:

    python examples/benchmarks/detection.py CURVES
    python examples/benchmarks/detection.py CURVES -o detection.html
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tables import table

from keras_lrplateau.recordings.names import RATE
from keras_lrplateau.recordings.reading import read
from keras_lrplateau.recordings.recording import CurveError, Recording
from keras_lrplateau.rule.stretch import LARGE
from keras_lrplateau.rule.trend import trend

X = 0.02
HORIZON = 50
SHORTEST = 20
LEAST_LEFT = 10
PATIENCES = (5, 10, 20)
SYNTHETIC_LENGTH = 200
RESAMPLES = 500

# --- curves ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stretch:
    """A part of a curve with one learning rate.

    Attributes:
        source: Who made the curve.
        recording: The file that it is from.
        values: What a rule sees.
        truth: What its calls are judged by.
    """

    source: str
    recording: str
    values: np.ndarray
    truth: np.ndarray


def is_for_tuning(source: str) -> bool:
    """The side of the split that a source is on."""
    return hashlib.sha256(source.encode()).digest()[-1] % 2 == 1


def read_stretches(folder: Path) -> tuple[list[Stretch], int]:
    """The stretches of all readable files in a folder, and how many files had a loss."""
    stretches: list[Stretch] = []
    sources = _sources(folder)
    usable = 0
    for path in sorted(folder.iterdir()):
        if not path.is_file():
            continue
        try:
            recordings = read(path)
        except CurveError:
            continue
        source = sources.get(path.name) or re.split(r"[-_.]", path.name)[0]
        found = [_stretches_of(recording, source) for recording in recordings]
        usable += any(each is not None for each in found)
        for each in found:
            stretches += each or []
    return stretches, usable


def _sources(folder: Path) -> dict[str, str]:
    index = folder / "INDEX.csv"
    if not index.exists():
        return {}
    with index.open(newline="") as file:
        return {row.get("file", ""): row.get("source_repo", "") for row in csv.DictReader(file)}


def _stretches_of(recording: Recording, source: str) -> list[Stretch] | None:
    """The stretches of a recording; None if it has no loss."""
    for monitor in ("val_loss", "loss"):
        try:
            curve = recording.curve(monitor)
            break
        except CurveError:
            continue
    else:
        return None
    rates = [rate for name, rate in recording.curves.items() if name.startswith(RATE)]
    in_force = []
    for epoch in curve.epochs:
        before = [int(np.searchsorted(rate.epochs, epoch, side="right")) - 1 for rate in rates]
        in_force.append(tuple(rate.values[max(i, 0)] for rate, i in zip(rates, before, strict=True)))
    stretches = []
    for _, rows in itertools.groupby(zip(in_force, curve.values, strict=True), key=lambda row: row[0]):
        # The bound is auto mode's: the squares of a trend must not overflow.
        values = np.array([value for _, value in rows if math.isfinite(value)]).clip(-LARGE, LARGE)
        if len(values) >= SHORTEST:
            stretches.append(Stretch(source, recording.name, values, values))
    return stretches


def synthetic_stretches(seed: int, repeats: int) -> list[Stretch]:
    """Curves of each kind with each noise, of random speed and floor."""
    random = np.random.default_rng(seed)
    t = np.arange(SYNTHETIC_LENGTH)
    stretches: list[Stretch] = []
    for shape, noise, _ in itertools.product(SHAPES, NOISES, range(repeats)):
        truth = SHAPES[shape](random, t)
        values = truth * np.exp(NOISES[noise](random, len(t)))
        stretches.append(Stretch(f"{shape}, {noise}", str(len(stretches)), values, truth))
    return stretches


def _exponential(random: np.random.Generator, t: np.ndarray) -> np.ndarray:
    floor = 10 ** random.uniform(-2, -0.2)
    fall: np.ndarray = floor + (1 - floor) * np.exp(-t / 10 ** random.uniform(0.5, 1.8))
    return fall


def _power(random: np.random.Generator, t: np.ndarray) -> np.ndarray:
    floor = 10 ** random.uniform(-2, -0.2)
    fall: np.ndarray = floor + (1 - floor) * (1 + t / 3) ** -random.uniform(0.3, 1.5)
    return fall


def _steps(random: np.random.Generator, t: np.ndarray) -> np.ndarray:
    at = random.integers(10, 120, 3)
    stairs: np.ndarray = 0.6 ** np.sum(t[:, None] >= at, axis=1)
    return stairs


def _overfitting(random: np.random.Generator, t: np.ndarray) -> np.ndarray:
    turn = 10 ** random.uniform(1, 1.8)
    rising: np.ndarray = 0.5 + 0.5 * np.exp(-2 * t / turn) + 10 ** random.uniform(-3.5, -2) * np.maximum(t - turn, 0)
    return rising


SHAPES: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "exponential": _exponential,
    "power": _power,
    "steps": _steps,
    "overfitting": _overfitting,
}
NOISES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "no noise": lambda random, n: np.zeros(n),
    "1 %": lambda random, n: 0.01 * random.standard_normal(n),
    "5 %": lambda random, n: 0.05 * random.standard_normal(n),
    "20 %": lambda random, n: 0.2 * random.standard_normal(n),
    "5 %, heavy tails": lambda random, n: 0.05 * random.standard_t(3, n) / math.sqrt(3),
    "1 %, spikes": lambda random, n: 0.01 * random.standard_normal(n) + (random.random(n) < 0.05) * random.random(n),
}
"""In the logarithm of the metric."""

# --- rules -----------------------------------------------------------------------------------------------------------

Score = Callable[[np.ndarray], np.ndarray]
"""What a rule has found at each value of a stretch; it calls a plateau at the first that reaches its knob."""


def waits(values: np.ndarray, min_delta: float = 0.0, relative: float = 0.0) -> np.ndarray:
    """Values since the last that was better, by `min_delta` and a share of the magnitude, than the one before it."""
    best, wait = values[0], 0
    scores = np.zeros(len(values))
    for i, value in enumerate(values[1:], start=1):
        if value < best - min_delta - relative * abs(best):
            best, wait = value, 0
        else:
            wait += 1
        scores[i] = wait
    return scores


def greedy(values: np.ndarray, smooth: int) -> np.ndarray:
    """GreedyLR: it counts more than its patience, and so one more than `waits`."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    starts = np.maximum(np.arange(1, len(values) + 1) - smooth, 0)
    means = (sums[1:] - sums[starts]) / (np.arange(1, len(values) + 1) - starts)
    return waits(means, min_delta=1e-6) - 1


def dlib(values: np.ndarray) -> np.ndarray:
    """The longest way back that is not known to be a way down; dlib calls a plateau at more than its threshold.

    Source: count_steps_without_decrease and its robust form in dlib/statistics/running_gradient.h. Theirs are computed
    again from the formula. Only the last 500 values are looked at.
    """
    scores = np.zeros(len(values))
    for i in range(2, len(values)):
        seen = values[max(i - 499, 0) : i + 1]
        largest = np.sort(seen)[round((len(seen) - 1) * 0.9)]
        back = seen[::-1]
        scores[i] = min(_not_down(back, np.full(len(back), True)), _not_down(back, back <= largest)) - 1
    return scores


def _not_down(back: np.ndarray, used: np.ndarray) -> int:
    """How many of the values, the latest first, until the last line that does not fall with a probability of 0.51."""
    y = np.where(used, back - back[0], 0.0)
    n = np.cumsum(used)
    x = np.where(used, n - 1, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_x, mean_y = np.cumsum(x) / n, np.cumsum(y) / n
        spread_x = (n**3.0 - n) / 12
        covered = np.cumsum(x * y) - n * mean_x * mean_y
        slope = covered / spread_x
        rest = np.maximum(np.cumsum(y * y) - n * mean_y**2 - slope * covered, 0)
        # Backwards in time: a slope above 0 is a fall. 0.0251 is the normal quantile of 0.51.
        falls = slope > 0.0251 * np.sqrt(rest / (n - 2) / spread_x)
    found = np.flatnonzero((n > 2) & ~falls)
    return int(found[-1]) + 1 if found.size else 0


def slope(values: np.ndarray, window: int) -> np.ndarray:
    """The slope in standard errors: higher is less of a decrease."""
    scores = np.full(len(values), -math.inf)
    for i in range(5, len(values)):
        scores[i] = trend(values[max(i + 1 - window, 0) : i + 1].tolist()).t
    return scores


def evidence(values: np.ndarray) -> np.ndarray:
    """How much speaks against a real improvement being under way: the epochs since the last one, times z squared.

    z tells how far the metric is from the next real improvement, 2 % better than the best: the distance from there to
    the end of the line through the last 10 epochs, in standard deviations of an epoch from that line; 0.2 % of
    the metric are the least. Half of it is the logarithm of a likelihood ratio, as in Wald's sequential test: of
    independent normal observations at that distance, against as many at the next real improvement. So a metric that
    has settled clearly above its best is called early, and one whose noise may hide an improvement is given time.
    There is none as long as the line, drawn on for 50 epochs, leads to a real improvement.
    """
    scores = np.full(len(values), -math.inf)
    since = waits(values, relative=0.02)
    for i in range(4, len(values)):
        line = trend(values[max(i - 9, 0) : i + 1].tolist())
        best = float(values[: i + 1].min())
        goal = best - 0.02 * abs(best)
        if line.ahead(50) >= goal:
            noise = math.hypot(line.noise, 0.002 * abs(best)) or 1.0
            scores[i] = since[i] * (max(line.end - goal, 0.0) / noise) ** 2
    return scores


@dataclass(frozen=True)
class Rule:
    """A rule with the settings of its knob, and those that the table shows."""

    name: str
    score: Score
    knobs: Sequence[float]
    shown: Sequence[float]


EPOCHS = tuple(range(1, 30)) + tuple(range(30, 201, 3))
ERRORS = tuple(np.round(np.arange(-4, 8.1, 0.25), 2).tolist())
AMOUNTS = tuple(np.round(10 ** np.arange(0, 5.01, 0.1), 3).tolist())
OURS = "evidence"
RULES = (
    Rule("patience", lambda values: waits(values, min_delta=1e-4), EPOCHS, (3, 5, 10, 20, 30)),
    Rule("relative", lambda values: waits(values, relative=0.02), EPOCHS, (3, 5, 10, 20, 30)),
    Rule("GreedyLR", lambda values: greedy(values, 1), EPOCHS, (5, 10, 20)),
    Rule("GreedyLR, smooth", lambda values: greedy(values, 50), EPOCHS, (5, 10, 20)),
    Rule("dlib", dlib, EPOCHS, (5, 10, 20, 30)),
    Rule("slope, 10", lambda values: slope(values, 10), ERRORS, (-1, 0, 1, 3)),
    Rule("slope, 20", lambda values: slope(values, 20), ERRORS, (-1, 0, 1, 3)),
    Rule("slope, 50", lambda values: slope(values, 50), ERRORS, (-1, 0, 1, 3)),
    Rule(OURS, evidence, AMOUNTS, (1, 10, 100, 1000)),
)

# --- judging ---------------------------------------------------------------------------------------------------------

FALSE, RIGHT, OPEN, MISSED, NOTHING = range(5)


@dataclass(frozen=True)
class Judged:
    """What came of a rule's calls. Axes: stretch, knob.

    Attributes:
        outcome: One of FALSE, RIGHT, OPEN, MISSED, NOTHING; the last is no call where there was nothing to call.
        delay: Epochs from the last real improvement to the call, or to the end.
    """

    outcome: np.ndarray
    delay: np.ndarray

    def rates(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rate of false calls and the mean delay. Axes: of the weights but the last, which is the stretch; knob."""
        false = weights @ (self.outcome == FALSE)
        judged = false + weights @ (self.outcome == RIGHT)
        waited = np.isin(self.outcome, (RIGHT, OPEN, MISSED))
        with np.errstate(divide="ignore", invalid="ignore"):
            return false / judged, weights @ np.where(waited, self.delay, 0) / (weights @ waited)

    def median_delay(self, knob: int) -> float:
        """The median of the same delays."""
        waited = np.isin(self.outcome[:, knob], (RIGHT, OPEN, MISSED))
        return float(np.median(self.delay[waited, knob])) if waited.any() else math.nan


def judge(stretches: Sequence[Stretch], rule: Rule, x: float, horizon: int) -> Judged:
    """The first call of a rule in each stretch, with each setting of its knob."""
    outcomes, delays = [], []
    for stretch in stretches:
        size = len(stretch.truth)
        best = np.minimum.accumulate(stretch.truth)
        later = [stretch.truth[i + 1 : i + 1 + horizon].min(initial=math.inf) for i in range(size)]
        improves = later < best - x * np.abs(best)
        since = waits(stretch.truth, relative=x)
        calls = np.searchsorted(np.maximum.accumulate(rule.score(stretch.values)), rule.knobs)
        is_call = calls < size
        at = np.minimum(calls, size - 1)
        right = np.where(size - 1 - at >= LEAST_LEFT, RIGHT, OPEN)
        none = MISSED if since[-1] >= LEAST_LEFT else NOTHING
        outcomes.append(np.where(is_call, np.where(improves[at], FALSE, right), none))
        delays.append(since[at])
    return Judged(np.array(outcomes), np.array(delays))


def at_delay(delay: float, rates: np.ndarray, delays: np.ndarray) -> float:
    """The rate of false calls at a delay; NaN beyond what the knob reaches."""
    known = np.isfinite(rates) & np.isfinite(delays)
    order = np.argsort(delays[known], kind="stable")
    if not order.size:
        return math.nan
    found = np.interp(delay, delays[known][order], rates[known][order], left=math.nan, right=math.nan)
    return float(found)


def resampled(stretches: Sequence[Stretch]) -> np.ndarray:
    """How often each stretch is in each resample of the recordings. The first is the sample itself."""
    names = sorted({(stretch.source, stretch.recording) for stretch in stretches})
    index = [names.index((stretch.source, stretch.recording)) for stretch in stretches]
    drawn = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    weights: np.ndarray = np.concatenate([np.ones((1, len(stretches))), drawn[:, index]])
    return weights


# --- tables ----------------------------------------------------------------------------------------------------------

Sets = dict[str, list[Stretch]]
Results = dict[str, dict[str, Judged]]
"""By set and rule."""


def print_curves(sets: Sets, results: Results) -> None:
    """Some settings of every knob."""
    header = ["rule", "knob"]
    for name in sets:
        header += [f"{name}: false", "of", "rate", "delay", "median"]
    rows = []
    for rule, shown in ((each, knob) for each in RULES for knob in each.shown):
        knob = list(rule.knobs).index(shown)
        row = [rule.name, f"{shown:g}"]
        for name, stretches in sets.items():
            judged = results[name][rule.name]
            rates, delays = judged.rates(np.ones(len(stretches)))
            false = int(np.sum(judged.outcome[:, knob] == FALSE))
            calls = false + int(np.sum(judged.outcome[:, knob] == RIGHT))
            row += [str(false), str(calls), f"{rates[knob]:.0%}", f"{delays[knob]:.1f}"]
            row.append(f"{judged.median_delay(knob):.0f}")
        rows.append(row)
    table(
        "First calls in each stretch: false ones of those judged, and the delay of the others in epochs", header, rows
    )


def print_at_equal_delay(name: str, stretches: list[Stretch], results: dict[str, Judged]) -> None:
    """Every rule where its delay is that of patience counting."""
    weights = resampled(stretches)
    rated = {rule.name: results[rule.name].rates(weights) for rule in RULES}
    header, rows = ["rule"], [[rule.name] for rule in RULES]
    for patience in PATIENCES:
        base_rates, base_delays = (each[:, EPOCHS.index(patience)] for each in rated["patience"])
        header += [f"patience {patience}, delay {base_delays[0]:.1f}", "ratio", "90 %"]
        for row, rule in zip(rows, RULES, strict=True):
            rates, delays = rated[rule.name]
            found = np.array([at_delay(base_delays[i], rates[i], delays[i]) for i in range(len(weights))])
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = found / base_rates
            usable = ratios[np.isfinite(ratios)]
            if not math.isfinite(found[0]) or not usable.size:
                row += ["-", "-", "-"]
                continue
            low, high = np.quantile(usable, (0.05, 0.95))
            row += [f"{found[0]:.0%}", f"{ratios[0]:.2f}", f"{low:.2f}-{high:.2f}"]
    table(
        f"Rate of false calls at the delay of patience counting, {name}, and its ratio to that of patience",
        header,
        rows,
    )


def print_by_source(stretches: list[Stretch], results: dict[str, Judged]) -> None:
    """Where the difference comes from: patience counting, and our rule at the knob nearest to its delay."""
    ones = np.ones(len(stretches))
    header, columns = ["source", "stretches"], []
    for patience in PATIENCES:
        knob = EPOCHS.index(patience)
        delay = results["patience"].rates(ones)[1][knob]
        nearest = int(np.nanargmin(np.abs(results[OURS].rates(ones)[1] - delay)))
        header += [f"patience {patience}", f"{OURS} {AMOUNTS[nearest]:.0f}"]
        columns += [results["patience"].outcome[:, knob], results[OURS].outcome[:, nearest]]
    rows = []
    for source in sorted({stretch.source for stretch in stretches}):
        of_source = np.array([stretch.source == source for stretch in stretches])
        row = [source, str(of_source.sum())]
        for column in columns:
            false, right = (int(np.sum(column[of_source] == outcome)) for outcome in (FALSE, RIGHT))
            row.append(f"{false} of {false + right}")
        rows.append(row)
    table(f"False calls by source, reporting, with the knob of {OURS} nearest to the same delay", header, rows)


def print_without(stretches: list[Stretch], results: dict[str, Judged]) -> None:
    """How much hangs on one source: the rate of our rule at the delay of patience counting without it."""
    header = ["without", "stretches"]
    for patience in PATIENCES:
        header += [f"patience {patience}", OURS, "ratio"]
    rows = []
    for source in sorted({stretch.source for stretch in stretches}):
        weights = np.array([float(stretch.source != source) for stretch in stretches])
        row = [source, f"{weights.sum():.0f}"]
        for patience in PATIENCES:
            rate, delay = (float(each[EPOCHS.index(patience)]) for each in results["patience"].rates(weights))
            ours = at_delay(delay, *results[OURS].rates(weights))
            ratio = ours / rate if rate else math.nan
            row += [f"{rate:.0%}", f"{ours:.0%}", f"{ratio:.2f}"]
        rows.append(["-" if cell.startswith("nan") else cell for cell in row])
    table("The same without one of the sources, reporting", header, rows)


def print_by_noise(stretches: list[Stretch], results: dict[str, Judged]) -> None:
    """The synthetic curves, by noise: every rule at the delay that patience counting has there."""
    patience = 10
    rows = []
    for noise in NOISES:
        weights = np.array([float(stretch.source.endswith(f", {noise}")) for stretch in stretches])
        delay = results["patience"].rates(weights)[1][EPOCHS.index(patience)]
        found = [at_delay(delay, *results[rule.name].rates(weights)) for rule in RULES]
        rows.append([noise, f"{delay:.1f}", *(f"{rate:.0%}" if math.isfinite(rate) else "-" for rate in found)])
    header = ("noise", "delay", *(rule.name for rule in RULES))
    table(f"Rate of false calls at the delay of patience {patience}, synthetic, by noise", header, rows)


def write_figure(path: Path, sets: Sets, results: Results) -> None:
    """The rate of false calls over the delay, for every rule and set."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=1, cols=len(sets), subplot_titles=list(sets), shared_yaxes=True)
    colours = ["#000000", "#7f7f7f", "#1f77b4", "#17becf", "#9467bd", "#bcbd22", "#ff7f0e", "#8c564b", "#d62728"]
    for column, (name, stretches) in enumerate(sets.items(), start=1):
        for rule, colour in zip(RULES, colours, strict=True):
            rates, delays = results[name][rule.name].rates(np.ones(len(stretches)))
            figure.add_scatter(
                x=delays,
                y=rates,
                text=[f"{rule.name}: {knob:g}" for knob in rule.knobs],
                name=rule.name,
                legendgroup=rule.name,
                showlegend=column == 1,
                mode="lines+markers",
                line={"color": colour},
                row=1,
                col=column,
            )
    figure.update_xaxes(title="delay, epochs", range=[0, 60])
    figure.update_yaxes(title="rate of false calls", tickformat=".0%", rangemode="tozero", col=1)
    figure.write_html(path)


def main() -> None:
    """Read, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "curves", type=Path, nargs="?", help="a directory of recorded curves; without it, synthetic ones"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="HTML", help="write a picture of the curves over the knobs"
    )
    parser.add_argument("--x", type=float, default=X, help="what a real improvement is (default: %(default)s)")
    parser.add_argument("--horizon", type=int, default=HORIZON, help="epochs until it must come (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=10, help="synthetic curves of a kind (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.curves is not None and not arguments.curves.is_dir():
        parser.error(f"there is no directory {arguments.curves}")
    began = time.perf_counter()
    sets: Sets = {}
    if arguments.curves is not None:
        stretches, read = read_stretches(arguments.curves)
        sets["tuning"] = [stretch for stretch in stretches if is_for_tuning(stretch.source)]
        sets["reporting"] = [stretch for stretch in stretches if not is_for_tuning(stretch.source)]
        print(f"{read} files with a loss, {len(stretches)} stretches")
        for name, side in sets.items():
            sources = {source: sum(each.source == source for each in side) for source in {each.source for each in side}}
            listed = ", ".join(f"{source} ({count})" for source, count in sorted(sources.items()))
            print(f"For {name}: {len(side)} from {listed or 'nowhere'}")
    sets["synthetic"] = synthetic_stretches(0, arguments.repeats)
    print(f"Synthetic: {len(sets['synthetic'])}; {', '.join(SHAPES)}; noise: {'; '.join(NOISES)}")
    sets = {name: side for name, side in sets.items() if side}
    results = {
        name: {rule.name: judge(side, rule, arguments.x, arguments.horizon) for rule in RULES}
        for name, side in sets.items()
    }
    print_curves(sets, results)
    for name, side in sets.items():
        print_at_equal_delay(name, side, results[name])
    print_by_noise(sets["synthetic"], results["synthetic"])
    if "reporting" in sets:
        print_by_source(sets["reporting"], results["reporting"])
        print_without(sets["reporting"], results["reporting"])
    if arguments.output is not None:
        write_figure(arguments.output, sets, results)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
