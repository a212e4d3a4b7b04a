"""Times and rates in figures and tables: epochs are passes, and no mean is over devices or rates of the backbone.

The records are rows in memory; what each number must be was reckoned by hand.
"""

import pandas as pd
import pytest
from rows_in_memory import record, table

from analysis import feature_reuse, transfusion, truncated_transfer, truncation_tables
from analysis.plates import Plate
from sweeper.grid import grid

CUT = dict(dataset="bimcv", model="resnet18", source="imagenet", size=32, seed=[0, 1])
DEPTHS = grid(depth=[2, 4], **CUT)


def test_the_table_of_methods_has_no_mean_over_rates_of_the_backbone_nor_over_devices() -> None:
    slow = dict(frozen=2, frozen_norms="learn")
    cells = [*DEPTHS, *grid(**slow, backbone_decay=10.0, **CUT), *grid(**slow, backbone_decay=1.0, **CUT)]
    scores = [0.5, 0.5, 0.6, 0.6, 0.7, 0.7, 0.9, 0.9]
    devices = ["one", "one", "one", "two", "two", "two", "two", "two"]
    of = record(
        cells,
        scores,
        best_val_auprc=scores,
        total_seconds=[8.0] * 8,
        epochs_run=4,
        device=devices,
    )
    found = table(truncation_tables.methods, of)
    lwft = found[found["method"] == "LWFT"].set_index("also")["test_auroc_mean"]
    assert lwft.to_dict() == {", backbone_decay 1.0": 0.9, ", backbone_decay 10.0": 0.7}
    times = found.set_index(["method", "also"])[["seconds_per_epoch_mean", "device"]]
    assert times.loc[("TTL", ", backbone_decay 1.0"), :].tolist() == [2.0, "one"]
    whole = times.loc[("FTL", ""), :]
    assert (pd.isna(whole["seconds_per_epoch_mean"]), whole["device"]) == (True, "one, two")


def test_the_truncation_figure_has_no_mean_time_over_devices_but_one_of_scores() -> None:
    of = record(
        DEPTHS, [0.5, 0.7, 0.6, 0.8], total_seconds=[8.0, 80.0, 12.0, 120.0], epochs_run=4, device=["one", "two"] * 2
    )
    found = table(truncated_transfer.truncation, of)
    scores = found[found["metric"] == "test_auroc"]
    assert scores["mean"].tolist() == pytest.approx([0.6, 0.7])
    times = found[found["metric"] == "seconds_per_epoch"].set_index(["also", "point"])["mean"]
    assert times.to_dict() == {(", on one", 2): 2.0, (", on one", 4): 3.0, (", on two", 2): 20.0, (", on two", 4): 30.0}


def test_a_cut_is_not_called_full_for_want_of_the_full_network() -> None:
    cells = [cell.replace(source=source, depth=depth) for source in ("imagenet", "radimagenet") for depth in (2, 3)
             for cell in DEPTHS[:2]]  # fmt: skip
    plate = truncated_transfer.medical_sources(record(cells, [0.5] * 8))
    assert isinstance(plate, Plate)
    assert plate.figure is not None
    labels = {text.get_text() for legend in plate.figure.legends for text in legend.get_texts()}
    assert labels == {"cut at 2", "cut at 3"}


TWICE = dict(dataset="aptos2019", model="resnet18", size=32, validations=2)


def test_epochs_are_passes_however_often_one_is_validated() -> None:
    cells = [
        *grid(source="imagenet", blocks=[1, 2], rest="stats", **TWICE),
        *grid(source=["imagenet", "random"], **TWICE),
    ]
    found = table(feature_reuse.convergence, record(cells, [0.5] * 4, best_epoch=[3, 4, 5, 8]))
    transferred = found[found["line"] != "random"].set_index("layers")["mean"]
    assert transferred.to_dict() == {1: 1.5, 2: 2.0, 3: 2.5}


def test_a_learning_curve_reaches_a_threshold_after_passes() -> None:
    (cell,) = grid(source="imagenet", **TWICE)
    of = record([cell], [0.5])
    epochs = of.runs.merge(
        pd.DataFrame({"key": cell.key, "epoch": [1, 2, 3, 4], "val_auroc": [0.1, 0.3, 0.5, 0.7]}), on="key"
    )
    of.__dict__["epochs"] = epochs.drop(columns=["metric", "value"])
    of.settings["threshold"] = 0.5
    assert table(transfusion.epochs_to, of)["mean"].tolist() == [1.5]
    assert table(transfusion.learning_curves, of)["epoch"].tolist() == [0.5, 1.0, 1.5, 2.0]


def test_seconds_of_an_epoch_are_those_of_a_whole_pass() -> None:
    (cell,) = grid(source="imagenet", **TWICE)
    runs = record([cell], [0.5], total_seconds=12.0, epochs_run=6).runs
    assert truncation_tables.seconds_per_epoch(runs).tolist() == [4.0]
