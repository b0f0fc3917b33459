"""What the list of runs says: all runs that TensorBoard has, read as far as they are new, within a bounded time."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, NamedTuple, final

from keras_lrplateau.history import event_reader
from keras_lrplateau.history.run import Run
from keras_lrplateau.views.tables import counts, summary

READING = 0.5
"""Seconds for which a request for the list reads whole runs. Of the other runs it reads the last values, and the next
requests read on."""

Where = tuple[Any, Any, str]
"""The data provider, the context of a request and the experiment."""


class _Listed(NamedTuple):
    """What the list says about a run, the state that the run was in, and whether all of it was read."""

    state: Hashable
    is_whole: bool
    content: dict[str, Any]


@final
class Listing:
    """The list of runs, and what it was made of: the page asks every few seconds, and few runs have changed."""

    def __init__(self) -> None:
        self._listed: dict[str, dict[str, _Listed]] = {}
        """By experiment and name."""

    def read(self, where: Where) -> list[dict[str, Any]]:
        """What there is to say about each run, see `content_of`; with "counts", see `tables.counts`, which are None
        until the whole run was read, and "settings", the arguments of its callback as far as they are known."""
        states = event_reader.list_runs(*where)
        earlier = self._listed.get(where[-1], {})
        known = {
            name: earlier[name] for name, state in states.items() if name in earlier and earlier[name].state == state
        }
        # Only a whole run shows all that is wrong with it; those that are new or have changed come first.
        unread = [name for name in states if name not in known or not known[name].is_whole]
        for name, run in _read_for_a_while(where, sorted(unread, key=known.__contains__)):
            content = {**content_of(name, run), "counts": counts(run) if isinstance(run, Run) else {}}
            known[name] = _Listed(states[name], True, content)
        for name, run in event_reader.read_runs(*where, states.keys() - known.keys(), only_last=True).items():
            known[name] = _Listed(states[name], False, {**content_of(name, run), "counts": None})
        _add_settings(where, known, earlier)
        self._listed[where[-1]] = known
        return [known[name].content for name in states if name in known]


def content_of(name: str, run: Run | event_reader.UnreadableError) -> dict[str, Any]:
    """What is said about a run everywhere.

    Returns:
        "name"; "group", the user's log dir; "label", what the name has of its own within the group; and either
        "error", a text, or "summary", see `tables.summary`; the other is None.
    """
    group, _, label = name.rpartition("/")
    return {
        "name": name,
        "group": group or ".",
        "label": label,
        "error": None if isinstance(run, Run) else str(run),
        "summary": summary(run) if isinstance(run, Run) else None,
    }


def _read_for_a_while(where: Where, names: list[str]) -> Iterator[tuple[str, Run | event_reader.UnreadableError]]:
    """Read whole runs for about `READING` seconds, and one at least."""
    began = now = time.monotonic()
    many = 1
    while names and now - began <= READING:
        batch, names = names[:many], names[many:]
        yield from event_reader.read_runs(*where, batch).items()
        before, now = now, time.monotonic()
        # A call takes long even for one short run.
        many *= 4 if now - before < READING / 2 else 1


def _add_settings(where: Where, known: Mapping[str, _Listed], earlier: Mapping[str, _Listed]) -> None:
    """Put the settings of runs beside what is listed about them; they do not change."""
    settings = {name: each.content["settings"] for name, each in earlier.items() if each.content["settings"]}
    settings |= event_reader.read_settings(*where, known.keys() - settings.keys())
    for name, each in known.items():
        each.content["settings"] = settings[name]
