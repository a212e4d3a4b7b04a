"""Pairs of cells that differ in the compared axis alone; what must not be compared is refused here, with the reason.

Nothing is tested here: `compare` does that with the pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames import axes_of, varying
from sweeper.metric import COUNTS, describe

REPEATS = ("fold", "seed")
"""What repeats a setting."""
_OTHER_IMAGES = ("dataset", "fold", "protocol")
_SELECTING = ("monitor", "head_monitor", "patience", "head_patience", "validations", "epochs", "head_epochs", "lr")
"""Axes that decide which of how many states or rates is the best on the validation part; and those that begin `lr_`."""
_RATIOS = {"sweeper": (1 / 5) / (3 / 5), "hidden_v2": 16 / 80}
"""Protocol -> test / training patients of its folds from 1 on, of all training patients; of two shares the larger."""


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """What is compared."""

    axes: tuple[str, ...]
    """One, or several that change together."""
    baseline: tuple[Any, ...]
    """A value of each; None is a missing one."""

    def __str__(self) -> str:
        return ", ".join(f"{axis} {value!r}" for axis, value in zip(self.axes, self.baseline, strict=True))


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """All pairs of a frame, and those cells whose partner is missing."""

    rows: pd.DataFrame
    """Columns `settings`, the contrast's axes, `split`, `fold`, `seed`, `metric`, `part`, `higher`, `score`,
    `baseline_score` (NaN where undefined, or without a cell), `ratio` (of test to training patients, NaN where it is
    not known) and `gap`: why there is no difference, or empty."""
    settings: tuple[str, ...]
    """The axes that stand beside the contrast: `dataset`, and those that vary."""


def contrast_of(frame: pd.DataFrame, axis: str | Sequence[str], baseline: Any) -> Contrast:
    """The contrast, checked against a frame.

    Raises:
        ValueError: when an axis is none of the frame's, changes the tested images, or has no such value.
    """
    axes = (axis,) if isinstance(axis, str) else tuple(axis)
    values = (baseline,) if isinstance(axis, str) else tuple(baseline)
    if len(axes) != len(values) or not axes:
        raise ValueError(f"{len(axes)} axes {axes} have a baseline of {len(values)} values {values}; give one for each")
    for name in axes:
        if name not in axes_of(frame):
            raise ValueError(f"'{name}' is no axis of the frame; its axes are {', '.join(axes_of(frame))}")
        if name in _OTHER_IMAGES:
            raise ValueError(f"cells that differ in {name} are tested on other images: their scores cannot be paired")
        if name == "seed":
            raise ValueError("seeds repeat a setting and are no setting: there is nothing to compare them for")
    contrast = Contrast(axes=axes, baseline=values)
    if not _is_baseline(frame, contrast).any():
        known = frame[list(axes)].drop_duplicates().itertuples(index=False)
        raise ValueError(f"no cell has {contrast}; there are {', '.join(str(tuple(each)) for each in known)}")
    return contrast


def pair_cells(
    frame: pd.DataFrame, contrast: Contrast, value: str | Mapping[str, str], within: Sequence[str] = ()
) -> Pairs:
    """Each cell with the baseline cell that has all its other axes, `fold` and `seed` among them.

    Args:
        frame: rows of `frames.runs`, of one or several studies (a cell that is in two counts once); or rows that have
            `metric` and `part` beside a column of values, as those of probes.
        contrast: from `contrast_of`.
        value: a column of the frame, or one for each data set.
        within: columns that are no axes and tell values of a cell apart, as `block`.

    Raises:
        ValueError: when the numbers are of different metrics or parts, images changed between the runs, the validation
            part selected what it is to judge, a cell has two values, or no two cells differ in the axis alone.
    """
    rows = _with_values(frame.reset_index(drop=True), value)
    _check_ids(rows, within)
    _check_images(rows)
    _check_selection(rows, contrast)
    keys = [name for name in dict.fromkeys([*varying(rows), "dataset", *REPEATS, *within]) if name not in contrast.axes]
    rows = _once(rows, [*keys, *contrast.axes], within).assign(ratio=_ratios(rows), split=_splits(rows))
    told = [*keys, "metric", "part", "higher", "split"]
    mine = _is_baseline(rows, contrast)
    others, base = rows[~mine], rows[mine]
    if others.empty:
        raise ValueError(f"all cells have {contrast}: there is nothing to compare it with")
    wanted = others[list(contrast.axes)].drop_duplicates()
    left = others[[*told, *contrast.axes, "score", "ratio"]].assign(here=True)
    right = base[[*told, "score", "ratio"]].assign(there=True).merge(wanted, how="cross")
    both = left.merge(right, on=[*told, *contrast.axes], how="outer", suffixes=("", "_of_baseline"))
    both = both.rename(columns={"score_of_baseline": "baseline_score"})
    both["ratio"] = both[["ratio", "ratio_of_baseline"]].max(axis=1, skipna=False)
    both["gap"] = _gaps(both)
    if not (both["here"].notna() & both["there"].notna()).any():
        raise ValueError(f"no cell differs from one with {contrast} in that alone; {_nearest(others, base, keys)}")
    settings = ["dataset", *(name for name in keys if name not in ("dataset", *REPEATS))]
    columns = [*settings, *contrast.axes, "split", *REPEATS, "metric", "part", "higher"]
    wide = both[[*columns, "score", "baseline_score", "ratio", "gap"]]
    return Pairs(rows=wide.sort_values([*columns[: -len(REPEATS) - 1]], ignore_index=True), settings=tuple(settings))


def _is_baseline(frame: pd.DataFrame, contrast: Contrast) -> pd.Series:
    mine = pd.Series(True, index=frame.index)
    for axis, value in zip(contrast.axes, contrast.baseline, strict=True):
        mine &= frame[axis].isna() if value is None else (frame[axis] == value).fillna(False).astype(bool)
    return mine


def _with_values(frame: pd.DataFrame, value: str | Mapping[str, str]) -> pd.DataFrame:
    """The frame with `score`, and the id and part that it is of; repeats and data set where the frame has none."""
    datasets = pd.Series("", index=frame.index) if "dataset" not in frame else frame["dataset"]
    columns = pd.Series(value, index=frame.index) if isinstance(value, str) else datasets.map(dict(value))
    if columns.isna().any():
        raise ValueError(f"no metric is given for data set '{datasets[columns.isna()].iloc[0]}'")
    scores, ids = pd.Series(np.nan, index=frame.index), {}
    for column in columns.unique():
        if column not in frame:
            known = ", ".join(name for name in map(str, frame) if describe(name))
            raise ValueError(f"the frame has no column '{column}'; it has the metrics {known}")
        scores = scores.where(columns != column, frame[column].astype("float64"))
        ids[column] = _id_of(frame, column)
    told = {name: columns.map({column: each[name] for column, each in ids.items()}) for name in ("part", "higher")}
    metric = columns.map({column: each["id"] for column, each in ids.items()})
    if (long := columns.map({column: each["id"] is None for column, each in ids.items()})).any():
        metric = metric.where(~long, frame.get("metric"))
        told["part"] = told["part"].where(~long, frame.get("part"))
    neutral = {name: 0 for name in REPEATS if name not in frame} | ({} if "dataset" in frame else {"dataset": ""})
    return frame.assign(score=scores, metric=metric, **told, **neutral)


def _id_of(frame: pd.DataFrame, column: str) -> dict[str, Any]:
    """What a column's numbers are; of rows that say it themselves, None."""
    told = describe(column)
    if told and told.id not in COUNTS:
        return {"id": told.id, "part": told.part, "higher": told.info.higher}
    if "metric" in frame and "part" in frame:
        return {"id": None, "part": None, "higher": True}
    raise ValueError(
        f"column '{column}' is no metric of a part, as test_auroc, and the frame's rows name none themselves"
    )


def _check_ids(rows: pd.DataFrame, within: Sequence[str]) -> None:
    for name in ("metric", "part"):
        if rows[name].isna().any():
            raise ValueError(f"{rows[name].isna().sum()} of {len(rows)} rows do not say their {name}; name it in each")
        by = ["dataset", *(each for each in within if each != name)]
        several = rows.groupby(by, dropna=False)[name].unique()
        mixed = several[several.map(len) > 1]
        if len(mixed):
            ids = ", ".join(sorted(map(str, mixed.iloc[0])))
            raise ValueError(f"the numbers of '{mixed.index[0]}' are of different {name}s ({ids}); compare within one")


def _check_images(rows: pd.DataFrame) -> None:
    """A data set at one size has one fingerprint; at another size its images, decoded anew, have another."""
    if "fingerprint" not in rows:
        return
    by = ["dataset", *(["size"] if "size" in rows else [])]
    prints = rows.groupby(by, dropna=False)["fingerprint"].agg(lambda each: each.nunique(dropna=False))
    if (prints > 1).any():
        raise ValueError(
            f"images or labels of {prints.index[prints > 1][0]} changed between the runs: they have {prints.max()} "
            "fingerprints; run the older cells again"
        )


def _check_selection(rows: pd.DataFrame, contrast: Contrast) -> None:
    selecting = [axis for axis in contrast.axes if axis in _SELECTING or axis.startswith("lr_")]
    if selecting and (rows["part"].str.startswith("validation")).any():
        raise ValueError(
            f"the validation part selects by {selecting[0]}: its own scores of cells that select otherwise cannot be "
            "compared; take those of the test part"
        )


def _once(rows: pd.DataFrame, identity: list[str], within: Sequence[str]) -> pd.DataFrame:
    """The rows without the copies of cells that are in several studies."""
    if "key" in rows:
        rows = rows.drop_duplicates(["key", *within, "metric", "part", "score"])
    twice = rows.duplicated(identity, keep=False)
    if twice.any():
        first = rows[twice].iloc[0]
        place = ", ".join(f"{name} {first[name]}" for name in identity if name in ("dataset", *REPEATS, *within))
        raise ValueError(f"a cell has several values of one metric (first: {place}); keep one run of each cell")
    return rows


def _ratios(rows: pd.DataFrame) -> pd.Series:
    """Test / training patients of each cell; NaN where its protocol does not say it."""
    if "n_train" in rows and "n_test" in rows:
        return rows["n_test"].astype("float64") / rows["n_train"].astype("float64")
    if "protocol" not in rows:
        return pd.Series(np.nan, index=rows.index)
    ratio = rows["protocol"].map(_RATIOS).where(rows["fold"] > 0).astype("float64")
    if "fraction" in rows:
        ratio = ratio / rows["fraction"]
    return ratio.where(rows["shots"].isna()) if "shots" in rows else ratio


def _splits(rows: pd.DataFrame) -> pd.Series:
    """`folds`, or `official` for fold 0 of `sweeper`: its images are those of the folds, cut in another way."""
    if "protocol" not in rows:
        return pd.Series("folds", index=rows.index, dtype="str")
    official = (rows["protocol"] == "sweeper") & (rows["fold"] == 0)
    return pd.Series(np.where(official, "official", "folds"), index=rows.index, dtype="str")


def _gaps(both: pd.DataFrame) -> pd.Series:
    """Why a row has no difference."""
    nowhere = [both["here"].isna(), both["there"].isna(), both[["score", "baseline_score"]].isna().any(axis=1)]
    return pd.Series(np.select(nowhere, ["no cell", "no baseline", "undefined"], ""), index=both.index, dtype="str")


def _nearest(others: pd.DataFrame, base: pd.DataFrame, keys: Sequence[str]) -> str:
    """In what else the nearest two cells differ."""
    first = others.iloc[0]
    same = pd.DataFrame(
        {name: base[name].isna() if pd.isna(first[name]) else base[name] == first[name] for name in keys}
    )
    shared = same.fillna(False).astype(bool).to_numpy()  # (baseline cells, keys)
    nearest = shared[shared.sum(axis=1).argmax()]
    return f"the nearest differ in {', '.join(np.array(keys)[~nearest])} too"
