"""A study on images with any number of labels, as a person runs it: the command, the record, the check, the plan."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import environment_of, make_site
from fakes import visible

from analysis import frames
from sweeper import check, store
from sweeper.cell import make_cell
from sweeper.problems import problems
from sweeper.site import Site

ROOT = Path(__file__).parents[1]
STUDY = """
from sweeper import L2, Cka, Knn, Sweep, grid
cells = grid(dataset="chestmnist", model="cbr_mini", depth=2, size=28, loss="bce", lr=1e-2, epochs=2, seed=[0, 1])
sweep = Sweep(name="several", cells=cells, probes=[Cka(), Knn(k=5), L2()])
"""


def command(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", *arguments]
    return subprocess.run(
        call, cwd=ROOT, env=os.environ | environment_of(site), capture_output=True, text=True, timeout=500
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("several")
    site = make_site(folder)
    visible.write(site.data)
    (folder / "study.py").write_text(STUDY)
    done = command(site, "sweeper.run", str(folder / "study.py"))
    assert done.returncode == 0, done.stdout + done.stderr
    return site


@pytest.mark.ray
def test_two_metrics_and_those_of_each_class_are_recorded(finished: Site) -> None:
    table = frames.runs("several", finished)
    assert len(table) == 2
    recorded = ["test_auroc", "test_auprc", "best_val_auroc", "test_auroc_class_13"]
    assert table[recorded].notna().all(axis=None)
    assert (table["test_auroc"] > 0.5).all()
    assert "test_kappa" not in table


@pytest.mark.ray
def test_the_record_is_sound_when_all_of_it_is_read(finished: Site) -> None:
    done = command(finished, "sweeper.check", "several", "--read-data")
    assert (done.returncode, done.stdout) == (0, "2 cells checked, 0 damaged\n"), done.stderr


@pytest.mark.ray
def test_k_nn_is_scored_at_every_block(finished: Site) -> None:
    rows = frames.probes("several", finished)
    found = rows[(rows["probe"] == "knn") & (rows["metric"] == "auroc")]
    assert sorted(found["block"]) == [1, 1, 2, 2]
    assert found["value"].between(0.5, 1).all()


@pytest.mark.ray
def test_predictions_have_a_column_a_label(finished: Site) -> None:
    table = frames.predictions("several", finished)
    assert {f"{kind}_{number}" for kind in ("label", "score") for number in range(14)} <= set(table.columns)
    assert len(table) == 2 * (60 + 80)


@pytest.mark.ray
def test_a_label_that_was_changed_is_found(finished: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment_of(finished).items():
        monkeypatch.setenv(name, value)
    run, *_ = store.runs(finished, "several")
    folder = store.local_folder(finished, run.info.run_id)
    assert folder
    path = folder / "predictions.parquet"
    before = path.read_bytes()
    table = pd.read_parquet(path)
    table.assign(label_5=1 - table["label_5"]).to_parquet(path)
    (folder / "manifest.json").rename(folder / "kept.json")  # which would tell first that the bytes are others
    said = [line for each in check.check(finished, "several", read=True) for line in each.lines]
    (folder / "kept.json").rename(folder / "manifest.json")
    path.write_bytes(before)
    assert any(f"{path} gives test_auroc_class_5 " in line for line in said)


@pytest.mark.parametrize("name", ["chestmnist", "nih_chestxray14", "chexpert_u_zeros", "chexpert_low_u_ignore"])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_a_loss_of_one_label_an_image_is_refused_in_the_plan(name: str, loss: str) -> None:
    cell = make_cell(dataset=name, model="resnet18", loss=loss)
    assert list(problems(cell)) == [f"loss '{loss}' is not defined for '{name}', a multilabel task; give loss='bce'"]


def test_a_metric_of_one_label_an_image_is_refused_in_the_plan() -> None:
    cell = make_cell(dataset="chestmnist", model="resnet18", loss="bce", monitor="kappa")
    assert list(problems(cell)) == ["monitor 'kappa' is not defined for 'chestmnist', a multilabel task"]


def test_as_many_class_weights_as_classes_are_needed() -> None:
    cell = make_cell(dataset="chestmnist", model="resnet18", loss="bce", class_weights=(1.0, 2.0))
    assert ["are 2 numbers for the 14 classes of 'chestmnist'" in each for each in problems(cell)] == [True]


@pytest.mark.parametrize("loss", ["bce", "cross_entropy", "focal"])
def test_one_observation_alone_takes_any_loss(loss: str) -> None:
    assert list(problems(make_cell(dataset="chexpert_edema", model="resnet18", loss=loss))) == []
