"""The loss of images with any number of labels, and what their logits say, against torch, scipy and scikit-learn."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from sweeper.cell import Recipe
from sweeper.finetune.losses import Loss, make_loss, probabilities

WEIGHTS = (0.5, 2.0, 7.0, 1.0)


def drawn(*, unknown: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels of 40 images and 4 classes, some labels unknown."""
    draw = np.random.default_rng(0)
    labels = (draw.random((40, 4)) < (0.1, 0.3, 0.5, 0.8)).astype(np.float32)
    if unknown:
        labels[draw.random(labels.shape) < 0.3] = np.nan
    return torch.from_numpy(draw.normal(0, 3, (40, 4))), torch.from_numpy(labels)


def loss_of(labels: torch.Tensor, **recipe: Any) -> Loss:
    return make_loss(Recipe(loss="bce", **recipe), labels.numpy(), labels.shape[1], torch.device("cpu"))


def value(loss: Loss, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return loss.total(logits, labels) / loss.mass(labels)


def test_the_loss_is_torchs() -> None:
    logits, labels = drawn()
    torch.testing.assert_close(value(loss_of(labels), logits, labels), nn.BCEWithLogitsLoss()(logits, labels.double()))


def test_weights_are_torchs_of_the_positives() -> None:
    logits, labels = drawn()
    expected = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(WEIGHTS))(logits, labels.double())
    torch.testing.assert_close(value(loss_of(labels, class_weights=WEIGHTS), logits, labels), expected)


@pytest.mark.parametrize("weights", ["none", WEIGHTS])
def test_what_is_not_known_has_no_loss(weights: Any) -> None:
    logits, labels = drawn(unknown=True)
    given = None if weights == "none" else torch.tensor(weights)
    each = nn.BCEWithLogitsLoss(pos_weight=given, reduction="none")(logits, labels.nan_to_num(0).double())
    expected = each[~labels.isnan()].sum() / labels.numel()
    torch.testing.assert_close(value(loss_of(labels, class_weights=weights), logits, labels), expected)


def test_what_is_not_known_has_no_gradient() -> None:
    logits, labels = drawn(unknown=True)
    logits.requires_grad_()
    value(loss_of(labels), logits, labels).backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad == 0, labels.isnan())


def test_balanced_weights_are_negatives_over_positives() -> None:
    labels = drawn()[1]
    found = loss_of(labels, class_weights="balanced").weights
    expected = [
        np.divide(*compute_class_weight("balanced", classes=np.arange(2), y=each)[::-1]) for each in labels.numpy().T
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_balanced_weights_are_those_of_the_labels_that_are_known() -> None:
    labels = drawn(unknown=True)[1]
    found = loss_of(labels, class_weights="balanced").weights
    assert found is not None
    for number, own in enumerate(labels.T):
        known = own[~own.isnan()].numpy()
        expected = np.divide(*compute_class_weight("balanced", classes=np.arange(2), y=known)[::-1])
        assert found[number].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("value", "kind"), [(0.0, "positive"), (1.0, "negative")])
def test_a_class_of_one_kind_cannot_be_balanced(value: float, kind: str) -> None:
    labels = drawn()[1]
    labels[:, 2] = value
    with pytest.raises(ValueError, match=f"'balanced': class 2 has no {kind} image among the 40 of the training part"):
        loss_of(labels, class_weights="balanced")


def test_pieces_of_a_batch_sum_up_to_its_loss() -> None:
    logits, labels = drawn(unknown=True)
    loss = loss_of(labels, class_weights="balanced")
    cut = zip(logits.split([7, 20, 13]), labels.split([7, 20, 13]), strict=True)
    pieces = sum(loss.total(some, theirs) for some, theirs in cut)
    torch.testing.assert_close(pieces, loss.total(logits, labels))


def test_the_mean_is_that_of_all_images() -> None:
    logits, labels = drawn(unknown=True)
    loss = loss_of(labels, class_weights=WEIGHTS)
    assert loss.mean(logits.numpy(), labels.numpy()) == pytest.approx(value(loss, logits, labels).item(), rel=1e-12)


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_other_losses_are_refused(name: str) -> None:
    labels = drawn()[1].numpy()
    with pytest.raises(ValueError, match=f"loss '{name}' is of images with one label each.*use 'bce'"):
        make_loss(Recipe(loss=name), labels, 4, torch.device("cpu"))


def test_probabilities_are_sigmoids() -> None:
    logits = drawn()[0].numpy()
    np.testing.assert_allclose(probabilities(logits, "bce", "multilabel"), expit(logits), rtol=1e-12)


def test_of_one_label_an_image_they_still_sum_to_one() -> None:
    np.testing.assert_allclose(probabilities(drawn()[0].numpy(), "bce").sum(axis=1), 1, rtol=1e-12)
