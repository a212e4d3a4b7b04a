"""The learning-rate searches of a study: one Optuna study per setting, on disk, the same however often interrupted.

Which rate is tried next depends on the setting and on the trials before it alone, never on timing: the first half of
the trials are log-spaced and may run side by side, each later one waits for all before it. No trial is run here.
"""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, PartialFixedSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from sweeper.cell import Cell, LrSearch, seed_of
from sweeper.grid import source_key

_DIVERGED = "diverged"
_LOCKED_SECONDS = 60
"""How long another process may keep the file locked."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One rate to try."""

    setting: str
    number: int
    cell: Cell
    lr: float
    floor: tuple[float, ...]
    """Per epoch, the median best-so-far of the finished trials: a trial below it may stop."""


class Search:
    """The search of one setting, which is run on `cell`."""

    def __init__(self, setting: str, cell: Cell, storage: RDBStorage) -> None:
        self.setting, self.cell = setting, cell
        search = cell.recipe.lr
        assert isinstance(search, LrSearch), "grouped by setting"
        self.lr: LrSearch = search
        self._study = optuna.create_study(
            storage=storage, study_name=setting, direction="maximize", load_if_exists=True
        )
        self._trials = self._study.get_trials()
        self._out = set[int]()
        """Trials that this process has handed out and not yet heard of."""

    @property
    def left(self) -> int:
        """Trials that have not ended."""
        return self.lr.trials - len(self._ended())

    def ask(self) -> Ask | None:
        """The next rate to try; None while it depends on trials that still run, or when all were asked."""
        for trial in self._trials:  # of an interrupted run: the same rate again
            if trial.state == TrialState.RUNNING and trial.number not in self._out:
                return self._hand_out(trial.number)
        number = len(self._trials)
        if number >= self.lr.trials or (number >= self._first and len(self._ended()) < number):
            return None
        self._study.ask()
        self._trials = self._study.get_trials()
        return self._hand_out(number)

    def tell(self, number: int, scores: Sequence[float], diverged: str | None) -> None:
        """Records what a trial came to: its validation scores per epoch, or where it diverged."""
        self._out.discard(number)
        trial = optuna.Trial(self._study, self._trials[number]._trial_id)
        for epoch, value in enumerate(scores, start=1):
            trial.report(value, epoch)
        if diverged:
            trial.set_user_attr(_DIVERGED, diverged)
            self._study.tell(number, state=TrialState.PRUNED)  # TPE takes it as worse than any score
        else:
            self._study.tell(number, max(scores))
        self._trials = self._study.get_trials()

    def found(self) -> float | None:
        """The rate with the best validation score, of equals the first tried; None when every trial diverged."""
        finite = [trial for trial in self._ended() if trial.state == TrialState.COMPLETE]
        best = max(finite, key=lambda trial: (trial.value, -trial.number), default=None)
        return None if best is None else float(best.params["lr"])

    @property
    def _first(self) -> int:
        """Number of trials that do not depend on others."""
        return self.lr.trials if self.lr.method == "grid" else math.ceil(self.lr.trials / 2)

    def _ended(self) -> list[FrozenTrial]:
        return [trial for trial in self._trials if trial.state.is_finished()]

    def _sampler(self, number: int) -> BaseSampler:
        seed = seed_of("rates", self.setting, number) % 2**32
        tpe = TPESampler(seed=seed, n_startup_trials=0)
        if number >= self._first:
            return tpe
        with warnings.catch_warnings(category=ExperimentalWarning, action="ignore"):
            return PartialFixedSampler({"lr": self._spaced(number)}, tpe)

    def _spaced(self, number: int) -> float:
        """A rate of the log-spaced ones: a grid has both ends, the start of a search the middles of equal shares."""
        if self.lr.method == "grid" and self._first > 1:
            share = number / (self._first - 1)
        else:
            share = (number + 0.5) / self._first
        rate = self.lr.low * (self.lr.high / self.lr.low) ** share
        return float(np.clip(rate, self.lr.low, self.lr.high))  # rounding may step over an end

    def _hand_out(self, number: int) -> Ask:
        self._out.add(number)
        self._study.sampler = self._sampler(number)
        trial = optuna.Trial(self._study, self._trials[number]._trial_id)
        lr = trial.suggest_float("lr", self.lr.low, self.lr.high, log=True)  # what was drawn before stays
        self._trials = self._study.get_trials()
        cell = self.cell
        if self.lr.epochs is not None:
            cell = cell.replace(epochs=self.lr.epochs)
        floor = self._floor() if number >= self._first else ()
        return Ask(setting=self.setting, number=number, cell=cell, lr=lr, floor=floor)

    def _floor(self) -> tuple[float, ...]:
        curves = [
            np.maximum.accumulate([trial.intermediate_values[epoch] for epoch in sorted(trial.intermediate_values)])
            for trial in self._ended()
            if trial.state == TrialState.COMPLETE
        ]
        length = max(map(len, curves), default=0)
        padded = [np.pad(curve, (0, length - len(curve)), mode="edge") for curve in curves]
        return tuple(np.median(padded, axis=0).tolist()) if len(padded) >= 3 else ()


class Searches:
    """The searches of a study, in the SQLite file at `path`, which one process at a time writes."""

    def __init__(self, cells: Iterable[Cell], path: Path) -> None:
        """
        Args:
            cells: all of the study, so that a search does not depend on which of them are left.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._path = path
        self._cells: dict[str, list[Cell]] = {}
        self._firsts: dict[str, Cell] = {}
        self._sources: dict[str | None, str | None] = {}
        for cell in cells:
            self._sources[cell.key] = source_key(cell)
            if isinstance(cell.recipe.lr, LrSearch):
                self._cells.setdefault(cell.setting(), []).append(cell)

    def first(self, setting: str) -> Cell:
        """The cell that the search of a setting runs on: of the earliest ones, the first over the shared axes.

        So a search waits for no cell that waits for its rate.
        """
        if setting not in self._firsts:
            self._firsts[setting] = min(self._cells[setting], key=lambda cell: (self._generation(cell), _place(cell)))
        return self._firsts[setting]

    def open(self, setting: str) -> Search:
        """The search of one setting, with what is known of it."""
        return Search(setting, self.first(setting), self._storage)

    def _generation(self, cell: Cell) -> int:
        """How many cells of the study a cell descends from, its source, that one's source and so on."""
        count, key = 0, self._sources[cell.key]
        while key in self._sources:
            count, key = count + 1, self._sources[key]
        return count

    @cached_property
    def _storage(self) -> RDBStorage:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return RDBStorage(f"sqlite:///{self._path}", engine_kwargs={"connect_args": {"timeout": _LOCKED_SECONDS}})


def _place(cell: Cell) -> list[tuple[bool, float, str]]:
    """Orders the cells of a setting by the shared axes, whatever the file's order."""
    assert isinstance(cell.recipe.lr, LrSearch), "grouped by setting"
    row = cell.row()
    values = [row[axis] for axis in cell.recipe.lr.share]
    return [(value is not None, value if isinstance(value, int | float) else 0.0, str(value)) for value in values]
