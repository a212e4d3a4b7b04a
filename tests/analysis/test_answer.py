"""What the report says to use: chosen on the validation part, compared on the test part, silent where it must be."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from cells_compared import cells_of, frame_of
from predicted_tables import predicted
from scipy import stats

from analysis.answer import Answer, answers
from analysis.page import leak_cautions
from analysis.sentences import certainty, details, headline
from analysis.statistics import detectable_in_se
from sweeper.cell import Cell

DEPTHS = [2, 3]


def study(
    cells: Sequence[Cell],
    *,
    val: Callable[[Cell], float],
    strength: Callable[[Cell], float],
    images: int = 300,
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Cells whose predictions of a test part are the better the greater their strength, with the scores recorded."""
    tables = {
        cell.key: predicted(2, images=images, seed=int(cell.key[:6], 16), strength=strength(cell)) for cell in cells
    }
    frame = frame_of(cells, lambda cell: _auroc(tables[cell.key]))
    return frame.assign(best_val_auroc=[val(cell) for cell in cells], run_id=[f"run-{c.key}" for c in cells]), tables


def _auroc(table: pd.DataFrame) -> float:
    positive = (table["label"] == 1).to_numpy()
    if positive.all() or not positive.any():
        return float("nan")
    return float((table["score_1"].to_numpy()[positive][:, None] > table["score_1"].to_numpy()[~positive]).mean())


def one_split(**axes: object) -> list[Cell]:
    return cells_of(**(dict(dataset="breastmnist", fold=0, seed=range(3), depth=DEPTHS) | axes))


def better_start(cell: Cell) -> float:
    return 0.8 + 0.1 * (cell.weights.source == "imagenet") + 0.01 * (cell.network.depth == 3)


def only(found: list[Answer]) -> Answer:
    (answer,) = found
    return answer


@pytest.fixture(scope="module")
def clear() -> Answer:
    strength = lambda cell: 4.0 if cell.weights.source == "imagenet" else 0.3  # noqa: E731
    return only(answers(*study(one_split(), val=better_start, strength=strength)))


@pytest.fixture(scope="module")
def level() -> Answer:
    return only(answers(*study(one_split(), val=better_start, strength=lambda cell: 1.0)))


def test_the_setting_with_the_best_validation_mean_is_chosen_whatever_its_test_score(level: Answer) -> None:
    first = level.settings.iloc[0]
    assert (first["source"], first["depth"], first["verdict"]) == ("imagenet", 3, "chosen")
    assert level.settings["val"].tolist() == sorted(level.settings["val"], reverse=True)


def test_a_source_that_is_far_better_is_told_apart_and_the_other_ruled_out(clear: Answer) -> None:
    verdicts = dict(zip(clear.settings["label"], clear.settings["verdict"], strict=True))
    assert verdicts["source random, depth 2"] == verdicts["source random, depth 3"] == "worse"
    assert "source: imagenet; every setting with random is worse beyond chance." in details(clear)


def test_two_depths_of_equal_worth_are_a_tie_in_the_first_sentence(clear: Answer) -> None:
    assert certainty(clear) == "tie"
    said = headline(clear)
    assert said.startswith("For breastmnist use source imagenet, depth 3, the best of 4 settings on the validation")
    assert "95 % interval" in said
    assert "the data cannot tell these two apart" in said
    assert "depth: none of 2 and 3 is ruled out." in details(clear)


def test_p_values_are_corrected_over_all_other_settings(clear: Answer) -> None:
    rows = clear.settings.iloc[1:]
    assert clear.family == 3
    assert (rows["p_holm"] >= rows["p"]).all()
    assert rows["p_holm"].min() == pytest.approx(3 * rows["p"].min())


def test_shares_of_the_training_images_are_conditions_and_not_choices() -> None:
    cells = one_split(fraction=[0.1, 1.0])
    found = answers(*study(cells, val=better_start, strength=lambda cell: 1.0))
    assert [each.condition for each in found] == ["100 % of the training patients", "10 % of the training patients"]
    assert all(each.family == 3 for each in found)


def test_several_folds_are_judged_by_the_corrected_t_test() -> None:
    cells = cells_of(dataset="breastmnist", depth=2)
    answer = only(answers(*study(cells, val=better_start, strength=lambda cell: 3.0 * better_start(cell) - 2)))
    assert answer.how.startswith("corrected resampled t")
    assert answer.settings["folds"].tolist() == [5, 5]
    assert answer.settings["n"].tolist() == [15, 15]
    assert 0 < answer.settings["p"].iloc[1] < 1
    assert "5 folds, 3 seeds" in headline(answer)


def test_a_tie_over_folds_says_what_lead_would_have_been_found() -> None:
    answer = only(
        answers(*study(cells_of(dataset="breastmnist", depth=2), val=better_start, strength=lambda cell: 1.0))
    )
    assert certainty(answer) == "tie"
    row = answer.settings.iloc[1]
    half = (row["behind_high"] - row["behind_low"]) / 2
    least = half / stats.t.ppf(0.975, 4) * detectable_in_se(4)
    assert row["detectable"] == pytest.approx(least, rel=1e-9)
    assert f"A true lead of {least:.3f} over the next best would be found in four of five" in " ".join(details(answer))


def test_one_seed_says_that_training_is_not_in_the_interval() -> None:
    answer = only(answers(*study(one_split(seed=0), val=better_start, strength=lambda cell: 1.0)))
    assert any(line.startswith("One seed: ") for line in details(answer))
    assert answer.settings["sd"].isna().all()


def test_an_unfinished_setting_is_neither_chosen_nor_tested() -> None:
    cells = one_split()
    cells.remove(next(cell for cell in cells if (cell.weights.source, cell.network.depth) == ("imagenet", 3)))
    answer = only(answers(*study(cells, val=better_start, strength=lambda cell: 1.0)))
    assert answer.settings["label"].iloc[0] == "source imagenet, depth 2"
    last = answer.settings.iloc[-1]
    assert (last["missing"], last["verdict"]) == (1, "not tested")
    assert last["reason"] == "cells are missing on one side: finish the grid"
    assert "1 of 4 settings lack cells and cannot be chosen or tested yet." in details(answer)


def test_where_every_setting_lacks_cells_nothing_is_recommended() -> None:
    cells = [cell for cell in one_split() if cell.seed != (0 if cell.weights.source == "random" else 1)]
    answer = only(answers(*study(cells, val=better_start, strength=lambda cell: 1.0)))
    assert headline(answer).startswith("For breastmnist the data cannot say what to use: no setting has all of its")
    assert certainty(answer) == "unknown"


def test_an_absent_class_leaves_a_reason_in_place_of_numbers() -> None:
    frame, tables = study(one_split(), val=better_start, strength=lambda cell: 1.0)
    alone = {key: table[table["label"] == 1] for key, table in tables.items()}
    answer = only(answers(frame.assign(test_auroc=np.nan), alone))
    assert "undefined, since the metric is undefined: the part lacks a class" in headline(answer)
    assert (answer.settings["verdict"].iloc[1:] == "not tested").all()
    assert answer.settings["undefined"].tolist() == [3] * 4


def test_one_patient_has_scores_but_neither_intervals_nor_tests() -> None:
    frame, tables = study(one_split(), val=better_start, strength=lambda cell: 1.0)
    alone = {key: table.assign(patient="p") for key, table in tables.items()}
    answer = only(answers(frame, alone))
    assert "1 test patients" not in headline(answer)
    assert "no interval: the part has 1 patient" in headline(answer)
    assert answer.settings[["low", "high", "p"]].isna().all(axis=None)


def test_a_set_that_does_not_tell_patients_says_that_intervals_may_be_too_narrow(level: Answer) -> None:
    assert any(line.startswith("Patients are not known") for line in details(level))


def test_leaks_of_several_splits_are_counted_and_those_of_one_are_named(level: Answer) -> None:
    leak = "2 images of test with a near-duplicate in train"
    one = {"dataset": "breastmnist", "found": [leak, "1 image of val with an identical image in train"]}
    none = {"dataset": "breastmnist", "found": []}
    assert leak_cautions(level, [one]) == [f"Leakage: {leak}; scores may be too high."]
    (said,) = leak_cautions(level, [one, none, one])
    assert said.startswith("Leakage: in 2 of 3 splits images of test stand in another part as well")
    assert leak_cautions(level, [none, one | {"dataset": "digits"}]) == []


def test_a_single_setting_has_nothing_to_be_compared_with() -> None:
    cells = one_split(source="imagenet", depth=2)
    answer = only(answers(*study(cells, val=better_start, strength=lambda cell: 1.0)))
    said = headline(answer)
    assert said.startswith(
        "For breastmnist a single setting was run, so that there is nothing to compare it with: test"
    )
    assert certainty(answer) == "unknown"


def test_predictions_that_do_not_give_the_recorded_score_judge_nothing() -> None:
    frame, tables = study(one_split(), val=better_start, strength=lambda cell: 1.0)
    frame.loc[frame["source"] == "random", "test_auroc"] += 0.01
    answer = only(answers(frame, tables))
    verdicts = answer.settings.set_index("label")["verdict"]
    assert verdicts[["source random, depth 2", "source random, depth 3"]].tolist() == ["not tested"] * 2
    assert verdicts["source imagenet, depth 2"] != "not tested"
    assert answer.settings["reason"].iloc[-1].startswith("its predictions give 0.")


def test_changed_images_are_refused() -> None:
    frame, tables = study(cells_of(dataset="breastmnist"), val=better_start, strength=lambda cell: 1.0, images=40)
    frame.loc[0, "fingerprint"] = "another"
    with pytest.raises(ValueError, match=r"images or labels of .* changed between the runs"):
        answers(frame, tables)
