"""Many small tables read into few frames, against pandas' own reading of each."""

from pathlib import Path

import pandas as pd

from analysis.stacked import stacked

TABLES = {
    "a": pd.DataFrame({"epoch": [1, 2], "loss": [0.5, None], "name": ["x", None]}),
    "b": pd.DataFrame({"key": ["k"], "epoch": [1], "loss": [0.25], "name": ["y"]}),
    "c": pd.DataFrame({"epoch": pd.array([1, 2, 3], dtype="Int64"), "loss": [0.1, 0.2, 0.3], "name": ["u", "v", "w"]}),
    "d": pd.DataFrame({"epoch": [1], "accuracy": [0.75]}),
    "e": pd.DataFrame({"epoch": [7], "loss": [1.0], "name": ["z"]}, index=[5]),
    "f": pd.DataFrame({"epoch": pd.Series([], dtype="int64"), "accuracy": pd.Series([], dtype="float64")}),
}


def write(folder: Path) -> dict[str, Path]:
    for name, table in TABLES.items():
        table.to_parquet(folder / name)
    return {name: folder / name for name in TABLES}


def test_each_run_has_the_rows_and_types_that_pandas_reads(tmp_path: Path) -> None:
    paths = write(tmp_path)
    read: dict[str, pd.DataFrame] = {}
    for frame in stacked(paths):
        for run_id, rows in frame.groupby("run_id", sort=False):
            read[str(run_id)] = rows.drop(columns="run_id").reset_index(drop=True)
    for name, path in paths.items():
        if name != "f":  # which has no rows
            alone = pd.read_parquet(path).drop(columns="key", errors="ignore").reset_index(drop=True)
            pd.testing.assert_frame_equal(read[name], alone)


def test_tables_alike_are_one_frame_in_the_order_of_their_runs(tmp_path: Path) -> None:
    frames = stacked(write(tmp_path))
    assert [frame["run_id"].tolist() for frame in frames] == [["a", "a", "b"], ["c"] * 3, ["d"], ["e"]]
    assert stacked({}) == []
