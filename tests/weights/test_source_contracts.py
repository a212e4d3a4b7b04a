"""One contract for every source: what it declares, what is done without its file, and a file in its true layout.

The features of the model in the file must be ours, whatever names it has there.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from small import shaken
from torch import Tensor, nn

from sweeper import models, weights
from sweeper.cell import Images, Network, Weights
from sweeper.models.classifier import Classifier
from sweeper.site import Site
from sweeper.weights import PIXELS, SOURCES, Pixels, sources
from sweeper.weights.table import DINO_RESNET, DINO_TAGS, KERAS_FILES, RADIMAGENET_FILES

IMAGES = Images(dataset="digits")
THEIRS: dict[str, Callable[[], nn.Module]] = {
    "resnet50": lambda: torchvision.models.resnet50(weights=None),
    "densenet121": lambda: torchvision.models.densenet121(weights=None),
    "inception_v3": lambda: torchvision.models.inception_v3(
        weights=None, aux_logits=False, init_weights=False, transform_input=False
    ),
}
LOCAL = [
    *(("radimagenet", model) for model in RADIMAGENET_FILES),
    *(("radimagenet_keras", model) for model in KERAS_FILES),
    ("dino", "resnet50"),
    ("imagenet", "alexnet"),
]
"""Sources whose files lie where we say, by model; the others are a library's."""


@pytest.fixture(autouse=True)
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "torch" / "hub" / "checkpoints"


def _build(model: str, size: int, **values: object) -> Classifier:
    torch.manual_seed(0)
    return models.build(Network(model=model, **values), classes=2, size=size).eval()  # type: ignore[arg-type]


def _pour(source: str, built: Classifier, site: Site) -> object:
    return weights.pour(Weights(source=source), built, seed=0, site=site)


def _images(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def _save_sequential(model: str, theirs: nn.Module, site: Site) -> nn.Sequential:
    """As the RadImageNet authors save a backbone: all children but the last one."""
    features = nn.Module()
    features.backbone = nn.Sequential(*list(theirs.children())[:-1])
    path = site.data / RADIMAGENET_FILES[model]
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(features.state_dict(), path)
    return features.backbone


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_says_who_made_it_and_under_which_licence(name: str) -> None:
    assert SOURCES[name].cite
    assert SOURCES[name].licence


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_says_how_its_images_looked(name: str, site: Site) -> None:
    source = SOURCES[name]
    assert (source.pixels is None) == (source.interpolation is None)
    for model in sorted(source.models)[:8]:
        seen = weights.pixels_of(IMAGES, name, model, site)
        assert isinstance(seen, Pixels)
        assert min(seen.std) > 0


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_can_serve_its_models(name: str) -> None:
    assert all(weights.problem(Weights(source=name), model) is None for model in SOURCES[name].models)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("way", PIXELS)
def test_a_cells_own_pixels_come_before_every_sources(name: str, way: str, site: Site) -> None:
    if PIXELS[way] is not None:
        images = Images(dataset="digits", pixels=way)
        assert weights.pixels_of(images, name, sorted(SOURCES[name].models)[0], site) == PIXELS[way]


@pytest.mark.parametrize(("source", "model"), LOCAL)
def test_a_missing_file_is_named_with_its_place(source: str, model: str, site: Site) -> None:
    with pytest.raises(FileNotFoundError, match=r"weights are not at /.*: (ask the RadImageNet|put .* into hub)"):
        sources.read_state(source, model, site)


def test_a_missing_library_is_named(site: Site) -> None:
    try:
        import torchxrayvision
    except ModuleNotFoundError:
        expected = "source 'xrv' needs the library torchxrayvision, which is not installed: pip install torchxrayvision"
        with pytest.raises(ModuleNotFoundError, match=expected):
            sources.read_state("xrv", "densenet121", site)
    else:
        pytest.skip(f"torchxrayvision {torchxrayvision.__version__} is installed")


@pytest.mark.parametrize("model", RADIMAGENET_FILES)
def test_radimagenet_gives_the_features_of_the_model_in_its_file(model: str, site: Site) -> None:
    images = _images(107)  # Inception-v3 needs 75 pixels
    theirs = _save_sequential(model, shaken(THEIRS[model]()), site).eval()
    ours = _build(model, 107)
    report = weights.pour(Weights(source="radimagenet"), ours, seed=0, site=site)
    assert len(report.loaded) == len(ours.backbone.state_dict())
    with torch.no_grad():
        expected = theirs(images)
        if model == "densenet121":  # torchvision's ReLU behind the last norm is in its forward
            expected = expected.relu()
        torch.testing.assert_close(ours.features(images), expected.mean((2, 3)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model", RADIMAGENET_FILES)
def test_a_radimagenet_file_of_another_model_is_refused(model: str, site: Site) -> None:
    path = site.data / RADIMAGENET_FILES[model]
    path.parent.mkdir(parents=True)
    torch.save({"backbone.3.weight": torch.rand(2)}, path)
    with pytest.raises(ValueError, match=rf"is not RadImageNet's {path.stem}: 'backbone\.3\.weight' is no tensor"):
        _pour("radimagenet", _build(model, 107), site)


def test_dinos_resnet50_gives_the_features_of_the_model_in_its_file(torch_home: Path, site: Site) -> None:
    theirs = shaken(torchvision.models.resnet50(weights=None))
    theirs.fc = nn.Identity()
    torch.save(theirs.state_dict(), torch_home / DINO_RESNET)
    ours, images = _build("resnet50", 64), _images(64)
    _pour("dino", ours, site)
    with torch.no_grad():
        torch.testing.assert_close(ours.features(images), theirs(images), rtol=1e-5, atol=1e-5)


def test_torchvisions_alexnet_gives_the_features_of_the_model_in_its_file(torch_home: Path, site: Site) -> None:
    torch.manual_seed(1)
    theirs = torchvision.models.alexnet(weights=None).eval()
    name = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    torch.save(theirs.state_dict(), torch_home / name)
    ours, images = _build("alexnet", 224), _images(224)
    report = weights.pour(Weights(source="imagenet"), ours, seed=0, site=site)
    theirs.classifier[6] = nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(ours.features(images), theirs(images), rtol=1e-5, atol=1e-5)
    assert set(report.unexpected) == {"classifier.6.weight", "classifier.6.bias"}


@pytest.mark.parametrize(("model", "named"), DINO_TAGS.items())
def test_dinos_vits_have_the_tensors_of_the_models_they_serve(model: str, named: str) -> None:
    with torch.device("meta"):
        ours = _build(model, 224).backbone.state_dict()
        theirs = timm.create_model(named.partition(".")[0], num_classes=0).state_dict()
    assert {name: tensor.shape for name, tensor in ours.items()} == {
        name: tensor.shape for name, tensor in theirs.items()
    }


def test_chest_xray_weights_of_one_channel_see_grey_alike_through_three(tmp_path: Path, site: Site) -> None:
    theirs = torchvision.models.densenet121(weights=None)
    theirs.get_submodule("features").conv0 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    shaken(theirs)
    names = {name: tensor for name, tensor in theirs.state_dict().items() if name.startswith("features.")}
    save_file(names, tmp_path / "xrv.safetensors")
    ours = _build("densenet121", 64)
    report = weights.pour(Weights(source=f"file:{tmp_path}/xrv.safetensors"), ours, seed=0, site=site)
    grey = _images(64)[:, :1]
    with torch.no_grad():
        expected = theirs.get_submodule("features")(grey).relu().mean((2, 3))
        torch.testing.assert_close(ours.features(grey.expand(-1, 3, -1, -1)), expected, rtol=1e-5, atol=1e-5)
    assert report.reshaped == ("features.conv0.weight",)


def test_an_untrained_model_in_a_sources_place_is_refused(site: Site) -> None:
    _save_sequential("resnet50", torchvision.models.resnet50(weights=None), site)
    with pytest.raises(ValueError, match="source 'radimagenet' has batch norms that never saw an image"):
        _pour("radimagenet", _build("resnet50", 64), site)


@pytest.mark.parametrize("source", ["radimagenet", "dino"])
def test_a_pickled_module_in_a_sources_place_is_refused(source: str, torch_home: Path, site: Site) -> None:
    path = {"radimagenet": site.data / RADIMAGENET_FILES["resnet50"], "dino": torch_home / DINO_RESNET}[source]
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(nn.Linear(2, 3), path)
    with pytest.raises(ValueError, match="it holds a pickled object, as a whole module; save its state_dict"):
        _pour(source, _build("resnet50", 64), site)
