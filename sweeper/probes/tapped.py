"""A stored model whose blocks' outputs are reduced while it looks at images: no whole output outlives its own block.

Which images, and what becomes of what is kept, is the caller's to say.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from sweeper import models
from sweeper.cell import Network
from sweeper.data.loading import normalise
from sweeper.models import Grain
from sweeper.probes.drawn_cca import draw_of, images_for
from sweeper.probes.draws import Draws
from sweeper.probes.samples import centred

Keep = Callable[[Tensor], Any]
"""What is kept of a block's output."""
_COLUMNS = 2**16
"""Features that are turned into float64 at a time where a batch's Gram matrix is made."""


class Tapped:
    """A stored model in evaluation mode, in single precision, whose blocks are tapped at both grains."""

    def __init__(self, path: Path, network: Network, *, size: int, device: torch.device) -> None:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            said = file.metadata()
        self._mean, self._std = (json.loads(said[name]) for name in ("mean", "std"))
        self._order = said.get("order", "rgb")  # older states do not say: there was no other
        self.model = models.build(network, classes=len(state["head.bias"]), channels=3, size=size)
        self.model.load_state_dict(state)
        self.model.eval().to(device).to(memory_format=torch.channels_last)
        self.device = device
        self._keeps: Mapping[Grain, Sequence[Keep]] = {}
        self._kept: dict[Grain, list[list[Any]]] = {}
        for grain in ("block", "layer"):
            for block in models.blocks(self.model, grain):
                self.model.get_submodule(block.tap).register_forward_hook(self._hook(grain))

    @torch.inference_mode()
    def see(self, images: Tensor, keeps: Mapping[Grain, Sequence[Keep]]) -> dict[Grain, list[list[Any]]]:
        """What each `Keep` of each grain made of each block's output: grain -> one list per block, in the order kept.

        Args:
            images: uint8 (images, 3, size, size).
        """
        self._keeps, self._kept = keeps, {grain: [] for grain in keeps}
        self.model(self.normalised(images))
        return self._kept

    def normalised(self, images: Tensor) -> Tensor:
        """The images as the model takes them, on its device; uint8 (images, 3, size, size) as they come."""
        return normalise(images.to(self.device), self._mean, self._std, self._order)

    def pooled(self, output: Tensor) -> Tensor:
        """(images, features), as the head takes it."""
        return models.pool(self.model, output).float()

    def cls(self, output: Tensor) -> Tensor:
        return models.class_token(self.model, output).float()

    def patches(self, output: Tensor) -> Tensor:
        """The mean over the places of the image, class tokens left out."""
        return models.spread(self.model, output).float().mean(dim=1)

    def all(self, output: Tensor) -> Tensor:
        """The whole output as one vector an image."""
        return output.flatten(1).float()

    def rows_of(self, output: Tensor, draws: Draws, *, first: int, images: int) -> list[np.ndarray]:
        """Per draw, the drawn channels at every place of those drawn images that are seen here, float32.

        Args:
            output: of the images from number `first` on, of `images` in all.

        Raises:
            ValueError: when a draw takes more images than there are.
        """
        places = models.spread(self.model, output)  # (images, places, features)
        count = images_for(draws.points, places.shape[1], 1)
        if count > images:
            raise ValueError(
                f"probe cca: a draw of {draws.points} points takes {count} images of a block with {places.shape[1]} "
                f"places, and {images} are shown; take at most {images * places.shape[1]} points, or more stimuli"
            )
        found = []
        for draw in range(draws.draws):
            width = min(draws.channels, places.shape[2])
            shown, channels = draw_of(images, places.shape[2], seed=draws.seed, draw=draw, images=count, channels=width)
            here = np.sort(shown[(shown >= first) & (shown < first + len(places))]) - first
            rows = places[torch.from_numpy(here).to(places.device)][:, :, torch.from_numpy(channels).to(places.device)]
            found.append(rows.flatten(0, 1).float().cpu().numpy())
        return found

    def _hook(self, grain: Grain) -> Callable[..., None]:
        def hook(module: object, inputs: object, output: Tensor) -> None:
            if grain in self._keeps:
                self._kept[grain].append([keep(output) for keep in self._keeps[grain]])

        return hook


def gram(features: Tensor) -> np.ndarray:
    """The Gram matrix of a batch's centred features, (images, images), float64, made by bands of features."""
    made = torch.zeros(len(features), len(features), dtype=torch.float64, device=features.device)
    for columns in features.split(_COLUMNS, dim=1):
        band = centred(columns)
        made.addmm_(band, band.T)
    return made.cpu().numpy()
