"""Losses and what logits say, against torch, torchvision and scikit-learn."""

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from torch import nn
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from sweeper.cell import Recipe
from sweeper.finetune.losses import Loss, make_loss, probabilities

CPU = torch.device("cpu")
LABELS = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 0, 1, 0])
WEIGHTS = (0.2, 1.0, 3.5)
RECIPES = {
    "plain": Recipe(),
    "weighted": Recipe(class_weights=WEIGHTS),
    "balanced": Recipe(class_weights="balanced"),
    "bce": Recipe(loss="bce"),
    "weighted bce": Recipe(loss="bce", class_weights=WEIGHTS),
    "focal": Recipe(loss="focal"),
}


def logits_of(classes: int = 3, scale: float = 2.0) -> torch.Tensor:
    return scale * torch.randn(len(LABELS), classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def loss_of(recipe: Recipe, classes: int = 3) -> Loss:
    return make_loss(recipe, LABELS, classes, CPU)


def value(recipe: Recipe, logits: torch.Tensor) -> torch.Tensor:
    loss, labels = loss_of(recipe, logits.shape[1]), torch.tensor(LABELS)
    return loss.total(logits, labels) / loss.mass(labels)


def one_hot() -> torch.Tensor:
    return torch.eye(3, dtype=torch.float64)[torch.tensor(LABELS)]


def test_cross_entropy_is_torchs() -> None:
    torch.testing.assert_close(value(Recipe(), logits_of()), nn.CrossEntropyLoss()(logits_of(), torch.tensor(LABELS)))


def test_weighted_cross_entropy_is_torchs_mean_over_the_weights() -> None:
    expected = nn.CrossEntropyLoss(torch.tensor(WEIGHTS, dtype=torch.float64))(logits_of(), torch.tensor(LABELS))
    torch.testing.assert_close(value(RECIPES["weighted"], logits_of()), expected, rtol=1e-6, atol=0)  # float32 weights


def test_balanced_weights_are_scikit_learns() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    np.testing.assert_allclose(loss_of(RECIPES["balanced"]).weights, expected, rtol=1e-6)


def test_balanced_weights_have_mean_one_over_the_training_images() -> None:
    found = loss_of(RECIPES["balanced"])
    assert float(found.mass(torch.tensor(LABELS))) == pytest.approx(len(LABELS), rel=1e-6)


def test_balanced_cross_entropy_is_scikit_learns_weighted_log_loss() -> None:
    expected = log_loss(
        LABELS, softmax(logits_of().numpy(), axis=1), sample_weight=compute_sample_weight("balanced", LABELS)
    )
    assert value(RECIPES["balanced"], logits_of()).item() == pytest.approx(expected, rel=1e-6)


def test_bce_is_torchs_over_one_vs_rest_targets() -> None:
    torch.testing.assert_close(value(RECIPES["bce"], logits_of()), nn.BCEWithLogitsLoss()(logits_of(), one_hot()))


def test_weights_of_bce_are_torchs_of_the_positives() -> None:
    expected = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(WEIGHTS, dtype=torch.float64))(logits_of(), one_hot())
    torch.testing.assert_close(value(RECIPES["weighted bce"], logits_of()), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_loss_of_two_classes_is_torchvisions_of_the_difference_of_the_logits(gamma: float) -> None:
    labels, logits = LABELS.clip(max=1), logits_of(classes=2)
    loss = make_loss(Recipe(loss="focal", focal_gamma=gamma), labels, 2, CPU)
    told = torch.tensor(labels, dtype=torch.float64)
    expected = sigmoid_focal_loss(logits[:, 1] - logits[:, 0], told, alpha=-1, gamma=gamma, reduction="sum")
    torch.testing.assert_close(loss.total(logits, torch.tensor(labels)), expected)


def test_focal_loss_without_focus_is_cross_entropy() -> None:
    torch.testing.assert_close(value(Recipe(loss="focal", focal_gamma=0.0), logits_of()), value(Recipe(), logits_of()))


def test_focal_loss_of_many_classes_is_its_closed_form() -> None:
    p = softmax(logits_of().numpy(), axis=1)[np.arange(len(LABELS)), LABELS]
    expected = np.mean(-((1 - p) ** 3.0) * np.log(p))
    assert value(Recipe(loss="focal", focal_gamma=3.0), logits_of()).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_focal_loss_has_a_finite_slope_however_sure_a_network_is(gamma: float, scale: float) -> None:
    logits = logits_of(scale=scale).float().requires_grad_()
    value(Recipe(loss="focal", focal_gamma=gamma), logits).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", RECIPES)
def test_sums_over_pieces_are_the_sum_over_the_whole(name: str) -> None:
    loss, logits, labels = loss_of(RECIPES[name]), logits_of(), torch.tensor(LABELS)
    pieces = zip(logits.tensor_split(3), labels.tensor_split(3), strict=True)
    found = [(loss.total(*piece), torch.as_tensor(loss.mass(piece[1]))) for piece in pieces]
    torch.testing.assert_close(sum(each for each, _ in found), loss.total(logits, labels))
    torch.testing.assert_close(float(sum(each for _, each in found)), float(loss.mass(labels)))


@pytest.mark.parametrize("name", RECIPES)
def test_the_mean_of_arrays_is_the_loss_of_tensors(name: str) -> None:
    found = loss_of(RECIPES[name]).mean(logits_of().numpy(), LABELS)
    assert found == pytest.approx(value(RECIPES[name], logits_of()).item(), rel=1e-7)


def test_a_balanced_class_without_a_training_image_is_refused() -> None:
    with pytest.raises(ValueError, match="class 3 has no image among the 14"):
        loss_of(RECIPES["balanced"], classes=4)


def test_class_weights_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="has 3 numbers for 4 classes"):
        loss_of(RECIPES["weighted"], classes=4)


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_logits_of_softmax_losses_say_softmax(loss: str) -> None:
    np.testing.assert_allclose(probabilities(logits_of().numpy(), loss), softmax(logits_of().numpy(), axis=1))


def test_logits_of_bce_say_sigmoids_over_their_sum() -> None:
    sigmoids = expit(logits_of().numpy())
    np.testing.assert_allclose(
        probabilities(logits_of().numpy(), "bce"), sigmoids / sigmoids.sum(axis=1, keepdims=True)
    )


def test_sigmoids_that_are_all_too_small_for_a_number_still_sum_to_one() -> None:
    found = probabilities(np.array([[-900.0, -901.0, -2000.0]]), "bce")
    np.testing.assert_allclose(found, softmax(np.array([[-900.0, -901.0, -2000.0]]), axis=1))


def test_a_double_softmax_loss_is_that_of_probabilities_as_logits() -> None:
    found = probabilities(logits_of().numpy(), "cross_entropy")
    expected = F.cross_entropy(torch.tensor(found), torch.tensor(LABELS)).item()
    assert loss_of(Recipe()).mean(found, LABELS) == pytest.approx(expected)
