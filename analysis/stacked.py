"""Small tables of many runs read into few frames: 50,000 frames of ten rows each take minutes to make and to join.

What the tables hold is the caller's business.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


def stacked(paths: Mapping[str, Path]) -> list[pd.DataFrame]:
    """The rows of runs with their `run_id`, in the order of the runs: a frame for each set of columns and types.

    A frame is what pandas reads of its files one by one, under one another; a column `key` is left out.

    Args:
        paths: run id -> its parquet file, which pandas wrote.
    """
    groups: dict[object, list[pa.Table]] = defaultdict(list)
    for run_id, path in paths.items():
        table = pq.ParquetFile(path).read(use_threads=False)
        if "key" in table.column_names:
            table = table.drop_columns("key")
        groups[_columns(table)].append(
            table.append_column("run_id", pa.array([run_id] * len(table), pa.large_string()))
        )
    frames = (pa.concat_tables(tables).to_pandas(use_threads=False) for tables in groups.values())
    return [frame.reset_index(drop=True).astype({"run_id": "str"}) for frame in frames]


def _columns(table: pa.Table) -> object:
    """Names and types, Arrow's and pandas', which are not the same where a whole number may be missing."""
    told = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}"))
    kinds = {column["name"]: column["numpy_type"] for column in told.get("columns", [])}
    return tuple((field.name, str(field.type), kinds.get(field.name)) for field in table.schema)
