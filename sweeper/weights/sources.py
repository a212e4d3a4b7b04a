"""Reads the state and the normalisation of a source, wherever it lies, in the names of an untruncated backbone.

Nothing is repaired: a file that is not a flat table of named tensors is refused. Whether the tensors fit a model is
for `pouring.py` to find out.
"""

import json
import pickle
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from huggingface_hub import constants
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from sweeper import store
from sweeper.cell import Weights
from sweeper.models import base_name
from sweeper.site import Site
from sweeper.weights.table import HALF, RADIMAGENET_FILES, SOURCES, Normalisation, problem

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

State = dict[str, Tensor]

_PREFIX = "backbone."
_RADIMAGENET_CHILDREN = {
    "0": "conv1",
    "1": "bn1",
    "4": "layer1",
    "5": "layer2",
    "6": "layer3",
    "7": "layer4",
}
"""Position in `Sequential(*children[:-1])` of torchvision's ResNet -> name; 2, 3 and 8 hold no tensors."""


def read_state(source: str, model: str, site: Site) -> State:
    """The tensors of a source by the names they have in an untruncated backbone; what else it holds is left in.

    Raises:
        ValueError: when the source cannot serve the model, or its file is not a table of tensors.
        FileNotFoundError: when its file is missing, with where it was looked for and how to get it.
        LookupError: when the store knows no such cell or version.
    """
    match source:
        case "imagenet":
            return _read_imagenet(model)
        case "radimagenet":
            return read_radimagenet(site.data / RADIMAGENET_FILES[base_name(model)])
        case "random":
            raise ValueError("source 'random' has no state to read")
    return read_file(_path(source, site))


def normalisation(source: str, model: str, site: Site) -> Normalisation:
    """Mean and sd of each channel, in units where a pixel is 0 to 1, that the source's weights were trained with.

    A cell's own state says in its metadata what it was trained with, so that a chain of cells keeps the first one's.

    Raises:
        ValueError: when the source cannot serve the model, or a state of ours does not say what it was trained with.
    """
    wrong = problem(Weights(source=source), model)
    if wrong:
        raise ValueError(wrong)
    if source not in SOURCES:
        return read_normalisation(_path(source, site), foreign=source.startswith("file:"))
    return SOURCES[source].pixels or _timm_normalisation(model)


def read_file(path: Path) -> State:
    """The backbone tensors of a safetensors file or of a torch file that holds nothing but named tensors.

    Where names begin with `backbone.`, as in our own states, those are taken and the prefix is stripped.
    """
    state = _read_tensors(path)
    if any(name.startswith(_PREFIX) for name in state):
        return {name.removeprefix(_PREFIX): tensor for name, tensor in state.items() if name.startswith(_PREFIX)}
    return state


def read_radimagenet(path: Path) -> State:
    """The tensors of the authors' PyTorch file (Mei et al. 2022), under timm's names."""
    if not path.is_file():
        raise FileNotFoundError(
            f"the RadImageNet weights are not at {path}: ask the RadImageNet authors for them (github.com/BMEII-AI/"
            "RadImageNet) and unpack RadImageNet_pytorch into the data folder, which SWEEPER_DATA names"
        )
    return {_timm_name(name, path): tensor for name, tensor in _read_tensors(path).items()}


def read_normalisation(path: Path, *, foreign: bool) -> Normalisation:
    """What a state file's metadata says of the images it was trained on, as JSON lists `mean` and `std`.

    Args:
        foreign: the file may be from elsewhere; without such metadata it is taken to expect pixels from -1 to 1.
    """
    said = _read_metadata(path)
    if foreign and not {"mean", "std"} & set(said):
        return HALF
    return _three(said, "mean", path), _three(said, "std", path)


def _path(source: str, site: Site) -> Path:
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
def _read_imagenet(model: str) -> State:
    """Read once for all the cells that this process trains one after another."""
    import timm

    try:
        with torch.random.fork_rng(devices=[]):  # the start that timm draws and overwrites must not cost draws of ours
            return dict(timm.create_model(model, pretrained=True).state_dict())
    except OSError as error:  # all that the hub raises for a lost network, an empty cache or a refused request
        repository = str(_timm_facts(model).hf_hub_id)
        raise FileNotFoundError(
            f"the ImageNet weights of '{model}' ({repository}) could not be fetched and are not in "
            f"{constants.HF_HUB_CACHE}: connect to the network without HF_HUB_OFFLINE, or let HF_HOME name a folder "
            f"with hub/models--{repository.replace('/', '--')}"
        ) from error


def _timm_normalisation(model: str) -> Normalisation:
    facts = _timm_facts(model)
    red, green, blue = facts.mean
    red_sd, green_sd, blue_sd = facts.std
    return (red, green, blue), (red_sd, green_sd, blue_sd)


def _timm_facts(model: str) -> "PretrainedCfg":
    import timm

    facts = timm.get_pretrained_cfg(model)
    if facts is None:
        raise ValueError(f"timm has no pretrained weights for '{model}'")
    return facts


def _read_tensors(path: Path) -> State:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of weights at {path}")
    return _read_once(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _read_once(path: Path, changed: int) -> State:
    """A file's tensors, read once for all the cells that this process trains one after another."""
    try:
        found = load_file(path) if _is_safe(path) else torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        why = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path} cannot be read as a file of weights: {why}") from error
    if not isinstance(found, Mapping) or not found:
        raise ValueError(f"{path} holds a {type(found).__name__}; it must hold a table of named tensors")
    other = [str(name) for name, value in found.items() if not isinstance(value, Tensor)]
    if other:
        raise ValueError(f"{path} must hold named tensors only, but '{other[0]}' is none: save the inner state alone")
    return dict(found)


def _read_metadata(path: Path) -> dict[str, str]:
    if not _is_safe(path):
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read as a file of weights: {error}") from error


def _is_safe(path: Path) -> bool:
    return path.suffix == ".safetensors"


def _three(said: Mapping[str, str], name: str, path: Path) -> tuple[float, float, float]:
    if name not in said:
        raise ValueError(f"the metadata of {path} lack '{name}': a state must say how its images were normalised")
    match json.loads(said[name]):
        case [int() | float() as red, int() | float() as green, int() | float() as blue]:
            return float(red), float(green), float(blue)
    raise ValueError(f"'{name}' in the metadata of {path} is {said[name]}; it must be a list of three numbers")


def _timm_name(name: str, path: Path) -> str:
    match = re.fullmatch(r"backbone\.(\d+)\.(.+)", name)
    if not match or match[1] not in _RADIMAGENET_CHILDREN:
        raise ValueError(f"{path} is not RadImageNet's ResNet50: '{name}' is no tensor of it, as 'backbone.0.weight'")
    return f"{_RADIMAGENET_CHILDREN[match[1]]}.{match[2]}"
