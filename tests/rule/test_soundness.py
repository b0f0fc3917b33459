"""What an observation says about weights, one rule at a time."""

import math

import pytest

from keras_lrplateau.rule import soundness
from keras_lrplateau.rule.decision import Evidence
from keras_lrplateau.rule.soundness import NOTHING_ELSE, Watch, agrees, assess, dead, may_be_dead

NAN, INF = math.nan, math.inf


def verdict(value=1.0, loss=1.0, before=1.0, watch=None, is_vouched=False, **known):
    found = assess(watch or Watch(has_learned=True), value, loss, before, Evidence(**known), is_vouched)
    return found.verdict


def watched(losses, before):
    watch = Watch()
    for loss in losses:
        watch = assess(watch, 1.0, loss, before, NOTHING_ELSE, is_vouched=False).watch
    return watch


def test_an_ordinary_observation_is_sound():
    assert verdict() == "sound"
    assert verdict(loss=None, before=None) == "sound"


@pytest.mark.parametrize("vouched", [True, False])
def test_weights_that_are_not_finite_are_broken_whatever_the_metric_says(vouched):
    assert verdict(is_finite=False, is_vouched=vouched) == "broken"


@pytest.mark.parametrize("broken", [NAN, INF, -INF])
def test_a_number_that_is_not_finite_is_broken_unless_the_weights_are_known_to_be_finite(broken):
    assert verdict(value=broken) == verdict(loss=broken) == "broken"
    assert verdict(value=broken, is_finite=True) == verdict(loss=broken, is_finite=True) == "suspect"


def test_a_far_worse_loss_is_suspect_until_the_next_look_says_the_same():
    watch = assess(Watch(has_learned=True), 1.0, 50.0, 2.0, NOTHING_ELSE, is_vouched=False)
    assert (watch.verdict, watch.may_be_kept) == ("suspect", False)
    assert "50, far worse than before training (2)" in watch.reason
    again = {"loss": 40.0, "before": 2.0, "watch": watch.watch}
    assert verdict(**again) == verdict(**again, first_loss=45.0) == "broken"
    assert verdict(**again, first_loss=2.0) == "suspect", "the first batch says that the weights came back"
    assert verdict(**again, is_vouched=True) == "suspect"
    assert verdict(loss=3.0, before=2.0, watch=watch.watch) == "sound"


def test_a_far_worse_loss_that_comes_down_is_only_suspect_once_the_network_has_learned():
    learned, began = Watch(has_learned=True, far_worse=124.0), Watch(seen=1, peak=124.0, far_worse=124.0)
    assert verdict(loss=60.0, before=3.0, watch=learned) == "suspect"
    assert verdict(loss=110.0, before=3.0, watch=learned) == "broken"
    assert verdict(loss=60.0, before=3.0, watch=began) == "broken"


def test_a_loss_that_may_be_negative_is_no_yardstick():
    assert verdict(loss=1e9, before=-1.0) == verdict(loss=1e9, before=0.0) == "sound"


def test_a_rise_by_a_yardstick_that_was_none_is_forgotten():
    rose = Watch(seen=1, peak=1.3)
    found = assess(rose, 1.0, 1.25, 1.0, NOTHING_ELSE, is_vouched=False)
    assert (found.verdict, found.loss_before) == ("suspect", 1.0)
    found = assess(rose, 1.0, -0.2, 1.0, NOTHING_ELSE, is_vouched=False)
    assert (found.verdict, found.loss_before, found.watch) == ("sound", None, Watch(has_learned=True))


def test_skipped_steps_speak_against_the_rate_but_not_against_the_weights():
    found = assess(Watch(has_learned=True), 1.0, 1.0, 1.0, Evidence(skipped=0.6), is_vouched=False)
    assert (found.verdict, found.may_be_kept) == ("suspect", True)
    assert "60% of the optimizer steps were skipped" in found.reason
    assert verdict(skipped=0.4) == "sound"


LONG = soundness.LONG


@pytest.mark.parametrize(
    ("losses", "before"),
    [
        ([300.0, *[14.0] * LONG], 63.0),  # Targets that are not centred.
        ([2.88, 2.36, 2.34, 2.34, 2.35, 2.34, 2.38, *[2.31] * LONG], 2.37),
        ([10.8, 2.33, 2.34, *[2.32] * LONG], 2.37),
        ([440.0, 9.7, 9.3, 7.2, 4.5, *[2.9] * 5, *[2.3] * LONG], 2.36),  # It takes long to come down.
        ([5.9e15, 1.9e15, 2.8e6, 20.9, *[20.5] * LONG], 87.0),
    ],
)
def test_a_network_that_is_flat_after_a_rise_is_dead_when_it_was_long_enough(losses, before):
    for count in range(1, LONG):
        assert not dead(watched(losses[:count], before), before, patience=1)
        assert may_be_dead(watched(losses[:count], before), before)
    assert "has shown no learning in" in dead(watched(losses, before), before, patience=1)
    assert not dead(watched(losses, before), before, patience=LONG), "two plateaus are longer"


@pytest.mark.parametrize(
    ("losses", "before"),
    [
        ([2.0, 1.9, *[1.9] * 40], 2.0),  # It never rose.
        ([2.2, *[2.0] * 40], 2.0),  # It hardly rose.
        ([3.0, *[1.7] * 40], 2.0),  # It rose, and a constant would do worse.
        ([2.0] * 3 + [9.0] + [2.0] * 40, 2.0),  # It rose after the onset.
        ([9.0, *[1.9 * 0.98**i for i in range(40)]], 2.0),  # It learns.
        ([9.0, *[1.9] * 40], None),
    ],
)
def test_what_learns_or_never_rose_far_is_not_dead(losses, before):
    assert not dead(watched(losses, before), before, patience=1)


@pytest.mark.parametrize(
    ("look", "loss", "before", "agrees_"),
    [
        (1.2, 1.0, 2.0, True),
        (2.9, 1.0, 2.0, True),  # Within three times the epoch's.
        (1.9, 0.1, 2.0, True),  # No worse than no training.
        (3.1, 1.0, 2.0, False),
        (5.9, 91.0, 2.0, True),
        (6.1, 91.0, 2.0, False),  # After an exploded epoch it must be near that before training.
        (NAN, 1.0, 2.0, False),
        (1e9, 1.0, None, False),
        (2.5, 1.0, 0.05, False),  # Far worse than before training.
        (1.0, None, None, True),
        (None, 1.0, 2.0, True),
        (5.0, -1.0, -2.0, True),  # No yardstick.
    ],
)
def test_a_look_agrees_with_a_candidate_if_its_loss_is_about_that_of_the_epoch(look, loss, before, agrees_):
    assert agrees(look, loss, before) == agrees_


# --- weights that have not grown -------------------------------------------------------------------------------------

SMALL, LARGE = soundness.GREW - 0.1, soundness.GREW


@pytest.mark.parametrize("broken", [NAN, INF, -INF])
def test_a_number_that_is_not_finite_is_only_suspect_where_the_weights_have_not_grown(broken):
    assert verdict(value=broken, growth=SMALL) == verdict(loss=broken, growth=SMALL) == "suspect"
    assert verdict(value=broken, loss=broken, is_finite=True, growth=SMALL) == "suspect", "both, as with monitor='loss'"
    assert verdict(value=broken, growth=LARGE) == verdict(loss=broken, growth=LARGE) == "broken"
    later = {"value": broken, "grown_since": "best"}
    assert verdict(**later, growth=1.4) == "suspect"
    assert verdict(**later, growth=1.5) == "broken", "there was less time to grow"
    assert verdict(value=broken, growth=NAN) == "broken"


def test_weights_that_are_not_finite_are_broken_however_small_the_others_are():
    assert verdict(is_finite=False, growth=1.0) == "broken"


def test_a_training_metric_that_is_not_finite_is_only_suspect_where_loss_and_weights_are_fine():
    """A precision of 0 / 0, say."""
    assert verdict(value=NAN, is_finite=True, is_validated=False) == "suspect"
    assert verdict(value=NAN, loss=50.0, before=1.0, is_finite=True, is_validated=False) == "broken"


@pytest.mark.parametrize(
    ("loss", "before", "known", "expected"),
    [
        (50.0, 2.0, {"growth": SMALL}, 50.0),
        (50.0, 2.0, {"growth": LARGE}, 2.0),
        (50.0, 2.0, {}, 2.0),
        (19.0, 2.0, {"growth": SMALL}, 2.0),  # Not far worse.
        (INF, 2.0, {"growth": SMALL}, 2.0),
        (None, 2.0, {"growth": SMALL}, 2.0),
        (50.0, None, {"growth": SMALL}, None),
        (-0.1, 2.0, {}, None),  # A loss that may be negative.
        (1.0, 2.0, {"first_loss": -0.1}, None),
        (0.0, 2.0, {"first_loss": 0.0}, 2.0),
    ],
)
def test_the_yardstick_gives_way_to_a_better_one(loss, before, known, expected):
    assert soundness.yardstick(loss, before, Evidence(**known)) == expected
