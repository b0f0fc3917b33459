"""Colors for runs that are drawn together: as many as are needed, each as far from those before it as can be."""

from __future__ import annotations

import functools
import itertools
import math

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#a6761d")
"""The first ones; after Okabe and Ito, whose colors people with any color vision can tell apart."""

MOST_COLORS = 128
"""From then on they repeat: no eye tells more apart."""

LIGHTNESS, CHROMA = (0.5, 0.56, 0.62, 0.68, 0.74), (0.07, 0.1, 0.14, 0.18)
"""Of further colors, in Oklab: such that they show on light and on dark ground, and are no grays."""

Lab = tuple[float, float, float]


def color_of(number: int) -> str:
    """The color with a number, from 0, as "#rrggbb"."""
    return COLORS[number] if number < len(COLORS) else _all()[number % MOST_COLORS]


@functools.cache
def _all() -> tuple[str, ...]:
    """`COLORS`, and then of all that may be used always the one that is farthest from those chosen so far."""
    chosen = list(COLORS)
    hues = [math.radians(degrees) for degrees in range(0, 360, 6)]
    free: dict[str, Lab] = {}
    for light, chroma, hue in itertools.product(LIGHTNESS, CHROMA, hues):
        place = (light, chroma * math.cos(hue), chroma * math.sin(hue))
        if (found := _hex(place)) is not None:
            free[found] = place
    nearest = {color: min(math.dist(place, oklab(other)) for other in chosen) for color, place in free.items()}
    while len(chosen) < MOST_COLORS:
        farthest = max(nearest, key=nearest.__getitem__)
        chosen.append(farthest)
        place = free[farthest]
        nearest = {color: min(far, math.dist(free[color], place)) for color, far in nearest.items()}
    return tuple(chosen)


def oklab(color: str) -> Lab:
    """The place of a color, as "#rrggbb", in Oklab, where distances are about as large as they look.

    Source: Björn Ottosson, "A perceptual color space for image processing", 2020.
    """
    red, green, blue = (_linear(int(color[at : at + 2], 16) / 255) for at in (1, 3, 5))
    long = math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue)
    medium = math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue)
    short = math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def _hex(place: Lab) -> str | None:
    """The color at a place in Oklab; None if no screen has it."""
    light, a, b = place
    long = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
    parts = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    if not all(0 <= part <= 1 for part in parts):
        return None
    return "#" + "".join(f"{round(255 * _gamma(part)):02x}" for part in parts)


def _linear(part: float) -> float:
    """A part of a color as light, from what a screen is told (sRGB); both in [0, 1]."""
    return float(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)


def _gamma(part: float) -> float:
    return float(12.92 * part if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055)
