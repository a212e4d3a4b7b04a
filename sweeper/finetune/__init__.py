"""Fine-tunes one cell on Ray Train: in this very process for one worker, in a lane of workers for several.

One train function serves both, and the rate trials as well. A training that was interrupted goes on after its last
whole epoch. Which cells run, and when, is decided elsewhere. Ray is imported inside the functions, so that the loop,
the metrics and the rest of this room run where there is no Ray.
"""

import io
import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import save

from sweeper import store
from sweeper.cell import Cell
from sweeper.finetune.faults import within_reach
from sweeper.finetune.lane import Lane, Worker
from sweeper.finetune.loop import DivergedError, prediction_table
from sweeper.finetune.metrics import score
from sweeper.finetune.monitors import rises
from sweeper.finetune.range_test import climb
from sweeper.finetune.training import Start, Training, device_name, forget_progress, wrapped
from sweeper.outcome import Devices, Epoch, Outcome, RateTrial, Trained
from sweeper.site import Site
from sweeper.work import MANIFEST, seal, write_whole


def fit(
    cell: Cell, site: Site, *, lr: float, folder: Path, devices: Devices, tags: Mapping[str, str], parts: int = 1
) -> Trained:
    """Trains a cell at the rate `lr`, scores its best state on the test part, once, and seals its folder.

    Args:
        folder: the cell's own, which is there, unless another driver or worker has taken the cell over; holds
            `best.safetensors`, `start.safetensors`, `predictions.parquet`, `epochs.parquet`, `outcome.json` and the
            manifest afterwards. Where an earlier attempt got to is read from it.
        tags: commit and versions; progress made under other ones is not gone on with.
        parts: micro-batches of a step.
    """
    config = {"cell": cell, "site": site, "lr": lr, "folder": folder, "tags": dict(tags), "parts": parts}
    with _storage(config):
        _refuse_lost(folder)
        sealed = (folder / MANIFEST).exists()
        spent = 0.0 if sealed else _train(_fit_worker, config, devices)["spent"]
        outcome = Outcome.from_json((folder / "outcome.json").read_text())
    passes = math.ceil(len(outcome.epochs) / cell.recipe.validations)
    speed = outcome.epochs[-1].images_per_second
    return Trained(seconds=outcome.seconds, spent=spent, epochs=passes, images_per_second=speed)


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
    rates: Sequence[float] = (),
) -> RateTrial:
    """What the rate `lr` comes to on the validation part; the test part is not read.

    Args:
        floor: per validation, the best score so far below which the trial stops; one beyond its end stops nothing.
        folder: the trial's own, for its progress; it goes when the trial has ended.
        rates: of a range test, which goes through them in place of `lr` and comes to training losses.
    """
    config = {"cell": cell, "site": site, "lr": lr, "folder": folder, "tags": dict(tags), "parts": parts}
    worker = _range_worker if rates else _rate_worker
    with _storage(config):
        _refuse_lost(folder)
        return RateTrial(**_train(worker, config | {"floor": tuple(floor), "rates": tuple(rates)}, devices))


def close_lane() -> None:
    """Ends this process's lane of workers, if it has one."""
    if _lanes:
        _lanes.pop().close()


_lanes: list[Lane] = []
"""This process's lane, kept from cell to cell; at most one."""


def _refuse_lost(folder: Path) -> None:
    """Ends what was given to a worker that was out of reach meanwhile; Ray Train would make the folder anew."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not there: its job was taken over by another driver or worker")


def _storage(config: dict[str, Any]) -> AbstractContextManager[None]:
    """Tells failures of the storage from others, by the study's folder: a job's own may be another's by now."""
    return within_reach(config["folder"].parents[1], config["site"].patience)


def _in_a_group(worker: Worker, config: dict[str, Any]) -> None:
    """One of several workers, which may be on a machine of its own."""
    with _storage(config):
        worker(config)


def _train(worker: Worker, config: dict[str, Any], devices: Devices) -> dict[str, Any]:
    """What the first worker told, run under Ray Train."""
    if devices.workers > 1:
        return _lane(devices, config["folder"].parent).run(partial(_in_a_group, worker), config)
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
    patience = cell.recipe.patience
    for epoch in training.epochs():
        if epoch.phase == "full" and patience is not None and epoch.number - training.best >= patience:
            break
    ready.model.load_state_dict(training.best_state)
    began = time.perf_counter()
    tables = {
        name: prediction_table(part, name, training.predict(part))
        for name, part in (("val", ready.data.val), ("test", ready.data.test))
    }
    tested = time.perf_counter() - began
    outcome = Outcome(
        cell=cell,
        lr=config["lr"],
        epochs=tuple(training.done),
        best=training.best,
        test_scores=score(tables["test"], ready.data.task, by_class=True),
        fingerprint=ready.data.fingerprint,
        seconds=sum(epoch.seconds for epoch in training.done) + tested,
        parts=config["parts"],
        tags={**config["tags"], store.DEVICE: device_name(ready.view.device)},
        split_files=ready.data.split_files,
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
    cell, floor = training.cell, config["floor"]
    diverged = None
    try:
        for epoch in training.epochs():
            values = training.values()
            if epoch.phase == "full" and len(values) <= len(floor) and max(values) < floor[len(values) - 1]:
                break
    except DivergedError as error:  # for a search a rate that diverges is an observation like any other
        diverged = str(error)
    if training.first:
        known = {"scores": tuple(training.values()), "higher": rises(cell.recipe.monitor, training.ready.data.metric)}
        seconds = sum(epoch.seconds for epoch in training.done)
        config["tell"](known | {"diverged": diverged, "seconds": seconds})


def _range_worker(config: dict[str, Any]) -> None:
    training = Training(config)
    model = wrapped(training.ready.model)
    done: list[Epoch] = []
    try:
        for each in climb(model, training.ready, training.cell, config["rates"], parts=config["parts"]):
            done.append(each)  # noqa: PERF402 (those before it diverges count)
    except DivergedError:
        pass  # it ends every range test that goes high enough
    if training.first:
        losses, seconds = tuple(each.train_loss for each in done), sum(each.seconds for each in done)
        config["tell"]({"scores": (), "higher": False, "losses": losses, "diverged": None, "seconds": seconds})


def _save(ready: Start, path: Path, cell: Cell) -> None:
    """Writes the model's state with what a later user of it must know."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in ready.model.state_dict().items()}
    known = {
        "mean": json.dumps(list(ready.view.mean)),
        "std": json.dumps(list(ready.view.std)),
        "order": ready.view.order,
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
