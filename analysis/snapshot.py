"""A columnar copy of what frames are made of, beside MLflow: one parquet file per study and kind of row.

A copy is never the record: whatever it lacks, or has in another state than MLflow says now, is read from the record
again, and what MLflow has no more is left out. How changes are told is the caller's business, by a stamp per run.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import W_OK, access
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from sweeper.site import Site

_FORM = 1
"""Number of the way in which copies are written; one in another form is made anew."""
_META = b"sweeper"
_PIECES = "pieces"
_COLUMNS = "columns_of_run"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A copy: rows with a column `run_id`, and what they were copied from."""

    rows: pd.DataFrame
    stamps: Mapping[str, str]
    """Run id -> the state of its record that was copied; also of runs without rows."""
    note: Any = None
    """What the caller has to remember with it, as plain JSON."""


def path_of(site: Site, study: str, kind: str) -> Path:
    """The file of a copy; it may be deleted at any time."""
    return site.study(study) / "frames" / f"{kind}.parquet"


def load(path: Path, form: str) -> Snapshot | None:
    """The copy in a file; None when there is none, or one of another form. One that is torn is named in a warning.

    The stamps are in the same file as the rows, and its footer holds a hash of all that is before it.

    Args:
        form: names the columns that the caller expects; what another version of it wrote is not read.
    """
    if not path.exists():
        return None
    try:
        content = path.read_bytes()
        file = pq.ParquetFile(pa.BufferReader(content))
        known = json.loads(file.metadata.metadata[_META])
        if known["pages"] != _hash(content[: -8 - int.from_bytes(content[-8:-4], "little")]):
            raise ValueError("its pages have another hash than it says")
        rows = file.read().to_pandas()
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        warnings.warn(f"{path} is torn ({reason}): it is made anew from the record", stacklevel=2)
        return None
    if known["form"] != [_FORM, form]:
        return None
    return Snapshot(rows=rows, stamps=known["stamps"], note=known["note"])


def save(path: Path, snapshot: Snapshot, form: str) -> None:
    """Writes a copy whole or not at all; of readers that do so at once each writes a whole one, and the last stays.

    Where this user may not write into the study's folder, nothing is kept.
    """
    above = next(each for each in path.parents if each.exists())
    if not access(above, W_OK):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(snapshot.rows, preserve_index=False)  # its metadata gives the types back
    known = {"form": [_FORM, form], "stamps": dict(snapshot.stamps), "note": snapshot.note}
    with FileLock(path.with_suffix(".lock")):  # so that all may write under one name, and a killed one's is overwritten
        unfinished = path.with_suffix(".unfinished")
        with pq.ParquetWriter(unfinished, table.schema, compression="zstd") as writer:
            writer.write_table(table)
            known["pages"] = _hash(unfinished.read_bytes())  # all but the footer, which it writes when it closes
            writer.add_key_value_metadata({_META.decode(): json.dumps(known)})
        unfinished.replace(path)


def refreshed(
    path: Path, stamps: Mapping[str, str], read: Callable[[Sequence[str]], Sequence[pd.DataFrame]]
) -> pd.DataFrame:
    """The rows of runs, in the order of `stamps`: from the copy where it has that stamp, else from the record.

    It has the columns and types that reading all of them at once would give.

    Args:
        path: of the copy, which is brought in step.
        stamps: run id -> the state of its record now.
        read: the rows of some runs with their `run_id`, in frames of which each has the columns that its runs have.
    """
    before = load(path, _PIECES) or Snapshot(rows=pd.DataFrame({"run_id": [], _COLUMNS: []}, dtype="str"), stamps={})
    stale = [run_id for run_id, stamp in stamps.items() if before.stamps.get(run_id) != stamp]
    rows = before.rows
    if stale or len(before.stamps) != len(stamps):
        fresh = [_marked(each) for each in read(stale)]
        rows = _in_order(merged(before, stamps, fresh), list(stamps))
        save(path, Snapshot(rows=rows, stamps=stamps), _PIECES)
    return _as_read(_in_order(rows, list(stamps)))


def merged(before: Snapshot, stamps: Mapping[str, str], fresh: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of `before`, which has a stamp for each of their runs, that still hold, and the fresh ones."""
    holds = {run_id for run_id, stamp in before.stamps.items() if stamps.get(run_id) == stamp}
    kept = before.rows if len(holds) == len(before.stamps) else before.rows[before.rows["run_id"].isin(holds)]
    return pd.concat([each for each in (kept, *fresh) if len(each)] or [kept], ignore_index=True)


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _marked(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, each with the columns that its run has: which they are cannot be told from missing values."""
    columns = json.dumps({name: str(rows[name].dtype) for name in rows if name != "run_id"})
    return rows.assign(**{_COLUMNS: columns}).astype({"run_id": "str", _COLUMNS: "str"})


def _in_order(rows: pd.DataFrame, run_ids: Sequence[str]) -> pd.DataFrame:
    places = pd.Index(pd.Series(run_ids, dtype="str")).get_indexer(pd.Index(rows["run_id"]))
    ordered = (places[1:] >= places[:-1]).all()
    return rows if ordered else rows.take(places.argsort(kind="stable")).reset_index(drop=True)


def _as_read(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the columns that some run has, in the type that they have in all runs, where that is one."""
    runs = [json.loads(columns) for columns in rows[_COLUMNS].unique()]
    names = list(dict.fromkeys(name for run in runs for name in run))
    kinds = {name: {run.get(name) for run in runs} for name in names}
    same = {name: kind.pop() for name, kind in kinds.items() if len(kind) == 1}
    return rows[[*names, "run_id"]].astype(same)
