"""Intervals of settings that were trained several times and tested on the same patients: both are drawn again.

One split only: folds, whose patients differ, are the business of `repeated`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.statistics.resampling import draw, interval_of, resampling_of
from analysis.statistics.scored import Floats, check_same_images, read_scored
from analysis.statistics.weighted import metrics_of


def bootstrap_repeats(
    settings: Sequence[Sequence[pd.DataFrame]],
    task: str,
    metric: str,
    *,
    part: str = "test",
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """A row per setting: its mean of a metric over repeats (seeds) of one split, and how far the first is ahead of it.

    The pigeonhole bootstrap (Owen 2007, Annals of Applied Statistics 1, 386-411, section 3), which draws patients (as
    `bootstrap` does: all of a patient's images together, within classes) and, independently, repeats; its variance is,
    if anything, too large for effects of both crossed. From n repeats the part of the spread that is theirs is too
    small by sqrt((n - 1) / n); a single repeat does not vary, and its interval is of patients alone.

    Columns: `repeats`, those of `bootstrap`, then `ahead` (first - setting), `ahead_low`, `ahead_high`, `ahead_reason`
    and `p`: two-sided, twice the smaller share of resamples on either side of 0, which ties count to, (k + 1) /
    (resamples + 1) each (Davison & Hinkley 1997, section 4.4.1), so that it is at least 2 / (resamples + 1). All
    settings are scored on the same resamples. `ahead` and `p` are missing for the first itself, and where a setting has
    not as many repeats as it, for the n-th of both are a pair.

    Args:
        settings: of each setting the predictions of its repeats, as of `read_scored`.
        task: as there.
        metric: as of `bootstrap`, one.
        part: whose images.
        resamples: how many, >= 100.
        level: of confidence, in (0, 1).
        seed: of the draws.

    Raises:
        ValueError: when a setting has no repeat, or the tables are not of the same images, patients and labels.
    """
    plan = resampling_of(resamples, level, seed)
    if not settings or not all(settings):
        raise ValueError(f"{len(settings)} settings have {list(map(len, settings))} repeats; give each at least one")
    scored = [read_scored(table, task, part=part) for own in settings for table in own]
    for each in scored[1:]:
        check_same_images(scored[0], each)
    measures = [metrics_of(each, [metric]) for each in scored]

    def measure(weights: Floats) -> Floats:
        """(tables, resamples) of a block of weightings."""
        return np.concatenate([one(weights) for one in measures])

    ends = np.cumsum([len(own) for own in settings])[:-1]
    values = np.split(measure(np.ones((1, len(scored[0].images))))[:, 0], ends)
    draws = np.split(draw(scored[0], measure, len(scored), plan), ends)  # (repeats, resamples) of each setting
    rows = []
    for number, (value, drawn) in enumerate(zip(values, draws, strict=True)):
        times = _times_drawn(len(value), plan.resamples, plan.seed)
        own = interval_of(scored[0], float(value.mean()), (times * drawn).mean(axis=0), plan)
        row = {"metric": metric, "part": part, "repeats": len(value)} | own
        row |= {"ahead": np.nan, "ahead_low": np.nan, "ahead_high": np.nan, "ahead_reason": "", "p": np.nan}
        if number and len(value) != len(values[0]):
            row["ahead_reason"] = (
                f"{len(value)} repeats cannot be paired with the {len(values[0])} of the first setting"
            )
        elif number:
            differences = (times * (draws[0] - drawn)).mean(axis=0)
            found = interval_of(scored[0], float((values[0] - value).mean()), differences, plan)
            row |= {f"ahead{end}": found[name] for end, name in _ENDS.items()}
            row["p"] = np.nan if found["reason"] else _p(differences)
        rows.append(row)
    return pd.DataFrame(rows)


_ENDS = {"": "value", "_low": "low", "_high": "high", "_reason": "reason"}


def _times_drawn(repeats: int, resamples: int, seed: int) -> Floats:
    """How often each repeat was drawn, (repeats, resamples); columns add up to the number of repeats."""
    generator = np.random.default_rng([seed, repeats])  # another stream than the patients'
    return generator.multinomial(repeats, np.full(repeats, 1 / repeats), size=resamples).T.astype(np.float64)


def _p(drawn: Floats) -> float:
    there = drawn[~np.isnan(drawn)]
    sides = int((there <= 0).sum()), int((there >= 0).sum())
    return min(1.0, 2 * (min(sides) + 1) / (len(there) + 1))
