"""The learning-rate searches of a study: one Optuna study per setting, on disk, the same however often interrupted.

Which rate is tried next depends on the setting and on the trials before it alone, never on timing: the first half of
the trials are log-spaced and may run side by side, each later one waits for all before it. The default recipe's rate is
tried first where it lies in the range: it takes the place of the log-spaced rate of its share. (A search that had begun
before this was so keeps the rates that it began with, and a grid is exactly the grid.) A range test is one trial, whose
rate `ladder` picks. No trial is run here.
"""

import math
import warnings
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, PartialFixedSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from sweeper.cell import NEUTRAL, Cell, LrSearch, seed_of
from sweeper.grid import source_key
from sweeper.ladder import rate_between, rungs, steepest_fall
from sweeper.outcome import RateTrial

_DIVERGED, _LOWER, _LOSSES, _DEFAULT_FIRST = "diverged", "lower", "losses", "default_first"
_COLUMNS = MappingProxyType(
    {
        "number": "int64",
        "lr": "float64",
        "epoch": "float64",
        "score": "float64",
        "higher": "bool",
        "train_loss": "float64",
        "diverged": "str",
    }
)
_SHORTEST_FLOOR = 3
"""Finished trials that a median is taken of."""
_LOCKED_SECONDS = 60
"""How long another process may keep the file locked."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One rate to try, or the range that one training goes through."""

    setting: str
    number: int
    cell: Cell
    """What is trained, with the epochs and the schedule of a trial."""
    lr: float
    """Of a range test, its first."""
    floor: tuple[float, ...] = ()
    """Per validation, the median best-so-far of the finished trials: a trial that is worse may stop."""
    rates: tuple[float, ...] = ()
    """Of a range test, those of its stretches; else none."""


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
        if not self._trials:
            self._study.set_user_attr(_DEFAULT_FIRST, True)
        self._default_first: bool = self._study.user_attrs.get(_DEFAULT_FIRST, False)
        self._out = set[int]()
        """Trials that this process has handed out and not yet heard of."""

    @property
    def left(self) -> int:
        """Trials that have not ended."""
        return self.lr.trainings - len(self._ended())

    def ask(self) -> Ask | None:
        """The next rate to try; None while it depends on trials that still run, or when all were asked."""
        for trial in self._trials:  # of an interrupted run: the same rate again
            if trial.state == TrialState.RUNNING and trial.number not in self._out:
                return self._hand_out(trial.number)
        number = len(self._trials)
        if number >= self.lr.trainings or (number >= self._first and len(self._ended()) < number):
            return None
        self._study.ask()
        self._trials = self._study.get_trials()
        return self._hand_out(number)

    def tell(self, number: int, told: RateTrial) -> None:
        """Records what a trial came to."""
        self._out.discard(number)
        trial = optuna.Trial(self._study, self._trials[number]._trial_id)
        for place, value in enumerate(told.scores, start=1):
            trial.report(value, place)
        values = [-min(told.losses)] if told.losses else told.scores  # to be as large as can be
        trial.set_user_attr(_LOWER, not told.higher)
        if told.losses:
            trial.set_user_attr(_LOSSES, list(told.losses))
        if told.diverged:
            trial.set_user_attr(_DIVERGED, told.diverged)
        if told.diverged or not values:
            self._study.tell(number, state=TrialState.PRUNED)  # TPE takes it as worse than any score
        else:
            self._study.tell(number, max(values))
        self._trials = self._study.get_trials()

    def found(self) -> float | None:
        """The rate with the best validation score, of equals the first tried, or of a range test's steepest fall.

        None when every trial diverged, or the loss of a range test does not fall.
        """
        if self.lr.method == "range_test":
            place = steepest_fall([loss for trial in self._ended() for loss in trial.user_attrs.get(_LOSSES, ())])
            return None if place is None else rungs(self.lr)[place]
        best = self._best()
        return None if best is None else float(best.params["lr"])

    def nothing_found(self) -> str:
        """The sentence that says why all trials have ended and there is no rate."""
        ends = f"from {self.lr.low:g} to {self.lr.high:g}"
        if self.lr.method == "range_test":
            return (
                f"no rate found: in the range test {ends} the training loss does not fall by more than chance before "
                "it explodes; declare an LrSearch over other rates, with fewer trials, more epochs or another method"
            )
        return (
            f"every one of the {self.lr.trials} learning rates tried {ends} diverged; "
            "declare an LrSearch over smaller rates"
        )

    def table(self) -> pd.DataFrame:
        """What the trials that have ended came to: a row per validation, of a range test per stretch.

        Columns: `number` of the trial, its `lr`, `epoch` (passes until then), `score` (NaN in a range test, and in the
        one row of a trial without any), `higher` (whether a high score is good), `train_loss` (of a range test's
        stretch), `diverged` (missing, or the sentence that says where) and `chosen` (whether this rate was taken).
        """
        rows = [row for trial in self._ended() for row in self._rows(trial)]
        chosen = self.found()
        frame = pd.DataFrame(rows, columns=list(_COLUMNS)).assign(chosen=[row["lr"] == chosen for row in rows])
        return frame.astype(_COLUMNS | {"chosen": "bool"})

    def _rows(self, trial: FrozenTrial) -> list[dict[str, Any]]:
        """The rows of one trial."""
        known = {"number": trial.number, "diverged": trial.user_attrs.get(_DIVERGED)}
        known |= {"higher": not trial.user_attrs.get(_LOWER, False)}
        passes = self.lr.trial_epochs(self.cell.recipe.epochs)
        if self.lr.method == "range_test":
            curve = zip(rungs(self.lr), trial.user_attrs.get(_LOSSES, ()), strict=False)  # it may have ended early
            share = passes / self.lr.trials
            return [
                known | {"lr": lr, "epoch": n * share, "train_loss": loss}
                for n, (lr, loss) in enumerate(curve, start=1)
            ]
        known |= {"lr": trial.params["lr"]}
        sign = 1 if known["higher"] else -1
        scores = sorted(trial.intermediate_values.items())
        often = self.cell.recipe.validations
        return [known | {"epoch": place / often, "score": sign * value} for place, value in scores] or [known]

    def _best(self) -> FrozenTrial | None:
        finite = [trial for trial in self._ended() if trial.state == TrialState.COMPLETE]
        return max(finite, key=lambda trial: (trial.value, -trial.number), default=None)

    @property
    def _first(self) -> int:
        """Number of trials that do not depend on others."""
        return math.ceil(self.lr.trials / 2) if self.lr.method == "optuna" else self.lr.trainings

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
        search, count = self.lr, self._first
        if search.method == "grid":
            return rungs(search)[number]
        middles = [rate_between(search.low, search.high, (place + 0.5) / count) for place in range(count)]
        default = NEUTRAL["lr"]
        if self._default_first and search.low <= default <= search.high:
            share = math.log(default / search.low) / math.log(search.high / search.low)
            middles.pop(min(int(share * count + 1e-9), count - 1))
            middles.insert(0, default)
        return middles[number]

    def _hand_out(self, number: int) -> Ask:
        self._out.add(number)
        cell = self._trial_cell()
        if self.lr.method == "range_test":
            rates = rungs(self.lr)
            return Ask(setting=self.setting, number=number, cell=cell, lr=rates[0], rates=rates)
        self._study.sampler = self._sampler(number)
        trial = optuna.Trial(self._study, self._trials[number]._trial_id)
        lr = trial.suggest_float("lr", self.lr.low, self.lr.high, log=True)  # what was drawn before stays
        self._trials = self._study.get_trials()
        floor = self._floor() if number >= self._first else ()
        return Ask(setting=self.setting, number=number, cell=cell, lr=lr, floor=floor)

    def _trial_cell(self) -> Cell:
        epochs = self.lr.trial_epochs(self.cell.recipe.epochs)
        if self.lr.schedule == "recipe" and self.lr.method != "range_test":
            return self.cell.replace(epochs=epochs)
        plain = {"schedule": "constant", "warmup": 0.0, "warmup_steps": 0, "milestones": (), "lr_floor": 0.0}
        return self.cell.replace(epochs=epochs, **plain)

    def _floor(self) -> tuple[float, ...]:
        done = [trial for trial in self._ended() if trial.state == TrialState.COMPLETE]
        if len(done) < _SHORTEST_FLOOR:
            return ()
        curves = [np.maximum.accumulate([value for _, value in sorted(t.intermediate_values.items())]) for t in done]
        length = max(map(len, curves))
        padded = [np.pad(curve, (0, length - len(curve)), mode="edge") for curve in curves]
        return tuple(np.median(padded, axis=0).tolist())


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

    def ended(self, but: Collection[str]) -> list[Search]:
        """Those that have come to their end, by this driver or an earlier one, but for some settings."""
        asked = self._cells.keys() - set(but)
        if not asked or not self._path.exists():
            return []
        begun = set(optuna.get_all_study_names(self._storage))
        return [search for setting in sorted(asked & begun) if not (search := self.open(setting)).left]

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
