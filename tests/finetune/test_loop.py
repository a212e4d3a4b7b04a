"""The training loop, on real images and in one process."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sweeper import models
from sweeper.cell import Images, Network, Recipe
from sweeper.data.loading import Loaded, load, normalise
from sweeper.finetune.loop import DivergedError, View, epochs, predict, prediction_table
from sweeper.finetune.metrics import score
from sweeper.finetune.optim import freeze_blocks, make_optimizer
from sweeper.outcome import Epoch
from sweeper.site import Site

VIEW = View(mean=(0.5,) * 3, std=(0.5,) * 3, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("digits")
    site = Site(data=folder, cache=folder / "cache", storage=folder, tracking="")
    return load(Images(dataset="digits_0_4", fold=1, size=8, fraction=0.3), site)


def network(depth: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return models.build(Network(model="cbr_mini", depth=depth), classes=5, channels=3)


def train(
    model: nn.Module, data: Loaded, *, lr: float = 3e-3, seed: int = 0, augment: str = "none", **recipe: Any
) -> list[Epoch]:
    values = Recipe(**{"epochs": 3, "batch_size": 32} | recipe)
    return list(epochs(model, data, values, lr=lr, augment=augment, seed=seed, view=VIEW))


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
    assert last.scores == score(prediction_table(data.val, "val", predict(model, data.val, VIEW)), data.task)


def test_biases_and_norms_are_not_decayed() -> None:
    optimizer = make_optimizer(network(), Recipe(weight_decay=0.1, optimizer="adamw"), 1e-3)
    decayed, kept = optimizer.param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    assert {each.ndim for each in decayed["params"]} == {2, 4}
    assert {each.ndim for each in kept["params"]} == {1}
