"""What is recorded in MLflow: cells, failures, rate searches, probes, reports. A run counts once it is FINISHED."""

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sweeper.cell import Cell, Probe, probe_key
from sweeper.outcome import Epoch, Fault, Outcome
from sweeper.site import Site
from sweeper.store.door import alone, client_of, experiment_of, patiently, runs_of, search
from sweeper.store.names import (
    ATTEMPTS,
    CELL,
    ERROR,
    FAULT,
    KEY,
    LR_FOUND,
    PROBE,
    PROBE_FILES,
    PROBE_SUM,
    PROBES,
    RATES,
    REPORT,
    SETTING,
    cell_numbers,
    epoch_numbers,
    outcome_tags,
)
from sweeper.store.reading import local_folder
from sweeper.work import sha256, sync

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

_METRICS_PER_CALL = 900  # MLflow takes at most 1000 in one log_batch


def initialise(site: Site, study: str) -> None:
    """Makes the tracking database and the study's experiment; called before anything is recorded."""
    with alone(site):
        patiently(lambda: _make_experiment(site, study), site)


def _make_experiment(site: Site, study: str) -> None:
    client = client_of(site.tracking)
    if client.get_experiment_by_name(study) is None:
        client.create_experiment(study, artifact_location=_artifact_location(site, study))


def note(site: Site, study: str, notes: Mapping[str, str]) -> None:
    """Sets tags of a study as a whole."""
    client = client_of(site.tracking)
    for name, text in notes.items():
        client.set_experiment_tag(experiment_of(client, study), name, text)


def drop_unfinished(site: Site, study: str) -> None:
    """Deletes what drivers that died, or lost the study to this one, left open.

    MLflow takes nothing more for a deleted run: a driver that wakes up later cannot finish its run any more.
    """
    client = client_of(site.tracking)
    for run in search(client, [experiment_of(client, study)], "attributes.status = 'RUNNING'"):
        client.delete_run(run.info.run_id)


def show(site: Site, study: str, cell: Cell, epochs: Sequence[Epoch], run_id: str | None) -> str:
    """The open run that shows the epochs of a cell in training; it gives way to the one in which the cell is recorded.

    Args:
        epochs: those that it does not show yet.
        run_id: None to open it.
    """
    client = client_of(site.tracking)
    run_id = run_id or create(client, study, cell, {})
    now = int(time.time() * 1000)
    points = ((name, value, now, each.number) for each in epochs for name, value in epoch_numbers(each).items())
    log(client, run_id, metrics=points, parameters={})
    return run_id


def publish(site: Site, study: str, folder: Path, check_lease: Callable[[], None]) -> str:
    """The run in which a trained cell is recorded from its sealed folder; a second call adds none.

    Args:
        check_lease: raises when the study is no longer this driver's.
    """
    client = client_of(site.tracking)
    outcome = Outcome.from_json((folder / "outcome.json").read_text())
    finished = _close_earlier(client, study, outcome.cell.key)
    if finished is not None:
        return finished
    run_id = create(client, study, outcome.cell, outcome_tags(outcome))
    parameters = outcome.cell.row() | {"lr_found": outcome.lr, "parts": outcome.parts}
    log(client, run_id, metrics=_numbers(outcome), parameters=parameters)
    client.log_artifacts(run_id, str(folder))
    _sync_artifacts(site, run_id)
    check_lease()
    client.set_terminated(run_id, "FINISHED")  # last of all: from now on it counts
    return run_id


def fail(
    site: Site, study: str, cell: Cell, error: str, *, fault: Fault, attempts: int, tags: Mapping[str, str]
) -> None:
    """Records that a cell failed, with the error and its traceback; earlier failures of the cell give way."""
    client = client_of(site.tracking)
    if _close_earlier(client, study, cell.key) is None:
        known = {ERROR: error[-4000:], FAULT: fault, ATTEMPTS: str(attempts)}
        run_id = create(client, study, cell, known | dict(tags))
        log(client, run_id, parameters=cell.row())
        client.log_text(run_id, error, "error.txt")
        client.set_terminated(run_id, "FAILED")


def log_search(
    site: Site,
    study: str,
    cell: Cell,
    *,
    lr: float | None,
    table: "pd.DataFrame",
    tags: Mapping[str, str],
    check_lease: Callable[[], None],
) -> str:
    """The run in which an ended rate search is recorded, with all that it tried; a second call adds none.

    Args:
        cell: the one that it was run on.
        lr: the rate found, if one was.
        table: the trials.
        tags: commit and versions.
        check_lease: raises when the study is no longer this driver's.
    """
    check_lease()
    client = client_of(site.tracking)
    for run in search(client, [experiment_of(client, study)], f"tags.`{SETTING}` = '{cell.setting()}'"):
        if run.info.status == "FINISHED":
            return str(run.info.run_id)
        client.delete_run(run.info.run_id)
    known = {SETTING: cell.setting(), CELL: cell.to_json(), LR_FOUND: repr(lr)} | dict(tags)
    run = client.create_run(experiment_of(client, study), run_name=f"rates of {cell.title()}", tags=known)
    run_id = str(run.info.run_id)
    log(client, run_id, parameters=cell.row() | {"lr_found": lr})
    with tempfile.TemporaryDirectory() as folder:
        table.to_parquet(Path(folder) / RATES)
        client.log_artifacts(run_id, folder)
    _sync_artifacts(site, run_id)
    check_lease()
    client.set_terminated(run_id, "FINISHED")
    return run_id


def log_report(site: Site, study: str, files: Iterable[Path]) -> str:
    """The run that holds a study's report and the files beside it; a newer report takes the place of an older one."""
    client = client_of(site.tracking)
    found = search(client, [experiment_of(client, study)], f"tags.`{REPORT}` LIKE '%'")
    known = {REPORT: "html"}
    run_id = found[0].info.run_id if found else None
    if run_id is None:
        run_id = client.create_run(experiment_of(client, study), run_name=f"report of {study}", tags=known).info.run_id
    for path in files:
        client.log_artifact(run_id, str(path))
    client.set_terminated(run_id, "FINISHED")
    return str(run_id)


def forget(site: Site, run_id: str) -> None:
    """Takes a run out of its study, so that its cell is run again; MLflow keeps it among the deleted ones."""
    client_of(site.tracking).delete_run(run_id)


def forget_probe(site: Site, run_id: str, key: str) -> None:
    """Takes a probe's rows out of a finished cell, so that the probe is run again."""
    client_of(site.tracking).delete_tag(run_id, f"{PROBE}.{key}")


def log_probe(
    site: Site,
    run_id: str,
    probe: Probe,
    rows: "pd.DataFrame",
    work: Path,
    *,
    key: str | None = None,
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Stores a probe's rows of one cell; the tag that counts them as done is set last.

    Args:
        work: the study's folder of work in flight.
        key: of what was asked, where that is more than the probe, as of a pair of cells.
        files: end of a name -> content of what is stored beside the rows, as `.png`.
    """
    key = key or probe_key(probe)
    path = work / f"{probe.name}-{key}.parquet"
    rows.to_parquet(path)
    client = client_of(site.tracking)
    sums = {}
    for ending, content in files.items():
        beside = path.with_name(f"{path.stem}{ending}")
        beside.write_bytes(content)
        client.log_artifact(run_id, str(beside), PROBES)
        sums[beside.name] = sha256(beside)
        beside.unlink()
    if sums:
        client.set_tag(run_id, f"{PROBE_FILES}.{key}", json.dumps(sums))
    client.log_artifact(run_id, str(path), PROBES)
    client.set_tag(run_id, f"{PROBE_SUM}.{key}", sha256(path))
    client.set_tag(run_id, f"{PROBE}.{key}", probe.name)
    path.unlink()


def register(site: Site, name: str, key: str, run_id: str) -> str:
    """The version of a finished cell's best state in the model registry; made if there is none yet."""
    client = client_of(site.tracking)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.run_id == run_id:
            return str(version.version)
    source = f"{client.get_run(run_id).info.artifact_uri}/best.safetensors"
    return str(client.create_model_version(name, source, run_id, tags={KEY: key}).version)


def _artifact_location(site: Site, study: str) -> str | None:
    """A folder in `storage` beside the SQLite file; a tracking server has its own."""
    return (site.storage / "artifacts" / study).as_uri() if site.tracking.startswith("sqlite:") else None


def log(
    client: "MlflowClient",
    run_id: str,
    *,
    metrics: Iterable[tuple[str, float, int, int]] = (),
    parameters: Mapping[str, Any],
) -> None:
    """Logs in as few calls as MLflow takes: one call per metric is five times slower."""
    from mlflow.entities import Metric, Param

    points = [Metric(name, value, now, step) for name, value, now, step in metrics]
    pairs = [Param(name, value if isinstance(value, str) else json.dumps(value)) for name, value in parameters.items()]
    client.log_batch(run_id, points[:_METRICS_PER_CALL], pairs)
    for start in range(_METRICS_PER_CALL, len(points), _METRICS_PER_CALL):
        client.log_batch(run_id, points[start : start + _METRICS_PER_CALL])


def _close_earlier(client: "MlflowClient", study: str, key: str) -> str | None:
    """The run of a cell that finished, if one did; those that did not are deleted."""
    done = None
    for run in runs_of(client, [experiment_of(client, study)], key):
        if run.info.status == "FINISHED":
            done = str(run.info.run_id)
        else:
            client.delete_run(run.info.run_id)
    return done


def create(client: "MlflowClient", study: str, cell: Cell, tags: Mapping[str, str]) -> str:
    """A new open run of a cell: its number."""
    known = {KEY: cell.key, CELL: cell.to_json()}
    run = client.create_run(experiment_of(client, study), run_name=cell.title(), tags={**known, **tags})
    return str(run.info.run_id)


def _numbers(outcome: Outcome) -> Iterator[tuple[str, float, int, int]]:
    """Every number of a trained cell as MLflow takes it: name, value, milliseconds, step."""
    now = int(time.time() * 1000)
    for epoch in outcome.epochs:
        yield from ((name, value, now, epoch.number) for name, value in epoch_numbers(epoch).items())
    yield from ((name, value, now, 0) for name, value in cell_numbers(outcome).items())


def _sync_artifacts(site: Site, run_id: str) -> None:
    """Brings a run's files to the disk before the run counts; a tracking server sees to its own."""
    folder = local_folder(site, run_id)
    for path in (*folder.iterdir(), folder) if folder else ():
        sync(path)
