"""The content of a finished cell's files against MLflow's numbers: each file is changed, and that is to be seen."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import recorded
from conftest import make_site
from safetensors.numpy import load_file, save_file

from sweeper import store
from sweeper.cell import make_cell
from sweeper.contents import Known, cell_contradictions, contradictions, unreadable_rows
from sweeper.finetune.metrics import score
from sweeper.metric import METRICS
from sweeper.outcome import Outcome
from sweeper.site import Site

CELL = make_cell(dataset="digits_0_4", model="cbr_mini", seed=3)
OTHER = CELL.replace(seed=4)
FILES = ("best.safetensors", "start.safetensors", "predictions.parquet", "epochs.parquet", "outcome.json")
SCORES = [f"score_{n}" for n in range(5)]
NOISE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A finished cell."""

    folder: Path
    known: Known

    def wrong(self, name: str) -> list[str]:
        """What is said of a file, without its path."""
        found = contradictions(self.folder / name, self.known)
        assert all(line.startswith(f"{self.folder / name} ") for line in found)
        return [line.removeprefix(f"{self.folder / name} ") for line in found]

    def change(self, name: str, how: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        how(pd.read_parquet(self.folder / name)).to_parquet(self.folder / name)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    site = make_site(tmp_path_factory.mktemp("contents"))
    store.initialise(site, "study")
    return read(site, recorded.record(site, "study", CELL, **recorded.consistent(CELL)))


def read(site: Site, run_id: str) -> Recorded:
    (run,) = store.runs(site, "study")
    folder = store.local_folder(site, run_id)
    assert folder
    curves = store.curves(site, run_id, run.data.metrics)
    return Recorded(folder=folder, known=Known(tags=run.data.tags, metrics=run.data.metrics, curves=curves))


@pytest.fixture
def cell(made: Recorded) -> Iterator[Recorded]:
    """The finished cell, whose files are put back after each test."""
    content = {name: (made.folder / name).read_bytes() for name in FILES}
    yield made
    for name, known in content.items():
        (made.folder / name).write_bytes(known)


def with_metric(cell: Recorded, name: str, value: float) -> Recorded:
    return replace(cell, known=replace(cell.known, metrics={**cell.known.metrics, name: value}))


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_wrong_with_what_was_recorded(cell: Recorded, name: str) -> None:
    assert cell.wrong(name) == []


@pytest.mark.parametrize("name", FILES)
def test_a_torn_file_cannot_be_read(cell: Recorded, name: str) -> None:
    path = cell.folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (line,) = cell.wrong(name)
    assert line.startswith("cannot be read: ")


@pytest.mark.parametrize("name", FILES)
def test_whatever_bit_is_flipped_there_is_an_answer(cell: Recorded, name: str) -> None:
    path = cell.folder / name
    content = path.read_bytes()
    for bit in random.Random(name).sample(range(8 * len(content)), 100):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        cell.wrong(name)
    path.write_bytes(content)
    assert cell.wrong(name) == []


def test_a_missing_file_is_not_taken_for_a_torn_one(cell: Recorded) -> None:
    (cell.folder / "epochs.parquet").unlink()
    with pytest.raises(FileNotFoundError):
        cell.wrong("epochs.parquet")


def test_nan_in_a_state_is_named(cell: Recorded) -> None:
    path = cell.folder / "best.safetensors"
    state = load_file(path)
    state["head.weight"][2, 3] = np.nan
    save_file(state, path, metadata={"cell": CELL.to_json()})
    assert cell.wrong(path.name) == ["has NaN in tensor 'head.weight' and 0 others"]


def test_the_state_of_another_cell_is_named(cell: Recorded) -> None:
    recorded.write_real_states(cell.folder, OTHER)
    assert cell.wrong("best.safetensors") == [f"is of cell {OTHER.key}, not of {CELL.key}"]


def certain(table: pd.DataFrame, row: int) -> pd.DataFrame:
    """The table in which one image is certainly of another class than its own."""
    wrong = (table.loc[row, "label"] + 1) % 5
    table.loc[row, SCORES] = [float(n == wrong) for n in range(5)]
    return table


@pytest.mark.parametrize("row", [3, 40])
@pytest.mark.parametrize(
    "how",
    [
        certain,
        lambda table, row: table.assign(label=table["label"].where(table.index != row, (table["label"] + 1) % 5)),
        lambda table, row: table.drop(index=row),
    ],
    ids=["score", "label", "row"],
)
def test_one_other_prediction_contradicts_the_scores(cell: Recorded, row: int, how: Any) -> None:
    cell.change("predictions.parquet", lambda table: how(table, row))
    assert cell.wrong("predictions.parquet")


def test_a_missing_class_contradicts_its_count(cell: Recorded) -> None:
    cell.change("predictions.parquet", lambda table: table[table["label"] != 2])
    assert "gives test_classes_absent 1.0, and MLflow has 0.0" in cell.wrong("predictions.parquet")


def noisy(table: pd.DataFrame, part: str) -> pd.DataFrame:
    own = table["part"] == part
    scores = table.loc[own, SCORES]
    scores = scores * (1 + NOISE * np.random.default_rng(0).standard_normal(scores.shape))
    table.loc[own, SCORES] = scores.div(scores.sum(axis=1), axis=0)
    return table


def test_noise_of_other_batches_is_borne_in_the_validation_part(cell: Recorded) -> None:
    cell.change("predictions.parquet", lambda table: noisy(table, "val"))
    assert cell.wrong("predictions.parquet") == []


def test_noise_is_not_borne_in_the_test_part(cell: Recorded) -> None:
    cell.change("predictions.parquet", lambda table: noisy(table, "test"))
    assert any(line.startswith("gives test_nll ") for line in cell.wrong("predictions.parquet"))


def test_the_order_of_the_images_is_no_contradiction(cell: Recorded) -> None:
    cell.change("predictions.parquet", lambda table: table.sample(frac=1, random_state=1))
    assert cell.wrong("predictions.parquet") == []


@pytest.mark.parametrize("metric", METRICS)
def test_another_test_score_in_mlflow_is_named_with_both(cell: Recorded, metric: str) -> None:
    right = cell.known.metrics[f"test_{metric}"]
    changed = with_metric(cell, f"test_{metric}", right * (1 + 1e-8))
    said = [f"gives test_{metric} {right!r}, and MLflow has {right * (1 + 1e-8)!r}"]
    assert changed.wrong("predictions.parquet") == said
    assert changed.wrong("outcome.json") == said


def test_a_run_that_recorded_fewer_scores_is_judged_by_those(cell: Recorded) -> None:
    first = {"auroc", "auprc", "accuracy", "balanced_accuracy", "f1_macro", "nll"}
    metrics = cell.known.metrics
    older = {name: metrics[name] for name in metrics if name.removeprefix("test_") in first or name[:5] != "test_"}
    assert len(older) < len(metrics)
    assert replace(cell, known=replace(cell.known, metrics=older)).wrong("predictions.parquet") == []


def test_a_score_that_the_predictions_do_not_give_is_named(cell: Recorded) -> None:
    said = ["gives no test_dice, and MLflow has nan"]
    assert with_metric(cell, "test_dice", float("nan")).wrong("predictions.parquet") == said


def test_a_score_that_mlflow_has_not_is_named(cell: Recorded) -> None:
    metrics = {name: value for name, value in cell.known.metrics.items() if name != "test_kappa"}
    (line,) = replace(cell, known=replace(cell.known, metrics=metrics)).wrong("outcome.json")
    assert line.startswith("gives test_kappa ")
    assert line.endswith(", and MLflow has no such number")


@pytest.fixture(scope="module")
def undefined(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A finished cell whose validation and test parts have images of one class alone."""
    site = make_site(tmp_path_factory.mktemp("undefined"))
    store.initialise(site, "study")
    table = recorded.predictions(CELL).assign(label=2)
    parts = {part: score(rows, "multiclass", by_class=True) for part, rows in table.groupby("part")}
    done = tuple(replace(epoch, scores=parts["val"]) for epoch in recorded.epochs(0.1, 0.2))
    known = {"done": done, "test_scores": parts["test"], "predictions": table}
    return read(site, recorded.record(site, "study", CELL, **known))


@pytest.mark.parametrize("name", ["predictions.parquet", "epochs.parquet", "outcome.json"])
def test_an_undefined_score_is_recorded_and_no_contradiction(undefined: Recorded, name: str) -> None:
    assert math.isnan(undefined.known.metrics["test_auroc_class_2"])
    assert [math.isnan(value) for _, value in undefined.known.curves["val_auroc"]] == [True, True]
    assert undefined.wrong(name) == []


@pytest.mark.parametrize("name", ["predictions.parquet", "outcome.json"])
def test_a_number_for_an_undefined_score_is_named(undefined: Recorded, name: str) -> None:
    assert with_metric(undefined, "test_auroc", 0.5).wrong(name) == ["gives test_auroc nan, and MLflow has 0.5"]


def test_a_curve_with_a_number_for_an_undefined_score_is_named(undefined: Recorded) -> None:
    curves = {**undefined.known.curves, "val_auroc": [(1, float("nan")), (2, 0.5)]}
    changed = replace(undefined, known=replace(undefined.known, curves=curves))
    assert changed.wrong("epochs.parquet") == ["has another val_auroc than MLflow's curve"]


@pytest.mark.parametrize("value", [1.0, -1e300, float("inf"), float("nan")])
@pytest.mark.parametrize("metric", ["best_val_auroc", "best_val_nll", "best_epoch", "epochs_run"])
def test_another_number_of_the_cell_contradicts_its_epochs(cell: Recorded, metric: str, value: float) -> None:
    changed = with_metric(cell, metric, value)
    assert changed.wrong("epochs.parquet")
    assert changed.wrong("outcome.json")


def test_the_last_bit_of_an_epoch_contradicts_the_curve(cell: Recorded) -> None:
    cell.change("epochs.parquet", lambda table: table.assign(train_loss=np.nextafter(table["train_loss"], 2)))
    assert cell.wrong("epochs.parquet") == ["has another train_loss than MLflow's curve"]


def test_a_lost_epoch_is_named(cell: Recorded) -> None:
    cell.change("epochs.parquet", lambda table: table.iloc[1:])
    assert cell.wrong("epochs.parquet") == ["has 1 epochs, which are not 1 to 2"]


def test_a_number_that_mlflow_has_twice_is_named(cell: Recorded) -> None:
    twice = {**cell.known.curves, "test_nll": [*cell.known.curves["test_nll"], (0, 1.0)]}
    changed = replace(cell, known=replace(cell.known, curves=twice))
    assert changed.wrong("outcome.json") == ["is of a cell that has 2 values of test_nll in MLflow"]


@pytest.mark.parametrize("tag", [store.LR_FOUND, store.FINGERPRINT, store.SECONDS, store.EPOCHS, "sweeper.commit"])
def test_another_tag_in_mlflow_is_named(cell: Recorded, tag: str) -> None:
    changed = replace(cell, known=replace(cell.known, tags={**cell.known.tags, tag: "7"}))
    assert changed.wrong("outcome.json") == [f"has {tag} {cell.known.tags[tag]}, and MLflow has 7"]


def test_the_outcome_of_another_cell_is_named(cell: Recorded) -> None:
    path = cell.folder / "outcome.json"
    path.write_text(path.read_text().replace('\\"seed\\": 3', '\\"seed\\": 4'))
    assert Outcome.from_json(path.read_text()).cell == OTHER
    assert cell.wrong("outcome.json") == [f"is of cell {OTHER.key}, not of {CELL.key}"]


def test_a_record_that_is_no_cell_cannot_be_read() -> None:
    (line,) = cell_contradictions("the tag", lambda: make_cell(dataset="digits", model="m", colour=1), CELL.key)
    assert line == "the tag cannot be read: 'colour'"


def test_a_probe_without_rows_is_named(tmp_path: Path) -> None:
    pd.DataFrame({"value": []}).to_parquet(tmp_path / "rows.parquet")
    assert unreadable_rows(tmp_path / "rows.parquet") == [f"{tmp_path / 'rows.parquet'} has no rows"]
