"""The demonstration of ROC against PR curves: areas against their closed forms over ranks."""

from pathlib import Path

import numpy as np
import pytest

from analysis.explain import explain
from analysis.roc_versus_prc import IMAGES, POSITIVES, areas, main, ranked


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_areas_are_those_of_the_ranks(seed: int) -> None:
    for row in areas(seed).itertuples():
        places = np.flatnonzero(ranked(row.top, seed=seed)[0]) + 1  # ranks of the positives, from 1
        order = np.arange(1, POSITIVES + 1)
        beaten = (places - order).sum()  # negatives that stand above a positive
        assert row.auroc == pytest.approx(1 - beaten / (POSITIVES * (IMAGES - POSITIVES)), rel=1e-12)
        assert row.auprc == pytest.approx((order / places).mean(), rel=1e-12)


@pytest.mark.parametrize("top", [12, 30])
def test_the_positives_lie_within_the_top_and_nowhere_else(top: int) -> None:
    labels, scores = ranked(top, seed=3)
    assert labels[:top].sum() == labels.sum() == POSITIVES
    assert (np.diff(scores) < 0).all()


def test_roc_hardly_tells_them_apart_and_pr_does() -> None:
    found = [areas(seed).set_index("classifier") for seed in range(50)]
    roc, pr = ([abs(each.loc["A", name] - each.loc["B", name]) for each in found] for name in ("auroc", "auprc"))
    assert max(roc) < 0.021  # at most 20 negatives of 990 above every positive
    assert np.median(pr) > 0.2


def test_the_confusion_counts_add_up() -> None:
    for row in areas().itertuples():
        assert row.true_positive + row.false_negative == POSITIVES
        assert row.true_positive + row.false_positive == 12
        assert row.true_positive + row.false_positive + row.false_negative + row.true_negative == IMAGES


def test_a_top_that_cannot_hold_the_positives_is_refused() -> None:
    with pytest.raises(ValueError, match="top 9 does not hold 10 positives"):
        ranked(9, seed=0)


def test_the_command_writes_a_figure_that_says_how_to_make_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "--seed", "4"]) == 0
    assert "auprc" in capsys.readouterr().out
    assert explain(tmp_path / "roc_versus_prc.pdf")["command"].endswith("--seed 4")
