"""Finished cells whose states are real, untrained and known, recorded as a driver does; nothing is trained."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from conftest import make_site
from recorded import predictions, record
from safetensors.torch import save_file

from sweeper import ledger, models, store
from sweeper.cell import Cell, make_cell
from sweeper.ledger import Finished
from sweeper.site import Site

STUDY = "probed"
BASE = dict(dataset="digits_0_4", model="cbr_mini", fold=1, size=8)
CELLS = [make_cell(**BASE, seed=seed, source=source) for source in ("cell:x", "cell:y") for seed in (0, 1)]
"""All start alike, as cells of one pretrained source do, whatever their seed."""


def recorded_site(folder: Path, cells: Sequence[Cell] = CELLS) -> tuple[Site, dict[str, Finished]]:
    """A site, and the runs of the cells, by key."""
    site = make_site(folder)
    store.initialise(site, STUDY)
    for number, cell in enumerate(cells, start=1):
        states = partial(write, cell=cell, number=number)
        record(site, STUDY, cell, states=states, predictions=predictions(cell))
    return site, ledger.read(site, STUDY).finished


def write(folder: Path, cell: Cell, number: int) -> None:
    for name, seed in (("start", 0), ("best", number)):
        known = {"mean": json.dumps([0.5] * 3), "std": json.dumps([0.25] * 3)}
        save_file(network(cell, seed).state_dict(), folder / f"{name}.safetensors", metadata=known)


def network(cell: Cell, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return models.build(cell.network, classes=5, size=cell.images.size)
