"""Holds the files of a training that survive a crash, and the claims of this process on them.

Rank 0 writes the state file, and sends its content to the other ranks.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, final

from keras_lrplateau.files import locks
from keras_lrplateau.files.locks import Claim
from keras_lrplateau.resume import claim, state_file
from keras_lrplateau.resume.claim import Files, open_files
from keras_lrplateau.resume.entries import Entries, Entry
from keras_lrplateau.resume.state_file import Pending, StateFile
from keras_lrplateau.training import processes
from keras_lrplateau.training.snapshots import Snapshots


@dataclass(frozen=True)
class Found:
    """What the files hold when a training begins.

    Attributes:
        run_dir: The directory for event files; None if none are written, and on all ranks but 0.
        own_folder: The directory for the copies of this rank; None for memory only.
        state_path: The state file; the copies take its mode. None if there is none.
        entries: How things stood after each epoch of an earlier process; empty for a new training.
        pending: An observation of the earlier process on which it did not decide.
        messages: Messages for the user.
        failure: Why the log dir could not be read; None if it could.
        ended: The entries of a training that had ended, if this one is a new phase of it; else None.
        shift: How many epochs to add if the `fit` counts them from 0 in each phase; else 0.
    """

    run_dir: Path | None
    own_folder: Path | None
    state_path: Path | None
    entries: Entries
    pending: Pending | None
    messages: Sequence[str]
    failure: OSError | None
    ended: Entries | None
    shift: int


@final
class Memory:
    """Opens, writes and releases the files that survive a crash.

    Attributes:
        file: The state file; None if there is none, and on all ranks but 0.
        folder: The directory for the copies of rank 0; None if there are none on disk.
        known: How many of the training's decisions the state file knows.
    """

    def __init__(self) -> None:
        self.file: StateFile | None = None
        self.folder: Path | None = None
        self.known = 0
        self._claims: list[Claim] = []

    def open(
        self,
        log_dir: str | None,
        state_path: str | Literal[False] | None,
        settings: dict[str, Any],
        epoch: int,
        iterations: int,
        held: Sequence[float],
        *,
        takes_over: bool,
        is_on_disk: bool,
        owner: object,
        is_new_phase: bool,
        is_over: bool,
    ) -> Found:
        """Open the files of a training, and read what they hold from before an epoch. All ranks get the same.

        Args:
            log_dir, state_path, settings, epoch, iterations, held, takes_over, owner, is_new_phase, is_over: See
                `open_files`.
            is_on_disk: Whether each rank keeps its copies on disk.

        Raises:
            StateFileError: The state file cannot be used.
            RuntimeError: Another training is using it. With several ranks, also for any error on rank 0.
            OSError: `state_path` cannot be written.
        """
        rank, files, refusal = processes.rank(), Files(), None
        if rank == 0:
            try:
                files = open_files(
                    log_dir,
                    state_path,
                    settings,
                    epoch,
                    iterations,
                    held,
                    takes_over=takes_over,
                    owner=owner,
                    is_new_phase=is_new_phase,
                    is_over=is_over,
                )
            except (OSError, RuntimeError, ValueError) as error:
                if processes.count() == 1:
                    raise
                refusal = f"{type(error).__name__}: {error}"
        self._claim(files.claims)
        self.file = files.state
        entries, ended, shift = Entries() if files.state is None else files.state.entries, files.ended, files.shift
        place = None if files.state is None else files.state.path
        self.folder = own = None if place is None else state_file.snapshot_folder(place)
        if processes.count() > 1:
            name = None if place is None else os.fspath(place)
            mine = {"refusal": refusal, "state_path": name, "entries": entries.texts, "shift": files.shift}
            mine["ended"] = None if ended is None else ended.texts
            known = processes.gather(mine)[0]
            if known["refusal"] is not None:
                raise RuntimeError(f"AdaptLROnPlateau cannot begin: rank 0 says: {known['refusal']}")
            if rank > 0 and known["state_path"] is not None:
                entries, shift = Entries(known["entries"]), known["shift"]
                ended = None if known["ended"] is None else Entries(known["ended"])
                place = Path(known["state_path"])
                self.folder = state_file.snapshot_folder(place)
                own = self.folder.with_name(f"{self.folder.name}.rank{rank}") if is_on_disk else None
        return Found(files.run_dir, own, place, entries, files.pending, files.messages, files.failure, ended, shift)

    def open_run(self, log_dir: str, owner: object) -> Path | None:
        """Claim a new run directory, for a callback that was copied in the middle of a training."""
        files = open_files(log_dir, False, {}, 0, 0, takes_over=False, owner=owner)
        self._claim(files.claims)
        return files.run_dir

    def renew(self, folder: Path) -> None:
        """Claim a folder again if it was removed, before anything is written there.

        Raises:
            OSError: It cannot be claimed, or another training has it by now.
        """
        claim.renew([each for each in self._claims if each.path.parent == folder])

    def release(self) -> None:
        """Release the claims. A second call does nothing."""
        locks.release(self._claims)

    def add(self, entry: Entry) -> None:
        """Add an entry to the state file; `write` writes it."""
        assert self.file is not None
        self.file.add(entry)

    def end(self, entry: Entry) -> None:
        """End the training: merge the last decisions into the entry of the last epoch."""
        assert self.file is not None
        last = self.file.entries[-1]
        whole = replace(
            entry,
            epoch=last.epoch,
            is_over=last.is_over,
            has_observation=last.has_observation,
            iterations_before=last.iterations_before,
            rates_before=last.rates_before,
            decisions=last.decisions + entry.decisions,
        )
        self.file.keep(len(self.file.entries) - 1)
        self.file.add(whole)
        self.file.is_finished = True

    def forget(self, epoch: int, iterations: int) -> None:
        """Forget this epoch and later ones: training begins again there."""
        if self.file is not None:
            self.file.keep(self.file.entries.until(epoch, iterations))

    def write(self, snapshots: Snapshots) -> None:
        """Write the file, and remove copies that no resumed training needs.

        Raises:
            OSError: A file could not be written; the next call tries again.
        """
        assert self.file is not None
        claim.renew(self._claims)
        self.file.write()
        snapshots.clean(self.file.recent_snapshots)
        if snapshots.failure is not None:
            raise snapshots.failure

    def _claim(self, claims: list[Claim]) -> None:
        self._claims = claims
        weakref.finalize(self, locks.release, claims)  # An interrupted fit ends without `release`.
