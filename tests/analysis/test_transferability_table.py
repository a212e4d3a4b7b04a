"""How alike transferability scores and measured scores order the candidates, from rows of known orders."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_site
from recorded import record

from analysis.axes import axes_frame
from analysis.plates import Lack
from analysis.study_record import make, read, start_names
from analysis.transferability import candidates, correlations, orders, scored
from sweeper import Transferability, store
from sweeper.cell import probe_key
from sweeper.grid import grid

STUDY = "foreseen"
SOURCES = ["random", "imagenet", "radimagenet"]
MODELS = ["resnet50", "densenet121"]
AXES = dict(model=MODELS, source=SOURCES, dataset="digits", fold=1)
CELLS = grid(seed=[0, 1], **AXES) + grid(fraction=0.1, **AXES)
NAMES = ("spearman", "kendall", "weighted")
GOOD = {name: place for place, name in enumerate(SOURCES)}


def measured(cell) -> float:  # noqa: ANN001
    """Rises with the source, falls with the model and, in half the data, turns around."""
    rise = GOOD[cell.weights.source] / 10 - MODELS.index(cell.network.model) / 100
    return 0.6 + (rise if cell.images.fraction == 1 else -rise) + cell.seed / 1000


def scores(cell) -> dict[str, float]:  # noqa: ANN001
    """One that foresees all of the order on all of the data, and one that says the same of all."""
    rise = GOOD[cell.weights.source] * 7 - MODELS.index(cell.network.model)
    return {"logme": rise + cell.seed / 9, "h_score": 3.0}


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs of all cells, and their rows of the probe."""
    axes = axes_frame(CELLS).assign(key=[cell.key for cell in CELLS])
    axes = axes.assign(start=start_names(axes), value=[measured(cell) for cell in CELLS])
    told = pd.DataFrame([{"key": cell.key, "metric": m, "score": v} for cell in CELLS for m, v in scores(cell).items()])
    rows = axes.drop(columns="value").merge(told, on="key").rename(columns={"score": "value"})
    return axes, rows.assign(probe="transferability", probe_key="k", scores="logme, h_score", stimuli=None)


def test_a_score_of_the_true_order_correlates_fully_and_of_the_opposite_order_negatively() -> None:
    found = orders(scored(*tables())).set_index(["target", "score"])
    whole, tenth = (found.loc[(f"digits, fraction {fraction}", "logme")] for fraction in (1.0, 0.1))
    assert whole[["n", *NAMES]].tolist() == pytest.approx([6, 1, 1, 1])
    assert tenth[[*NAMES]].tolist() == pytest.approx([-1, -1, -1])
    assert found.loc[("digits, fraction 1.0", "h_score"), [*NAMES]].isna().all()


def test_a_candidate_is_a_model_and_a_start_over_its_seeds() -> None:
    rows = scored(*tables())
    assert len(rows) == 2 * 2 * len(MODELS) * len(SOURCES)
    assert rows.groupby("target")["n"].unique().to_dict() == {"digits, fraction 0.1": [1], "digits, fraction 1.0": [2]}
    one = rows[(rows["candidate"] == "resnet50, imagenet") & (rows["score"] == "logme")]
    np.testing.assert_allclose(one.set_index("target").loc["digits, fraction 1.0", "x"], 7 + 0.5 / 9)
    np.testing.assert_allclose(sorted(one["value"]), [0.5, 0.7005])


def test_scores_of_other_stimuli_are_a_table_of_their_own() -> None:
    runs, rows = tables()
    more = pd.concat([rows.assign(stimuli=100), rows.assign(stimuli=200)], ignore_index=True)
    found = orders(scored(runs, more))
    assert len(found) == 2 * len(orders(scored(runs, rows)))
    assert (found["n"] == 6).all()


def test_the_command_leaves_a_table_with_its_origin_or_says_what_is_lacking(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    store.initialise(site, STUDY)
    cell, probe = CELLS[0], Transferability()
    run_id = record(site, STUDY, cell, test_scores={"auroc": 0.5, "accuracy": 0.5})
    assert [type(each(read([STUDY], site))) for each in (correlations, candidates)] == [Lack, Lack]
    rows = {"key": cell.key, "probe": probe.name, "probe_key": probe_key(probe), "scores": "logme", "stimuli": None}
    rows |= {"block": None, "other": None, "other_block": None, "metric": ["logme"], "value": [1.0]}
    store.log_probe(site, run_id, probe, pd.DataFrame(rows), site.storage, key=probe_key(probe))
    said = list(make((correlations, candidates), read([STUDY], site), tmp_path / "out", "again"))
    out = tmp_path / "out"
    assert said == [f"transferability: png, pdf, csv, json in {out}", f"candidates: csv, tex, json in {out}"]
    told = pd.read_csv(out / "transferability.csv")
    assert {"target", "score", "n", "spearman", "kendall_low", "weighted_high"} <= set(told)
