"""What MLflow holds of a study, read back: runs, tags, curves, files. It writes only the cache of files."""

import os
import tempfile
from collections.abc import Iterable
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from sweeper.cell import Cell
from sweeper.site import Site
from sweeper.store.door import alone, client_of, experiment_of, finished_run, patiently, search
from sweeper.store.names import CELL, KEY, PROBES, REPORT, SETTING

if TYPE_CHECKING:
    from mlflow.entities import Run


def notes(site: Site, study: str) -> dict[str, str]:
    """The tags of a study as a whole; none when it was never begun."""
    first = not site.storage.exists() or os.access(site.storage, os.W_OK)  # what one may only read is there
    with alone(site) if first else nullcontext():
        experiment = client_of(site.tracking).get_experiment_by_name(study)
    return {} if experiment is None else dict(experiment.tags)


def experiment_id(site: Site, study: str) -> str:
    """MLflow's own number of a study, which the addresses of its pages have.

    Raises:
        LookupError: when there is no such study, naming those that there are.
    """
    return experiment_of(client_of(site.tracking), study)


def run_tags(site: Site, run_id: str) -> dict[str, str]:
    """All tags of a run."""
    return dict(client_of(site.tracking).get_run(run_id).data.tags)


def runs(site: Site, study: str) -> "list[Run]":
    """All finished runs of a study as MLflow has them, but those of its rate searches and its report.

    Raises:
        LookupError: when there is no such study, naming those that there are.
    """
    client = client_of(site.tracking)
    found = search(client, [experiment_of(client, study)], "attributes.status = 'FINISHED'")
    return [run for run in found if SETTING not in run.data.tags and REPORT not in run.data.tags]


def searches(site: Site, study: str) -> "list[Run]":
    """All rate searches of a study that have ended, as MLflow has them.

    Raises:
        LookupError: when there is no such study, naming those that there are.
    """
    client = client_of(site.tracking)
    text = f"attributes.status = 'FINISHED' AND tags.`{SETTING}` LIKE '%'"
    return search(client, [experiment_of(client, study)], text)


def tags(site: Site, study: str) -> dict[str, dict[str, str]]:
    """The tags of a study's ended cells and their `status`, by run id; none when the study was never begun."""
    client = client_of(site.tracking)
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        return {}
    found = search(client, [experiment.experiment_id], "attributes.status != 'RUNNING'")
    ended = [each for each in found if each.info.status in ("FINISHED", "FAILED") and KEY in each.data.tags]
    return {each.info.run_id: each.data.tags | {"status": each.info.status} for each in ended}


def described(site: Site, key: str) -> Cell | None:
    """The finished cell with this key, in whichever study it ran; None when there is none."""
    run = finished_run(site, key)
    return None if run is None else Cell.from_json(run.data.tags[CELL])


def curves(site: Site, run_id: str, names: Iterable[str]) -> dict[str, list[tuple[int, float]]]:
    """Every point that was logged under each name: step and value, in the order of steps."""
    client = client_of(site.tracking)
    return {name: sorted((each.step, each.value) for each in client.get_metric_history(run_id, name)) for name in names}


@lru_cache(maxsize=4096)
def state_path(key: str, which: str, site: Site) -> Path:
    """The file of a finished cell's state, in whichever study it ran.

    Args:
        which: `best` or `start`.

    Raises:
        LookupError: when no finished run has this key.
    """
    run = patiently(lambda: finished_run(site, key), site)
    if run is None:
        raise LookupError(f"cell {key} has no finished run at {site.tracking}: run the study that declares it first")
    return artifact(site, run.info.run_id, f"{which}.safetensors")


def registered_path(name: str, version: str, site: Site) -> Path:
    """The file of a registered state.

    Raises:
        LookupError: when the registry has no such version.
    """
    client = client_of(site.tracking)
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
        fetched = client_of(site.tracking).download_artifacts(run_id, name, unfinished)
        Path(fetched).replace(target)


def local_folder(site: Site, run_id: str) -> Path | None:
    """Where a run's files lie; None when that is on a server."""
    return local_path(_artifact_uri(site.tracking, run_id))


def local_path(uri: str) -> Path | None:
    """The path that an artefact's URI means; None when that is on a server."""
    return Path(unquote(urlparse(uri).path)) if uri.startswith(("/", "file:")) else None


def sizes(site: Site, run_id: str) -> dict[str, int]:
    """Bytes of each of a run's files, as a server lists them."""
    client = client_of(site.tracking)
    listed = [*client.list_artifacts(run_id), *client.list_artifacts(run_id, PROBES)]
    return {each.path: each.file_size or 0 for each in listed if not each.is_dir}


def fetch(site: Site, run_id: str, folder: Path) -> None:
    """Brings all of a run's files from a server into a folder, whatever the cache holds."""
    client_of(site.tracking).download_artifacts(run_id, "", str(folder))


@lru_cache(maxsize=100_000)
def _artifact_uri(tracking: str, run_id: str) -> str:
    return str(client_of(tracking).get_run(run_id).info.artifact_uri)
