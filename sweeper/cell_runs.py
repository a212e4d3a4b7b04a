"""What MLflow's SQLite file holds of the finished cells of a study, and which of it is new since an earlier look.

By read-only queries of one moment: MLflow's own search takes minutes for 50,000 runs, and would have to say all of it
again. A tracking server cannot be asked in this way (`store.runs` asks it). Nothing is written here.
"""

import hashlib
import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sweeper import store
from sweeper.ledger import open_sqlite
from sweeper.site import Site


@dataclass(frozen=True, kw_only=True)
class CellRun:
    """What a finished cell's run holds beside its files."""

    tags: Mapping[str, str]
    """Those of `FINAL_TAGS` that it has."""
    metrics: Mapping[str, float]
    """The last value of each."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A finished run of a cell, and how to tell whether it has changed."""

    stamp: str
    """Differs once the run's end or one of its `FINAL_TAGS` does."""
    ended: float
    """When the cell was recorded, in seconds since 1970: as soon as it was trained, unless MLflow was away."""
    uri: str
    """Where its files lie."""


FINAL_TAGS = (store.KEY, store.CELL, store.LR_FOUND, store.FINGERPRINT, "sweeper.commit", store.DEVICE)
"""What the frames take from tags; it is set before a run counts as finished, and not meant to change afterwards."""
_AT_ONCE = 500  # runs asked for in one query: SQLite takes some thousand parameters


class Runs:
    """The finished runs of a study as MLflow's SQLite file has them at one moment; made by `open_runs`."""

    def __init__(self, connection: sqlite3.Connection, study: str) -> None:
        self._connection, self._study = connection, study

    def places(self) -> dict[str, Place]:
        """Run id -> its place, of every finished cell; a run that was deleted is not among them."""
        lookups = ", ".join(
            f"(SELECT value FROM tags WHERE key = '{tag}' AND tags.run_uuid = runs.run_uuid)" for tag in FINAL_TAGS
        )
        query = f"""
            SELECT runs.run_uuid, artifact_uri, end_time, {lookups} FROM runs
            JOIN experiments ON experiments.experiment_id = runs.experiment_id
            WHERE experiments.name = ? AND runs.status = 'FINISHED' AND runs.lifecycle_stage = 'active'
        """
        found = {}
        for run_id, uri, end, key, *others in self._connection.execute(query, (self._study,)):
            if key is not None:  # else it is no cell's: a rate search, or logged by hand
                found[run_id] = Place(stamp=_digest(uri, end, key, *others), ended=end / 1000, uri=uri)
        return found

    def last_point(self) -> tuple[int, str]:
        """The newest row of MLflow's table of metrics, to which rows are only added: its number and what it says."""
        query = "SELECT rowid, run_uuid, key, timestamp, step FROM metrics ORDER BY rowid DESC LIMIT 1"
        return next(((row[0], _digest(*row)) for row in self._connection.execute(query)), (0, ""))

    def logged_since(self, last: tuple[int, str]) -> set[str] | None:
        """Ids of the runs of any study that were given numbers since; None where that row is not there any more."""
        query = "SELECT rowid, run_uuid, key, timestamp, step FROM metrics WHERE rowid = ?"
        if last[0] and [_digest(*row) for row in self._connection.execute(query, last[:1])] != [last[1]]:
            return None  # MLflow's own clean-up, or SQLite's VACUUM, numbers the rows anew
        found = self._connection.execute("SELECT DISTINCT run_uuid FROM metrics WHERE rowid > ?", last[:1])
        return {run_id for (run_id,) in found}

    def read(self, run_ids: Sequence[str]) -> dict[str, CellRun]:
        """Run id -> what each of these runs holds."""
        tags: dict[str, dict[str, str]] = {run_id: {} for run_id in run_ids}
        metrics: dict[str, dict[str, float]] = {run_id: {} for run_id in run_ids}
        for start in range(0, len(run_ids), _AT_ONCE):
            some = run_ids[start : start + _AT_ONCE]
            for run_id, name, value in self._of("tags", "value", some):
                if name in FINAL_TAGS:
                    tags[run_id][name] = value
            for run_id, name, value, is_nan in self._of("latest_metrics", "value, is_nan", some):
                metrics[run_id][name] = math.nan if is_nan else value
        return {run_id: CellRun(tags=tags[run_id], metrics=metrics[run_id]) for run_id in run_ids}

    def probes(self) -> dict[str, dict[str, tuple[str, str]]]:
        """Run id -> key of each probe whose rows are stored -> its name, and the sha256 of the rows."""
        query = """
            SELECT run_uuid, substr(key, ?), value FROM tags WHERE key > ? AND key < ? AND run_uuid IN
            (SELECT run_uuid FROM runs JOIN experiments USING (experiment_id) WHERE experiments.name = ?)
        """
        found: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
        sums = self._connection.execute(query, self._in(store.PROBE_SUM))
        sum_of = {(run_id, key): value for run_id, key, value in sums}
        for run_id, key, name in self._connection.execute(query, self._in(store.PROBE)):
            found[run_id][key] = (name, sum_of.get((run_id, key), ""))
        return found

    def _in(self, family: str) -> tuple[int, str, str, str]:
        """Of `family.KEY`: where KEY begins, the names before and after all of them, and the study."""
        return len(family) + 2, f"{family}.", f"{family}/", self._study

    def _of(self, table: str, columns: str, run_ids: Sequence[str]) -> sqlite3.Cursor:
        marks = ", ".join("?" * len(run_ids))
        return self._connection.execute(
            f"SELECT run_uuid, key, {columns} FROM {table} WHERE run_uuid IN ({marks})", run_ids
        )


@contextmanager
def open_runs(site: Site, study: str) -> Iterator[Runs]:
    """The finished runs of a study in a SQLite file; what is asked of them within the context is of one moment.

    Raises:
        LookupError: when nothing was recorded yet, or there is no such study, naming those that there are.
    """
    with open_sqlite(site) as connection:
        if connection is None:
            raise LookupError(f"nothing was recorded at {site.tracking} yet; MLFLOW_TRACKING_URI names another place")
        connection.execute("BEGIN")
        known = sorted(name for (name,) in connection.execute("SELECT name FROM experiments"))
        if study not in known:
            raise LookupError(f"there is no study '{study}' at {site.tracking}; there are {', '.join(known)}")
        yield Runs(connection, study)


def _digest(*values: object) -> str:
    return hashlib.blake2b(repr(values).encode(), digest_size=8).hexdigest()
