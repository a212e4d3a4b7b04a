"""Every probe of cells whose images have any number of labels, some of them not known, against scikit-learn."""

import json
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_site
from fakes import chexpert, visible
from recorded import record
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from sweeper import L2, Agreement, Cca, Cka, Fid, Knn, Procrustes, Reinit, Transferability, ledger, models, store
from sweeper.cell import Cell, make_cell
from sweeper.data.loading import load, normalise
from sweeper.finetune.loop import prediction_table
from sweeper.pairing import Ask, asks
from sweeper.probe_types import Probe
from sweeper.probes.answers import rows
from sweeper.probes.asked import needed
from sweeper.probes.making import make, tasks
from sweeper.problems import probe_problems_of
from sweeper.shortages import shortages
from sweeper.site import Site

SETS = ("chestmnist", "chexpert_u_ignore")
PROBES: tuple[Probe, ...] = (
    Cka(),
    Cka(estimator="minibatch", batch=8),
    Cca(points=60, channels=3, draws=2),
    Procrustes(across="seed"),
    Knn(k=9),
    L2(),
    Reinit(part="val"),
    Reinit(kind="rerand"),
    Agreement(across="seed"),
    Fid(to="digits", to_fold=1, stimuli=50),
)
SEED = {"best": 1, "start": 0}


def cells(dataset: str) -> list[Cell]:
    fold = 0 if dataset == "chestmnist" else 1
    return [make_cell(dataset=dataset, model="cbr_mini", size=28, fold=fold, loss="bce", seed=each) for each in (0, 1)]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = make_site(tmp_path_factory.mktemp("several"))
    visible.write(site.data)
    chexpert.write(site.data, patients=96)
    for dataset in SETS:
        store.initialise(site, dataset)
        for cell in cells(dataset):
            data = load(cell.images, site)
            parts = [(name, getattr(data, name)) for name in ("val", "test")]
            told = [prediction_table(part, name, _scores(cell, part, "best")) for name, part in parts]
            record(site, dataset, cell, states=partial(_write, cell), predictions=pd.concat(told, ignore_index=True))
    return site


def _write(cell: Cell, folder: Path) -> None:
    for state in SEED:
        known = {"mean": json.dumps([0.5] * 3), "std": json.dumps([0.25] * 3)}
        save_file(_network(cell, state).state_dict(), folder / f"{state}.safetensors", metadata=known)


@lru_cache
def _network(cell: Cell, state: str) -> torch.nn.Module:
    torch.manual_seed(10 * cell.seed + SEED[state])
    return models.build(cell.network, classes=14, size=28).eval()


def _scores(cell: Cell, part, state: str) -> np.ndarray:  # noqa: ANN001
    with torch.inference_mode():
        logits = _network(cell, state)(normalise(part.tensor(np.arange(len(part))), [0.5] * 3, [0.25] * 3))
    return logits.double().sigmoid().numpy()


def answered(probe: Probe, dataset: str, site: Site) -> pd.DataFrame:
    runs = ledger.read(site, dataset).finished
    ask = asks(cells(dataset), [probe])[0]
    for task in tasks(needed(ask, runs, site), site):
        make(task, site, torch.device("cpu"))
    return rows(ask, runs, site)


def aurocs(labels: np.ndarray, scores: np.ndarray) -> list[float]:
    """Of each class, over the images of which it is known; NaN where they are all alike."""
    found = []
    for own, score in zip(labels.T, scores.T, strict=True):
        known = ~np.isnan(own)
        both = len(np.unique(own[known])) == 2
        found.append(float(roc_auc_score(own[known], score[known])) if both else np.nan)
    return found


@pytest.mark.parametrize("dataset", SETS)
@pytest.mark.parametrize("probe", PROBES, ids=str)
def test_every_probe_has_rows_and_no_number_twice(probe: Probe, dataset: str, recorded: Site) -> None:
    found = answered(probe, dataset, recorded)
    assert not found.duplicated(["block", "other_block", "metric"]).any()
    assert found["value"].notna().any()


@pytest.mark.parametrize("dataset", SETS)
def test_reinit_of_no_block_scores_the_labels_as_scikit_learn_does(dataset: str, recorded: Site) -> None:
    cell = cells(dataset)[0]
    part = load(cell.images, recorded).test
    found = answered(Reinit(), dataset, recorded)
    found = found[found["block"].isna()].set_index("metric")["value"]
    wanted = aurocs(part.labels, _scores(cell, part, "best"))
    assert found["auroc"] == pytest.approx(np.nanmean(wanted), abs=1e-6)
    assert np.sum(~np.isnan(wanted)) > 3


def test_k_nn_scores_the_labels_as_scikit_learn_does(recorded: Site) -> None:
    cell = cells("chestmnist")[0]
    data = load(cell.images, recorded)
    with torch.inference_mode():
        bank, queries = (
            _network(cell, "best").features(normalise(part.tensor(np.arange(len(part))), [0.5] * 3, [0.25] * 3)).numpy()
            for part in (data.train, data.test)
        )
    nearest = KNeighborsClassifier(n_neighbors=9, metric="cosine", weights=lambda far: np.exp((1 - far) / 0.1))  # type: ignore[arg-type]
    told = nearest.fit(bank, data.train.labels).predict_proba(queries)
    wanted = aurocs(data.test.labels, np.stack([each[:, 1] for each in told], axis=1))
    found = answered(Knn(k=9, part="test"), "chestmnist", recorded)
    found = found[found["block"] == found["block"].max()].set_index("metric")["value"]
    assert found["auroc"] == pytest.approx(np.mean(wanted), abs=1e-3)


@pytest.mark.parametrize("dataset", SETS)
def test_agreement_counts_every_label_that_is_known(dataset: str, recorded: Site) -> None:
    first, second = cells(dataset)
    part = load(first.images, recorded).test
    one, other = (_scores(each, part, "best") > 0.5 for each in (first, second))
    known = ~np.isnan(part.labels)
    right = [(each == (part.labels > 0.5))[known] for each in (one, other)]
    found = answered(Agreement(across="seed"), dataset, recorded).set_index("metric")["value"]
    assert found["mistake_observed"] == pytest.approx(np.mean(right[0] == right[1]))
    assert found["decision_observed"] == pytest.approx(np.mean(one == other))


@pytest.mark.parametrize("dataset", SETS)
def test_transferability_is_refused_in_one_sentence_before_anything_is_trained(dataset: str) -> None:
    (cell, _), probe = cells(dataset), Transferability()
    (said,) = probe_problems_of([probe], cell)
    assert said == f"probe transferability: images of '{dataset}' have several labels, and its scores need one each"
    assert list(shortages(Ask(probe=probe, cell=cell), {"train": 9}, "multilabel")) == [said.partition(": ")[2]]
