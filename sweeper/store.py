"""The record of a study in MLflow: which cells are finished, and everything each of them left.

One experiment a study, one run a cell. A run counts only when its status is FINISHED, which is set last; whatever a
killed attempt left is deleted when the cell begins again. No training and no statistics here.
"""

import json
import logging
import os
import shutil
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from sweeper.cell import Cell, Probe, probe_key
from sweeper.outcome import Epoch, Outcome
from sweeper.site import Site

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

KEY, CELL, ERROR, LR_FOUND, PROBE = (f"sweeper.{name}" for name in ("key", "cell", "error", "lr_found", "probe"))
_METRICS_PER_CALL = 900  # MLflow takes at most 1000 in one log_batch


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished cell's run."""

    run_id: str
    seconds: float
    """What training and evaluating it took."""
    probes: frozenset[str]
    """Keys of the probes whose rows are stored."""


def initialise(site: Site, study: str) -> None:
    """Makes the tracking database and the study's experiment; called once, before any worker writes."""
    site.storage.mkdir(parents=True, exist_ok=True)
    client = _client(site.tracking)
    if client.get_experiment_by_name(study) is None:
        client.create_experiment(study, artifact_location=_artifact_location(site, study))


def finished(site: Site, study: str) -> dict[str, Finished]:
    """The finished cells of a study, by key; none when the study was never begun."""
    rows = _tags_in_sqlite(site, study) if site.tracking.startswith("sqlite:") else _tags_by_client(site, study)
    return {
        tags[KEY]: Finished(
            run_id=run_id,
            seconds=float(tags.get("sweeper.seconds", "nan")),
            probes=frozenset(name.removeprefix(f"{PROBE}.") for name in tags if name.startswith(f"{PROBE}.")),
        )
        for run_id, tags in rows.items()
        if KEY in tags
    }


def begin(site: Site, study: str, cell: Cell, tags: Mapping[str, str]) -> str:
    """The id of a new run for this cell; what earlier unfinished attempts left is deleted first."""
    client = _client(site.tracking)
    experiment = _experiment(client, study)
    for old in _runs_of(client, [experiment], cell.key):
        if old.info.status != "FINISHED":
            client.delete_run(old.info.run_id)
            shutil.rmtree(scratch(site, old.info.run_id), ignore_errors=True)
    run = client.create_run(
        experiment,
        run_name=cell.title(),
        tags={**tags, KEY: cell.key, CELL: cell.to_json()},
    )
    _log(client, run.info.run_id, parameters=cell.row())
    return run.info.run_id


def scratch(site: Site, run_id: str) -> Path:
    """The folder in which a cell gathers its files before they are stored."""
    return site.storage / "scratch" / run_id


def log_epochs(site: Site, run_id: str, epochs: Iterable[Epoch]) -> None:
    """Adds the epochs' numbers to the run's curves; each epoch is to be logged once."""
    now = int(time.time() * 1000)
    values = [(name, value, now, epoch.number) for epoch in epochs for name, value in epoch_numbers(epoch).items()]
    _log(_client(site.tracking), run_id, metrics=values)


def epoch_numbers(epoch: Epoch) -> dict[str, float]:
    """One epoch as named numbers: the columns of the epochs frame and the curves in MLflow."""
    scores = {f"val_{name}": value for name, value in epoch.scores.items()}
    return {
        "train_loss": epoch.train_loss,
        **scores,
        "lr_now": epoch.lr,
        "seconds": epoch.seconds,
        "images_per_second": epoch.images_per_second,
    }


def finish(site: Site, run_id: str, outcome: Outcome, lr: float) -> None:
    """Stores what a cell left and, last of all, marks its run finished."""
    client = _client(site.tracking)
    client.log_artifacts(run_id, str(outcome.folder))
    best = {f"best_val_{name}": value for name, value in outcome.best.scores.items()}
    test = {f"test_{name}": value for name, value in outcome.test_scores.items()}
    seconds = sum(epoch.seconds for epoch in outcome.epochs)
    numbers = (
        best | test | {"best_epoch": outcome.best.number, "epochs_run": len(outcome.epochs), "total_seconds": seconds}
    )
    now = int(time.time() * 1000)
    _log(
        client,
        run_id,
        metrics=[(name, value, now, 0) for name, value in numbers.items()],
        parameters={"lr_found": lr},
        tags={LR_FOUND: repr(lr), "sweeper.fingerprint": outcome.fingerprint, "sweeper.seconds": repr(seconds)},
    )
    client.set_terminated(run_id, "FINISHED")
    shutil.rmtree(outcome.folder)


def fail(site: Site, run_id: str, error: str) -> None:
    """Marks a cell's run failed, with the error and its traceback."""
    client = _client(site.tracking)
    client.log_text(run_id, error, "error.txt")
    client.set_tag(run_id, ERROR, error[-4000:])
    client.set_terminated(run_id, "FAILED")
    shutil.rmtree(scratch(site, run_id), ignore_errors=True)


def fail_unfinished(site: Site, study: str, cell: Cell, error: str) -> None:
    """Marks failed what a cell whose process died has left running."""
    client = _client(site.tracking)
    for run in _runs_of(client, [_experiment(client, study)], cell.key):
        if run.info.status == "RUNNING":
            fail(site, run.info.run_id, error)


def log_probe(site: Site, run_id: str, probe: Probe, rows: "pd.DataFrame") -> None:
    """Stores a probe's rows of one cell; the tag that counts them as done is set last."""
    folder = scratch(site, run_id)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{probe.name}-{probe_key(probe)}.parquet"
    rows.to_parquet(path)
    client = _client(site.tracking)
    client.log_artifact(run_id, str(path), "probes")
    client.set_tag(run_id, f"{PROBE}.{probe_key(probe)}", probe.name)
    shutil.rmtree(folder)


def register(site: Site, name: str, key: str, run_id: str) -> str:
    """The version of a finished cell's best state in the model registry; made if there is none yet."""
    client = _client(site.tracking)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.run_id == run_id:
            return str(version.version)
    source = f"{client.get_run(run_id).info.artifact_uri}/best.safetensors"
    return str(client.create_model_version(name, source, run_id, tags={KEY: key}).version)


def state_path(key: str, which: str, site: Site) -> Path:
    """The file of a finished cell's state, in whichever study it ran.

    Args:
        which: `best` or `start`.

    Raises:
        LookupError: when no finished run has this key.
    """
    run = _finished_run(site, key)
    if run is None:
        raise LookupError(f"cell {key} has no finished run at {site.tracking}: run the study that declares it first")
    return artifact(site, run.info.run_id, f"{which}.safetensors")


def registered_path(name: str, version: str, site: Site) -> Path:
    """The file of a registered state.

    Raises:
        LookupError: when the registry has no such version.
    """
    client = _client(site.tracking)
    versions = {str(each.version): each for each in client.search_model_versions(f"name = '{name}'")}
    if str(version) not in versions:
        known = ", ".join(sorted(versions)) or "none"
        raise LookupError(f"registry:{name}/{version} is not in {site.tracking}; versions of '{name}': {known}")
    return artifact(site, str(versions[str(version)].run_id), "best.safetensors")


def artifact(site: Site, run_id: str, name: str) -> Path:
    """A local path of a run's file; fetched into the cache first where the artefacts lie elsewhere."""
    uri = _artifact_uri(site.tracking, run_id)
    if uri.startswith(("/", "file:")):
        return Path(unquote(urlparse(uri).path)) / name
    target = site.cache / "artifacts" / run_id
    target.mkdir(parents=True, exist_ok=True)
    if not (target / name).exists():
        _client(site.tracking).download_artifacts(run_id, name, str(target))
    return target / name


def runs(site: Site, study: str) -> "list[Run]":
    """All finished runs of a study as MLflow has them.

    Raises:
        LookupError: when there is no such study, naming those that there are.
    """
    client = _client(site.tracking)
    return _search(client, [_experiment(client, study)], "attributes.status = 'FINISHED'")


def described(site: Site, key: str) -> Cell | None:
    """The finished cell with this key, in whichever study it ran; None when there is none."""
    run = _finished_run(site, key)
    return None if run is None else Cell.from_json(run.data.tags[CELL])


@lru_cache
def _client(tracking: str) -> "MlflowClient":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # no study reports home
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=tracking)


@lru_cache(maxsize=100_000)
def _artifact_uri(tracking: str, run_id: str) -> str:
    return str(_client(tracking).get_run(run_id).info.artifact_uri)


def _experiment(client: "MlflowClient", study: str) -> str:
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        known = ", ".join(sorted(each.name for each in client.search_experiments()))
        raise LookupError(f"there is no study '{study}' at {client.tracking_uri}; there are {known}")
    return str(experiment.experiment_id)


def _artifact_location(site: Site, study: str) -> str | None:
    """A folder in `storage` beside the SQLite file; a tracking server has its own."""
    return (site.storage / "artifacts" / study).as_uri() if site.tracking.startswith("sqlite:") else None


def _runs_of(client: "MlflowClient", experiments: list[str], key: str) -> "list[Run]":
    return _search(client, experiments, f"tags.`{KEY}` = '{key}'")


def _finished_run(site: Site, key: str) -> "Run | None":
    client = _client(site.tracking)
    experiments = [each.experiment_id for each in client.search_experiments()]
    return next((run for run in _runs_of(client, experiments, key) if run.info.status == "FINISHED"), None)


def _search(client: "MlflowClient", experiments: list[str], text: str) -> "list[Run]":
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(experiments, text, max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _log(
    client: "MlflowClient",
    run_id: str,
    *,
    metrics: Iterable[tuple[str, float, int, int]] = (),
    parameters: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Logs in as few calls as MLflow takes: one call per metric is five times slower."""
    from mlflow.entities import Metric, Param, RunTag

    points = [Metric(name, value, now, step) for name, value, now, step in metrics]
    pairs = [
        Param(name, value if isinstance(value, str) else json.dumps(value))
        for name, value in (parameters or {}).items()
    ]
    marks = [RunTag(name, value) for name, value in (tags or {}).items()]
    client.log_batch(run_id, points[:_METRICS_PER_CALL], pairs, marks)
    for start in range(_METRICS_PER_CALL, len(points), _METRICS_PER_CALL):
        client.log_batch(run_id, points[start : start + _METRICS_PER_CALL])


def _tags_by_client(site: Site, study: str) -> dict[str, dict[str, str]]:
    client = _client(site.tracking)
    if client.get_experiment_by_name(study) is None:
        return {}
    return {run.info.run_id: run.data.tags for run in runs(site, study)}


def _tags_in_sqlite(site: Site, study: str) -> dict[str, dict[str, str]]:
    """The same by one read-only query: importing MLflow takes longer than a plan may, and paging 20,000 runs too."""
    path = Path(unquote(urlparse(site.tracking).path.removeprefix("/")))
    path = path if path.is_absolute() else Path.cwd() / path
    if not path.exists():
        return {}
    query = """
        SELECT tags.run_uuid, tags.key, tags.value FROM tags
        JOIN runs ON runs.run_uuid = tags.run_uuid
        JOIN experiments ON experiments.experiment_id = runs.experiment_id
        WHERE experiments.name = ? AND runs.status = 'FINISHED' AND runs.lifecycle_stage = 'active'
        AND tags.key LIKE 'sweeper.%' AND tags.key != ?
    """
    rows: dict[str, dict[str, str]] = defaultdict(dict)
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=60)
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"tags", "runs", "experiments"} <= tables:  # killed while MLflow made its schema
            return {}
        for run_id, name, value in connection.execute(query, (study, CELL)):
            rows[run_id][name] = value
    finally:
        connection.close()
    return dict(rows)
