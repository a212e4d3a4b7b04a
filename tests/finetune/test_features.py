"""Features of frozen backbones: those of the ordinary way, computed once, and shared from disk."""

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import VIEW, classifier, numbers, small_data, train, weights_of
from torch import nn

from sweeper.cell import Recipe
from sweeper.data.loading import Loaded
from sweeper.finetune.features import Head, Shelf, is_fixed, see_once
from sweeper.finetune.loop import predict
from sweeper.finetune.view import View, forward

LONG = Recipe(epochs=3, batch_size=40, schedule="cosine")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return small_data(tmp_path_factory.mktemp("digits"), fraction=0.9)  # several batches of evaluation


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(folder=tmp_path / "features", fingerprint="f")


def passes(model: nn.Module) -> list[int]:
    """Filled with the number of images of each batch that the backbone sees from now on."""
    seen: list[int] = []
    model.get_submodule("backbone.block1").register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    return seen


def files(shelf: Shelf) -> list[Path]:
    return sorted(shelf.folder.glob("*.f32"))


def test_features_are_those_of_the_ordinary_way(data: Loaded, shelf: Shelf) -> None:
    model, _ = classifier(frozen=2)
    found = see_once(model, data.val, VIEW, 256, shelf)
    with torch.no_grad():
        expected = forward(model.eval().features, data.val.tensor(np.arange(len(data.val))), VIEW)
    torch.testing.assert_close(found.tensor(np.arange(len(data.val))), expected)


def test_features_from_disk_train_as_those_in_memory_to_the_same_bits(data: Loaded, shelf: Shelf) -> None:
    models = [classifier(frozen=2) for _ in range(3)]
    done = [
        train(model, data, LONG, augment="none", frozen=frozen, shelf=kept)
        for (model, frozen), kept in zip(models, (None, shelf, shelf), strict=True)
    ]
    assert numbers(done[0]) == numbers(done[1]) == numbers(done[2])
    assert all(torch.equal(weights_of(model), weights_of(models[0][0])) for model, _ in models)


def test_a_head_with_dropout_trains_as_in_the_ordinary_way(data: Loaded) -> None:
    """One batch, whose mask is drawn alike in both ways."""
    (model, frozen), (other, _) = classifier(frozen=2, dropout=0.5), classifier(frozen=2, dropout=0.5)
    other.backbone.append(nn.Identity())
    recipe = Recipe(epochs=2, batch_size=10_000, optimizer="sgd")
    found = train(model, data, recipe, augment="none", frozen=frozen)
    expected = train(other, data, recipe, augment="none", frozen=[*other.backbone], parts=1)
    assert [each.train_loss for each in found] == pytest.approx([each.train_loss for each in expected], rel=1e-6)
    assert found[0].train_loss != train(classifier(frozen=2)[0], data, recipe, augment="none")[0].train_loss


def test_a_second_rate_and_seed_do_not_run_the_backbone(data: Loaded, shelf: Shelf) -> None:
    first, frozen = classifier(frozen=2)
    train(first, data, LONG, augment="none", frozen=frozen, shelf=shelf)
    second, also_frozen = classifier(frozen=2, seed=1)
    second.backbone.load_state_dict(first.backbone.state_dict())
    seen = passes(second)
    train(second, data, LONG, lr=1e-2, augment="none", frozen=also_frozen, shelf=shelf)
    assert sum(seen) <= 16  # those that tell whether it is fixed
    assert len(files(shelf)) == 2


def test_predictions_from_features_are_those_of_the_images(data: Loaded, shelf: Shelf) -> None:
    model, _ = classifier(frozen=2)
    held = see_once(model, data.test, VIEW, 256, shelf)
    np.testing.assert_allclose(predict(Head(model), held, VIEW), predict(model, data.test, VIEW), rtol=1e-5)


OTHERS: dict[str, Any] = {
    "weights": lambda model, part, view, batch, shelf: (_moved(model), part, view, batch, shelf),
    "rows": lambda model, part, view, batch, shelf: (model, _fewer(part), view, batch, shelf),
    "view": lambda model, part, view, batch, shelf: (model, part, _other_mean(view), batch, shelf),
    "precision": lambda model, part, view, batch, shelf: (model, part, _bf16(view), batch, shelf),
    "batch": lambda model, part, view, batch, shelf: (model, part, view, batch // 2, shelf),
    "images": lambda model, part, view, batch, shelf: (
        model, part, view, batch, dataclasses.replace(shelf, fingerprint="g")
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_what_changes_features_changes_their_file(data: Loaded, shelf: Shelf, name: str) -> None:
    given = (classifier(frozen=2)[0], data.val, VIEW, 256, shelf)
    see_once(*given)
    see_once(*OTHERS[name](*given))
    assert len(files(shelf)) == 2


def _moved(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        model.get_submodule("backbone.block2.bn").running_mean[0] += 1e-6
    return model


def _fewer(part: Any) -> Any:
    return dataclasses.replace(part, rows=part.rows[1:], labels=part.labels[1:], names=[], patients=[])


def _other_mean(view: View) -> View:
    return dataclasses.replace(view, mean=(0.5, 0.5, 0.25))


def _bf16(view: View) -> View:
    return dataclasses.replace(view, amp="bf16")


def test_a_heads_dropout_does_not_change_the_file(data: Loaded, shelf: Shelf) -> None:
    one, two = classifier(frozen=2)[0], classifier(frozen=2, dropout=0.5)[0]
    see_once(one, data.val, VIEW, 256, shelf)
    see_once(two, data.val, VIEW, 256, shelf)
    assert len(files(shelf)) == 1


def test_of_several_that_want_features_at_once_one_computes_them(data: Loaded, shelf: Shelf) -> None:
    models = [classifier(frozen=2)[0] for _ in range(3)]
    seen = [passes(model) for model in models]
    for model in models:  # long enough for the others to come to the lock
        model.get_submodule("backbone.block1").register_forward_hook(lambda *_: time.sleep(0.2))
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda model: see_once(model, data.val, VIEW, 256, shelf).inputs, models))
    assert sorted(map(sum, seen)) == [0, 0, len(data.val)]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize(
    ("frozen", "change", "fixed"),
    [
        (2, lambda model: None, True),
        (1, lambda model: None, False),
        (2, lambda model: model.backbone.append(nn.Dropout(0.5)), False),
        (2, lambda model: model.backbone.append(nn.BatchNorm2d(32).requires_grad_(False)), False),
    ],
)
def test_a_backbone_is_fixed_when_nothing_of_it_changes(data: Loaded, frozen: int, change: Any, fixed: bool) -> None:
    model, modules = classifier(frozen=frozen)
    change(model)
    assert is_fixed(model, (data.train, data.val), VIEW, modules) == fixed


def test_statistics_that_learn_make_a_backbone_not_fixed(data: Loaded) -> None:
    model, _ = classifier(frozen=2)
    assert not is_fixed(model, (data.train, data.val), VIEW, ())


def test_features_that_take_too_much_room_are_not_kept(data: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    model, frozen = classifier(frozen=2)
    needed = 4 * model.head.in_features * (len(data.train) + len(data.val))
    monkeypatch.setattr("sweeper.finetune.features.HELD_BYTES", needed)
    assert is_fixed(model, (data.train, data.val), VIEW, frozen)
    monkeypatch.setattr("sweeper.finetune.features.HELD_BYTES", needed - 1)
    assert not is_fixed(model, (data.train, data.val), VIEW, frozen)
