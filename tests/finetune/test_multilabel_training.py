"""Images with any number of labels in the training loop, and in a cell under Ray Train."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ray
import torch
from conftest import make_site
from fakes import chexpert, visible
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from safetensors.torch import load_file
from small import VIEW, begin, numbers, train, weights_of
from torch import nn

from sweeper.cell import Cell, Images, Recipe, make_cell
from sweeper.data.loading import Loaded, load, normalise
from sweeper.finetune import Devices, close_lane, fit
from sweeper.finetune.loop import epochs, predict, prediction_table
from sweeper.finetune.metrics import score
from sweeper.finetune.training import Training
from sweeper.outcome import Outcome
from sweeper.site import Site

RECIPE = Recipe(loss="bce", epochs=3, batch_size=32)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = make_site(tmp_path_factory.mktemp("several"))
    site.storage.mkdir()
    visible.write(site.data)
    chexpert.write(site.data, patients=160)
    return site


@pytest.fixture(scope="module")
def data(place: Site) -> Loaded:
    return load(Images(dataset="chestmnist", size=28), place)


def network(classes: int = visible.CLASSES) -> nn.Module:
    """Without batch norm, for images of 28 pixels."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 16, 7, stride=7), nn.ReLU(), nn.Flatten(), nn.Linear(256, classes))
    return nn.Sequential(*layers)


def of_train(data: Loaded) -> tuple[torch.Tensor, torch.Tensor]:
    """All training images as a network sees them, and their labels."""
    images = normalise(data.train.tensor(np.arange(len(data.train))), VIEW.mean, VIEW.std)
    return images, torch.from_numpy(data.train.labels)


def test_labels_that_can_be_seen_are_learned(data: Loaded) -> None:
    model = network()
    before = predict(model, data.test, VIEW, loss="bce", task="multilabel")
    train(model, data, RECIPE, lr=1e-2, augment="none")
    after = predict(model, data.test, VIEW, loss="bce", task="multilabel")
    known = [score(prediction_table(data.test, "test", each), "multilabel")["auroc"] for each in (before, after)]
    assert known[0] < 0.7
    assert known[1] > 0.99


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_the_training_loss_is_torchs(data: Loaded, weights: str) -> None:
    images, labels = of_train(data)
    model = network()
    positives = (labels.sum(dim=0), len(labels) - labels.sum(dim=0))
    given = positives[1] / positives[0] if weights == "balanced" else None
    expected = nn.BCEWithLogitsLoss(pos_weight=given)(model(images), labels).item()
    (epoch,) = train(model, data, replace(RECIPE, epochs=1, class_weights=weights), lr=1e-12, augment="none")
    assert epoch.train_loss == pytest.approx(expected, rel=1e-5)


def test_the_scores_of_an_epoch_are_those_of_the_sigmoids(data: Loaded) -> None:
    model = network()
    done = train(model, data, RECIPE, augment="none")
    found = predict(model, data.val, VIEW, loss="bce", task="multilabel")
    assert not np.allclose(found.sum(axis=1), 1, atol=0.1)
    expected = score(prediction_table(data.val, "val", found), "multilabel")
    assert {name: done[-1].scores[name] for name in expected} == expected


def test_the_validation_loss_is_torchs(data: Loaded) -> None:
    model = network()
    done = train(model, data, RECIPE, augment="none")
    found = torch.from_numpy(predict(model, data.val, VIEW, loss="bce", task="multilabel"))
    expected = nn.BCELoss()(found, torch.from_numpy(data.val.labels).double()).item()
    assert done[-1].scores["loss"] == pytest.approx(expected, rel=1e-9)


def test_pieces_of_a_step_train_as_the_whole_does(data: Loaded) -> None:
    whole, pieces = (train(network(), data, RECIPE, augment="none", parts=parts) for parts in (1, 3))
    for one, other in zip(whole, pieces, strict=True):
        assert other.train_loss == pytest.approx(one.train_loss, abs=1e-5)


def test_a_training_that_was_cut_goes_on_to_the_same_bits(data: Loaded) -> None:
    recipe = replace(RECIPE, epochs=4, schedule="cosine", class_weights="balanced")
    whole = network()
    expected = train(whole, data, recipe)
    cut = network()
    course = begin(cut, recipe)
    begun = epochs(cut, data, recipe, lr=3e-3, augment="flip_shift", seed=5, view=VIEW, course=course)
    done = [next(begun), next(begun)]
    state = course.state()
    resumed = network()
    resumed.load_state_dict(cut.state_dict())
    course = begin(resumed, recipe)
    course.restore(state)
    done += train(resumed, data, recipe, course=course)
    assert numbers(done) == numbers(expected)
    assert torch.equal(weights_of(resumed), weights_of(whole))


def test_a_class_of_which_nothing_is_known_is_not_learned(data: Loaded) -> None:
    labels = data.train.labels.copy()
    labels[:, 3] = np.nan
    model = network()
    before = model[-1].weight.detach().clone()
    recipe = replace(RECIPE, optimizer="sgd", momentum=0.0, nesterov=False)
    train(model, replace(data, train=replace(data.train, labels=labels)), recipe, augment="none")
    moved = (model[-1].weight != before).any(dim=1)
    assert moved.nonzero().flatten().tolist() == [each for each in range(visible.CLASSES) if each != 3]


def test_a_set_with_uncertain_labels_is_trained_and_scored(place: Site) -> None:
    uncertain = load(Images(dataset="chexpert_u_ignore", size=28, fold=1), place)
    assert np.isnan(uncertain.val.labels).any()
    done = train(network(), uncertain, RECIPE, augment="none")
    assert all(np.isfinite(each.train_loss) and np.isfinite(each.scores["auroc"]) for each in done)
    assert done[-1].train_loss < done[0].train_loss


def test_a_table_of_predictions_has_a_column_a_label(data: Loaded) -> None:
    table = prediction_table(data.test, "test", np.full((len(data.test), visible.CLASSES), 0.5))
    assert "label" not in table
    np.testing.assert_array_equal(table[[f"label_{each}" for each in range(visible.CLASSES)]], data.test.labels)


CELL = make_cell(
    dataset="chestmnist", model="cbr_mini", depth=2, size=28, epochs=3, batch_size=32, loss="bce",
    class_weights="balanced",
)  # fmt: skip


@pytest.fixture(scope="module")
def cluster(place: Site) -> Iterator[Site]:
    # without a dashboard Train asks the one of a Ray beside, and ends a group that this does not know
    ray.init("local", num_cpus=3, include_dashboard=True, log_to_driver=False)
    yield place
    close_lane()
    ray.shutdown()


def run(cell: Cell, site: Site, name: str, workers: int = 1) -> tuple[Outcome, Path]:
    folder = site.storage / name
    folder.mkdir(parents=True, exist_ok=True)
    fit(cell, site, lr=1e-2, folder=folder, devices=Devices(workers=workers), tags={})
    return Outcome.from_json((folder / "outcome.json").read_text()), folder


@pytest.mark.ray
def test_a_cell_leaves_the_scores_of_its_predictions(cluster: Site) -> None:
    outcome, folder = run(CELL, cluster, "whole")
    parts = dict(iter(pd.read_parquet(folder / "predictions.parquet").groupby("part")))
    assert score(parts["test"], "multilabel", by_class=True) == outcome.test_scores
    assert outcome.test_scores["auroc"] > 0.6
    table = pd.read_parquet(folder / "epochs.parquet")
    assert table[["val_auroc", "val_auprc", "val_loss"]].notna().all(axis=None)


def in_a_worker(work: Callable[[Training], None], cell: Cell, site: Site, folder: Path) -> None:
    """Under Ray Train's local mode, which is this very process."""
    folder.mkdir()
    config: dict[str, Any] = {"cell": cell, "site": site, "lr": 1e-2, "folder": folder, "tags": {}, "parts": 1}
    TorchTrainer(
        lambda config: work(Training(config)),
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=0, use_gpu=False),
        run_config=RunConfig(name="train", storage_path=str(folder)),
    ).fit()


@pytest.mark.ray
def test_a_cell_that_was_interrupted_ends_with_the_same_bits(cluster: Site) -> None:
    cell = CELL.replace(augment="flip_shift", epochs=4)
    whole, folder = run(cell, cluster, "uncut")

    def two_epochs(training: Training) -> None:
        for _ in zip(range(3), training.epochs(), strict=False):
            pass  # the third is not on disk yet

    in_a_worker(two_epochs, cell, cluster, cluster.storage / "cut")
    kept = torch.load(cluster.storage / "cut" / "progress.pt", weights_only=True)["done"]
    assert len(kept) == 2
    again, other = run(cell, cluster, "cut")
    assert numbers(list(again.epochs)) == numbers(list(whole.epochs))
    one, two = (load_file(each / "best.safetensors") for each in (folder, other))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert again.test_scores == whole.test_scores


@pytest.mark.ray
@pytest.mark.slow
def test_two_workers_train_as_one_does(cluster: Site) -> None:
    cell = CELL.replace(frozen=2, batch_size=25)
    one, two = (run(cell, cluster, f"{workers} workers", workers)[0] for workers in (1, 2))
    assert [e.train_loss for e in two.epochs] == pytest.approx([e.train_loss for e in one.epochs], abs=1e-5)
    assert two.test_scores["nll"] == pytest.approx(one.test_scores["nll"], abs=1e-5)
