"""Fine-tunes one cell on Ray Train: in this very process for one worker, in a worker group for several.

One train function serves both, and the rate trials as well. Which cells run, and when, is decided elsewhere. Ray is
imported inside the functions, so that the loop, the metrics and the rest of this room run where there is no Ray.
"""

import copy
import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sweeper import models, store, weights
from sweeper.cell import Cell, seed_of
from sweeper.data.loading import Loaded, load
from sweeper.finetune.loop import DivergedError, View, epochs, predict, prediction_table
from sweeper.finetune.metrics import score
from sweeper.finetune.optim import freeze_blocks
from sweeper.outcome import Epoch, Outcome
from sweeper.site import Site

_SECONDS_BETWEEN_LOGS = 20.0


@dataclass(frozen=True, kw_only=True)
class Devices:
    """What one cell may use."""

    workers: int = 1
    gpus: float = 0.0
    """Of each worker."""


@dataclass(frozen=True, kw_only=True)
class RateTrial:
    """What one learning rate came to."""

    scores: tuple[float, ...]
    """The selecting validation score after each epoch."""
    diverged: str | None
    """Where training left the finite numbers, if it did."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Start:
    """A model ready to be trained, and the images it will see."""

    model: nn.Module
    data: Loaded
    view: View
    frozen: Sequence[nn.Module]


def fit(cell: Cell, site: Site, *, lr: float, run_id: str, devices: Devices) -> Outcome:
    """Trains a cell at the rate `lr` and scores its best epoch's state on the test part, once.

    Args:
        run_id: the cell's run, which receives the epochs' numbers while it trains.
    """
    folder = store.scratch(site, run_id)
    folder.mkdir(parents=True, exist_ok=True)
    told = _train(_fit_worker, cell, site, devices, lr=lr, run_id=run_id, folder=str(folder))
    done = tuple(Epoch(**each) for each in told["epochs"])
    return Outcome(
        epochs=done,
        best=done[told["best"] - 1],
        test_scores=told["test_scores"],
        fingerprint=told["fingerprint"],
        folder=folder,
    )


def try_rate(cell: Cell, site: Site, *, lr: float, floor: Sequence[float], devices: Devices) -> RateTrial:
    """What the rate `lr` comes to on the validation part; the test part is not read.

    Args:
        floor: per epoch, the best score so far below which the trial stops; an epoch beyond its end stops nothing.
    """
    told = _train(_rate_worker, cell, site, devices, lr=lr, floor=list(floor))
    return RateTrial(scores=tuple(told["scores"]), diverged=told["diverged"], seconds=told["seconds"])


def start(cell: Cell, site: Site, device: torch.device) -> Start:
    """The cell's model as it starts, drawn from the cell's seed alone, and its images."""
    data = load(cell.images, site)
    torch.manual_seed(seed_of("start", cell.network.model, cell.seed))
    model = models.build(cell.network, classes=len(data.classes), channels=3)
    weights.pour(cell.weights, model, seed=cell.seed, site=site)
    mean, std = weights.normalisation(cell.weights.source, cell.network.model, site)
    frozen = freeze_blocks(model, cell.network, cell.recipe.frozen)
    return Start(model=model, data=data, view=View(mean=mean, std=std, device=device), frozen=frozen)


def _train(worker: Callable[[dict[str, Any]], None], cell: Cell, site: Site, devices: Devices, **more: Any) -> dict:
    """What the first worker told, run under Ray Train; through a file: Ray keeps no metrics of a worker group."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    folder = site.storage / "ray" / f"train-{cell.key}-{time.time_ns()}"
    folder.mkdir(parents=True)
    told = folder / "told.json"
    several = devices.workers > 1
    trainer = TorchTrainer(
        worker,
        train_loop_config={"cell": cell, "site": site, "told": told, **more},
        scaling_config=ScalingConfig(
            num_workers=devices.workers if several else 0,  # 0: in this process, with the device it already holds
            use_gpu=devices.gpus > 0,
            resources_per_worker={"CPU": 1, "GPU": devices.gpus} if several and devices.gpus else None,
        ),
        run_config=RunConfig(name=folder.name, storage_path=str(folder.parent)),
    )
    try:
        trainer.fit()
        return json.loads(told.read_text())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fit_worker(config: dict[str, Any]) -> None:
    from ray import train

    cell, site, folder = config["cell"], config["site"], Path(config["folder"])
    ready, trained = _prepare(cell, site)
    first = train.get_context().get_world_rank() == 0
    if first:
        _save(ready, folder / "start.safetensors", cell)
    log = _EpochLog(site, config["run_id"]) if first else None
    done: list[Epoch] = []
    best, best_state = 0, {}
    for epoch in _epochs(ready, trained, cell, config["lr"]):
        done.append(epoch)
        if best == 0 or epoch.scores[ready.data.metric] > done[best - 1].scores[ready.data.metric]:
            best, best_state = epoch.number, copy.deepcopy(ready.model.state_dict())
        if log:
            log.add(epoch)
        if cell.recipe.patience is not None and epoch.number - best >= cell.recipe.patience:
            break
    ready.model.load_state_dict(best_state)
    tables = {
        name: prediction_table(part, name, predict(ready.model, part, ready.view))
        for name, part in (("val", ready.data.val), ("test", ready.data.test))
    }
    if log:
        log.flush()
        _save(ready, folder / "best.safetensors", cell)
        pd.concat(tables.values(), ignore_index=True).to_parquet(folder / "predictions.parquet")
        _epoch_table(done).to_parquet(folder / "epochs.parquet")
    told: dict[str, Any] = {
        "epochs": [asdict(epoch) for epoch in done],
        "best": best,
        "test_scores": score(tables["test"], ready.data.task),
        "fingerprint": ready.data.fingerprint,
    }
    if first:
        config["told"].write_text(json.dumps(told))


def _rate_worker(config: dict[str, Any]) -> None:
    from ray import train

    began = time.perf_counter()
    cell, floor = config["cell"], config["floor"]
    ready, trained = _prepare(cell, config["site"])
    scores: list[float] = []
    diverged = None
    try:
        for epoch in _epochs(ready, trained, cell, config["lr"]):
            scores.append(epoch.scores[ready.data.metric])
            if epoch.number <= len(floor) and max(scores) < floor[epoch.number - 1]:
                break
    except DivergedError as error:  # for a search a rate that diverges is an observation like any other
        diverged = str(error)
    if train.get_context().get_world_rank() == 0:
        told = {"scores": scores, "diverged": diverged, "seconds": time.perf_counter() - began}
        config["told"].write_text(json.dumps(told))


def _prepare(cell: Cell, site: Site) -> tuple[Start, nn.Module]:
    """The cell's start, and the model to train: the same one, or its distributed wrapper."""
    from ray import train
    from ray.train.torch import get_device, prepare_model

    device = get_device()
    world = train.get_context().get_world_size()
    if device.type == "cpu":
        torch.set_num_threads(1)  # slots share the cores, and the sums do not depend on how many there are
    ready = start(cell, site, device)
    if world > 1 and device.type == "cpu" and _learns_statistics(ready):
        raise ValueError(
            f"{cell.title()}: '{cell.network.model}' has batch norm, whose statistics CPU workers cannot share; "
            "use workers_per_cell=1"
        )
    if world > 1 and device.type != "cpu":
        ready = replace(ready, model=nn.SyncBatchNorm.convert_sync_batchnorm(ready.model))
    ready.model.to(device)
    return ready, prepare_model(ready.model) if world > 1 else ready.model


def _learns_statistics(ready: Start) -> bool:
    """Whether a batch norm outside the frozen blocks would see only its worker's share of each batch."""
    fixed = {id(module) for block in ready.frozen for module in block.modules()}
    return any(isinstance(each, _BatchNorm) and id(each) not in fixed for each in ready.model.modules())


def _epochs(ready: Start, trained: nn.Module, cell: Cell, lr: float) -> Iterable[Epoch]:
    return epochs(
        trained,
        ready.data,
        cell.recipe,
        lr=lr,
        augment=cell.images.augment,
        seed=cell.seed,
        view=ready.view,
        frozen=ready.frozen,
    )


def _save(ready: Start, path: Path, cell: Cell) -> None:
    """Writes the model's state with what a later user of it must know."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in ready.model.state_dict().items()}
    known = {
        "mean": json.dumps(list(ready.view.mean)),
        "std": json.dumps(list(ready.view.std)),
        "cell": cell.to_json(),
        "classes": json.dumps(ready.data.classes),
    }
    save_file(state, path, metadata=known)


def _epoch_table(done: Sequence[Epoch]) -> pd.DataFrame:
    return pd.DataFrame([{"epoch": each.number, **store.epoch_numbers(each)} for each in done])


class _EpochLog:
    """Sends epochs to the run's curves now and then: a call per epoch would dominate small cells."""

    def __init__(self, site: Site, run_id: str) -> None:
        self._site, self._run_id = site, run_id
        self._waiting: list[Epoch] = []
        self._sent = time.monotonic()

    def add(self, epoch: Epoch) -> None:
        self._waiting.append(epoch)
        if time.monotonic() - self._sent > _SECONDS_BETWEEN_LOGS:
            self.flush()

    def flush(self) -> None:
        store.log_epochs(self._site, self._run_id, self._waiting)
        self._waiting, self._sent = [], time.monotonic()
