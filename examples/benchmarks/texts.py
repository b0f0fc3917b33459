"""Texts that Python ships, as numbers; nothing to run here."""

from __future__ import annotations

from pydoc_data import topics

import numpy as np

KNOWN = " abcdefghijklmnopqrstuvwxyz.,()_\"'=\n"
LETTERS = len(KNOWN) + 1


def coded(text: str) -> np.ndarray:
    """A text as numbers; 0 stands for all rare letters."""
    return np.array([KNOWN.find(letter) + 1 for letter in text.lower()], np.int32)


def documentation() -> np.ndarray:
    """That of the language, half a million letters."""
    return coded("\n".join(topics.topics[name] for name in sorted(topics.topics)))


def longest_topics(count: int, length: int) -> list[np.ndarray]:
    """The beginnings of its longest topics, each in one line."""
    longest = sorted(topics.topics.values(), key=len, reverse=True)[:count]
    return [coded(" ".join(text.split())[:length]) for text in longest]
