"""Every probe of cells whose images have any number of labels, some of them not known, against scikit-learn."""

import io
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

from sweeper import (
    L2,
    Agreement,
    Cca,
    Cka,
    Convergence,
    Cost,
    Embedding,
    Fid,
    Filters,
    GradCam,
    Knn,
    Procrustes,
    Reinit,
    Transferability,
    ledger,
    models,
    store,
)
from sweeper.cell import Cell, make_cell
from sweeper.data.loading import load, normalise
from sweeper.finetune.loop import prediction_table
from sweeper.pairing import Ask, asks
from sweeper.probe_types import Probe
from sweeper.probes import making
from sweeper.probes.answers import Answer, answer
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
    Cost(memory_batch=8),
    Convergence(threshold=0.2, score="accuracy"),
    Embedding(),
    Embedding(method="tsne", neighbours=5),
    GradCam(images=3),
    Filters(),
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


@pytest.fixture(autouse=True)
def soon_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "SECONDS", 0.001)


def answered(probe: Probe, dataset: str, site: Site) -> pd.DataFrame:
    return asked_of(probe, dataset, site).rows


def asked_of(probe: Probe, dataset: str, site: Site) -> Answer:
    runs = ledger.read(site, dataset).finished
    ask = asks(cells(dataset), [probe])[0]
    for task in tasks(needed(ask, runs, site), site):
        make(task, site, torch.device("cpu"))
    return answer(ask, runs, site)


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
def test_the_plane_tells_what_is_known_of_each_class_of_each_image(dataset: str, recorded: Site) -> None:
    data = load(cells(dataset)[0].images, recorded)
    found = asked_of(Embedding(), dataset, recorded).files["-points.parquet"]
    table = pd.read_parquet(io.BytesIO(found))
    assert table["image"].tolist() == data.test.names
    labels = table[[f"label_{n}" for n in range(14)]].to_numpy()
    np.testing.assert_array_equal(labels, data.test.labels)
    for told, own in zip(table["class"], labels, strict=True):
        there = {name for name, value in zip(data.classes, own, strict=True) if value == 1}
        nothing = "none known" if np.isnan(own).any() else "none"
        assert (set(told.split(", ")) == there) if there else (told == nothing)


def test_grad_cam_names_the_class_with_the_highest_score_and_keeps_all_labels(recorded: Site) -> None:
    cell = cells("chexpert_u_ignore")[0]
    part = load(cell.images, recorded).test
    found = dict(np.load(io.BytesIO(asked_of(GradCam(images=4), cell.images.dataset, recorded).files["-maps.npz"])))
    where = [part.names.index(name) for name in found["images"]]
    np.testing.assert_array_equal(found["predicted"], _scores(cell, part, "best")[where].argmax(axis=1))
    np.testing.assert_array_equal(found["labels"], part.labels[where])


@pytest.mark.parametrize("dataset", SETS)
def test_transferability_is_refused_in_one_sentence_before_anything_is_trained(dataset: str) -> None:
    (cell, _), probe = cells(dataset), Transferability()
    (said,) = probe_problems_of([probe], cell)
    assert said == f"probe transferability: images of '{dataset}' have several labels, and its scores need one each"
    assert list(shortages(Ask(probe=probe, cell=cell), {"train": 9}, "multilabel")) == [said.partition(": ")[2]]
