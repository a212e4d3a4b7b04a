"""States of finished cells as sources, through the real store."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import make_site
from recorded import record
from safetensors.torch import save_file
from torch import nn

from sweeper import models, store, weights
from sweeper.cell import Images, Network, Weights, make_cell
from sweeper.models.classifier import Classifier
from sweeper.site import Site
from sweeper.weights import Pixels

CELL = make_cell(dataset="digits", model="cbr_mini")
PIXELS = Pixels(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), order="bgr")


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A site whose record holds one finished and registered cell, and that cell's states."""

    site: Site
    best: Classifier
    start: Classifier


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    site = make_site(tmp_path_factory.mktemp("states"))
    store.initialise(site, "pretrain")
    kept = Recorded(site=site, best=_build(seed=1), start=_build(seed=2))
    said = {"mean": "[0.1, 0.2, 0.3]", "std": "[0.4, 0.5, 0.6]", "order": "bgr"}

    def states(folder: Path) -> None:
        save_file(kept.best.state_dict(), folder / "best.safetensors", metadata=said)
        save_file(kept.start.state_dict(), folder / "start.safetensors", metadata=said)

    run_id = record(site, "pretrain", CELL, states=states)
    store.register(site, "digits_source", CELL.key, run_id)
    return kept


def _build(seed: int) -> Classifier:
    torch.manual_seed(seed)
    model = models.build(Network(model="cbr_mini"), classes=5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after some training
            module.running_mean = torch.rand(module.num_features)
    return model


@pytest.mark.parametrize("source", [f"cell:{CELL.key}", "registry:digits_source/1"])
def test_a_finished_cells_best_backbone_is_poured(recorded: Recorded, source: str) -> None:
    model = _build(seed=3)
    weights.pour(Weights(source=source), model, seed=0, site=recorded.site)
    best = recorded.best.backbone.state_dict()
    assert all(torch.equal(tensor, best[name]) for name, tensor in model.backbone.state_dict().items())


@pytest.mark.parametrize("source", [f"cell:{CELL.key}", "registry:digits_source/1"])
def test_a_finished_cells_images_are_normalised_as_before(recorded: Recorded, source: str) -> None:
    images = Images(dataset="digits")
    assert weights.pixels_of(images, source, "cbr_mini", recorded.site) == PIXELS


@pytest.mark.parametrize("source", ["cell:0123456789abcdef", "registry:digits_source/2"])
def test_a_state_that_is_not_recorded_is_an_error(recorded: Recorded, source: str) -> None:
    with pytest.raises(LookupError, match=source.partition(":")[2]):
        weights.pour(Weights(source=source), _build(seed=3), seed=0, site=recorded.site)


def test_a_state_that_is_not_as_deep_is_refused(recorded: Recorded, tmp_path: Path) -> None:
    shallow = {name: tensor for name, tensor in recorded.best.state_dict().items() if "block4" not in name}
    save_file(shallow, tmp_path / "shallow.safetensors")
    with pytest.raises(ValueError, match=r"7 of 28 are missing \(block4"):
        weights.pour(Weights(source=f"file:{tmp_path}/shallow.safetensors"), _build(seed=3), seed=0, site=recorded.site)
