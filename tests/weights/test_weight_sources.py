"""Reading states and normalisations: files made by torchvision, timm, torch and safetensors."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from small import shaken
from torch import nn

from sweeper import models, weights
from sweeper.cell import Images, Network, Weights
from sweeper.models.classifier import Classifier
from sweeper.site import Site
from sweeper.weights import Pixels, sources

HALF = Pixels(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
IMAGENET = Pixels(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
IMAGES = Images(dataset="digits")

POUR_FROM_HUB = """
import json, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from sweeper import models, weights
from sweeper.cell import Network, Weights
from sweeper.site import Site

folder = Path(sys.argv[1])
site = Site(data=folder, cache=folder, storage=folder, tracking="")
torch.manual_seed(0)
model = models.build(Network(model="resnet10t", depth=3), classes=2)
before = torch.get_rng_state()
poured = weights.pour(Weights(source="imagenet"), model, seed=0, site=site)
same_draws = torch.equal(before, torch.get_rng_state())
save_file(model.state_dict(), folder / "poured.safetensors")
try:
    weights.pour(Weights(source="imagenet"), models.build(Network(model="resnet18"), classes=2), seed=0, site=site)
except FileNotFoundError as error:
    missing, cause = str(error), type(error.__cause__).__name__
copied, left = len(poured.loaded), len(poured.left)
print(json.dumps(dict(copied=copied, left=left, missing=missing, cause=cause, same_draws=same_draws)))
"""


@dataclass(frozen=True, kw_only=True)
class FromHub:
    """What a process without a network made of a hub cache that holds resnet10t alone."""

    cached: dict[str, torch.Tensor]
    poured: dict[str, torch.Tensor]
    said: dict[str, Any]


@pytest.fixture(scope="module")
def from_hub(tmp_path_factory: pytest.TempPathFactory) -> FromHub:
    folder = tmp_path_factory.mktemp("hub")
    repository = folder / "hf" / "hub" / "models--timm--resnet10t.c3_in1k"
    snapshot = repository / "snapshots" / "0123456789012345678901234567890123456789"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    cached = shaken(timm.create_model("resnet10t")).state_dict()
    save_file(cached, snapshot / "model.safetensors")
    environment = os.environ | {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("HF_HUB_CACHE", None)
    command = [sys.executable, "-c", POUR_FROM_HUB, str(folder)]
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return FromHub(cached=cached, poured=load_file(folder / "poured.safetensors"), said=json.loads(said))


@pytest.fixture(scope="module")
def radimagenet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, nn.Module]:
    """A data folder with a file as the authors make theirs, and the torchvision model that is in it."""
    folder = tmp_path_factory.mktemp("data")
    whole = torchvision.models.resnet50(weights=None)
    shaken(whole)
    features = nn.Module()
    features.backbone = nn.Sequential(*list(whole.children())[:-1])
    (folder / "RadImageNet_pytorch").mkdir()
    torch.save(features.state_dict(), folder / "RadImageNet_pytorch" / "ResNet50.pt")
    return Site(data=folder, cache=folder, storage=folder, tracking=""), features.backbone.eval()


def _mini(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    model = models.build(Network(model="cbr_mini"), classes=2)
    shaken(model)
    return model


def _pour_from(path: Path, site: Site) -> Classifier:
    model = _mini(seed=1)
    weights.pour(Weights(source=f"file:{path}"), model, seed=0, site=site)
    return model


def _backbones_equal(one: Classifier, other: Classifier) -> bool:
    others = other.backbone.state_dict()
    return all(torch.equal(tensor, others[name]) for name, tensor in one.backbone.state_dict().items())


def test_timms_cached_weights_arrive_tensor_by_tensor(from_hub: FromHub) -> None:
    backbone = {name: tensor for name, tensor in from_hub.poured.items() if name.startswith("backbone.")}
    assert len(backbone) == from_hub.said["copied"] > 0
    assert all(torch.equal(tensor, from_hub.cached[name[9:]]) for name, tensor in backbone.items())


def test_loading_timms_weights_leaves_torchs_generator_alone(from_hub: FromHub) -> None:
    assert from_hub.said["same_draws"]


def test_weights_that_cannot_be_fetched_are_named_with_a_remedy(from_hub: FromHub) -> None:
    said = from_hub.said["missing"]
    assert said.startswith("the pretrained weights of 'resnet18' (timm/resnet18.a1_in1k) could not be fetched")
    assert "HF_HUB_OFFLINE" in said
    assert "HF_HOME" in said


def test_the_hubs_own_error_is_chained(from_hub: FromHub) -> None:
    assert from_hub.said["cause"] == "LocalEntryNotFoundError"


def test_radimagenet_gives_the_features_of_the_model_in_its_file(radimagenet: tuple[Site, nn.Module]) -> None:
    site, theirs = radimagenet
    ours = models.build(Network(model="resnet50"), classes=2).eval()
    weights.pour(Weights(source="radimagenet"), ours, seed=0, site=site)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours.backbone(images).mean((2, 3)), theirs(images).flatten(1), rtol=1e-4, atol=1e-5)


def test_a_cut_resnet50_receives_radimagenets_first_blocks(radimagenet: tuple[Site, nn.Module]) -> None:
    site, theirs = radimagenet
    ours = models.build(Network(model="resnet50", depth=3, grain="layer"), classes=2)
    weights.pour(Weights(source="radimagenet"), ours, seed=0, site=site)
    first_stage = theirs.get_submodule("4").state_dict()
    assert all(
        torch.equal(tensor, first_stage[name])
        for name, tensor in ours.get_submodule("backbone.layer1").state_dict().items()
    )


def test_missing_radimagenet_weights_are_answered_with_the_place_and_the_authors(site: Site) -> None:
    expected = f"not at {site.data}/RadImageNet_pytorch/ResNet50.pt: ask the RadImageNet authors"
    with pytest.raises(FileNotFoundError, match=expected):
        weights.pour(
            Weights(source="radimagenet"), models.build(Network(model="resnet50"), classes=2), seed=0, site=site
        )


def test_another_file_in_radimagenets_place_is_refused(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "ResNet50.pt")
    with pytest.raises(ValueError, match=r"is not RadImageNet's ResNet50: 'fc\.weight' is no tensor of it"):
        sources.read_radimagenet(tmp_path / "ResNet50.pt", "resnet50")


def test_a_state_of_ours_is_read_without_its_head(tmp_path: Path) -> None:
    save_file(_mini().state_dict(), tmp_path / "best.safetensors")
    assert set(sources.read_file(tmp_path / "best.safetensors")) == set(_mini().backbone.state_dict())


def test_a_safetensors_file_in_our_names_is_poured(tmp_path: Path, site: Site) -> None:
    save_file(_mini().state_dict(), tmp_path / "state.safetensors")
    assert _backbones_equal(_pour_from(tmp_path / "state.safetensors", site), _mini())


def test_a_torch_file_in_our_names_is_poured(tmp_path: Path, site: Site) -> None:
    torch.save(_mini().state_dict(), tmp_path / "state.pt")
    assert _backbones_equal(_pour_from(tmp_path / "state.pt", site), _mini())


def test_a_file_in_plain_backbone_names_is_poured(tmp_path: Path, site: Site) -> None:
    torch.save(_mini().backbone.state_dict(), tmp_path / "state.pt")
    assert _backbones_equal(_pour_from(tmp_path / "state.pt", site), _mini())


def test_a_nested_checkpoint_is_refused_by_its_inner_name(tmp_path: Path) -> None:
    torch.save({"state_dict": dict(_mini().state_dict()), "epoch": 3}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="'state_dict' is none: save the inner state alone"):
        sources.read_file(tmp_path / "checkpoint.pt")


def test_a_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(_mini(), tmp_path / "model.pt")
    expected = r"model\.pt cannot be read as a file of weights: it holds a pickled object, as a whole module; save its"
    with pytest.raises(ValueError, match=expected):
        sources.read_file(tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["state.safetensors", "state.pt"])
def test_a_file_that_is_no_weights_is_refused_by_its_path(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not weights at all, but long enough to be read as some header")
    with pytest.raises(ValueError, match=f"{name} cannot be read as a file of weights"):
        sources.read_file(tmp_path / name)


@pytest.mark.parametrize("name", ["state.safetensors", "state.pt"])
@pytest.mark.parametrize("kept", [0.2, 0.9])
def test_a_truncated_file_is_refused_by_its_path(tmp_path: Path, name: str, kept: float) -> None:
    save = save_file if name.endswith("safetensors") else torch.save
    save(_mini().state_dict(), tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match=f"{name} cannot be read as a file of weights"):
        sources.read_file(tmp_path / name)


def test_an_empty_file_is_refused_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "state.pt").touch()
    with pytest.raises(ValueError, match=r"state\.pt cannot be read as a file of weights"):
        sources.read_file(tmp_path / "state.pt")


def test_a_state_that_has_gone_is_named_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"no file of weights at {tmp_path}/best.safetensors"):
        sources.read_file(tmp_path / "best.safetensors")


@pytest.mark.parametrize("source", ["random", "radimagenet"])
def test_random_and_radimagenet_expect_pixels_from_minus_one_to_one(source: str, site: Site) -> None:
    assert weights.pixels_of(IMAGES, source, "resnet50", site) == HALF


def test_imagenet_expects_what_timm_says(site: Site) -> None:
    assert weights.pixels_of(IMAGES, "imagenet", "resnet50", site) == IMAGENET


def test_the_tag_decides_what_imagenet_expects(site: Site) -> None:
    assert weights.pixels_of(IMAGES, "imagenet", "resnet34.ra4_e3600_r224_in1k", site) == HALF


def test_a_source_that_cannot_serve_a_model_has_no_normalisation_for_it(site: Site) -> None:
    with pytest.raises(ValueError, match="source 'imagenet' has no weights for 'cbr_mini'"):
        weights.pixels_of(IMAGES, "imagenet", "cbr_mini", site)


def test_a_state_says_how_its_images_were_normalised(tmp_path: Path, site: Site) -> None:
    said = {"mean": "[0.1, 0.2, 0.3]", "std": "[0.4, 0.5, 1]"}
    save_file(_mini().state_dict(), tmp_path / "state.safetensors", metadata=said)
    expected = Pixels(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 1.0))
    assert weights.pixels_of(IMAGES, f"file:{tmp_path}/state.safetensors", "cbr_mini", site) == expected


@pytest.mark.parametrize("name", ["state.safetensors", "state.pt"])
def test_a_foreign_file_that_says_nothing_expects_pixels_from_minus_one_to_one(
    name: str, tmp_path: Path, site: Site
) -> None:
    save = save_file if name.endswith("safetensors") else torch.save
    save(_mini().state_dict(), tmp_path / name)
    assert weights.pixels_of(IMAGES, f"file:{tmp_path / name}", "cbr_mini", site) == HALF


def test_a_state_of_ours_that_says_nothing_is_refused(tmp_path: Path) -> None:
    save_file(_mini().state_dict(), tmp_path / "best.safetensors")
    with pytest.raises(ValueError, match=r"the metadata of .*best\.safetensors lack 'mean'"):
        sources.read_pixels(tmp_path / "best.safetensors", foreign=False)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_a_state_says_in_which_order_it_saw_the_channels(tmp_path: Path, order: str) -> None:
    said = {"mean": "[0.1, 0.2, 0.3]", "std": "[0.4, 0.5, 1]", "order": order}
    save_file(_mini().state_dict(), tmp_path / "state.safetensors", metadata=said)
    assert sources.read_pixels(tmp_path / "state.safetensors", foreign=False).order == order


def test_an_older_state_that_names_no_order_saw_red_first(tmp_path: Path) -> None:
    said = {"mean": "[0.1, 0.2, 0.3]", "std": "[0.4, 0.5, 1]"}
    save_file(_mini().state_dict(), tmp_path / "state.safetensors", metadata=said)
    assert sources.read_pixels(tmp_path / "state.safetensors", foreign=False).order == "rgb"


def test_an_unknown_order_is_refused(tmp_path: Path) -> None:
    said = {"mean": "[0.1, 0.2, 0.3]", "std": "[0.4, 0.5, 1]", "order": "gbr"}
    save_file(_mini().state_dict(), tmp_path / "state.safetensors", metadata=said)
    with pytest.raises(ValueError, match=r"'order' in the metadata of .* is 'gbr'; it must be 'rgb' or 'bgr'"):
        sources.read_pixels(tmp_path / "state.safetensors", foreign=False)


def test_half_a_normalisation_is_refused(tmp_path: Path) -> None:
    save_file(_mini().state_dict(), tmp_path / "state.safetensors", metadata={"mean": "[0.5, 0.5, 0.5]"})
    with pytest.raises(ValueError, match="lack 'std'"):
        sources.read_pixels(tmp_path / "state.safetensors", foreign=True)


@pytest.mark.parametrize("mean", ["[0.5]", '"grey"', "[0.5, 0.5, null]"])
def test_a_normalisation_that_is_not_three_numbers_is_refused(tmp_path: Path, mean: str) -> None:
    said = {"mean": mean, "std": "[1, 1, 1]"}
    save_file(_mini().state_dict(), tmp_path / "state.safetensors", metadata=said)
    with pytest.raises(ValueError, match="it must be a list of three numbers"):
        sources.read_pixels(tmp_path / "state.safetensors", foreign=True)
