"""Which cells of a study are finished and which failed, at once even for tens of thousands of them.

It reads what `store` wrote and writes nothing.
"""

import json
import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import unquote, urlparse

from sweeper import store
from sweeper.cell import Cell
from sweeper.outcome import Fault
from sweeper.site import Site

_STATUS = "status"


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished cell's run."""

    run_id: str
    seconds: float
    """What training and evaluating it took."""
    epochs: int | None
    """How many it trained; None where this was not recorded yet."""
    fingerprint: str | None
    """Of the images it was trained on."""
    split_files: Mapping[str, str]
    """As `Outcome.split_files`; empty too where this was not recorded yet."""
    lr_found: float
    """The rate it was trained at; NaN where this is not recorded."""
    cell_json: str
    probes: frozenset[str]
    """Keys of the probes whose rows are stored."""

    @property
    def cell(self) -> Cell:
        return Cell.from_json(self.cell_json)


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A failed cell's run."""

    run_id: str
    error: str
    fault: Fault | None
    """None where this was not recorded yet."""
    attempts: int


@dataclass(frozen=True, kw_only=True)
class Records:
    """What a study's store holds, by key; a cell that has finished is not among the failed ones."""

    finished: dict[str, Finished] = field(default_factory=dict)
    failed: dict[str, Failed] = field(default_factory=dict)


def read(site: Site, study: str) -> Records:
    """The records of a study; empty when it was never begun."""
    in_file = site.tracking.startswith("sqlite:")
    rows = _tags_in_sqlite(site, study) if in_file else store.patiently(lambda: store.tags(site, study), site)
    found = Records()
    for run_id, tags in rows.items():
        if tags[_STATUS] == "FINISHED":
            found.finished[tags[store.KEY]] = _finished(run_id, tags)
    for run_id, tags in rows.items():
        if tags[_STATUS] == "FAILED" and tags[store.KEY] not in found.finished:
            found.failed[tags[store.KEY]] = _failed(run_id, tags)
    return found


def epoch_points(site: Site, study: str) -> dict[str, int] | None:
    """Run id -> how many epochs its loss curve has; None where only a tracking server could tell, run by run."""
    if not site.tracking.startswith("sqlite:"):
        return None
    query = """
        SELECT metrics.run_uuid, COUNT(*) FROM metrics
        JOIN runs ON runs.run_uuid = metrics.run_uuid
        JOIN experiments ON experiments.experiment_id = runs.experiment_id
        WHERE experiments.name = ? AND metrics.key = 'train_loss' GROUP BY metrics.run_uuid
    """
    with open_sqlite(site) as connection:
        return dict(connection.execute(query, (study,))) if connection else {}


def validation_numbers(site: Site, study: str) -> dict[str, dict[str, float]]:
    """Run id -> `best_epoch`, `epochs_run` and each `best_val_...` of a finished cell; nothing of the test part."""
    if not site.tracking.startswith("sqlite:"):
        runs = store.patiently(lambda: store.runs(site, study), site)
        found = {run.info.run_id: run.data.metrics for run in runs}
        return {run_id: {k: v for k, v in each.items() if _of_validation(k)} for run_id, each in found.items()}
    query = """
        SELECT latest_metrics.run_uuid, latest_metrics.key, latest_metrics.value, latest_metrics.is_nan
        FROM latest_metrics
        JOIN runs ON runs.run_uuid = latest_metrics.run_uuid
        JOIN experiments ON experiments.experiment_id = runs.experiment_id
        WHERE experiments.name = ? AND runs.status = 'FINISHED' AND runs.lifecycle_stage = 'active'
    """
    rows: dict[str, dict[str, float]] = defaultdict(dict)
    with open_sqlite(site) as connection:
        for run_id, name, value, is_nan in connection.execute(query, (study,)) if connection else ():
            if _of_validation(name):
                rows[run_id][name] = math.nan if is_nan else value
    return rows


def _of_validation(name: str) -> bool:
    return name.startswith("best_val_") or name in ("best_epoch", "epochs_run")


def require_whole(site: Site, *, read: bool) -> None:
    """Passes where there is a database of MLflow's, or a tracking server.

    Args:
        read: also have SQLite read the whole of it.

    Raises:
        LookupError: when nothing was recorded yet.
        ValueError: when SQLite finds it damaged.
    """
    if not site.tracking.startswith("sqlite:"):
        return
    with open_sqlite(site) as connection:
        if connection is None:
            raise LookupError(f"nothing was recorded at {site.tracking} yet; MLFLOW_TRACKING_URI names another place")
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0] if read else "ok"
    if found != "ok":
        raise ValueError(f"the database {site.tracking} is damaged ({found}): put its last backup in its place")


def _finished(run_id: str, tags: dict[str, str]) -> Finished:
    return Finished(
        run_id=run_id,
        seconds=float(tags.get(store.SECONDS, "nan")),
        epochs=int(tags[store.EPOCHS]) if store.EPOCHS in tags else None,
        fingerprint=tags.get(store.FINGERPRINT),
        split_files=json.loads(tags.get(store.SPLIT_FILES, "{}")),
        lr_found=float(tags.get(store.LR_FOUND, "nan")),
        cell_json=tags[store.CELL],
        probes=frozenset(name.removeprefix(f"{store.PROBE}.") for name in tags if name.startswith(f"{store.PROBE}.")),
    )


def _failed(run_id: str, tags: dict[str, str]) -> Failed:
    return Failed(
        run_id=run_id,
        error=tags.get(store.ERROR, ""),
        fault=cast(Fault | None, tags.get(store.FAULT)),
        attempts=int(tags.get(store.ATTEMPTS, "1")),
    )


def _tags_in_sqlite(site: Site, study: str) -> dict[str, dict[str, str]]:
    """By one read-only query: importing MLflow takes longer than a plan may, and paging 20,000 runs too."""
    query = """
        SELECT tags.run_uuid, tags.key, tags.value, runs.status FROM tags
        JOIN runs ON runs.run_uuid = tags.run_uuid
        JOIN experiments ON experiments.experiment_id = runs.experiment_id
        WHERE experiments.name = ? AND runs.status IN ('FINISHED', 'FAILED') AND runs.lifecycle_stage = 'active'
        AND tags.key LIKE 'sweeper.%' AND tags.key NOT LIKE 'sweeper.version.%'
    """
    rows: dict[str, dict[str, str]] = defaultdict(dict)
    with open_sqlite(site) as connection:
        for run_id, name, value, status in connection.execute(query, (study,)) if connection else ():
            rows[run_id][name] = value
            rows[run_id][_STATUS] = status
    return {run_id: tags for run_id, tags in rows.items() if store.KEY in tags}


@contextmanager
def open_sqlite(site: Site) -> Iterator[sqlite3.Connection | None]:
    """MLflow's database, to be read only; None when nothing was recorded in it yet."""
    path = Path(unquote(urlparse(site.tracking).path.removeprefix("/")))
    path = path if path.is_absolute() else Path.cwd() / path
    if not path.exists():
        yield None
        return
    connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=60)  # read-only refuses what a kill left
    try:
        connection.execute("PRAGMA query_only = ON")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        # some are not there where a kill came while MLflow made its schema
        yield connection if {"tags", "runs", "experiments", "metrics"} <= tables else None
    except sqlite3.OperationalError as error:
        raise ConnectionError(
            f"MLflow's database {path} cannot be read now ({error}); run the same command later"
        ) from error
    finally:
        connection.close()
