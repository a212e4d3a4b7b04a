"""The head that a source was trained with, over its own classes: what LEEP asks of it. A cell's head is always new.

No features are made here: those of the source's whole backbone, pooled as the head takes them, are the caller's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sweeper.cell import Cell, Network
from sweeper.site import Site
from sweeper.weights.files import State, read_metadata, read_tensors
from sweeper.weights.sources import path_of, read_state, timm_head
from sweeper.weights.table import SOURCES


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """A linear layer over the classes of a source, of which an image has one."""

    weight: Tensor
    """(source classes, features)"""
    bias: Tensor
    """(source classes,)"""

    def probabilities(self, features: Tensor) -> Tensor:
        """Of the source's classes, (images, source classes), float64: the softmax of the logits.

        Args:
            features: (images, features), as the head takes them.

        Raises:
            ValueError: when the head takes another number of features.
        """
        if features.shape[1] != self.weight.shape[1]:
            wanted = f"the source's head takes {self.weight.shape[1]} features, the model has {features.shape[1]}"
            raise ValueError(f"{wanted}; leave leep out")
        logits = features.double() @ self.weight.double().T + self.bias.double()
        return torch.softmax(logits, dim=1)


def source_head(source: str, network: Network, site: Site) -> Head:
    """The head of a source for the features of a network that is whole and started with it, see `head_problem`.

    Raises:
        ValueError: when the source's head is not linear, is of labels of which an image may have several, or was
            trained on another network.
        FileNotFoundError, LookupError, ImportError: as `sources.read_state`.
    """
    if source in SOURCES:
        return linear_head(read_state(source, network.model, site), timm_head(network.model), source)
    path = path_of(source, site)
    said = read_metadata(path)
    if "cell" in said:
        _check_maker(Cell.from_json(said["cell"]), network, source)
    elif not source.startswith("file:"):
        raise ValueError(f"{path} does not say which cell made it, so that its head is of no known network")
    return linear_head(read_tensors(path), "head", source)


def linear_head(state: State, name: str, source: str) -> Head:
    """The linear layer of this name.

    Raises:
        ValueError: when there is none.
    """
    weight, bias = state.get(f"{name}.weight"), state.get(f"{name}.bias")
    if weight is None or bias is None or weight.ndim != 2 or len(bias) != len(weight):
        raise ValueError(f"leep needs a linear head, and source '{source}' has no such layer '{name}'; leave leep out")
    return Head(weight=weight, bias=bias)


def _check_maker(maker: Cell, network: Network, source: str) -> None:
    if maker.recipe.loss == "bce":
        raise ValueError(
            f"leep needs classes of which an image has one, and source '{source}' was trained with loss='bce'"
        )
    axes = ("model", "grain", "depth", "width", "slim", "slim_factor", "input")
    for axis in axes:
        own, theirs = getattr(network, axis), getattr(maker.network, axis)
        if own != theirs:
            raise ValueError(f"leep needs the network of source '{source}', whose {axis} is {theirs}; here it is {own}")
