"""`compare` on frames of known numbers: what is paired, what is refused, and what has a reason instead of a p."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cells_compared import cells_of, frame_of, noisy
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM

from analysis.statistics import compare, compare_across
from sweeper.cell import Cell, LrSearch
from sweeper.grid import grid

CELLS = cells_of()
FRAME = frame_of(CELLS, noisy)


def compared(frame: pd.DataFrame = FRAME, **options: Any) -> pd.DataFrame:
    usual: dict[str, Any] = dict(axis="source", baseline="random", value="test_auroc")
    return compare(frame, **(usual | options))


def test_a_row_is_nadeau_and_bengios_test_of_fold_means() -> None:
    found = compared()
    assert found["dataset"].tolist() == ["breastmnist", "digits"]
    for row in found.to_dict("records"):
        own = FRAME[FRAME["dataset"] == row["dataset"]]
        means = own.groupby(["source", "fold"])["test_auroc"].mean()
        differences = (means["imagenet"] - means["random"]).to_numpy()
        t = differences.mean() / np.sqrt((1 / 5 + 1 / 3) * differences.var(ddof=1))
        assert row["difference"] == pytest.approx(differences.mean(), rel=1e-12)
        assert row["score"] - row["baseline_score"] == pytest.approx(row["difference"], rel=1e-12)
        assert (row["t"], row["p"]) == pytest.approx((t, 2 * stats.t.sf(abs(t), 4)), rel=1e-9)
        assert (row["folds"], row["seeds"], row["pairs"], row["missing"], row["df"]) == (5, 3, 15, 0, 4)
        assert (row["ratio"], row["metric"], row["reason"]) == (pytest.approx(1 / 3), "auroc", "")
        assert row["part"] == "test part, by the state that was chosen"


def test_the_frame_is_typed_and_in_order_whatever_order_cells_come_in() -> None:
    found = compared()
    kinds = {name: str(kind) for name, kind in found.dtypes.items()}
    assert {kinds[name] for name in ("difference", "p", "p_holm", "ratio", "detectable")} == {"float64"}
    assert {kinds[name] for name in ("folds", "seeds", "pairs", "missing", "family_size", "df")} == {"int64"}
    assert {kinds[name] for name in ("dataset", "source", "metric", "reason")} == {"str"}
    shuffled = compared(FRAME.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(found, shuffled, rtol=1e-9)


def test_holm_is_over_the_declared_family() -> None:
    found = compared()
    small, large = sorted(found["p"])
    assert sorted(found["p_holm"]) == pytest.approx([2 * small, max(2 * small, large)], rel=1e-12)
    assert found["family_size"].tolist() == [2, 2]
    alone = compared(family=["dataset"])
    assert alone["p_holm"].tolist() == alone["p"].tolist()
    with pytest.raises(ValueError, match="no column 'colour' to make families of"):
        compared(family=["colour"])


def test_cells_pair_only_where_every_other_axis_is_equal() -> None:
    cells = [
        cell for cell in cells_of(depth=[2, None]) if cell.network.depth is None or cell.weights.source == "random"
    ]
    found = compared(frame_of(cells, noisy))
    assert found["depth"].isna().tolist() == [False, True, False, True]
    assert found["pairs"].tolist() == [0, 15, 0, 15]
    assert found["family_size"].tolist() == [0, 2, 0, 2]
    assert found["reason"][0] == "no pair of 15: no cell of the setting is there"


def test_several_axes_may_change_together() -> None:
    common = dict(dataset="digits", model="resnet10t", fold=range(1, 6))
    stats_only = grid(source="imagenet", blocks=0, rest="stats", **common)
    frame = frame_of([*grid(source="random", **common), *stats_only], noisy)
    with pytest.raises(
        ValueError, match="no cell differs from one with source 'random' in that alone; the nearest differ"
    ):
        compared(frame)
    found = compared(frame, axis=("source", "blocks", "rest"), baseline=("random", None, "random"))
    assert found[["source", "blocks", "rest", "pairs"]].to_numpy().tolist() == [["imagenet", 0, "stats", 5]]


def test_a_missing_value_is_a_baseline() -> None:
    found = compared(frame_of(cells_of(depth=[1, 2, None], source="random"), noisy), axis="depth", baseline=None)
    assert found["depth"].tolist() == [1, 2, 1, 2]
    assert set(found["baseline"]) == {"depth None"}


@pytest.mark.parametrize("axis", ["dataset", "fold", "protocol"])
def test_other_images_are_not_compared(axis: str) -> None:
    with pytest.raises(ValueError, match=f"cells that differ in {axis} are tested on other images"):
        compared(axis=axis, baseline=FRAME[axis].iloc[0])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (dict(axis="seed", baseline=0), "seeds repeat a setting"),
        (dict(axis="sauce"), "'sauce' is no axis of the frame; its axes are dataset"),
        (dict(baseline="imagnet"), "no cell has source 'imagnet'; there are"),
        (dict(value="test_auprc"), "the frame has no column 'test_auprc'; it has the metrics test_auroc"),
        (dict(value="key"), "column 'key' is no metric of a part"),
        (dict(axis=("source", "rest")), "2 axes"),
        (dict(value={"digits": "test_auroc"}), "no metric is given for data set 'breastmnist'"),
    ],
)
def test_what_is_not_there_is_refused_by_name(options: dict[str, Any], said: str) -> None:
    frame = FRAME.assign(key=1.0) if options.get("value") == "key" else FRAME
    with pytest.raises(ValueError, match=said):
        compared(frame, **options)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda f: f.assign(fingerprint=["a", "b"] * (len(f) // 2)),
            r"images or labels of .* changed between the runs",
        ),
        (lambda f: f.assign(fingerprint=f["fingerprint"].where(f.index > 0)), "changed between the runs"),
        (lambda f: pd.concat([f, f.head(1).assign(test_auroc=0.1)]), "a cell has several values of one metric"),
        (lambda f: f[f["source"] == "random"], "all cells have source 'random'"),
    ],
)
def test_what_would_mix_numbers_is_refused(change: Callable[[pd.DataFrame], pd.DataFrame], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compared(change(FRAME))


def test_rows_of_several_metrics_or_parts_are_refused() -> None:
    frame = FRAME.rename(columns={"test_auroc": "value"}).assign(metric="auroc", part="val")
    assert compared(frame, value="value")["p"].tolist() == compared()["p"].tolist()
    mixed = frame["source"] == "random"
    for column, other in (("metric", "auprc"), ("part", "test")):
        with pytest.raises(ValueError, match=f"are of different {column}s"):
            compared(frame.assign(**{column: frame[column].mask(mixed, other)}), value="value")
    with pytest.raises(ValueError, match="do not say their metric"):
        compared(frame.assign(metric=frame["metric"].mask(mixed)), value="value")


def test_values_of_several_blocks_are_told_apart_by_their_column() -> None:
    frame = pd.concat(
        [
            FRAME.assign(block=block, metric="cka", part="val", value=FRAME["test_auroc"] + 0.01 * block)
            for block in (1, 2)
        ]
    )
    with pytest.raises(ValueError, match="a cell has several values of one metric"):
        compared(frame, value="value")
    found = compared(frame, value="value", within=["block"], axis="source")
    assert found["block"].tolist() == [1, 2, 1, 2]


def test_the_validation_part_does_not_judge_what_it_selected() -> None:
    frame = frame_of(cells_of(source="random", monitor=["auroc", "loss"]), noisy)
    frame = frame.assign(best_val_auroc=frame["test_auroc"])
    with pytest.raises(ValueError, match="the validation part selects by monitor"):
        compared(frame, axis="monitor", baseline="loss", value="best_val_auroc")
    assert compared(frame, axis="monitor", baseline="loss")["pairs"].tolist() == [15, 15]


def test_a_cell_of_two_studies_counts_once() -> None:
    pd.testing.assert_frame_equal(compared(pd.concat([FRAME, FRAME.assign(study="again")])), compared())


def test_the_official_split_stands_apart_from_the_folds() -> None:
    found = compared(frame_of(cells_of(fold=range(6)), noisy))
    assert found["split"].tolist() == ["folds", "official"] * 2
    assert found["folds"].tolist() == [5, 1, 5, 1]
    assert found["p"].isna().tolist() == [False, True, False, True]
    assert found["family_size"].tolist() == [2, 0, 2, 0]


def test_one_fold_has_no_p_however_many_seeds() -> None:
    frame = FRAME[FRAME["fold"] == 1]
    found = compared(frame)
    assert found[["p", "low", "high", "detectable", "p_holm"]].isna().all(axis=None)
    assert found["difference"].notna().all()
    assert set(found["reason"]) == {
        "1 fold: seeds do not tell how the difference varies over patients; test its predictions"
    }
    seeds = compared(frame, over="seeds")
    digits = frame[frame["dataset"] == "digits"].sort_values("seed")
    one, other = (digits["test_auroc"][digits["source"] == source].to_numpy() for source in ("imagenet", "random"))
    wanted: Any = stats.ttest_rel(one, other)
    assert seeds["p"][1] == pytest.approx(wanted.pvalue, rel=1e-9)
    assert seeds["method"][0] == "paired t over seeds of one split: of these patients alone"
    assert compared(over="seeds")["reason"][0] == "5 folds are no repeats of one split: take over='folds'"


def test_one_seed_of_one_fold_has_no_sd() -> None:
    found = compared(FRAME[(FRAME["fold"] == 1) & (FRAME["seed"] == 0)])
    assert found[["sd", "p", "d_z"]].isna().all(axis=None)


def test_one_seed_of_five_folds_is_enough() -> None:
    found = compared(FRAME[FRAME["seed"] == 0])
    assert found["p"].notna().all()
    assert found["seeds"].tolist() == [1, 1]


def test_an_unfinished_grid_has_no_p_until_it_is_asked_for() -> None:
    gone = (FRAME["dataset"] == "digits") & (FRAME["source"] == "imagenet") & (FRAME["fold"] == 4)
    found = compared(FRAME[~gone])
    assert found["p"].isna().tolist() == [False, True]
    assert found["missing"].tolist() == [0, 3]
    assert found["reason"][1] == (
        "3 of 15 pairs are missing (first: fold 4, seed 0, no cell of the setting is there): finish the grid, or take "
        "unfinished='use'"
    )
    used = compared(FRAME[~gone], unfinished="use")
    assert used["p"].notna().all()
    assert (used["folds"][1], used["df"][1], used["missing"][1]) == (4, 3, 3)
    assert used["difference"].tolist() == found["difference"].tolist()


def test_an_undefined_score_is_a_missing_pair() -> None:
    lacking = FRAME.assign(test_auroc=FRAME["test_auroc"].mask(FRAME["fold"] == 2))
    found = compared(lacking)
    assert found["p"].isna().all()
    assert found["missing"].tolist() == [3, 3]
    assert "the metric is undefined, a class being absent" in found["reason"][0]
    nothing = compared(FRAME.assign(test_auroc=np.nan))
    assert nothing[["score", "difference", "p"]].isna().all(axis=None)
    assert nothing["reason"][0] == "no pair of 15: the metric is undefined, a class being absent"


def test_equal_scores_have_no_p() -> None:
    found = compared(FRAME.assign(test_auroc=0.9))
    assert found["difference"].tolist() == [0, 0]
    assert found["p"].isna().all()
    assert found["reason"][0] == "all 5 differences are equal: their sd is 0"


def test_the_ratio_is_that_of_the_smaller_training_part_or_must_be_given() -> None:
    frame = frame_of(cells_of(source="random", fraction=[0.1, 1.0]), noisy)
    assert compared(frame, axis="fraction", baseline=1.0)["ratio"].tolist() == pytest.approx([10 / 3] * 2)
    files = frame_of(cells_of(protocol="files:splits"), noisy)
    found = compared(files)
    assert found["p"].isna().all()
    assert found["reason"][0] == "the share of test to training patients is not known for this protocol: give ratio="
    assert compared(files, ratio=0.25)["p"].notna().all()
    assert compared(files.assign(n_test=50, n_train=200))["ratio"].tolist() == [0.25, 0.25]


def test_searched_rates_pair_by_their_search() -> None:
    frame = frame_of(cells_of(lr=LrSearch(low=1e-4, high=1e-2)), noisy)
    assert compared(frame)["pairs"].tolist() == [15, 15]


def test_an_image_size_has_a_fingerprint_of_its_own() -> None:
    frame = frame_of(cells_of(source="random", size=[28, 64]), noisy)
    assert compared(frame, axis="size", baseline=28)["pairs"].tolist() == [15, 15]


TARGETS = [f"set{n}" for n in range(8)]


def test_across_targets_it_is_wilcoxons_test_of_their_means() -> None:
    found = compared(frame_of(cells_of(dataset=TARGETS), noisy))
    (row,) = compare_across(found).to_dict("records")
    wanted: Any = stats.wilcoxon(found["difference"], method="exact")
    assert row["p"] == row["p_holm"] == pytest.approx(wanted.pvalue, rel=1e-12)
    assert row["difference"] == pytest.approx(found["difference"].mean(), rel=1e-12)
    assert (row["targets"], row["wins"], row["losses"], row["smallest_p"]) == (8, 8, 0, 2**-7)
    assert (row["source"], row["method"]) == ("imagenet", "Wilcoxon signed-rank, exact")


def test_across_keeps_models_apart_and_not_sizes_that_data_sets_have() -> None:
    sizes = [32, 64]
    cells = [
        cell
        for number, target in enumerate(TARGETS[:6])
        for cell in cells_of(dataset=target, size=sizes[number % 2], model=["cbr_mini", "cbr_tiny"])
    ]
    found = compare_across(compared(frame_of(cells, noisy)))
    assert found["model"].tolist() == ["cbr_mini", "cbr_tiny"]
    assert "size" not in found
    assert found["targets"].tolist() == [6, 6]
    assert found["family_size"].tolist() == [2, 2]


def test_across_unfinished_contrasts_are_not_mixed() -> None:
    sources = {"set0": ["random", "imagenet"], "set1": ["random", "radimagenet"]}
    cells = [cell for target, each in sources.items() for cell in cells_of(dataset=target, source=each)]
    found = compare_across(compared(frame_of(cells, noisy)))
    assert found[["source", "targets"]].to_numpy().tolist() == [["imagenet", 1], ["radimagenet", 1]]


def test_lower_is_a_win_where_lower_is_better() -> None:
    frame = frame_of(cells_of(dataset=TARGETS), noisy, "test_nll")
    (row,) = compare_across(compared(frame, value="test_nll")).to_dict("records")
    assert (row["wins"], row["losses"], row["higher"]) == (0, 8, False)


def test_across_an_unfinished_target_there_is_no_p() -> None:
    frame = frame_of(cells_of(dataset=TARGETS), noisy)
    gone = (frame["dataset"] == "set3") & (frame["source"] == "imagenet") & (frame["fold"] < 3)
    (row,) = compare_across(compared(frame[~gone])).to_dict("records")
    assert np.isnan([row["p"], row["low"], row["high"], row["detectable"]]).all()
    assert row["reason"] == "1 of 8 targets have missing pairs: finish the grid"
    (used,) = compare_across(compared(frame[~gone], unfinished="use")).to_dict("records")
    assert (used["targets"], used["reason"]) == (8, "")
    assert used["p"] == 2**-7
    (none,) = compare_across(compared(frame[(frame["dataset"] != "set3") | (frame["source"] == "random")])).to_dict(
        "records"
    )
    assert (none["targets"], none["missing"]) == (7, 1)
    assert np.isnan(none["p"])


def own_gain(cell: Cell) -> float:
    """A source brings each target another gain, about which folds scatter."""
    own = np.random.default_rng(int(cell.images.dataset.removeprefix("set"))).normal(0, 0.03)
    return noisy(cell, gain=0.02 + own)


def test_across_targets_the_mixed_model_is_that_of_statsmodels() -> None:
    frame = frame_of(cells_of(dataset=[f"set{n}" for n in range(12)], seed=0), own_gain)
    number = frame["dataset"].str.removeprefix("set").astype(int)
    frame = frame[~((frame["source"] == "imagenet") & (frame["fold"] <= number % 3))]  # so that it is unbalanced
    found = compared(frame, unfinished="use")
    (row,) = compare_across(found, method="mixed").to_dict("records")
    wide = frame.pivot(index=["dataset", "fold"], columns="source", values="test_auroc").dropna()
    differences = (wide["imagenet"] - wide["random"]).reset_index(name="value")
    wanted: Any = MixedLM.from_formula("I(100 * value) ~ 1", groups="dataset", data=differences).fit(reml=True)
    assert row["difference"] == pytest.approx(wanted.fe_params.iloc[0] / 100, rel=1e-4)
    spreads = np.sqrt([wanted.cov_re.iloc[0, 0], wanted.scale]) / 100
    assert (row["sd_between"], row["sd_within"]) == pytest.approx(spreads, rel=1e-3)
    se = wanted.bse_fe.iloc[0] / 100
    assert row["p"] == row["p_holm"] == pytest.approx(2 * stats.t.sf(row["difference"] / se, 11), rel=1e-2)
    half = stats.t.ppf(0.975, 11) * se
    assert (row["low"], row["high"]) == pytest.approx((row["difference"] - half, row["difference"] + half), rel=1e-3)
    assert (row["targets"], row["method"]) == (12, "mixed model (REML), t with targets - 1 df")


@pytest.mark.parametrize(
    ("score", "targets", "reason"),
    [
        (noisy, 2, "2 targets: a mixed model needs at least 3"),
        (lambda cell: noisy(cell, gain=0.05), 4, "targets do not differ more than their folds: use the signed-rank"),
        (lambda cell: own_gain(cell) - noisy(cell, gain=0), 4, "the differences of each target are equal"),
        (
            lambda cell: (
                own_gain(cell) + 1e-7 * cell.images.fold * (cell.weights.source != "random") - noisy(cell, gain=0)
            ),
            4,
            "the mixed model did not converge: folds hardly differ beside the targets; use the signed-rank test",
        ),
    ],
)
def test_a_mixed_model_that_cannot_be_fitted_has_a_reason_and_no_p(
    score: Callable[[Cell], float], targets: int, reason: str
) -> None:
    found = compared(frame_of(cells_of(dataset=TARGETS[:targets]), score))
    (row,) = compare_across(found, method="mixed").to_dict("records")
    assert row["reason"].startswith(reason)
    assert np.isnan([row[name] for name in ("p", "p_holm", "low", "high", "detectable")]).all()
    assert row["targets"] == targets


def test_an_unfinished_target_has_no_p_in_the_mixed_model_either() -> None:
    frame = frame_of(cells_of(dataset=TARGETS), own_gain)
    gone = (frame["dataset"] == "set3") & (frame["source"] == "imagenet") & (frame["fold"] < 3)
    (row,) = compare_across(compared(frame[~gone]), method="mixed").to_dict("records")
    assert (np.isnan(row["p"]), row["reason"]) == (True, "1 of 8 targets have missing pairs: finish the grid")


def test_across_different_metrics_there_is_no_mean() -> None:
    frame = FRAME.assign(test_kappa=FRAME["test_auroc"])
    found = compared(frame, value={"digits": "test_kappa", "breastmnist": "test_auroc"})
    assert found["metric"].tolist() == ["auroc", "kappa"]
    with pytest.raises(ValueError, match=r"differences are of several metrics \(auroc, kappa\)"):
        compare_across(found)
