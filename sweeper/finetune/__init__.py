"""Fine-tunes one cell on Ray Train: in this very process for one worker, in a lane of workers for several.

One train function serves both, and the rate trials as well. A training that was interrupted goes on after its last
whole epoch. Which cells run, and when, is decided elsewhere. Ray is imported inside the functions, so that the loop,
the metrics and the rest of this room run where there is no Ray.
"""

import io
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import save

from sweeper import store
from sweeper.cell import Cell
from sweeper.finetune.lane import Lane, Worker
from sweeper.finetune.loop import DivergedError, predict, prediction_table
from sweeper.finetune.metrics import score
from sweeper.finetune.training import Start, Training, forget_progress
from sweeper.outcome import Devices, Epoch, Outcome, RateTrial, Trained
from sweeper.site import Site
from sweeper.work import MANIFEST, seal, write_whole


def fit(
    cell: Cell, site: Site, *, lr: float, folder: Path, devices: Devices, tags: Mapping[str, str], parts: int = 1
) -> Trained:
    """Trains a cell at the rate `lr`, scores its best epoch's state on the test part, once, and seals its folder.

    Args:
        folder: the cell's own; holds `best.safetensors`, `start.safetensors`, `predictions.parquet`, `epochs.parquet`,
            `outcome.json` and the manifest afterwards. Where an earlier attempt got to is read from it.
        tags: commit and versions; progress made under other ones is not gone on with.
        parts: micro-batches of a step.
    """
    folder.mkdir(exist_ok=True)  # not its parents: they are gone when another driver has taken over
    spent = 0.0
    if not (folder / MANIFEST).exists():
        config = {"cell": cell, "site": site, "lr": lr, "folder": folder, "tags": dict(tags), "parts": parts}
        spent = _train(_fit_worker, config, devices)["spent"]
    outcome = Outcome.from_json((folder / "outcome.json").read_text())
    return Trained(seconds=outcome.seconds, spent=spent, epochs=len(outcome.epochs))


def try_rate(
    cell: Cell,
    site: Site,
    *,
    lr: float,
    floor: Sequence[float],
    folder: Path,
    devices: Devices,
    tags: Mapping[str, str],
    parts: int = 1,
) -> RateTrial:
    """What the rate `lr` comes to on the validation part; the test part is not read.

    Args:
        floor: per epoch, the best score so far below which the trial stops; an epoch beyond its end stops nothing.
        folder: the trial's own, for its progress; it goes when the trial has ended.
    """
    folder.mkdir(exist_ok=True)
    config = {"cell": cell, "site": site, "lr": lr, "folder": folder, "tags": dict(tags), "parts": parts}
    told = _train(_rate_worker, config | {"floor": tuple(floor)}, devices)
    return RateTrial(scores=tuple(told["scores"]), diverged=told["diverged"], seconds=told["seconds"])


def close_lane() -> None:
    """Ends this process's lane of workers, if it has one."""
    if _lanes:
        _lanes.pop().close()


_lanes: list[Lane] = []
"""This process's lane, kept from cell to cell; at most one."""


def _train(worker: Worker, config: dict[str, Any], devices: Devices) -> dict[str, Any]:
    """What the first worker told, run under Ray Train."""
    if devices.workers > 1:
        return _lane(devices, config["folder"].parent).run(worker, config)
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    told: list[dict[str, Any]] = []
    trainer = TorchTrainer(
        worker,
        train_loop_config=config | {"tell": told.append},
        # no workers: in this process, with the device it already holds
        scaling_config=ScalingConfig(num_workers=0, use_gpu=devices.gpus > 0),
        run_config=RunConfig(name="train", storage_path=str(config["folder"])),
    )
    trainer.fit()
    return told[0]


def _lane(devices: Devices, work: Path) -> Lane:
    if _lanes and not _lanes[0].open:
        _lanes.clear()
    if not _lanes:
        _lanes.append(Lane(devices.workers, devices.gpus, work / f".lane-{time.time_ns()}"))
    return _lanes[0]


def _fit_worker(config: dict[str, Any]) -> None:
    training = Training(config)
    cell, folder, ready = training.cell, training.folder, training.ready
    if training.first and not training.done:  # else an interrupted attempt wrote it, before its first epoch
        _save(ready, folder / "start.safetensors", cell)
    resumed = len(training.done)
    for epoch in training.epochs():
        if cell.recipe.patience is not None and epoch.number - training.best >= cell.recipe.patience:
            break
    ready.model.load_state_dict(training.best_state)
    began = time.perf_counter()
    tables = {
        name: prediction_table(part, name, predict(ready.model, part, ready.view))
        for name, part in (("val", ready.data.val), ("test", ready.data.test))
    }
    tested = time.perf_counter() - began
    outcome = Outcome(
        cell=cell,
        lr=config["lr"],
        epochs=tuple(training.done),
        best=training.best,
        test_scores=score(tables["test"], ready.data.task),
        fingerprint=ready.data.fingerprint,
        seconds=sum(epoch.seconds for epoch in training.done) + tested,
        parts=config["parts"],
        tags=config["tags"],
    )
    if training.first:
        _save(ready, folder / "best.safetensors", cell)
        _write_table(pd.concat(tables.values(), ignore_index=True), folder / "predictions.parquet")
        _write_table(_epoch_table(training.done), folder / "epochs.parquet")
        write_whole(folder / "outcome.json", outcome.to_json().encode())
        forget_progress(folder)
        seal(folder)
        config["tell"]({"spent": sum(epoch.seconds for epoch in training.done[resumed:]) + tested})


def _rate_worker(config: dict[str, Any]) -> None:
    training = Training(config)
    metric, floor = training.ready.data.metric, config["floor"]
    diverged = None
    try:
        for epoch in training.epochs():
            best = training.done[training.best - 1].scores[metric]
            if epoch.number <= len(floor) and best < floor[epoch.number - 1]:
                break
    except DivergedError as error:  # for a search a rate that diverges is an observation like any other
        diverged = str(error)
    if training.first:
        scores = [epoch.scores[metric] for epoch in training.done]
        seconds = sum(epoch.seconds for epoch in training.done)
        config["tell"]({"scores": scores, "diverged": diverged, "seconds": seconds})


def _save(ready: Start, path: Path, cell: Cell) -> None:
    """Writes the model's state with what a later user of it must know."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in ready.model.state_dict().items()}
    known = {
        "mean": json.dumps(list(ready.view.mean)),
        "std": json.dumps(list(ready.view.std)),
        "cell": cell.to_json(),
        "classes": json.dumps(ready.data.classes),
    }
    write_whole(path, save(state, metadata=known))


def _epoch_table(done: Sequence[Epoch]) -> pd.DataFrame:
    return pd.DataFrame([{"epoch": each.number, **store.epoch_numbers(each)} for each in done])


def _write_table(table: pd.DataFrame, path: Path) -> None:
    buffer = io.BytesIO()
    table.to_parquet(buffer)
    write_whole(path, buffer.getvalue())
