"""Block outputs of stored models on a data set's images, streamed through Ray Data by a pool of warm actors.

What is made of them is for the pure functions beside this file. Feature maps are averaged over space inside the actor:
an unpooled activation never leaves it.
"""

import json
import logging
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import ray
import torch
from safetensors import safe_open
from torch import nn

from sweeper import models, store
from sweeper.cell import Cell, Images
from sweeper.data.loading import Loaded, load, normalise
from sweeper.orphan import die_with_parent
from sweeper.outcome import Devices
from sweeper.site import Site

_IMAGES_PER_ROW = 1024
_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One state shown one part of its cell's images."""

    cell: Cell
    run_id: str
    state: str
    """`best` or `start`."""
    part: str
    """`train` or `val`."""
    images: int


def features(passes: Sequence[Pass], site: Site, *, slots: int, devices: Devices) -> Iterator[list[np.ndarray]]:
    """For each pass, in order, its blocks' outputs: one array (images, channels) per block, float32."""
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True  # a pass is whole as soon as its last row is here
    context.enable_progress_bars = context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # `live` says how far it is
    chunks = [
        {"index": index, "start": start, "pass": pickle.dumps((each, site))}
        for index, each in enumerate(passes)
        for start in range(0, each.images, _IMAGES_PER_ROW)
    ]
    rows = ray.data.from_items(chunks, override_num_blocks=len(chunks)).map_batches(
        _Extractor,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(slots, len(chunks))),
        num_cpus=1,
        num_gpus=devices.gpus,
    )
    gathered: list[dict[str, Any]] = []
    for row in rows.iter_rows():
        gathered.append(row)
        each = passes[row["index"]]
        if row["last"] and row["start"] + _IMAGES_PER_ROW >= each.images:
            yield _join(gathered)
            gathered = []


def _join(rows: Sequence[dict[str, Any]]) -> list[np.ndarray]:
    """The rows of one pass as one array per block."""
    blocks = max(row["block"] for row in rows) + 1
    return [
        np.concatenate(
            [
                np.frombuffer(row["features"], dtype=np.float32).reshape(row["images"], -1)
                for row in rows
                if row["block"] == block
            ]
        )
        for block in range(blocks)
    ]


class _Extractor:
    """A warm process that keeps the last model; rows of one pass come one after another."""

    def __init__(self) -> None:
        die_with_parent()
        self._device = torch.device("cuda" if torch.cuda.is_available() and ray.get_gpu_ids() else "cpu")
        if self._device.type == "cpu":
            torch.set_num_threads(1)
        self._held: tuple[int, _Tapped] | None = None

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        index, start = int(batch["index"][0]), int(batch["start"][0])
        each, site = pickle.loads(batch["pass"][0])
        if self._held is None or self._held[0] != index:
            self._held = index, _Tapped(each, site, self._device)
        part = getattr(_data(each.cell.images, site), each.part)
        blocks = self._held[1].see(part, np.arange(start, min(start + _IMAGES_PER_ROW, each.images)))
        count = len(blocks)
        return {
            "index": [index] * count,
            "start": [start] * count,
            "block": list(range(count)),
            "last": [block == count - 1 for block in range(count)],
            "images": [len(block) for block in blocks],
            "features": [block.tobytes() for block in blocks],  # widths differ between blocks and between models
        }


@lru_cache(maxsize=8)
def _data(images: Images, site: Site) -> Loaded:
    return load(images, site, look=False)


class _Tapped:
    """A stored model whose block outputs are kept of each forward pass."""

    def __init__(self, each: Pass, site: Site, device: torch.device) -> None:
        network = each.cell.network
        with safe_open(store.artifact(site, each.run_id, f"{each.state}.safetensors"), framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            said = file.metadata()
        self._mean, self._std = (json.loads(said[name]) for name in ("mean", "std"))
        self._order = said.get("order", "rgb")  # older states do not say: there was no other
        self._model = models.build(network, classes=len(state["head.bias"]), channels=3, size=each.cell.images.size)
        self._model.load_state_dict(state)
        self._model.eval().to(device)
        self._device = device
        self._outputs: list[torch.Tensor] = []
        for block in models.blocks(self._model, network.grain):
            self._model.get_submodule(block.tap).register_forward_hook(self._keep)

    def see(self, part: Any, positions: np.ndarray) -> list[np.ndarray]:
        """One array (images, channels) per block."""
        found: list[list[np.ndarray]] = []
        with torch.inference_mode():
            for first in range(0, len(positions), _BATCH):
                images = part.tensor(positions[first : first + _BATCH]).to(self._device)
                self._outputs = []
                self._model(normalise(images, self._mean, self._std, self._order))
                found.append([output.float().cpu().numpy() for output in self._outputs])
        return [np.concatenate(block) for block in zip(*found, strict=True)]

    def _keep(self, module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        self._outputs.append(models.pool(self._model, output))  # (images, channels)
