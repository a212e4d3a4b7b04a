"""The client of MLflow, what every use of it needs, and the patience with it. What is asked of it stands elsewhere."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock

from sweeper.site import Site
from sweeper.store.names import KEY

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

T = TypeVar("T")


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


@lru_cache
def client_of(tracking: str) -> "MlflowClient":
    """MLflow's client of a tracking address, quiet; one a process."""
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


def alone(site: Site) -> FileLock:
    """Held by who may be the first to open the database: of drivers that make its schema at once, all but one die."""
    site.storage.mkdir(parents=True, exist_ok=True)
    return FileLock(site.storage / "initialise.lock")


def experiment_of(client: "MlflowClient", study: str) -> str:
    """MLflow's number of a study.

    Raises:
        LookupError: when there is no such study, naming those that there are.
    """
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        known = ", ".join(sorted(each.name for each in client.search_experiments()))
        raise LookupError(f"there is no study '{study}' at {client.tracking_uri}; there are {known}")
    return str(experiment.experiment_id)


def search(client: "MlflowClient", experiments: list[str], text: str) -> "list[Run]":
    """All runs that answer to a filter in MLflow's words, page by page."""
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(experiments, text, max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def runs_of(client: "MlflowClient", experiments: list[str], key: str) -> "list[Run]":
    """Every run of a cell that is not deleted, however it ended."""
    return search(client, experiments, f"tags.`{KEY}` = '{key}'")


def finished_run(site: Site, key: str) -> "Run | None":
    """A finished run of a cell, in whichever study."""
    client = client_of(site.tracking)
    experiments = [each.experiment_id for each in client.search_experiments()]
    return next((run for run in runs_of(client, experiments, key) if run.info.status == "FINISHED"), None)


def _passing(error: Exception) -> bool:
    """Whether an error is of MLflow's surroundings (server, network, disk, lock) and may pass."""
    code = getattr(error, "error_code", None)
    if code in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"):
        return True
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError)  # what is gone does not come back


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
