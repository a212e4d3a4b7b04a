"""Which setting to use for each data set, and how sure that is: chosen on the validation part, judged on the test part.

The setting with the best validation mean is chosen, so that its test score is of images that had no part in choosing
it; every other setting is then compared with it. What cannot be said is missing, and `reason` says why.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.axes import varying
from analysis.statistics.comparison import compare
from analysis.statistics.family import holm
from analysis.statistics.pairing import check_images, ratios_of
from analysis.statistics.repeated import corrected_t_test
from analysis.statistics.repeats import bootstrap_repeats
from analysis.statistics.weighted import can_weight
from analysis.table import as_words, setting_axes
from sweeper.axes import SHARED_AXES
from sweeper.data import DATASETS
from sweeper.metric import METRICS, Task

CONDITIONS = ("dataset", "protocol", "split", "fraction", "shots")
"""What is given and not chosen: settings are compared where these are equal."""
ERROR = 0.05
"""What a family of comparisons keeps."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a study says of one data set under one condition."""

    dataset: str
    condition: str
    """What is given beside the data set, in words; empty where nothing else varies."""
    metric: str
    higher: bool
    axes: tuple[str, ...]
    """The axes that tell the settings apart."""
    settings: pd.DataFrame
    """A row per setting, the chosen one first, then by validation mean: `axes`, `label`, `n` (cells), `folds`, `seeds`,
    `missing` (cells that other settings have), `undefined` (cells without the metric), `val`, `test`, `sd` (of cells,
    n - 1), `low`, `high` (of `test`), `behind` (chosen - setting, the sign turned where lower is better), `behind_low`,
    `behind_high`, `p`, `detectable` (as of `compare`, of folds alone), `p_holm`, `verdict`, `reason`, `run_ids`."""
    how: str
    """Where intervals and tests come from."""
    patients: int | None
    """Of the test part, where there is one split."""

    @property
    def is_chosen(self) -> bool:
        """Whether the first setting has all its cells and a validation mean, so that it could be chosen."""
        first = self.settings.iloc[0]
        return bool(first["missing"] == 0 and not pd.isna(first["val"]))

    @property
    def family(self) -> int:
        """Comparisons that are corrected together."""
        return max(len(self.settings) - 1, 0)


def answers(cells: pd.DataFrame, predictions: Mapping[str, pd.DataFrame]) -> list[Answer]:
    """An answer per data set and condition, the largest share of the training images first.

    Args:
        cells: rows of `frames.runs`, sources named for people.
        predictions: key of a cell -> its predictions of the test part.

    Raises:
        ValueError: when the images of a data set changed between the runs.
    """
    check_images(cells)
    official = (cells["protocol"] == "sweeper") & (cells["fold"] == 0)
    frame = cells.assign(split=np.where(official, "official parts", "folds"))
    told = [name for name in CONDITIONS[1:] if frame[name].nunique(dropna=False) > 1]
    groups = [rows for _, rows in frame.groupby(list(CONDITIONS), dropna=False, sort=True)]
    groups.sort(key=lambda rows: (-float(rows["fraction"].iloc[0]), str(rows["dataset"].iloc[0])))
    return [_answer(rows.drop(columns="split"), _in_words(rows, told), predictions) for rows in groups]


def _answer(rows: pd.DataFrame, condition: str, predictions: Mapping[str, pd.DataFrame]) -> Answer:
    dataset = str(rows["dataset"].iloc[0])
    metric = DATASETS[dataset].metric
    higher = METRICS[metric].higher
    choices = [axis for axis in varying(rows) if axis not in SHARED_AXES]
    axes = sorted((axis for axis in setting_axes(rows) if axis in choices), key=lambda axis: axis != "source")
    settings = _ordered(_summaries(rows, choices, axes, metric), higher)
    if rows["fold"].nunique() > 1:
        found = _over_folds(rows, settings, choices, metric)
        how = "corrected resampled t over folds (Nadeau & Bengio 2003), seeds averaged within a fold"
    else:
        found = _over_patients(rows, settings, metric, predictions)
        how = "bootstrap of patients (whole, within classes) and seeds together (Owen 2007)"
    sign = 1.0 if higher else -1.0
    ends = np.sort(sign * found[["behind_low", "behind_high"]].to_numpy(dtype=np.float64), axis=1)
    found = found.assign(behind=sign * found["behind"], behind_low=ends[:, 0], behind_high=ends[:, 1])
    found["p_holm"] = np.append(np.nan, holm(found["p"].to_numpy(dtype=np.float64)[1:]))
    whole = pd.concat([settings, found], axis=1)
    whole["verdict"] = [_verdict(number, row) for number, row in enumerate(whole.to_dict("records"))]
    return Answer(
        dataset=dataset,
        condition=condition,
        metric=metric,
        higher=higher,
        axes=tuple(axes),
        settings=whole,
        how=how,
        patients=_patients(rows, predictions),
    )


def _summaries(rows: pd.DataFrame, choices: Sequence[str], axes: Sequence[str], metric: str) -> pd.DataFrame:
    """One row a setting; a mean is over folds of means over seeds."""
    groups = rows.groupby(list(choices), dropna=False, sort=False) if choices else [((), rows)]
    wanted = set(zip(rows["fold"], rows["seed"], strict=True))
    found = []
    for _, group in groups:
        repeats = set(zip(group["fold"], group["seed"], strict=True))
        test = _column(group, f"test_{metric}")
        found.append(
            {name: group[name].iloc[0] for name in choices}
            | {
                "label": _in_words(group, axes) or "the one setting",
                "n": len(group),
                "folds": group["fold"].nunique(),
                "seeds": group["seed"].nunique(),
                "missing": len(wanted - repeats),
                "undefined": int(test.isna().sum()),
                "val": _mean(group, f"best_val_{metric}"),
                "test": _mean(group, f"test_{metric}"),
                "sd": test.std(),
                "run_ids": tuple(group.sort_values(["fold", "seed"])["run_id"]),
            }
        )
    return pd.DataFrame(found).astype({name: rows[name].dtype for name in choices})


def _ordered(settings: pd.DataFrame, higher: bool) -> pd.DataFrame:
    """The settings that can be chosen first, the best on the validation part before the others."""
    cannot = (settings["missing"] > 0) | settings["val"].isna()
    ranked = settings["val"] if not higher else -settings["val"]
    order = pd.DataFrame({"cannot": cannot, "rank": ranked}).sort_values(["cannot", "rank"], kind="stable").index
    return settings.loc[order].reset_index(drop=True)


def _over_folds(rows: pd.DataFrame, settings: pd.DataFrame, choices: Sequence[str], metric: str) -> pd.DataFrame:
    chosen = settings.iloc[0]
    found = [_own_over_folds(rows, each, choices, metric) for each in settings.to_dict("records")]
    if len(settings) > 1:
        baseline = [None if pd.isna(chosen[axis]) else chosen[axis] for axis in choices]
        compared = compare(rows, list(choices), baseline, value=f"test_{metric}")
        by_setting = {_identity(row, choices): row for row in compared.to_dict("records")}
        for own, each in zip(found[1:], settings.to_dict("records")[1:], strict=True):
            row = by_setting[_identity(each, choices)]
            own |= {"behind": -row["difference"], "behind_low": -row["high"], "behind_high": -row["low"]}
            own |= {name: row[name] for name in ("p", "detectable")} | {"reason": row["reason"] or own["reason"]}
    return pd.DataFrame(found)


def _own_over_folds(
    rows: pd.DataFrame, setting: Mapping[Any, Any], choices: Sequence[str], metric: str
) -> dict[str, Any]:
    """The interval of a setting's own mean: that of the corrected t-test, of folds that all have the metric."""
    mine = rows[[_identity(row, choices) == _identity(setting, choices) for row in rows.to_dict("records")]]
    ratio = float(ratios_of(mine).max(skipna=False))
    empty = _NOT_COMPARED | {"low": np.nan, "high": np.nan}
    if setting["undefined"]:
        return empty | {"reason": "the metric is undefined in a fold, a class being absent"}
    if np.isnan(ratio):
        return empty | {"reason": "the share of test to training patients is not known for this protocol"}
    test = corrected_t_test(mine.groupby("fold")[f"test_{metric}"].mean().to_numpy(dtype=np.float64), ratio=ratio)
    return empty | {"low": test.low, "high": test.high, "reason": test.reason}


def _over_patients(
    rows: pd.DataFrame, settings: pd.DataFrame, metric: str, predictions: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    key_of = dict(zip(rows["run_id"], rows["key"], strict=True))
    tables = [[predictions[key_of[run_id]] for run_id in ids] for ids in settings["run_ids"]]
    task = _task(tables[0][0])
    if not can_weight(metric, task):
        reason = f"there is no bootstrap of {metric} yet: no interval and no test"
        return pd.DataFrame([_NOT_COMPARED | {"low": np.nan, "high": np.nan, "reason": reason}] * len(settings))
    resamples = max(1000, _DRAWS_A_TEST * len(settings))
    found = bootstrap_repeats(tables, task, metric, resamples=resamples)
    found = _without_contradictions(found, settings["test"])
    found = found.rename(columns={"ahead": "behind", "ahead_low": "behind_low", "ahead_high": "behind_high"})
    gaps = ((settings["missing"] > 0) | (settings["missing"].iloc[0] > 0)) & (settings.index > 0)
    missing = "cells are missing on one side: finish the grid"
    reason = found["reason"].where(found["reason"] != "", found["ahead_reason"]).mask(gaps, missing)
    found[["behind", "behind_low", "behind_high", "p"]] = found[["behind", "behind_low", "behind_high", "p"]].mask(gaps)
    return found.assign(reason=reason, detectable=np.nan)[[*_NOT_COMPARED, "low", "high", "reason"]]


def _without_contradictions(found: pd.DataFrame, recorded: pd.Series) -> pd.DataFrame:
    """The rows, of which those have neither interval nor test whose predictions do not give the recorded score."""
    off = (found["value"] - recorded).abs() > _CLOSE
    reasons = [
        f"its predictions give {value:.6f} and not the recorded {score:.6f}: python -m sweeper.check finds out why"
        for value, score in zip(found["value"], recorded, strict=True)
    ]
    found = found.assign(reason=found["reason"].mask(off, pd.Series(reasons, index=found.index)))
    found[["low", "high"]] = found[["low", "high"]].mask(off)
    numbers = ["ahead", "ahead_low", "ahead_high", "p"]
    found[numbers] = found[numbers].mask(off | off.iloc[0])
    found.loc[(found.index > 0) & off.iloc[0] & ~off, "ahead_reason"] = (
        "the first setting's predictions are not its own"
    )
    return found


_CLOSE = 1e-6
"""Between a recorded score and that of the stored predictions: both are float64, rounding apart."""
_NOT_COMPARED = dict.fromkeys(("behind", "behind_low", "behind_high", "p", "detectable"), np.nan)
_DRAWS_A_TEST = 100
"""Resamples for each setting: the smallest p, 2 / resamples, must stay below the error when Holm multiplies it."""


def _task(table: pd.DataFrame) -> Task:
    """What the stored columns say: several labels an image, or as many classes as scores."""
    if "label_0" in table:
        return "multilabel"
    scores = [name for name in map(str, table) if name.startswith("score_") and table[name].notna().any()]
    return "binary" if len(scores) == 2 else "multiclass"


def _verdict(number: int, row: Mapping[Any, Any]) -> str:
    if number == 0:
        return "chosen" if row["missing"] == 0 and not pd.isna(row["val"]) else "incomplete"
    if pd.isna(row["p_holm"]):
        return "not tested"
    if row["p_holm"] >= ERROR:
        return "cannot be told apart"
    return "worse" if row["behind"] > 0 else "better on the test part"


def _patients(rows: pd.DataFrame, predictions: Mapping[str, pd.DataFrame]) -> int | None:
    return predictions[rows["key"].iloc[0]]["patient"].nunique() if rows["fold"].nunique() == 1 else None


def _mean(group: pd.DataFrame, column: str) -> float:
    """Mean over folds of means over seeds; NaN where any cell has none."""
    values = _column(group, column)
    return float(values.groupby(group["fold"]).mean().mean()) if values.notna().all() else float("nan")


def _column(group: pd.DataFrame, column: str) -> pd.Series:
    return group[column] if column in group else pd.Series(np.nan, index=group.index)


def _identity(row: Mapping[Any, Any], axes: Sequence[str]) -> tuple[Any, ...]:
    return tuple(None if pd.isna(row[axis]) else row[axis] for axis in axes)


def _in_words(rows: pd.DataFrame, axes: Sequence[str]) -> str:
    return ", ".join(_words(rows, axes))


def _words(rows: pd.DataFrame, axes: Sequence[str]) -> Iterator[str]:
    for axis in axes:
        (word,) = as_words(rows[axis].iloc[:1])
        if axis == "fraction":
            yield f"{100 * rows[axis].iloc[0]:g} % of the training patients"
        else:
            yield word if axis == "split" else f"{axis} {word}"
