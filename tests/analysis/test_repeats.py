"""Intervals of settings of one split, trained several times: against closed forms, and against `bootstrap`."""

import numpy as np
import pandas as pd
import pytest
from predicted_tables import predicted

from analysis.statistics import bootstrap, bootstrap_difference
from analysis.statistics.repeats import bootstrap_repeats


def guesses(rate: float, *, images: int = 200, seed: int = 0) -> pd.DataFrame:
    """Predictions of two classes that are right with some probability, independently."""
    labels = np.arange(images) % 2
    right = np.random.default_rng(seed).random(images) < rate
    score = np.where(right == (labels == 1), 0.9, 0.1)
    names = [f"{n:04}" for n in range(images)]
    known = {"image": names, "patient": names, "part": "test", "label": labels}
    return pd.DataFrame(known | {"score_0": 1 - score, "score_1": score})


def test_one_repeat_has_the_interval_of_its_patients_alone() -> None:
    first, second = predicted(2, seed=1, per_patient=2), predicted(2, seed=2, per_patient=2)
    found = bootstrap_repeats([[first], [second]], "binary", "auroc")
    own = bootstrap(second, "binary", ["auroc"]).iloc[0]
    assert found.loc[1, ["value", "low", "high"]].tolist() == own[["value", "low", "high"]].tolist()
    difference = bootstrap_difference(first, second, "binary", ["auroc"]).iloc[0]
    told = found.loc[1, ["ahead", "ahead_low", "ahead_high"]].tolist()
    assert told == pytest.approx(difference[["value", "low", "high"]].tolist(), abs=1e-12)


def test_the_value_is_the_mean_over_repeats() -> None:
    tables = [predicted(2, seed=seed) for seed in range(3)]
    values = [bootstrap(table, "binary", ["auroc"])["value"].iloc[0] for table in tables]
    found = bootstrap_repeats([tables], "binary", "auroc").iloc[0]
    assert found["value"] == pytest.approx(np.mean(values))
    assert found["repeats"] == 3


def test_repeats_that_differ_widen_the_interval_by_their_own_spread() -> None:
    """Right or wrong everywhere: no patient varies, and repeats alone are drawn, whose mean has a known sd."""
    tables = [guesses(rate) for rate in (1, 1, 0, 0, 1, 0, 1, 0)]
    found = bootstrap_repeats([tables], "binary", "accuracy", resamples=8000).iloc[0]
    assert found["value"] == 0.5
    sd = 0.5 / np.sqrt(8)  # of the mean of 8 draws of 0 or 1, equally likely
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * sd, abs=1 / 8)  # steps of the mean are 1 / 8


def test_equal_settings_have_a_p_of_one_and_a_lead_of_zero() -> None:
    tables = [predicted(3, seed=seed) for seed in range(2)]
    found = bootstrap_repeats([tables, tables], "multiclass", "auroc").iloc[1]
    assert (found["ahead"], found["ahead_low"], found["ahead_high"], found["p"]) == (0, 0, 0, 1)


def test_the_p_of_a_clear_lead_is_the_smallest_that_the_resamples_allow() -> None:
    found = bootstrap_repeats([[guesses(1.0)], [guesses(0.6)]], "binary", "accuracy", resamples=999)
    assert found["p"].iloc[1] == pytest.approx(2 / 1000)
    assert np.isnan(found["p"].iloc[0])


def test_under_no_difference_five_percent_are_found() -> None:
    """Two settings of the same quality on the same patients: 200 draws, three standard errors of 5 % allowed."""
    found = [
        bootstrap_repeats(
            [[guesses(0.8, seed=2 * n)], [guesses(0.8, seed=2 * n + 1)]], "binary", "accuracy", resamples=200
        )["p"].iloc[1]
        for n in range(200)
    ]
    assert np.mean(np.array(found) < 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_unequal_numbers_of_repeats_have_no_lead() -> None:
    tables = [predicted(2, seed=seed) for seed in range(3)]
    row = bootstrap_repeats([tables, tables[:2]], "binary", "auroc").iloc[1]
    assert row["ahead_reason"] == "2 repeats cannot be paired with the 3 of the first setting"
    assert np.isnan(row[["ahead", "p"]].astype(float)).all()
    assert row["low"] < row["value"] < row["high"]


def test_one_patient_has_no_interval_and_says_why() -> None:
    table = predicted(2, images=6, per_patient=6)
    row = bootstrap_repeats([[table], [table]], "binary", "auroc").iloc[1]
    assert row["reason"] == row["ahead_reason"] == "the part has 1 patient: nothing can be drawn again"
    assert np.isnan(row["p"])


def test_an_absent_class_has_no_interval_and_says_why() -> None:
    table = predicted(2)
    alone = table[table["label"] == 1]
    row = bootstrap_repeats([[alone], [alone]], "binary", "auroc").iloc[1]
    assert row["reason"] == "the metric is undefined: the part lacks a class that it needs"


def test_a_setting_without_repeats_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2 settings have \[1, 0\] repeats; give each at least one"):
        bootstrap_repeats([[predicted(2)], []], "binary", "auroc")


def test_repeats_of_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="is among the predictions of one cell only"):
        bootstrap_repeats([[predicted(2), predicted(2, images=100)]], "binary", "auroc")
