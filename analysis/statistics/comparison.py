"""Is a setting better than a baseline? Within each target over its folds, then across targets, corrected for several.

The one entry point to the tests of this room for recorded cells. A number that could mislead is missing, and the column
`reason` says why; what cannot be compared at all is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.statistics.family import holm
from analysis.statistics.mixed import mixed_mean_of
from analysis.statistics.pairing import contrast_of, pair_cells
from analysis.statistics.repeated import MeanDifference, corrected_t_test, detectable_in_se
from analysis.statistics.scored import Floats
from analysis.statistics.signed_rank import signed_rank_test
from sweeper.cell import AXES

_TYPES = {
    "axis": "str",
    "baseline": "str",
    "split": "str",
    "metric": "str",
    "part": "str",
    "higher": "bool",
    **dict.fromkeys(("score", "baseline_score", "difference", "sd", "se", "t"), "float64"),
    "df": "int64",
    **dict.fromkeys(("p", "p_holm", "low", "high", "d_z", "detectable", "ratio"), "float64"),
    **dict.fromkeys(("folds", "seeds", "pairs", "missing", "family_size"), "int64"),
    "method": "str",
    "reason": "str",
}
_ACROSS_TYPES = {
    "axis": "str",
    "baseline": "str",
    "split": "str",
    "metric": "str",
    "part": "str",
    "higher": "bool",
    **dict.fromkeys(("targets", "missing", "wins", "losses", "zeros"), "int64"),
    **dict.fromkeys(("difference", "sd", "low", "high", "d_z", "detectable", "rank_biserial"), "float64"),
    **dict.fromkeys(("sd_between", "sd_within", "p", "p_holm", "smallest_p"), "float64"),
    "family_size": "int64",
    "method": "str",
    "reason": "str",
}
_OVER = {
    "folds": "corrected resampled t over folds, seeds averaged",
    "seeds": "paired t over seeds of one split: of these patients alone",
}


def compare(
    frame: pd.DataFrame,
    axis: str | Sequence[str],
    baseline: Any,
    *,
    value: str | Mapping[str, str],
    within: Sequence[str] = (),
    over: Literal["folds", "seeds"] = "folds",
    ratio: float | None = None,
    unfinished: Literal["refuse", "use"] = "refuse",
    family: Sequence[str] = (),
    level: float = 0.95,
    power: float = 0.8,
) -> pd.DataFrame:
    """A row per target and contrast: every other value of the axis against the baseline, all other axes equal.

    Columns: `dataset` and the other axes that vary; the compared axes; `axis`, their names; `baseline`; `split` (the
    official one, fold 0 of protocol `sweeper`, stands apart from the folds, which share its images); `metric`, `part`,
    `higher`; `score`, `baseline_score` and `difference` (score - baseline_score): means over folds of means over seeds;
    `sd` of the folds' differences (n - 1 in the denominator), `se`, `t`, `df`, two-sided `p`, `low` and `high` of the
    difference, `d_z` and `detectable` as of `corrected_t_test`; `p_holm`; `ratio`, the test / training patients that
    the correction took; `folds`, `seeds` (most in a fold), `pairs`, `missing`, `family_size`, `method`, `reason`.

    Cells are paired by fold and seed, the seeds of a fold are averaged, and folds are judged by the corrected t-test:
    neither several seeds of one split nor overlapping folds pass for independent evidence. So one fold, of however many
    seeds, has no p: `delong_test` and `bootstrap_difference` say what its patients can. Where pairs are missing,
    because the grid is unfinished or a class was absent, the means are those of the pairs that there are, without a p.

    Args:
        frame: as of `pair_cells`.
        axis: the one that is compared, or several that change together, as `("source", "blocks", "rest")`.
        baseline: its value, or a value of each; None is a missing one.
        value: a column, as `test_auroc`, or one for each data set.
        within: columns beside the axes that tell values of a cell apart, as `block`.
        over: `seeds` tests the seeds of a single split instead, which is a statement about these patients alone.
        ratio: test / training patients, where neither the protocol nor columns `n_test`, `n_train` say it.
        unfinished: `use` tests the folds that there are.
        family: columns whose values each have a family of tests of their own; none: all rows together. Rows without any
            pair, or of the official split without `over='seeds'`, are in no family; others without p count in theirs.
        level: of confidence, in (0, 1).
        power: of `detectable`.

    Raises:
        ValueError: when numbers of different metrics, parts, splits, images or selections would be compared (see
            `pair_cells`), or there is no such axis, value or baseline.
    """
    contrast = contrast_of(frame, axis, baseline)
    pairs = pair_cells(frame, contrast, value, within)
    rows = pairs.rows if ratio is None else pairs.rows.assign(ratio=float(ratio))
    identity = [*pairs.settings, *contrast.axes]
    told = [*identity, "split", "metric", "part", "higher"]
    found = []
    for names, group in rows.groupby(told, dropna=False, sort=True):
        known = dict(zip(told, names, strict=True)) | {"axis": ", ".join(contrast.axes), "baseline": str(contrast)}
        found.append(known | _test(group, over, unfinished == "use", level, power))
    table = pd.DataFrame(found)
    table[identity] = table[identity].astype({name: rows[name].dtype for name in identity})
    counted = (table["pairs"] > 0) & ((table["split"] != "official") | (over == "seeds"))
    return _corrected(table, family, counted)[[*identity, *_TYPES]].astype(_TYPES)


def compare_across(
    found: pd.DataFrame,
    *,
    method: Literal["ranks", "mixed"] = "ranks",
    family: Sequence[str] = (),
    level: float = 0.95,
) -> pd.DataFrame:
    """A row per contrast over all data sets: does the setting tend to be better, whatever the target?

    `ranks` is Wilcoxon's signed-rank test of the targets' mean differences, each one number: folds and seeds of a
    target do not pass for further targets. `mixed` is the mixed model of `mixed_mean_of`: the mean over targets of
    which each has a difference of its own, about which its folds scatter. It has an interval and finds more where
    differences are normal, and it refuses to judge, with the reason, where it does not converge or would pool folds.
    Which of them is used is declared before the results are seen; taking the smaller p of both keeps no error.

    Columns: axes other than `dataset` (and those of images and recipe of which each data set has a single value, as its
    size), `axis`, `baseline`, `split`, `metric`, `part`, `higher`, `targets`, `missing`, `wins` and `losses` of the
    setting, `zeros`, mean `difference` (of `mixed`: weighted by how sure each target's is), the `sd` of the targets',
    `low`, `high`, `d_z` and `detectable` (of `ranks` those of a t-test, to which Wilcoxon's comes within 5 %, for
    normal differences), `rank_biserial`, `sd_between` of targets and `sd_within` of their folds (`mixed` alone), `p`,
    `p_holm`, `smallest_p` (of ranks of that many targets: where it is above the error, nothing can be found),
    `family_size`, `method` and `reason`. Targets must not share patients.

    Where the difference of a target is missing or incomplete there is no p and no interval, for it may be missing
    because of what it would be; those that `compare` took with `unfinished='use'` are taken here too.

    Args:
        found: of `compare`.
        method: as above.
        family: as there.
        level: as there.

    Raises:
        ValueError: when data sets have different metrics or parts: their differences have no common mean.
    """
    identity = list(found.columns[: found.columns.get_loc("axis")])
    kept = [name for name in identity if name != "dataset" and not _follows(found, name)]
    by = [*kept, "axis", "baseline", "split"]
    rows = []
    for names, group in found.groupby(by, dropna=False, sort=True):
        rows.append(dict(zip(by, names, strict=True)) | _test_across(group, method, level))
    table = pd.DataFrame(rows)
    table[kept] = table[kept].astype({name: found[name].dtype for name in kept})
    return _corrected(table, family, table["targets"] > 0)[[*kept, *_ACROSS_TYPES]].astype(_ACROSS_TYPES)


def _follows(found: pd.DataFrame, name: str) -> bool:
    """Whether a column is an axis of images or recipe that every data set has a value of its own of."""
    if name in found["axis"].iloc[0].split(", ") or AXES.get(name) not in ("images", "recipe"):
        return False
    return bool(
        (found.groupby("dataset")[name].nunique(dropna=False) == 1).all() and found[name].nunique(dropna=False) > 1
    )


def _test(group: pd.DataFrame, over: str, use: bool, level: float, power: float) -> dict[str, Any]:
    """What the pairs of one target and contrast say."""
    there = group[group["gap"] == ""]
    means = there.groupby("fold" if over == "folds" else "seed")[["score", "baseline_score"]].mean()
    differences = (means["score"] - means["baseline_score"]).to_numpy()
    ratio = _ratio(there) if over == "folds" else 0.0
    test = asdict(corrected_t_test(differences, ratio=0.0 if np.isnan(ratio) else ratio, level=level, power=power))
    reason = next(_reasons(group, there, over, use, ratio), "") or test["reason"]
    if reason:
        test |= dict.fromkeys(("se", "t", "p", "low", "high", "detectable"), np.nan)
    return {
        "score": means["score"].mean(),
        "baseline_score": means["baseline_score"].mean(),
        "difference": test["mean"],
        **{name: test[name] for name in ("sd", "se", "t", "df", "p", "low", "high", "d_z", "detectable")},
        "ratio": ratio,
        "folds": there["fold"].nunique(),
        "seeds": there.groupby("fold")["seed"].nunique().max() if len(there) else 0,
        "pairs": len(there),
        "missing": len(group) - len(there),
        "method": _OVER[over],
        "reason": reason,
    }


def _reasons(group: pd.DataFrame, there: pd.DataFrame, over: str, use: bool, ratio: float) -> Iterator[str]:
    """Why there is no p, the weightiest first."""
    gaps = group[group["gap"] != ""]
    if there.empty:
        only = gaps["gap"].iloc[0] if gaps["gap"].nunique() == 1 else "no pair"
        yield f"no pair of {len(gaps)}: " + _GAPS.get(only, "cells are missing on both sides")
    if len(gaps) and not use:
        first = gaps.iloc[0]
        yield f"{len(gaps)} of {len(group)} pairs are missing (first: fold {first['fold']}, seed {first['seed']}, " + (
            f"{_GAPS[first['gap']]}): finish the grid, or take unfinished='use'"
        )
    folds = there["fold"].nunique()
    if over == "seeds" and folds > 1:
        yield f"{folds} folds are no repeats of one split: take over='folds'"
    if over == "folds" and folds == 1:
        yield "1 fold: seeds do not tell how the difference varies over patients; test its predictions"
    if over == "folds" and np.isnan(ratio):
        yield "the share of test to training patients is not known for this protocol: give ratio="


_GAPS = {
    "no cell": "no cell of the setting is there",
    "no baseline": "no baseline cell differs in this alone",
    "undefined": "the metric is undefined, a class being absent",
}


def _ratio(there: pd.DataFrame) -> float:
    """The largest of the folds, which corrects most; NaN where that of any is not known."""
    return float(there["ratio"].max(skipna=False)) if len(there) else np.nan


def _test_across(group: pd.DataFrame, method: str, level: float) -> dict[str, Any]:
    for name in ("metric", "part"):
        if group[name].nunique() > 1:
            ids = ", ".join(sorted(group[name].unique()))
            raise ValueError(f"the data sets' differences are of several {name}s ({ids}) and have no common mean")
    whole = group[group["difference"].notna()]
    differences = whole["difference"].to_numpy()
    spread = corrected_t_test(differences, ratio=0.0, level=level)
    tested = _by_ranks(differences, spread) if method == "ranks" else _by_mixed_model(whole, level)
    partial = int(((group["missing"] > 0) & (group["reason"] != "")).sum())
    if partial:
        tested["reason"] = f"{partial} of {len(group)} targets have missing pairs: finish the grid"
    if tested["reason"]:
        tested |= dict.fromkeys(("p", "low", "high", "detectable"), np.nan)
    sign = 1 if group["higher"].iloc[0] else -1
    return {
        **{name: group[name].iloc[0] for name in ("metric", "part", "higher")},
        "targets": len(whole),
        "missing": len(group) - len(whole),
        "wins": int((sign * differences > 0).sum()),
        "losses": int((sign * differences < 0).sum()),
        "zeros": int((differences == 0).sum()),
        "sd": spread.sd,
        "d_z": spread.d_z,
        **tested,
    }


def _by_ranks(differences: Floats, spread: MeanDifference) -> dict[str, Any]:
    ranked = signed_rank_test(differences)
    return {
        "difference": spread.mean,
        **{name: getattr(spread, name) for name in ("low", "high", "detectable")},
        "rank_biserial": ranked.rank_biserial,
        "sd_between": np.nan,
        "sd_within": np.nan,
        "p": ranked.p,
        "smallest_p": ranked.smallest_p,
        "method": f"Wilcoxon signed-rank, {'exact' if ranked.exact else 'normal'}",
        "reason": ranked.reason,
    }


def _by_mixed_model(whole: pd.DataFrame, level: float) -> dict[str, Any]:
    fit = mixed_mean_of(whole["difference"].to_numpy(), whole["sd"].to_numpy(), whole["folds"].to_numpy(), level=level)
    return {
        "difference": fit.mean,
        **{name: getattr(fit, name) for name in ("low", "high", "sd_between", "sd_within", "p", "reason")},
        "detectable": np.nan if fit.reason else fit.se * detectable_in_se(fit.df, level=level),
        "rank_biserial": np.nan,
        "smallest_p": np.nan,
        "method": "mixed model (REML), t with targets - 1 df",
    }


def _corrected(table: pd.DataFrame, family: Sequence[str], counted: pd.Series) -> pd.DataFrame:
    """The table with `p_holm` and `family_size`: of the rows that count, those with equal values of some columns."""
    if lacks := [name for name in family if name not in table]:
        raise ValueError(f"no column '{lacks[0]}' to make families of; there are {', '.join(map(str, table))}")
    table = table.assign(p_holm=np.nan, family_size=0)
    chosen = table[counted]
    families = chosen.groupby(list(family), dropna=False) if family else [((), chosen)]
    for _, rows in families:
        table.loc[rows.index, "p_holm"] = holm(rows["p"].to_numpy(dtype=np.float64))
        table.loc[rows.index, "family_size"] = len(rows)
    return table
