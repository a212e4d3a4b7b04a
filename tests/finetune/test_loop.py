"""The training loop, on real images and in one process."""

import dataclasses
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from sweeper import models
from sweeper.cell import Images, Network, Recipe
from sweeper.data.loading import Loaded, load, normalise
from sweeper.finetune.loop import Course, DivergedError, View, epochs, predict, prediction_table
from sweeper.finetune.metrics import score
from sweeper.finetune.optim import freeze_blocks, make_optimizer
from sweeper.outcome import Epoch
from sweeper.site import Site

VIEW = View(mean=(0.5,) * 3, std=(0.5,) * 3, device=torch.device("cpu"))
BF16 = dataclasses.replace(VIEW, amp="bf16")
GPU = dataclasses.replace(VIEW, device=torch.device("cuda"))
LONG = Recipe(epochs=3, batch_size=40, schedule="cosine", warmup=1.5, weight_decay=0.1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("digits")
    site = Site(data=folder, cache=folder / "cache", storage=folder, tracking="")
    return load(Images(dataset="digits_0_4", fold=1, size=8, fraction=0.3), site)


@pytest.fixture(scope="module")
def few(data: Loaded) -> Loaded:
    """Few enough images for a ResNet."""
    short = {name: getattr(data, name) for name in ("train", "val")}
    cut = {
        name: dataclasses.replace(
            part, rows=part.rows[:70], labels=part.labels[:70], names=part.names[:70], patients=part.patients[:70]
        )
        for name, part in short.items()
    }
    return dataclasses.replace(data, **cut)


def network(depth: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return models.build(Network(model="cbr_mini", depth=depth), classes=5, channels=3)


def train(
    model: nn.Module, data: Loaded, *, lr: float = 3e-3, seed: int = 0, augment: str = "none", **recipe: Any
) -> list[Epoch]:
    values = Recipe(**{"epochs": 3, "batch_size": 32} | recipe)
    return list(epochs(model, data, values, lr=lr, augment=augment, seed=seed, view=VIEW))


def plain_network(dropout: float = 0.0) -> nn.Module:
    """Without batch norm, so that an image's loss does not depend on the others of its batch."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(256, 5))


def go_on(model: nn.Module, data: Loaded, recipe: Recipe, *, augment: str = "flip_shift", **more: Any) -> list[Epoch]:
    return list(epochs(model, data, recipe, lr=3e-3, augment=augment, seed=5, view=VIEW, **more))


def killed_after(epoch: int, model: nn.Module, data: Loaded, recipe: Recipe, **more: Any) -> io.BytesIO:
    """What was written after this epoch of a training that went on for a step or more, and was never finished."""
    course, kept = Course.begin(model, recipe, 3e-3, 5), io.BytesIO()
    running = epochs(model, data, recipe, lr=3e-3, augment="flip_shift", seed=5, view=VIEW, course=course, **more)
    for done in running:
        if done.number == epoch:
            torch.save({"weights": model.state_dict(), "course": course.state()}, kept)
        if done.number > epoch:
            break
    kept.seek(0)
    return kept


def restored(kept: io.BytesIO, model: nn.Module, recipe: Recipe) -> Course:
    found = torch.load(kept, weights_only=True)
    model.load_state_dict(found["weights"])
    course = Course.begin(model, recipe, 3e-3, 5)
    course.restore(found["course"])
    return course


def numbers(done: list[Epoch]) -> list[tuple[Any, ...]]:
    return [(epoch.number, epoch.train_loss, epoch.scores, epoch.lr) for epoch in done]


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([each.detach().flatten() for each in model.state_dict().values()])


def test_training_lowers_the_loss_and_beats_chance(data: Loaded) -> None:
    done = train(network(), data, epochs=6)
    assert [epoch.number for epoch in done] == [1, 2, 3, 4, 5, 6]
    assert done[-1].train_loss < 0.5 * done[0].train_loss
    assert done[-1].scores["accuracy"] > 0.6


def test_the_first_loss_of_one_whole_batch_is_that_of_the_start(data: Loaded) -> None:
    model = network().train()
    everything = np.arange(len(data.train))
    images = normalise(data.train.tensor(everything), VIEW.mean, VIEW.std)
    expected = F.cross_entropy(model(images), torch.as_tensor(np.array(data.train.labels))).item()
    assert train(network(), data, epochs=1, batch_size=10_000)[0].train_loss == pytest.approx(expected, rel=1e-5)


def test_an_epoch_takes_the_steps_of_a_plain_loop(data: Loaded) -> None:
    ours, plain = network(), network()
    train(ours, data, epochs=2, batch_size=10_000, optimizer="sgd", lr=0.05)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    images = normalise(data.train.tensor(np.arange(len(data.train))), VIEW.mean, VIEW.std)
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(plain.train()(images), torch.as_tensor(np.array(data.train.labels))).backward()
        optimizer.step()
    torch.testing.assert_close(weights(ours), weights(plain), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("augment", ["none", "flip_shift"])
def test_the_same_seed_gives_the_same_bits(data: Loaded, augment: str) -> None:
    one, two = network(), network()
    train(one, data, augment=augment)
    train(two, data, augment=augment)
    assert torch.equal(weights(one), weights(two))


def test_another_seed_gives_another_order(data: Loaded) -> None:
    one, two = network(), network()
    train(one, data)
    train(two, data, seed=1)
    assert not torch.equal(weights(one), weights(two))


def test_augmentation_changes_training_and_not_validation(data: Loaded) -> None:
    plain, changed = (train(network(), data, augment=augment, epochs=1, lr=1e-12) for augment in ("none", "shift"))
    assert plain[0].train_loss != changed[0].train_loss
    assert plain[0].scores["nll"] == pytest.approx(changed[0].scores["nll"], rel=1e-2)  # batch-norm statistics differ


def test_frozen_blocks_keep_weights_and_statistics(data: Loaded) -> None:
    model = network(depth=3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    frozen = freeze_blocks(model, Network(model="cbr_mini", depth=3), 2)
    list(epochs(model, data, Recipe(epochs=2), lr=1e-2, augment="none", seed=0, view=VIEW, frozen=frozen))
    first_two = {name for block in models.blocks(model, "block")[:2] for name in models.block_keys(model, block)}
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert first_two
    assert changed.isdisjoint(first_two)
    assert changed == before.keys() - first_two


def test_a_loss_that_becomes_nan_names_the_epoch_and_the_rate(data: Loaded) -> None:
    with pytest.raises(DivergedError, match=r"epoch 1 at rate 1e\+30"):
        train(network(), data, lr=1e30, optimizer="sgd")


def test_the_rate_of_the_last_step_is_told(data: Loaded) -> None:
    rates = [epoch.lr for epoch in train(network(), data, schedule="cosine", lr=1e-2, epochs=4, batch_size=10_000)]
    assert rates == pytest.approx([1e-2 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)])


def test_no_image_is_left_out_of_an_epoch(data: Loaded) -> None:
    seen: list[int] = []
    model = network()
    model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])) if module.training else None)
    train(model, data, epochs=1, batch_size=50)
    assert sum(seen) == len(data.train)
    assert max(seen) <= 50
    assert max(seen) - min(seen) <= 1


def test_predictions_are_softmax_in_the_parts_order(data: Loaded) -> None:
    model = network().eval()
    found = predict(model, data.test, VIEW)
    with torch.no_grad():
        one = model(normalise(data.test.tensor(np.array([7])), VIEW.mean, VIEW.std)).double().softmax(1)[0].numpy()
    assert found.shape == (len(data.test), 5)
    np.testing.assert_allclose(found[7], one, rtol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_epoch_scores_are_those_of_the_validation_predictions(data: Loaded) -> None:
    model = network()
    last = train(model, data)[-1]
    expected = score(prediction_table(data.val, "val", predict(model, data.val, VIEW)), data.task)
    assert {name: last.scores[name] for name in expected} == expected


def test_biases_and_norms_are_not_decayed() -> None:
    optimizer = make_optimizer(network(), Recipe(weight_decay=0.1, optimizer="adamw"), 1e-3)
    decayed, kept = optimizer.param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    assert {each.ndim for each in decayed["params"]} == {2, 4}
    assert {each.ndim for each in kept["params"]} == {1}


def small_model(name: str) -> nn.Module:
    torch.manual_seed(0)
    return models.build(Network(model=name), classes=5, channels=3)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("name", ["cbr_mini", "resnet18"])
def test_a_killed_training_goes_on_to_the_same_bits(few: Loaded, name: str, optimizer: str) -> None:
    recipe = dataclasses.replace(LONG, optimizer=optimizer)
    whole, killed, fresh = (small_model(name) for _ in range(3))
    expected = go_on(whole, few, recipe)
    kept = killed_after(1, killed, few, recipe)
    found = go_on(fresh, few, recipe, course=restored(kept, fresh, recipe))
    assert numbers(found) == numbers(expected)[1:]
    assert torch.equal(weights(fresh), weights(whole))


def test_dropout_goes_on_to_the_same_bits_whatever_else_was_drawn(data: Loaded) -> None:
    whole, killed, fresh = (plain_network(dropout=0.5) for _ in range(3))
    go_on(whole, data, LONG)
    kept = killed_after(1, killed, data, LONG)
    torch.rand(7)
    go_on(fresh, data, LONG, course=restored(kept, fresh, LONG))
    assert torch.equal(weights(fresh), weights(whole))


def test_dropout_differs_between_epochs(data: Loaded) -> None:
    model, seen = plain_network(dropout=0.5), []
    model[5].register_forward_hook(lambda module, inputs, out: seen.append(out == 0) if module.training else None)
    one_batch = Recipe(epochs=2, batch_size=10_000)
    list(epochs(model, data, one_batch, lr=1e-12, augment="none", seed=0, view=VIEW))
    assert not torch.equal(seen[0], seen[1])


def test_a_finished_course_trains_no_more(data: Loaded) -> None:
    model = network()
    course = Course.begin(model, LONG, 3e-3, 5)
    go_on(model, data, LONG, course=course)
    before = weights(model)
    assert course.done == LONG.epochs
    assert go_on(model, data, LONG, course=course) == []
    assert torch.equal(weights(model), before)


def test_a_state_stays_as_it_was_taken_while_the_course_moves_on(data: Loaded) -> None:
    model = network()
    course = Course.begin(model, LONG, 3e-3, 5)
    running = epochs(model, data, LONG, lr=3e-3, augment="flip", seed=5, view=VIEW, course=course)
    next(running)
    state = course.state()
    before, moment = io.BytesIO(), state["moments"][0]["exp_avg"].clone()
    torch.save(state, before)
    course.restore(state)
    next(running)
    assert torch.equal(state["moments"][0]["exp_avg"], moment)
    assert not torch.equal(course.state()["moments"][0]["exp_avg"], moment)


def test_a_state_of_another_network_is_refused(data: Loaded) -> None:
    kept = killed_after(1, network(depth=3), data, LONG)
    course = Course.begin(network(depth=2), LONG, 3e-3, 5)
    with pytest.raises(ValueError, match="does not fit the network"):
        course.restore(torch.load(kept, weights_only=True)["course"])


@pytest.mark.parametrize("parts", [2, 3])
def test_pieces_of_a_batch_take_the_step_of_the_whole_batch(data: Loaded, parts: int) -> None:
    whole, cut = plain_network(), plain_network()
    recipe = Recipe(epochs=2, batch_size=50, optimizer="sgd")  # a piece has 12 to 25 images, not all alike
    expected = list(epochs(whole, data, recipe, lr=0.05, augment="flip", seed=0, view=VIEW))
    found = list(epochs(cut, data, recipe, lr=0.05, augment="flip", seed=0, view=VIEW, parts=parts))
    # Float32 sums of fewer than 2**10 terms in another order: 2**-24 x 2**5 of a weight is rounding, ten steps.
    torch.testing.assert_close(weights(cut), weights(whole), rtol=2e-5, atol=2e-6)
    assert [epoch.train_loss for epoch in found] == pytest.approx([epoch.train_loss for epoch in expected], rel=1e-5)


def test_pieces_are_nearly_equal_and_leave_no_image_out(data: Loaded) -> None:
    seen: list[int] = []
    model = plain_network()
    model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])) if module.training else None)
    go_on(model, data, Recipe(epochs=1, batch_size=50), parts=3)
    assert sum(seen) == len(data.train)
    assert max(seen) <= 17
    assert max(seen) - min(seen) <= 1


def test_more_pieces_than_images_are_single_images(data: Loaded) -> None:
    seen: list[int] = []
    model = plain_network()
    model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    go_on(model, data, Recipe(epochs=1, batch_size=2), parts=1000)
    assert set(seen) == {1}
    assert len(seen) == len(data.train) + len(data.val)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("alone")
def test_gradients_are_exchanged_once_a_step_however_many_pieces(data: Loaded) -> None:
    exchanged: list[int] = []

    def count(state: None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        exchanged.append(bucket.index())
        done = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    apart, together = plain_network(), plain_network()
    wrapped = DistributedDataParallel(apart)
    wrapped.register_comm_hook(None, count)
    recipe = Recipe(epochs=1, batch_size=50)
    go_on(wrapped, data, recipe, parts=3)
    go_on(together, data, recipe, parts=3)
    assert len(exchanged) == math.ceil(len(data.train) / 50)
    assert torch.equal(weights(apart), weights(together))


def test_bf16_gives_the_same_bits_twice(data: Loaded) -> None:
    one, two = network(), network()
    recipe = Recipe(epochs=2, batch_size=32, amp="bf16")
    found = [
        numbers(list(epochs(model, data, recipe, lr=1e-3, augment="shift", seed=0, view=BF16))) for model in (one, two)
    ]
    assert torch.equal(weights(one), weights(two))
    assert found[0] == found[1]


def test_bf16_computes_in_bfloat16_and_keeps_everything_else_in_float32(data: Loaded) -> None:
    model, seen = network(), set()
    model.get_submodule("backbone.block1.conv").register_forward_hook(lambda *told: seen.add(told[2].dtype))
    recipe = Recipe(epochs=1, amp="bf16")
    course = Course.begin(model, recipe, 1e-3, 0)
    list(epochs(model, data, recipe, lr=1e-3, augment="none", seed=0, view=BF16, course=course))
    moments = [held["exp_avg"] for held in course.state()["moments"].values()]
    assert seen == {torch.bfloat16}
    assert {each.dtype for each in (*model.parameters(), *moments)} == {torch.float32}
    assert {each.grad.dtype for each in model.parameters()} == {torch.float32}


def test_bf16_predictions_are_those_of_float32_to_its_precision(data: Loaded) -> None:
    model = network()
    train(model, data)
    exact, found = predict(model, data.test, VIEW), predict(model, data.test, BF16)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    assert not np.array_equal(found, exact)
    np.testing.assert_allclose(found, exact, atol=0.05)  # logits of a few units to 2**-8 of their size


def test_a_view_that_is_not_the_recipes_is_refused(data: Loaded) -> None:
    with pytest.raises(ValueError, match="view has amp 'off' and the recipe 'bf16'"):
        train(network(), data, amp="bf16")


class Opaque(nn.Module):
    """A classifier of which nobody knows that it has a backbone: it is trained in the ordinary way."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.inside(images)


def frozen_network(blocks: int = 3, dropout: float = 0.0) -> tuple[nn.Module, list[nn.Module]]:
    model = network(depth=3)
    train_mode_statistics = torch.linspace(0.5, 1.5, 16)
    model.get_submodule("backbone.block1.bn").running_var.copy_(train_mode_statistics)
    frozen = freeze_blocks(model, Network(model="cbr_mini", depth=3), blocks)
    if dropout:
        model.backbone.append(nn.Dropout(dropout))
    return model, frozen


def passes(model: nn.Module, frozen: list[nn.Module], data: Loaded, augment: str = "none") -> int:
    """How often the backbone saw a training or validation image over four epochs."""
    seen: list[int] = []
    model.get_submodule("backbone.block1").register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    go_on(model, data, Recipe(epochs=4), augment=augment, frozen=frozen)
    return round(sum(seen) / (len(data.train) + len(data.val)))


def test_a_frozen_backbone_gives_the_numbers_of_the_ordinary_way(data: Loaded) -> None:
    (model, frozen), (other, also_frozen) = frozen_network(), frozen_network()
    found = go_on(model, data, LONG, augment="none", frozen=frozen)
    expected = go_on(Opaque(other), data, LONG, augment="none", frozen=also_frozen)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-6)
        assert ours.scores == pytest.approx(theirs.scores, rel=1e-6)
    assert list(model.state_dict()) == list(other.state_dict())
    torch.testing.assert_close(weights(model), weights(other), rtol=1e-5, atol=1e-6)
    assert found[-1].train_loss < found[0].train_loss


def test_a_frozen_backbone_sees_each_image_once(data: Loaded) -> None:
    assert passes(*frozen_network(), data) == 1


@pytest.mark.parametrize(("blocks", "dropout", "augment"), [(2, 0.0, "none"), (3, 0.5, "none"), (3, 0.0, "flip")])
def test_a_backbone_whose_features_change_sees_each_image_each_time(
    data: Loaded, blocks: int, dropout: float, augment: str
) -> None:
    assert passes(*frozen_network(blocks, dropout), data, augment) == 4


def test_a_killed_training_of_a_head_goes_on_to_the_same_bits(data: Loaded) -> None:
    (whole, frozen), (fresh, also_frozen) = frozen_network(), frozen_network()
    kept = io.BytesIO()
    course = Course.begin(whole, LONG, 3e-3, 5)
    for done in epochs(whole, data, LONG, lr=3e-3, augment="none", seed=5, view=VIEW, frozen=frozen, course=course):
        if done.number == 1:
            torch.save({"weights": whole.state_dict(), "course": course.state()}, kept)
    kept.seek(0)
    go_on(fresh, data, LONG, augment="none", frozen=also_frozen, course=restored(kept, fresh, LONG))
    assert torch.equal(weights(fresh), weights(whole))


@pytest.mark.gpu
@pytest.mark.parametrize("parts", [1, 2])  # images held on the GPU, and sent batch by batch
def test_a_gpu_is_not_waited_for_within_an_epoch(data: Loaded, parts: int) -> None:
    waits = []
    for batch_size in (16, 64):
        model = network().to("cuda")
        running = epochs(
            model, data, Recipe(epochs=2, batch_size=batch_size), lr=1e-3, augment="flip_shift", seed=0, view=GPU,
            parts=parts,
        )  # fmt: skip
        next(running)
        torch.cuda.set_sync_debug_mode("warn")
        with pytest.warns(UserWarning, match="synchronizing") as told:
            next(running)
        torch.cuda.set_sync_debug_mode("default")
        waits.append(len([each for each in told if "synchronizing" in str(each.message)]))
    assert waits[0] == waits[1]


@pytest.mark.gpu
@pytest.mark.parametrize("parts", [1, 2])
def test_a_gpu_trains_as_the_processor_does(data: Loaded, parts: int) -> None:
    recipe = Recipe(epochs=2, batch_size=40, optimizer="sgd")
    expected = list(epochs(plain_network(), data, recipe, lr=0.05, augment="flip_shift", seed=0, view=VIEW))
    model = plain_network().to("cuda")
    found = list(epochs(model, data, recipe, lr=0.05, augment="flip_shift", seed=0, view=GPU, parts=parts))
    assert [epoch.train_loss for epoch in found] == pytest.approx([epoch.train_loss for epoch in expected], rel=5e-3)


@pytest.mark.gpu
def test_a_training_killed_on_a_gpu_goes_on_there(data: Loaded) -> None:
    model, fresh = plain_network().to("cuda"), plain_network().to("cuda")
    course = Course.begin(model, LONG, 3e-3, 5)
    running = epochs(model, data, LONG, lr=3e-3, augment="flip", seed=5, view=GPU, course=course)
    next(running)
    kept = io.BytesIO()
    torch.save({"weights": model.state_dict(), "course": course.state()}, kept)
    kept.seek(0)
    again = epochs(fresh, data, LONG, lr=3e-3, augment="flip", seed=5, view=GPU, course=restored(kept, fresh, LONG))
    assert next(again).train_loss == pytest.approx(next(running).train_loss, rel=1e-3)
