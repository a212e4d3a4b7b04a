"""What a recipe asks of the loop beside the plain epoch: validations, schedules, clipping, losses, groups of rates."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import VIEW, begin, classifier, numbers, plain_network, small_data, train, weights_of
from torch import nn
from torch.nn import functional as F

from sweeper.cell import Recipe
from sweeper.data.loading import Loaded, normalise
from sweeper.finetune.loop import DivergedError, epochs, predict, prediction_table
from sweeper.finetune.losses import probabilities
from sweeper.finetune.metrics import score
from sweeper.finetune.view import View


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return small_data(tmp_path_factory.mktemp("digits"))


def whole(data: Loaded) -> tuple[torch.Tensor, torch.Tensor]:
    """All training images as a network sees them, and their labels."""
    images = normalise(data.train.tensor(np.arange(len(data.train))), VIEW.mean, VIEW.std)
    return images, torch.as_tensor(np.array(data.train.labels))


@pytest.mark.parametrize("validations", [2, 3])
def test_validations_within_an_epoch_leave_the_training_as_it_is(data: Loaded, validations: int) -> None:
    one, many = classifier()[0], classifier()[0]
    recipe = Recipe(epochs=2, batch_size=32, schedule="cosine", warmup=0.5)
    once = train(one, data, recipe)
    often = train(many, data, Recipe(**vars(recipe) | {"validations": validations}))
    assert torch.equal(weights_of(one), weights_of(many))
    assert [each.number for each in often] == list(range(1, 2 * validations + 1))
    assert [each.scores for each in often[validations - 1 :: validations]] == [each.scores for each in once]


def test_the_losses_between_validations_make_up_the_epochs(data: Loaded) -> None:
    recipe = Recipe(epochs=1, batch_size=32, validations=2)
    halves = train(plain_network(), data, recipe)
    steps = -(-len(data.train) // 32)
    sizes = [len(each) for each in torch.arange(len(data.train)).tensor_split(steps)]
    images = [sum(sizes[: steps // 2]), sum(sizes[steps // 2 :])]
    expected = train(plain_network(), data, Recipe(epochs=1, batch_size=32))[0].train_loss
    assert np.average([each.train_loss for each in halves], weights=images) == pytest.approx(expected, rel=1e-6)


def test_a_scaled_rate_trains_as_the_product_does(data: Loaded) -> None:
    one, two = plain_network(), plain_network()
    train(one, data, Recipe(epochs=1, batch_size=32, scale_lr=True), lr=8e-3)
    train(two, data, Recipe(epochs=1, batch_size=32), lr=1e-3)
    assert torch.equal(weights_of(one), weights_of(two))


def test_a_plateau_lowers_the_rate_when_the_monitor_stands(data: Loaded) -> None:
    recipe = Recipe(epochs=12, batch_size=64, schedule="plateau", plateau=1, factor=0.5, monitor="loss")
    done = train(plain_network(), data, recipe, lr=0.03)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.03)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, threshold=0.0)
    expected = []
    for each in done:
        expected.append(optimizer.param_groups[0]["lr"])
        scheduler.step(each.scores["loss"])
    assert [each.lr for each in done] == pytest.approx(expected)
    assert done[-1].lr < 0.03


def test_training_ends_when_the_rate_is_below_its_floor(data: Loaded) -> None:
    recipe = Recipe(epochs=9, batch_size=64, schedule="multistep", milestones=(1, 3), lr_floor=1e-4)
    assert [each.lr for each in train(plain_network(), data, recipe)] == pytest.approx([3e-3, 3e-4, 3e-4])


def test_a_rate_that_begins_below_its_floor_trains_once(data: Loaded) -> None:
    assert len(train(plain_network(), data, Recipe(epochs=3, lr_floor=1.0))) == 1


@pytest.mark.parametrize("parts", [1, 3])
def test_a_clipped_step_is_that_of_torchs_clipped_gradient(data: Loaded, parts: int) -> None:
    ours, plain = plain_network(), plain_network()
    recipe = Recipe(epochs=1, batch_size=10_000, optimizer="sgd", momentum=0.0, clip=0.01)
    train(ours, data, recipe, lr=1.0, augment="none", parts=parts)
    images, labels = whole(data)
    F.cross_entropy(plain(images), labels).backward()
    norm = nn.utils.clip_grad_norm_(plain.parameters(), 0.01)
    torch.optim.SGD(plain.parameters(), lr=1.0).step()
    assert norm > 0.01
    torch.testing.assert_close(weights_of(ours), weights_of(plain), rtol=1e-4, atol=1e-6)


def test_a_gradient_shorter_than_the_clip_is_left_alone(data: Loaded) -> None:
    one, two = plain_network(), plain_network()
    train(one, data, Recipe(epochs=1, clip=1e6))
    train(two, data, Recipe(epochs=1))
    torch.testing.assert_close(weights_of(one), weights_of(two))


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(
    "recipe", [{"class_weights": (5.0, 1.0, 0.2, 1.0, 2.0)}, {"loss": "bce"}, {"loss": "focal", "focal_gamma": 2.0}]
)
def test_a_step_is_that_of_the_loss_over_the_whole_batch(data: Loaded, recipe: dict[str, Any], parts: int) -> None:
    ours, plain = plain_network(), plain_network()
    given = Recipe(epochs=1, batch_size=10_000, optimizer="sgd", momentum=0.0, **recipe)
    told = train(ours, data, given, lr=0.5, augment="none", parts=parts)
    images, labels = whole(data)
    logits = plain(images)
    match given.loss:
        case "bce":
            loss = nn.BCEWithLogitsLoss()(logits, F.one_hot(labels, 5).float())
        case "focal":
            p = logits.softmax(1).gather(1, labels[:, None])
            loss = (-((1 - p) ** 2) * p.log()).mean()
        case _:
            loss = nn.CrossEntropyLoss(torch.tensor(given.class_weights))(logits, labels)
    loss.backward()
    torch.optim.SGD(plain.parameters(), lr=0.5).step()
    torch.testing.assert_close(weights_of(ours), weights_of(plain), rtol=1e-4, atol=1e-6)
    assert told[0].train_loss == pytest.approx(loss.item(), rel=1e-5)


def test_the_validation_loss_is_the_recipes(data: Loaded) -> None:
    weights = (5.0, 1.0, 0.2, 1.0, 2.0)
    model = plain_network()
    scores = train(model, data, Recipe(epochs=1, class_weights=weights))[-1].scores
    found = torch.tensor(predict(model, data.val, VIEW)).log()
    expected = F.nll_loss(found, torch.tensor(data.val.labels), torch.tensor(weights, dtype=torch.float64))
    assert scores["loss"] == pytest.approx(expected.item(), rel=1e-6)


def test_without_weights_the_validation_loss_is_nll(data: Loaded) -> None:
    scores = train(plain_network(), data, Recipe(epochs=1))[-1].scores
    assert scores["loss"] == pytest.approx(scores["nll"], rel=1e-9)


def test_the_double_softmax_loss_is_told_when_it_is_asked_for(data: Loaded) -> None:
    model = plain_network()
    scores = train(model, data, Recipe(epochs=1, monitor="double_softmax_loss"))[-1].scores
    found = torch.tensor(predict(model, data.val, VIEW))
    expected = F.cross_entropy(found, torch.tensor(data.val.labels)).item()
    assert scores["double_softmax_loss"] == pytest.approx(expected, rel=1e-9)
    assert "double_softmax_loss" not in train(plain_network(), data, Recipe(epochs=1))[-1].scores


def test_epoch_scores_of_bce_are_those_of_its_predictions(data: Loaded) -> None:
    model = plain_network()
    last = train(model, data, Recipe(epochs=2, loss="bce"))[-1]
    found = predict(model, data.val, VIEW, loss="bce")
    expected = score(prediction_table(data.val, "val", found), data.task)
    assert {name: last.scores[name] for name in expected} == expected
    with torch.no_grad():
        logits = model(normalise(data.val.tensor(np.arange(3)), VIEW.mean, VIEW.std)).double().numpy()
    np.testing.assert_allclose(found[:3], probabilities(logits, "bce"), rtol=1e-5)


def test_a_backbone_moves_by_its_share_of_the_heads_rate(data: Loaded) -> None:
    model, same = classifier()[0], classifier()[0]
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    once = {"epochs": 1, "batch_size": 10_000, "optimizer": "sgd", "momentum": 0.0}
    train(model, data, Recipe(**once, backbone_decay=10), lr=1e-2)
    train(same, data, Recipe(**once), lr=1e-2)
    for name, each in model.named_parameters():
        moved, whole = each - before[name], same.get_parameter(name) - before[name]
        share = 1.0 if name.startswith("head.") else 0.1
        torch.testing.assert_close(moved.detach(), share * whole.detach(), rtol=1e-3, atol=1e-7)


def test_frozen_norms_that_learn_change_statistics_and_no_weight(data: Loaded) -> None:
    model, _ = classifier(depth=3, frozen=3)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    train(model, data, Recipe(epochs=1), frozen=())  # the caller keeps nothing in evaluation mode
    changed = {name for name, each in model.state_dict().items() if not torch.equal(each, before[name])}
    statistics = {name for name, _ in model.named_buffers()}
    assert changed == statistics | {"head.weight", "head.bias"}


def test_fp16_without_a_gpu_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(ValueError, match="amp 'fp16' needs a GPU and this is a cpu"):
        View(mean=VIEW.mean, std=VIEW.std, device=torch.device("cpu"), amp="fp16")


def test_a_training_that_diverges_between_validations_names_its_epoch(data: Loaded) -> None:
    with pytest.raises(DivergedError, match=r"epoch 1 at rate 1e\+30"):
        train(plain_network(), data, Recipe(epochs=2, batch_size=32, validations=3, optimizer="sgd"), lr=1e30)


def restore(state: dict[str, Any], model: nn.Module, recipe: Recipe) -> Any:
    model.load_state_dict(state["model"])
    course = begin(model, recipe)
    course.restore(state["course"])
    return course


RESUMED = {
    "constant": Recipe(),
    "cosine": Recipe(schedule="cosine", warmup=1.0, lr_end=1e-5),
    "onecycle": Recipe(schedule="onecycle"),
    "multistep": Recipe(schedule="multistep", milestones=(1,), warmup_steps=2),
    "plateau": Recipe(schedule="plateau", plateau=0, monitor="loss", factor=0.3),
    "floor": Recipe(schedule="multistep", milestones=(2,), lr_floor=1e-3),
    "adamw": Recipe(optimizer="adamw", weight_decay=0.1, backbone_decay=4.0),
    "sgd": Recipe(optimizer="sgd", clip=0.5),
    "sgd without momentum": Recipe(optimizer="sgd", momentum=0.0),
    "lars": Recipe(optimizer="lars", nesterov=False, weight_decay=0.01),
    "balanced": Recipe(class_weights="balanced"),
    "bce": Recipe(loss="bce", class_weights="balanced"),
    "focal": Recipe(loss="focal"),
    "bf16": Recipe(amp="bf16"),
}


@pytest.mark.parametrize("validations", [1, 3])
@pytest.mark.parametrize("name", RESUMED)
def test_a_training_stopped_after_any_validation_goes_on_to_the_same_bits(
    data: Loaded, tmp_path: Path, name: str, validations: int
) -> None:
    recipe = Recipe(**vars(RESUMED[name]) | {"epochs": 3, "batch_size": 40, "validations": validations})
    view = View(mean=VIEW.mean, std=VIEW.std, device=VIEW.device, amp=recipe.amp)

    def run(model: nn.Module, course: Any) -> Any:
        return epochs(
            model, data, recipe, lr=3e-3, augment="flip_shift", seed=5, view=view, course=course
        )  # fmt: skip

    model, _ = classifier(dropout=0.3)
    course, expected = begin(model, recipe), []
    for each in run(model, course):
        expected.append(each)
        torch.save({"model": model.state_dict(), "course": course.state()}, tmp_path / f"{each.number}.pt")
    assert len(expected) == (2 if name == "floor" else 3) * validations
    for stopped in range(1, len(expected) + 1):
        fresh, _ = classifier(dropout=0.3, seed=1)
        torch.rand(7)  # what else was drawn has no say
        state = torch.load(tmp_path / f"{stopped}.pt", weights_only=True)
        assert numbers(list(run(fresh, restore(state, fresh, recipe)))) == numbers(expected[stopped:])
        assert torch.equal(weights_of(fresh), weights_of(model))


@pytest.mark.gpu
def test_fp16_trains_on_a_gpu_as_float32_does(data: Loaded) -> None:
    losses = []
    for amp in ("off", "fp16"):
        view = View(mean=VIEW.mean, std=VIEW.std, device=torch.device("cuda"), amp=amp)
        recipe = Recipe(epochs=3, batch_size=32, amp=amp, clip=1.0)
        model = plain_network().to("cuda")
        done = list(epochs(model, data, recipe, lr=3e-3, augment="none", seed=0, view=view))
        losses.append([each.train_loss for each in done])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] != losses[0]


@pytest.mark.gpu
def test_a_gradient_that_overflows_fp16_takes_no_step_and_lowers_the_scale(data: Loaded) -> None:
    view = View(mean=VIEW.mean, std=VIEW.std, device=torch.device("cuda"), amp="fp16")
    recipe = Recipe(epochs=1, batch_size=10_000, amp="fp16", clip=1.0)
    model = plain_network().to("cuda")
    before, course = weights_of(model), begin(model, recipe)
    course.scaler.load_state_dict(course.scaler.state_dict() | {"scale": 2.0**40})
    list(epochs(model, data, recipe, lr=3e-3, augment="none", seed=5, view=view, course=course))
    assert torch.equal(weights_of(model), before)
    assert course.state()["scaler"]["scale"] == 2.0**39
