"""The record of a study in MLflow: everything that each of its cells left. The one door to MLflow.

One experiment a study, one run a cell and one a rate search. A run counts only when its status is FINISHED, which is
set last; whatever a killed driver left open is deleted by the next. Which cells are finished is asked of `ledger`,
which is faster.
"""

import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlparse

from filelock import FileLock

from sweeper.cell import Cell, Probe, probe_key
from sweeper.outcome import Epoch, Fault, Outcome
from sweeper.site import Site
from sweeper.work import sha256, sync

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

T = TypeVar("T")
KEY, CELL, ERROR, FAULT, ATTEMPTS, LR_FOUND, FINGERPRINT, SECONDS, EPOCHS, PROBE = (
    f"sweeper.{name}"
    for name in ("key", "cell", "error", "fault", "attempts", "lr_found", "fingerprint", "seconds", "epochs", "probe")
)
DEVICE = "sweeper.device"
"""Tag: the name of the device that a cell was trained on; older records lack it."""
SETTING = "sweeper.setting"
"""Tag of a rate search's run, which has no key: it is no cell's."""
REPORT = "sweeper.report"
"""Tag of the run that holds a study's report, which is no cell's either."""
RATES = "rates.parquet"
PROBE_SUM = "sweeper.sha256"
PROBES = "probes"
"""The folder of a run's files that holds the rows of its probes."""
_METRICS_PER_CALL = 900  # MLflow takes at most 1000 in one log_batch


def patiently(call: Callable[[], T], site: Site, stop: threading.Event | None = None) -> T:
    """What `call` returns, asked again while MLflow is away or its disk is full, for at most `site.patience` seconds.

    Args:
        stop: ends the waiting early.

    Raises:
        ConnectionError: when it still does not answer; nothing that was to be recorded is lost.
    """
    from mlflow.exceptions import MlflowException

    stop = stop or threading.Event()
    began, wait = time.monotonic(), 0.5
    while True:
        try:
            return call()
        except (MlflowException, OSError) as error:
            waited = time.monotonic() - began
            if not _passing(error) or stop.is_set():
                raise
            if waited > site.patience:
                raise ConnectionError(
                    f"MLflow at {site.tracking} has not taken what it was given for {waited:.0f} s ({_line(error)}); "
                    "what is trained waits in the storage folder: once MLflow is well, run the same command again"
                ) from error
            if wait == 8:
                print(f"waiting for MLflow at {site.tracking}: {_line(error)}", file=sys.stderr, flush=True)
            stop.wait(wait)
            wait = min(2 * wait, 30)


def initialise(site: Site, study: str) -> None:
    """Makes the tracking database and the study's experiment; called before anything is recorded."""
    with _alone(site):
        patiently(lambda: _make_experiment(site, study), site)


def _alone(site: Site) -> FileLock:
    """Held by who may be the first to open the database: of drivers that make its schema at once, all but one die."""
    site.storage.mkdir(parents=True, exist_ok=True)
    return FileLock(site.storage / "initialise.lock")


def _make_experiment(site: Site, study: str) -> None:
    client = _client(site.tracking)
    if client.get_experiment_by_name(study) is None:
        client.create_experiment(study, artifact_location=_artifact_location(site, study))


def note(site: Site, study: str, notes: Mapping[str, str]) -> None:
    """Sets tags of a study as a whole."""
    client = _client(site.tracking)
    for name, text in notes.items():
        client.set_experiment_tag(_experiment(client, study), name, text)


def notes(site: Site, study: str) -> dict[str, str]:
    """The tags of a study as a whole; none when it was never begun."""
    first = not site.storage.exists() or os.access(site.storage, os.W_OK)  # what one may only read is there
    with _alone(site) if first else nullcontext():
        experiment = _client(site.tracking).get_experiment_by_name(study)
    return {} if experiment is None else dict(experiment.tags)


def drop_unfinished(site: Site, study: str) -> None:
    """Deletes what drivers that died, or lost the study to this one, left open.

    MLflow takes nothing more for a deleted run: a driver that wakes up later cannot finish its run any more.
    """
    client = _client(site.tracking)
    for run in _search(client, [_experiment(client, study)], "attributes.status = 'RUNNING'"):
        client.delete_run(run.info.run_id)


def show(site: Site, study: str, cell: Cell, epochs: Sequence[Epoch], run_id: str | None) -> str:
    """The open run that shows the epochs of a cell in training; it gives way to the one in which the cell is recorded.

    Args:
        epochs: those that it does not show yet.
        run_id: None to open it.
    """
    client = _client(site.tracking)
    run_id = run_id or _create(client, study, cell, {})
    now = int(time.time() * 1000)
    points = ((name, value, now, each.number) for each in epochs for name, value in epoch_numbers(each).items())
    _log(client, run_id, metrics=points, parameters={})
    return run_id


def publish(site: Site, study: str, folder: Path, check_lease: Callable[[], None]) -> str:
    """The run in which a trained cell is recorded from its sealed folder; a second call adds none.

    Args:
        check_lease: raises when the study is no longer this driver's.
    """
    client = _client(site.tracking)
    outcome = Outcome.from_json((folder / "outcome.json").read_text())
    finished = _close_earlier(client, study, outcome.cell.key)
    if finished is not None:
        return finished
    run_id = _create(client, study, outcome.cell, outcome_tags(outcome))
    parameters = outcome.cell.row() | {"lr_found": outcome.lr, "parts": outcome.parts}
    _log(client, run_id, metrics=_numbers(outcome), parameters=parameters)
    client.log_artifacts(run_id, str(folder))
    _sync_artifacts(site, run_id)
    check_lease()
    client.set_terminated(run_id, "FINISHED")  # last of all: from now on it counts
    return run_id


def fail(
    site: Site, study: str, cell: Cell, error: str, *, fault: Fault, attempts: int, tags: Mapping[str, str]
) -> None:
    """Records that a cell failed, with the error and its traceback; earlier failures of the cell give way."""
    client = _client(site.tracking)
    if _close_earlier(client, study, cell.key) is None:
        known = {ERROR: error[-4000:], FAULT: fault, ATTEMPTS: str(attempts)}
        run_id = _create(client, study, cell, known | dict(tags))
        _log(client, run_id, parameters=cell.row())
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
    client = _client(site.tracking)
    for run in _search(client, [_experiment(client, study)], f"tags.`{SETTING}` = '{cell.setting()}'"):
        if run.info.status == "FINISHED":
            return str(run.info.run_id)
        client.delete_run(run.info.run_id)
    known = {SETTING: cell.setting(), CELL: cell.to_json(), LR_FOUND: repr(lr)} | dict(tags)
    run = client.create_run(_experiment(client, study), run_name=f"rates of {cell.title()}", tags=known)
    run_id = str(run.info.run_id)
    _log(client, run_id, parameters=cell.row() | {"lr_found": lr})
    with tempfile.TemporaryDirectory() as folder:
        table.to_parquet(Path(folder) / RATES)
        client.log_artifacts(run_id, folder)
    _sync_artifacts(site, run_id)
    check_lease()
    client.set_terminated(run_id, "FINISHED")
    return run_id


def log_report(site: Site, study: str, files: Iterable[Path]) -> str:
    """The run that holds a study's report and the files beside it; a newer report takes the place of an older one."""
    client = _client(site.tracking)
    found = _search(client, [_experiment(client, study)], f"tags.`{REPORT}` LIKE '%'")
    known = {REPORT: "html"}
    run_id = found[0].info.run_id if found else None
    if run_id is None:
        run_id = client.create_run(_experiment(client, study), run_name=f"report of {study}", tags=known).info.run_id
    for path in files:
        client.log_artifact(run_id, str(path))
    client.set_terminated(run_id, "FINISHED")
    return str(run_id)


def experiment_id(site: Site, study: str) -> str:
    """MLflow's own number of a study, which the addresses of its pages have.

    Raises:
        LookupError: when there is no such study, naming those that there are.
    """
    return _experiment(_client(site.tracking), study)


def run_tags(site: Site, run_id: str) -> dict[str, str]:
    """All tags of a run."""
    return dict(_client(site.tracking).get_run(run_id).data.tags)


def forget(site: Site, run_id: str) -> None:
    """Takes a run out of its study, so that its cell is run again; MLflow keeps it among the deleted ones."""
    _client(site.tracking).delete_run(run_id)


def forget_probe(site: Site, run_id: str, key: str) -> None:
    """Takes a probe's rows out of a finished cell, so that the probe is run again."""
    _client(site.tracking).delete_tag(run_id, f"{PROBE}.{key}")


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


def cell_numbers(outcome: Outcome) -> dict[str, float]:
    """A trained cell as named numbers: the columns of the runs frame that are not axes."""
    best = {f"best_val_{name}": value for name, value in outcome.best_epoch.scores.items()}
    test = {f"test_{name}": value for name, value in outcome.test_scores.items()}
    count = {"best_epoch": outcome.best, "epochs_run": len(outcome.epochs), "total_seconds": outcome.seconds}
    return best | test | count


def outcome_tags(outcome: Outcome) -> dict[str, str]:
    """A trained cell's tags beside its key and its values."""
    known = {
        LR_FOUND: repr(outcome.lr),
        FINGERPRINT: outcome.fingerprint,
        SECONDS: repr(outcome.seconds),
        EPOCHS: str(len(outcome.epochs)),
    }
    return known | dict(outcome.tags)


def log_probe(
    site: Site, run_id: str, probe: Probe, rows: "pd.DataFrame", work: Path, *, key: str | None = None
) -> None:
    """Stores a probe's rows of one cell; the tag that counts them as done is set last.

    Args:
        work: the study's folder of work in flight.
        key: of what was asked, where that is more than the probe, as of a pair of cells.
    """
    key = key or probe_key(probe)
    path = work / f"{probe.name}-{key}.parquet"
    rows.to_parquet(path)
    client = _client(site.tracking)
    client.log_artifact(run_id, str(path), PROBES)
    client.set_tag(run_id, f"{PROBE_SUM}.{key}", sha256(path))
    client.set_tag(run_id, f"{PROBE}.{key}", probe.name)
    path.unlink()


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


@lru_cache(maxsize=4096)
def state_path(key: str, which: str, site: Site) -> Path:
    """The file of a finished cell's state, in whichever study it ran.

    Args:
        which: `best` or `start`.

    Raises:
        LookupError: when no finished run has this key.
    """
    run = patiently(lambda: _finished_run(site, key), site)
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
    folder = patiently(lambda: local_folder(site, run_id), site)
    if folder:
        return folder / name
    target = site.cache / "artifacts" / run_id / name
    if not target.exists():
        patiently(lambda: _fetch_whole(site, run_id, name, target), site)
    return target


def _fetch_whole(site: Site, run_id: str, name: str, target: Path) -> None:
    """Brings a run's file from a server; it appears whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=site.cache) as unfinished:
        fetched = _client(site.tracking).download_artifacts(run_id, name, unfinished)
        Path(fetched).replace(target)


def local_folder(site: Site, run_id: str) -> Path | None:
    """Where a run's files lie; None when that is on a server."""
    return local_path(_artifact_uri(site.tracking, run_id))


def local_path(uri: str) -> Path | None:
    """The path that an artefact's URI means; None when that is on a server."""
    return Path(unquote(urlparse(uri).path)) if uri.startswith(("/", "file:")) else None


def sizes(site: Site, run_id: str) -> dict[str, int]:
    """Bytes of each of a run's files, as a server lists them."""
    client = _client(site.tracking)
    listed = [*client.list_artifacts(run_id), *client.list_artifacts(run_id, PROBES)]
    return {each.path: each.file_size or 0 for each in listed if not each.is_dir}


def fetch(site: Site, run_id: str, folder: Path) -> None:
    """Brings all of a run's files from a server into a folder, whatever the cache holds."""
    _client(site.tracking).download_artifacts(run_id, "", str(folder))


def curves(site: Site, run_id: str, names: Iterable[str]) -> dict[str, list[tuple[int, float]]]:
    """Every point that was logged under each name: step and value, in the order of steps."""
    client = _client(site.tracking)
    return {name: sorted((each.step, each.value) for each in client.get_metric_history(run_id, name)) for name in names}


def runs(site: Site, study: str) -> "list[Run]":
    """All finished runs of a study as MLflow has them, but those of its rate searches and its report.

    Raises:
        LookupError: when there is no such study, naming those that there are.
    """
    client = _client(site.tracking)
    found = _search(client, [_experiment(client, study)], "attributes.status = 'FINISHED'")
    return [run for run in found if SETTING not in run.data.tags and REPORT not in run.data.tags]


def searches(site: Site, study: str) -> "list[Run]":
    """All rate searches of a study that have ended, as MLflow has them.

    Raises:
        LookupError: when there is no such study, naming those that there are.
    """
    client = _client(site.tracking)
    text = f"attributes.status = 'FINISHED' AND tags.`{SETTING}` LIKE '%'"
    return _search(client, [_experiment(client, study)], text)


def tags(site: Site, study: str) -> dict[str, dict[str, str]]:
    """The tags of a study's ended cells and their `status`, by run id; none when the study was never begun."""
    client = _client(site.tracking)
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        return {}
    found = _search(client, [experiment.experiment_id], "attributes.status != 'RUNNING'")
    ended = [each for each in found if each.info.status in ("FINISHED", "FAILED") and KEY in each.data.tags]
    return {each.info.run_id: each.data.tags | {"status": each.info.status} for each in ended}


def described(site: Site, key: str) -> Cell | None:
    """The finished cell with this key, in whichever study it ran; None when there is none."""
    run = _finished_run(site, key)
    return None if run is None else Cell.from_json(run.data.tags[CELL])


def _passing(error: Exception) -> bool:
    """Whether an error is of MLflow's surroundings (server, network, disk, lock) and may pass."""
    code = getattr(error, "error_code", None)
    if code in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"):
        return True
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError)  # what is gone does not come back


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


@lru_cache
def _client(tracking: str) -> "MlflowClient":
    settings = {
        "MLFLOW_DISABLE_TELEMETRY": "true",  # no study reports home
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # `patiently` waits longer, and says so
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines a cell
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
    os.environ.update({name: os.environ.get(name, value) for name, value in settings.items()})
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # `patiently` says it in a line
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
    for run in _runs_of(client, [_experiment(client, study)], key):
        if run.info.status == "FINISHED":
            done = str(run.info.run_id)
        else:
            client.delete_run(run.info.run_id)
    return done


def _create(client: "MlflowClient", study: str, cell: Cell, tags: Mapping[str, str]) -> str:
    known = {KEY: cell.key, CELL: cell.to_json()}
    run = client.create_run(_experiment(client, study), run_name=cell.title(), tags={**known, **tags})
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
