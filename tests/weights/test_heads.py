"""A source's own head on the features of a model that starts as all of it, against the source's own logits."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from conftest import make_site
from safetensors.torch import save_file

from sweeper import Transferability, models, weights
from sweeper.cell import Cell, Network, Weights, make_cell
from sweeper.models import family_of
from sweeper.problems import probe_problems_of
from sweeper.weights.heads import linear_head, source_head
from sweeper.weights.pouring import pour_state
from sweeper.weights.sources import timm_head

SIZES = {"resnet10t": 64, "efficientnet_b0": 64, "vit_tiny_patch16_224": 32, "swin_tiny_patch4_window7_224": 56}
MAKER = make_cell(dataset="digits", model="cbr_mini", size=16)


def saved(folder: Path, maker: Cell | None, classes: int = 3) -> str:
    torch.manual_seed(0)
    state = models.build(MAKER.network, classes=classes, size=16).state_dict()
    save_file(state, folder / "state.safetensors", metadata={"cell": maker.to_json()} if maker else None)
    return f"file:{folder / 'state.safetensors'}"


@pytest.mark.parametrize("model", SIZES)
def test_the_head_gives_the_probabilities_of_timms_own_model(model: str) -> None:
    torch.manual_seed(0)
    known = {} if family_of(model) in ("resnet", "efficientnet") else {"img_size": SIZES[model]}
    theirs = timm.create_model(model, pretrained=False, num_classes=7, **known)
    with torch.no_grad():  # norms that never saw an image are no source's
        theirs.train()(torch.randn(4, 3, SIZES[model], SIZES[model]))
    theirs.eval()
    ours = models.build(Network(model=model), classes=2, size=SIZES[model]).eval()
    state = dict(theirs.state_dict())
    pour_state(Weights(source="imagenet"), ours, state, seed=0)
    images = torch.randn(2, 3, SIZES[model], SIZES[model])
    with torch.inference_mode():
        found = linear_head(state, timm_head(model), "imagenet").probabilities(ours.features(images))
        wanted = theirs(images).double().softmax(dim=1)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_the_head_of_a_cells_state_is_the_one_it_was_trained_with(tmp_path: Path) -> None:
    source = saved(tmp_path, MAKER)
    torch.manual_seed(0)
    trained = models.build(MAKER.network, classes=3, size=16).eval()
    images = torch.rand(4, 3, 16, 16)
    with torch.inference_mode():
        found = source_head(source, MAKER.network, make_site(tmp_path)).probabilities(trained.features(images))
        torch.testing.assert_close(found, trained(images).double().softmax(dim=1))


def test_a_head_of_several_labels_an_image_is_refused(tmp_path: Path) -> None:
    source = saved(tmp_path, MAKER.replace(loss="bce"))
    with pytest.raises(ValueError, match="of which an image has one, and source"):
        source_head(source, MAKER.network, make_site(tmp_path))


def test_a_head_of_another_network_is_refused(tmp_path: Path) -> None:
    source, cut = saved(tmp_path, MAKER), replace(MAKER.network, depth=1)
    with pytest.raises(ValueError, match="whose depth is None; here it is 1"):
        source_head(source, cut, make_site(tmp_path))


def test_a_file_without_head_is_refused(tmp_path: Path) -> None:
    save_file({"stem.weight": torch.ones(2, 2)}, tmp_path / "bare.safetensors")
    with pytest.raises(ValueError, match="has no such layer 'head'; leave leep out"):
        source_head(f"file:{tmp_path / 'bare.safetensors'}", MAKER.network, make_site(tmp_path))


def test_a_head_of_other_features_is_refused(tmp_path: Path) -> None:
    head = source_head(saved(tmp_path, MAKER), MAKER.network, make_site(tmp_path))
    with pytest.raises(ValueError, match="the model has 5; leave leep out"):
        head.probabilities(torch.ones(2, 5))


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        (dict(source="imagenet"), None),
        (dict(source="imagenet", depth=4), None),
        (dict(source="cell:" + "0" * 16, depth=2), None),
        (dict(source="radimagenet"), "source 'radimagenet' has no head of its own classes for 'resnet50'"),
        (dict(), "source 'random' has no head of its own classes for 'resnet50'"),
        (dict(source="imagenet", model="alexnet"), "source 'imagenet' has no head of its own classes for 'alexnet'"),
        (dict(source="imagenet", depth=3), "the start is not the whole of source 'imagenet'"),
        (dict(source="imagenet", blocks=2), "the start is not the whole of source 'imagenet'"),
        (dict(source="imagenet", input="red"), "the start is not the whole of source 'imagenet'"),
    ],
)
def test_who_has_no_head_of_its_own_is_told_in_the_plan(axes: dict[str, object], said: str | None) -> None:
    cell = make_cell(**{"dataset": "digits", "model": "resnet50"} | axes)
    found = list(probe_problems_of([Transferability(scores=("logme", "leep"))], cell))
    assert [each.startswith(f"probe transferability: {said}") for each in found] == ([True] if said else [])
    assert not list(probe_problems_of([Transferability()], cell))


def test_the_table_says_which_sources_have_one() -> None:
    assert [name for name, source in weights.SOURCES.items() if source.head] == ["imagenet"]
