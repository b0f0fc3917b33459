"""The colors of many runs."""

import math
from itertools import combinations

import pytest

from keras_lrplateau.views.colors import COLORS, MOST_COLORS, color_of, oklab
from keras_lrplateau.views.figure import THEMES


def luminance(color: str) -> float:
    """The relative luminance of WCAG 2."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_first_colors_are_those_for_any_color_vision():
    assert [color_of(number) for number in range(len(COLORS))] == list(COLORS)


@pytest.mark.parametrize(("many", "apart"), [(len(COLORS), 0.09), (20, 0.09), (50, 0.06), (100, 0.04)])
def test_colors_of_many_runs_stay_apart(many, apart):
    places = [oklab(color_of(number)) for number in range(many)]
    assert min(math.dist(*pair) for pair in combinations(places, 2)) > apart


def test_every_color_shows_on_light_and_on_dark_ground():
    for theme in THEMES.values():
        ground = luminance(theme.paper)
        for number in range(MOST_COLORS):
            low, high = sorted((ground, luminance(color_of(number))))
            assert (high + 0.05) / (low + 0.05) > 1.7, (theme.paper, color_of(number))


def test_after_the_last_color_comes_the_first_again():
    assert color_of(MOST_COLORS) == color_of(0)
    assert len({color_of(number) for number in range(MOST_COLORS)}) == MOST_COLORS
