"""What a study was and what it took: grid, gaps, failures, leakage, rate searches, cost, versions, as rows for a page.

It only reads the record; answers are the business of `answer`.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.axes import axes_of, varying
from analysis.names import name_metric
from analysis.rates import TRAINING_LOSS
from analysis.table import as_words
from analysis.throughput import by_device, by_model
from sweeper import ledger, store
from sweeper.cell import NEUTRAL, Cell
from sweeper.data import DATASETS
from sweeper.gate import SPLIT
from sweeper.last_start import Start
from sweeper.live import as_time
from sweeper.outcome import ATTEMPTS
from sweeper.site import Site

Row = dict[str, Any]
EDGE = 0.1
"""Share of a range's width in decades, at either end, that counts as its edge."""
_VERSION = "sweeper.version."


def grid_rows(cells: pd.DataFrame) -> list[Row]:
    """The axes that vary: `axis`, how many `values`, and which."""
    return [
        {"axis": axis, "number": len(words), "values": ", ".join(words)}
        for axis in varying(cells)
        for words in [list(dict.fromkeys(as_words(cells[axis].sort_values())))]
    ]


def fixed_axes(cells: pd.DataFrame) -> str:
    """The axes that are the same in all cells and not neutral, in one line."""
    several = set(varying(cells))
    told = [axis for axis in axes_of(cells) if axis not in several and not _is_neutral(axis, cells[axis].iloc[0])]
    return ", ".join(f"{axis} {as_words(cells[axis].iloc[:1])[0]}" for axis in told)


def progress(cells: pd.DataFrame, site: Site, study: str, begun: Start | None) -> Row:
    """Numbers of cells: `declared` (missing where an older version began the study), `finished`, `failed`, `open`."""
    failed = len(ledger.read(site, study).failed)
    declared = begun.declared if begun else None
    left = None if declared is None else max(declared - len(cells) - failed, 0)
    return {"declared": declared, "finished": len(cells), "failed": failed, "open": left}


def failures(site: Site, study: str) -> list[Row]:
    """One row per failed cell: its `run_id`, `title`, `why`, last line of its `error`, and whether it is `retried`."""
    why = {"own": "by itself", "memory": "out of memory", "system": "its process died", "storage": "full disk"}
    return [
        {
            "run_id": each.run_id,
            "title": Cell.from_json(store.run_tags(site, each.run_id)[store.CELL]).title(),
            "why": why.get(each.fault or "", "not recorded"),
            "error": (each.error.strip().splitlines() or ["no message"])[-1],
            "retried": each.fault == "system" and each.attempts < ATTEMPTS,
        }
        for each in ledger.read(site, study).failed.values()
    ]


def leakage(site: Site, study: str) -> list[Row]:
    """One row per judged split: its `dataset` and `name`, what it shares (`found`), and why that is `allowed`."""
    tags = store.notes(site, study)
    judged = [json.loads(text) for name, text in tags.items() if name.startswith(f"{SPLIT}.")]
    rows = [
        {
            "dataset": each["dataset"],
            "name": f"{each['dataset']} at {each['size']} px, {each['protocol']} fold {each['fold']}",
            "found": [_leak(leak) for leak in each["leaks"]],
            "allowed": each["allowed"],
        }
        for each in judged
    ]
    return sorted(rows, key=lambda row: str(row["name"]))


def searches(tried: pd.DataFrame) -> list[Row]:
    """One row per rate search: `setting` in words, `rate`, `low`, `high`, `trials`, `diverged`, `edge` (or empty)."""
    if tried.empty:
        return []
    axes = [axis for axis in varying(tried) if axis not in ("lr", "seed", "fold")]
    rows = []
    for _, group in tried.groupby("setting", sort=False):
        words = [f"{axis} {as_words(group[axis].iloc[:1])[0]}" for axis in axes]
        low, high = float(group["lr_low"].iloc[0]), float(group["lr_high"].iloc[0])
        rates = group.loc[group["chosen"], "lr"]
        rate = float(rates.iloc[0]) if len(rates) else float("nan")
        unit = "stretches" if group["metric"].iloc[0] == TRAINING_LOSS else "trials"
        rows.append(
            {"setting": ", ".join(words) or "all cells", "rate": rate, "low": low, "high": high, "unit": unit}
            | {"trials": group["number"].nunique(), "diverged": group.groupby("number")["diverged"].first().count()}
            | {"edge": edge_of(rate, low, high)}
        )
    return rows


def edge_of(rate: float, low: float, high: float) -> str:
    """`lower` or `upper` where a rate lies within a tenth of its range's decades from that end, else empty."""
    if np.isnan(rate) or not low < high:
        return ""
    place = np.log(rate / low) / np.log(high / low)
    return "lower" if place <= EDGE else "upper" if place >= 1 - EDGE else ""


def cost(cells: pd.DataFrame, begun: Start | None) -> list[str]:
    """Sentences: device time that was predicted, and that was recorded."""
    spent = as_time(float(cells["total_seconds"].sum()))
    said = [f"Recorded: {spent} of training and evaluation for {len(cells)} finished cells; rate trials not counted."]
    if begun is None:
        return [*said, "What was predicted is not recorded: the study was run by an older version."]
    if begun.seconds is None:
        return [
            *said,
            f"At the last start {begun.left} cells were left and no cell of the study had finished, so that nothing "
            "could be predicted.",
        ]
    told = f"{as_time(begun.seconds)} for the {begun.left} cells that were left, their rate trials counted"
    return [*said, f"Predicted at the last start: {told}."]


def speed(site: Site, study: str) -> tuple[list[Row], list[Row]]:
    """Throughput by model and device, and how full the devices were."""
    models, devices = by_model(study, site), by_device(study, site)
    return [{str(k): v for k, v in row.items()} for row in models.to_dict("records")], [
        {str(k): v for k, v in row.items()} for row in devices.to_dict("records")
    ]


def protocol(cells: pd.DataFrame) -> list[str]:
    """How epochs, rates and settings were selected, in sentences; the test part selects nothing."""
    return list(_protocol(cells))


def _protocol(cells: pd.DataFrame) -> Iterator[str]:
    metrics = {name: DATASETS[name].metric for name in cells["dataset"].unique()}
    own = ", ".join(f"{name_metric(metric)} ({dataset})" for dataset, metric in metrics.items())
    monitors = ", ".join(own if name == "metric" else name for name in cells["monitor"].unique())
    yield f"Epoch: of at most {_range(cells['epochs'])}, the best {monitors} on the validation part."
    if "lr_low" in cells and cells["lr_low"].notna().any():
        searched = cells[cells["lr_low"].notna()]
        shared, method = (", ".join(searched[name].unique()) for name in ("lr_share", "lr_method"))
        yield (
            f"Learning rate: {_range(searched['lr_trials'])} trials a setting ({method}) "
            f"between {_range(searched['lr_low'])} and {_range(searched['lr_high'])}, judged on the validation part; "
            f"one rate for all values of {shared}."
        )
    fixed = cells[cells["lr"].notna()]
    if len(fixed):
        yield f"Learning rate: given, {_range(fixed['lr'])}, in {len(fixed)} cells."
    yield "Setting: the best mean on the validation part of the settings that have all of their cells."
    yield "Test part: scored once per cell, by the chosen epoch's state; it selects nothing."


def versions(cells: pd.DataFrame, site: Site) -> list[Row]:
    """One row per commit: `commit`, number of `cells`, and the `packages` of its first cell."""
    rows: list[Row] = []
    for commit, group in cells.groupby("commit", sort=False):
        tags = store.run_tags(site, str(group["run_id"].iloc[0]))
        packages = sorted((name.removeprefix(_VERSION), text) for name, text in tags.items() if _VERSION in name)
        told = ", ".join(f"{name} {text}" for name, text in packages)
        rows.append({"commit": commit, "cells": len(group), "packages": told or "not recorded"})
    return rows


def _leak(leak: dict[str, Any]) -> str:
    has = {"patient": "a patient", "identical": "an identical image", "near": "a near-duplicate"}[str(leak["kind"])]
    count = "1 image" if leak["images"] == 1 else f"{leak['images']} images"
    return f"{count} of {leak['part']} with {has} in {leak['other']}"


def _range(values: pd.Series) -> str:
    words = as_words(values.drop_duplicates().sort_values())
    return words[0] if len(words) == 1 else f"{words[0]} to {words[-1]}"


def _is_neutral(axis: str, value: Any) -> bool:
    """Whether an axis says nothing: it has its neutral value, or is told with the selection protocol."""
    if axis.startswith("lr_") or (axis == "lr" and pd.isna(value)):
        return True
    neutral = NEUTRAL.get(axis, "required")
    if neutral is None:
        return bool(pd.isna(value))
    return value == (", ".join(map(str, neutral)) if isinstance(neutral, tuple) else neutral)
