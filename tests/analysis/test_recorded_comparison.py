"""Comparisons and intervals of a study in a real MLflow store: apart from the others, since making one takes seconds."""

from pathlib import Path

import recording
from cells_compared import cells_of
from conftest import make_site

from analysis import frames
from analysis.statistics import bootstrap, compare
from sweeper import store
from sweeper.cell import LrSearch


def test_a_recorded_study_and_its_predictions_are_taken_as_they_are(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    store.initialise(site, "small")
    cells = cells_of(dataset="breastmnist", fold=0, seed=range(2), lr=LrSearch(low=1e-4, high=1e-2))
    for cell in cells:
        recording.record(site, "small", cell)
    found = compare(frames.runs("small", site), "source", "random", value="test_auroc")
    (row,) = found.to_dict("records")
    assert (row["split"], row["pairs"], row["folds"], row["seeds"]) == ("official", 2, 1, 2)
    assert row["reason"].startswith("1 fold: ")
    predictions = frames.predictions("small", site)
    one = predictions[predictions["key"] == cells[0].key]
    assert bootstrap(one, "binary")["images"].tolist() == [4, 4]
