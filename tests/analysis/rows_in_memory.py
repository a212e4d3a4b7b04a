"""Records as rows in memory, of numbers that a test gives: cells with their scores, and rows of probes."""

from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from analysis.axes import axes_frame
from analysis.plates import Plate
from analysis.study_record import Maker, Record, start_names
from sweeper.cell import Cell, Probe, probe_key


def record(cells: Sequence[Cell], values: Sequence[float], probes: Sequence[dict] = (), **columns: object) -> Record:
    """Finished cells with their test scores, and rows of probes."""
    runs = axes_frame(cells).assign(
        study="study",
        key=[cell.key for cell in cells],
        metric="test_auroc",
        value=list(values),
        test_auroc=list(values),
        **columns,
    )
    found = Record(studies=("study",), runs=runs.assign(start=start_names(runs)), site=None)
    empty = dict.fromkeys(("other", "other_block", "block"))
    axes = {row["key"]: row for row in found.runs.drop(columns=["metric", "value"]).to_dict("records")}
    rows = [axes[row["key"]] | empty | row for row in probes]
    found.__dict__["probes"] = pd.DataFrame(rows, columns=None if rows else [*empty, "probe", "metric", "key"])
    return found


def row(cell: Cell, probe: Probe, value: float, metric: str, **known: object) -> dict:
    return {"key": cell.key, "probe": probe.name, "probe_key": probe_key(probe), **asdict(probe), **known} | {
        "metric": metric,
        "value": value,
    }


def table(maker: Maker, of: Record) -> pd.DataFrame:
    plate = maker(of)
    assert isinstance(plate, Plate), plate
    return plate.data


def of_blocks(cells: Sequence[Cell], probe: Probe, value: float, metric: str, **known: object) -> list[dict]:
    """The same of both blocks, a little more with each seed."""
    return [
        row(cell, probe, value + 0.01 * cell.seed, metric, block=block, **({"other_block": block} | known))
        for cell in cells
        for block in (1, 2)
    ]
