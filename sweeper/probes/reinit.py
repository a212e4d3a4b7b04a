"""How well the trained model does with one block put back to its start, or drawn anew: which blocks matter?

Zhang, Bengio & Singer 2019, as Matsoukas et al. 2022 use it; but a block is exactly its own tensors, where that code
matched parts of names (`fc` put back `mlp.fc1` of every transformer block as well).
"""

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open

from sweeper import models, weights
from sweeper.cell import seed_of
from sweeper.data.loading import Loaded
from sweeper.finetune.loop import predict, prediction_table
from sweeper.finetune.metrics import score
from sweeper.finetune.view import View
from sweeper.models.classifier import Classifier
from sweeper.probes.needs import Rescored, Subject, loaded
from sweeper.site import Site

if TYPE_CHECKING:
    from sweeper.weights.files import State


def rescored(need: Rescored, block: int, site: Site, device: torch.device) -> dict[str, float]:
    """All metrics of the part with the block replaced, its buffers too; the blocks count from 1, and 0 replaces none.

    The head stays as it was trained, and everything is computed in the precision that the cell is evaluated in.
    """
    cell = need.subject.cell
    data = loaded(cell.images, site)
    state, view = _read(need.subject, site, device)
    model = models.build(cell.network, classes=len(data.classes), size=cell.images.size)
    if block:
        other = _other(need, model, data, view, site)
        own = models.block_keys(model, models.blocks(model, cell.network.grain)[block - 1])
        state = put_back(state, other, own)
    model.load_state_dict(state)
    part = getattr(data, need.part)
    found = predict(model.to(device), part, view, loss=cell.recipe.loss, task=data.task)
    return score(prediction_table(part, need.part, found), data.task)


def put_back(trained: "State", other: "State", keys: list[str]) -> "State":
    """The trained state with the tensors of these names, and no others, taken from another state."""
    return {name: other[name] if name in set(keys) else tensor for name, tensor in trained.items()}


def _other(need: Rescored, model: Classifier, data: Loaded, view: View, site: Site) -> "State":
    """What the block is put back to."""
    cell = need.subject.cell
    if need.kind == "reinit":
        return _read(replace(need.subject, state="start"), site, view.device)[0]
    torch.manual_seed(seed_of("rerand", cell.network.model, cell.seed))
    drawn = models.build(cell.network, classes=len(data.classes), size=cell.images.size)
    if cell.weights.rest != "random":  # the cell's own way of drawing, for all blocks
        random = replace(cell.weights, blocks=0, gabor=None)
        weights.pour(random, drawn, seed=seed_of("rerand", cell.seed) % 2**31, site=site, order=view.order)
    return drawn.state_dict()


def _read(subject: Subject, site: Site, device: torch.device) -> "tuple[State, View]":
    with safe_open(subject.path(site), framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        said = file.metadata()
    order = said.get("order", "rgb")
    mean, std = (json.loads(said[name]) for name in ("mean", "std"))
    return state, View(mean=mean, std=std, device=device, amp=subject.cell.recipe.amp, order=order)
