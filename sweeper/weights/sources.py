"""Reads the state of a source, and how its images looked, wherever it lies, in the names of an untruncated backbone.

Nothing is repaired: a file that is not what its source says is refused. Whether the tensors fit a model is for
`pouring.py` to find out.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from huggingface_hub import constants

from sweeper import store
from sweeper.cell import Images, Weights
from sweeper.models import base_name, family_of
from sweeper.site import Site
from sweeper.weights.files import State, read_metadata, read_tensors
from sweeper.weights.judging import problem
from sweeper.weights.keras import read_keras
from sweeper.weights.pixels import HALF, PIXELS, Pixels, Three
from sweeper.weights.table import (
    DINO_RESNET,
    DINO_TAGS,
    KERAS_FILES,
    RADIMAGENET_FILES,
    SOURCES,
    XRV_WEIGHTS,
)
from sweeper.weights.torchvision_names import timm_name

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

_PREFIX = "backbone."


def read_state(source: str, model: str, site: Site) -> State:
    """The tensors of a source by the names they have in an untruncated backbone; what else it holds is left in.

    Raises:
        ValueError: when the source cannot serve the model, or its file is not what it should be.
        FileNotFoundError: when its file is missing, with where it was looked for and how to get it.
        LookupError: when the store knows no such cell or version.
        ImportError: when its library is not installed.
    """
    base = base_name(model)
    match source:
        case "imagenet":
            return _read_torchvision() if family_of(model) == "alexnet" else _read_timm(model)
        case "radimagenet":
            return read_radimagenet(site.data / RADIMAGENET_FILES[base], base)
        case "radimagenet_keras":
            return _read_keras(site.data / KERAS_FILES[base], base)
        case "dino":
            return _read_timm(DINO_TAGS[base]) if base in DINO_TAGS else _read_hub(DINO_RESNET)
        case "xrv":
            return _read_xrv()
        case "random":
            raise ValueError("source 'random' has no state to read")
    return read_file(path_of(source, site))


def pixels_of(images: Images, source: str, model: str, site: Site) -> Pixels:
    """How a cell's pixels are normalised: as its images say, or as its source's weights were trained.

    A cell's own state says in its metadata what it was trained with, so that a chain of cells keeps the first one's.

    Raises:
        ValueError: when the source cannot serve the model, no such way is known, or a state of ours does not say.
    """
    wrong = problem(Weights(source=source), model, pixels=images.pixels)
    if wrong:
        raise ValueError(wrong)
    match images.pixels:
        case "source":
            return _source_pixels(source, model, site)
        case "dataset":
            from sweeper.weights.measuring import measure  # reads the images

            return measure(images.dataset, images.fold, images.size, site)
        case name:
            found = PIXELS[name]
            assert found
            return found


def read_file(path: Path) -> State:
    """The backbone tensors of a safetensors file or of a torch file that holds nothing but named tensors.

    Where names begin with `backbone.`, as in our own states, those are taken and the prefix is stripped.
    """
    state = read_tensors(path)
    if any(name.startswith(_PREFIX) for name in state):
        return {name.removeprefix(_PREFIX): tensor for name, tensor in state.items() if name.startswith(_PREFIX)}
    return state


def read_radimagenet(path: Path, model: str) -> State:
    """The tensors of the authors' PyTorch file (Mei et al. 2022) of a model, without tag, under timm's names."""
    _must_exist(path, "RadImageNet_pytorch")
    tensors = read_tensors(path)
    names = {name: timm_name(name, model) for name in tensors}
    strange = next((name for name, ours in names.items() if ours is None), None)
    if strange:
        raise ValueError(
            f"{path} is not RadImageNet's {path.stem}: '{strange}' is no tensor of it, as 'backbone.0...' would be"
        )
    return {str(names[name]): tensor for name, tensor in tensors.items()}


def read_pixels(path: Path, *, foreign: bool) -> Pixels:
    """What a state file's metadata says of the images it was trained on: JSON lists `mean` and `std`, and `order`.

    Args:
        foreign: the file may be from elsewhere; without such metadata it is taken to expect pixels from -1 to 1.
    """
    said = read_metadata(path)
    if foreign and not {"mean", "std"} & set(said):
        return HALF
    mean, std = _three(said, "mean", path), _three(said, "std", path)
    match said.get("order", "rgb"):  # older states do not say: there was no other
        case "rgb":
            return Pixels(mean=mean, std=std)
        case "bgr":
            return Pixels(mean=mean, std=std, order="bgr")
        case other:
            raise ValueError(f"'order' in the metadata of {path} is '{other}'; it must be 'rgb' or 'bgr'")


def _source_pixels(source: str, model: str, site: Site) -> Pixels:
    if source not in SOURCES:
        return read_pixels(path_of(source, site), foreign=source.startswith("file:"))
    if family_of(model) == "alexnet" and source == "imagenet":
        found = PIXELS["imagenet"]
        assert found
        return found
    return SOURCES[source].pixels or _timm_pixels(model)


def path_of(source: str, site: Site) -> Path:
    """The file of a source that a cell or a person made."""
    scheme, _, rest = source.partition(":")
    match scheme:
        case "cell":
            return store.state_path(rest, "best", site)
        case "registry":
            name, _, version = rest.rpartition("/")
            return store.registered_path(name, version, site)
        case "file":
            return Path(rest)
    raise ValueError(f"source '{source}' has no file of its own")


@lru_cache(maxsize=2)
def _read_timm(model: str) -> State:
    """Read once for all the cells that this process trains one after another."""
    import timm

    try:
        with torch.random.fork_rng(devices=[]):  # the start that timm draws and overwrites must not cost draws of ours
            return dict(timm.create_model(model, pretrained=True).state_dict())
    except OSError as error:  # all that the hub raises for a lost network, an empty cache or a refused request
        repository = str(_timm_facts(model).hf_hub_id)
        raise FileNotFoundError(
            f"the pretrained weights of '{model}' ({repository}) could not be fetched and are not in "
            f"{constants.HF_HUB_CACHE}: connect to the network without HF_HUB_OFFLINE, or let HF_HOME name a folder "
            f"with hub/models--{repository.replace('/', '--')}"
        ) from error


def timm_head(model: str) -> str:
    """How timm calls the last linear layer of a model."""
    return str(_timm_facts(model).classifier)


def _read_torchvision() -> State:
    from torchvision.models import AlexNet_Weights

    return _read_hub(AlexNet_Weights.IMAGENET1K_V1.url.rpartition("/")[2])


def _read_hub(name: str) -> State:
    """A file that lies where torch hub keeps what it has fetched; nothing is fetched here."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        raise FileNotFoundError(
            f"the weights are not at {path}: put {name}, as its authors hand it out, into hub/checkpoints of the "
            "folder that TORCH_HOME names"
        )
    return read_tensors(path)


@lru_cache(maxsize=2)
def _read_keras(path: Path, model: str) -> State:
    _must_exist(path, "RadImageNet_models")
    return read_keras(path, model)


@lru_cache(maxsize=1)
def _read_xrv() -> State:
    try:
        import torchxrayvision  # pyright: ignore[reportMissingImports]: an extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "source 'xrv' needs the library torchxrayvision, which is not installed: pip install torchxrayvision"
        ) from error
    try:
        with torch.random.fork_rng(devices=[]):
            return dict(torchxrayvision.models.DenseNet(weights=XRV_WEIGHTS).state_dict())
    except OSError as error:  # all that its download raises for a lost network or a refused request
        raise FileNotFoundError(
            f"the weights '{XRV_WEIGHTS}' could not be fetched: connect to the network, or put torchxrayvision's file "
            "into ~/.torchxrayvision/models_data"
        ) from error


def _must_exist(path: Path, folder: str) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"the RadImageNet weights are not at {path}: ask the RadImageNet authors for them (github.com/BMEII-AI/"
            f"RadImageNet) and unpack {folder} into the data folder, which SWEEPER_DATA names"
        )


def _timm_pixels(model: str) -> Pixels:
    facts = _timm_facts(model)
    red, green, blue = facts.mean
    red_sd, green_sd, blue_sd = facts.std
    return Pixels(mean=(red, green, blue), std=(red_sd, green_sd, blue_sd))


def _timm_facts(model: str) -> "PretrainedCfg":
    import timm

    facts = timm.get_pretrained_cfg(model)
    if facts is None:
        raise ValueError(f"timm has no pretrained weights for '{model}'")
    return facts


def _three(said: dict[str, str], name: str, path: Path) -> Three:
    if name not in said:
        raise ValueError(f"the metadata of {path} lack '{name}': a state must say how its images were normalised")
    match json.loads(said[name]):
        case [int() | float() as red, int() | float() as green, int() | float() as blue]:
            return float(red), float(green), float(blue)
    raise ValueError(f"'{name}' in the metadata of {path} is {said[name]}; it must be a list of three numbers")
