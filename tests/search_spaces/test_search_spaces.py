"""Every search space can be planned at once, and its small form is a study that runs."""

import os
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import environment_of, make_site

from analysis import frames
from sweeper import Transferability
from sweeper.cell import Cell
from sweeper.data import DATASETS
from sweeper.grid import load
from sweeper.site import Site

ROOT = Path(__file__).parents[2]
FILES = sorted(path.name for path in (ROOT / "search_spaces").glob("*.py"))
STUDIES = ["feature_reuse.py", "hidden_representations.py", "transfusion.py", "truncated_transfer.py"]
PLAN = """
import sys
from sweeper.run import main
code = main([*sys.argv[1:], "--plan"])
print(code, sorted({"torch", "ray", "mlflow", "timm", "optuna", "sklearn", "pandas"} & set(sys.modules)))
"""


def start(*arguments: str, site: Site) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment_of(site), capture_output=True, text=True)


def assert_planned(found: subprocess.CompletedProcess[str], name: str) -> None:
    """With its table, and with what is said of image sets that no test's data folder has: only the digits need none."""
    first, *_, last = found.stdout.splitlines()
    assert first.startswith("study"), found.stdout + found.stderr
    assert last == ("0 []" if name == "quickstart.py" else "1 []"), found.stdout + found.stderr
    assert ("was not found; looked for" in found.stderr) == (name != "quickstart.py")


@cache
def cells(name: str, sweep: int = 0) -> list[Cell]:
    return list(load(ROOT / "search_spaces" / name)[sweep].cells)


@cache
def rows(name: str, sweep: int = 0) -> list[dict[str, Any]]:
    return [cell.row() for cell in cells(name, sweep)]


def count(name: str, sweep: int = 0, **axes: Any) -> int:
    """How many cells of a study have these values."""
    return sum(all(row[axis] == value for axis, value in axes.items()) for row in rows(name, sweep))


@pytest.mark.parametrize("name", FILES)
def test_every_search_space_is_planned_without_what_takes_seconds_to_import(name: str, site: Site) -> None:
    assert_planned(start("-c", PLAN, f"search_spaces/{name}", site=site), name)


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_s_small_form_is_planned_likewise(name: str, site: Site) -> None:
    assert_planned(start("-c", PLAN, f"search_spaces/{name}", "--small", site=site), name)


@pytest.mark.parametrize("name", STUDIES)
def test_the_small_form_shares_no_study_with_the_full_one(name: str) -> None:
    full, small = (load(ROOT / "search_spaces" / name, small=small) for small in (False, True))
    assert not {sweep.name for sweep in full} & {sweep.name for sweep in small}


@pytest.mark.parametrize("name", STUDIES)
def test_the_small_form_needs_no_download(name: str) -> None:
    sources = {
        cell.weights.source.partition(":")[0]
        for sweep in load(ROOT / "search_spaces" / name, small=True)
        for cell in sweep.cells
    }
    assert sources <= {"random", "cell"}


@pytest.mark.parametrize("name", STUDIES)
def test_the_small_form_asks_what_the_full_one_asks(name: str) -> None:
    full, small = (load(ROOT / "search_spaces" / name, small=small) for small in (False, True))
    assert {probe for sweep in full for probe in sweep.probes} == {probe for sweep in small for probe in sweep.probes}


def test_the_full_grid_has_870_cells_a_target_and_scores_all_that_have_one_label_an_image() -> None:
    sweeps = load(ROOT / "search_spaces" / "full_grid.py")
    targets = Counter(cell.images.dataset for sweep in sweeps for cell in sweep.cells)
    assert (len(targets), set(targets.values())) == (10, {870})
    for sweep in sweeps:
        several = {DATASETS[cell.images.dataset].task == "multilabel" for cell in sweep.cells}
        assert several == {not any(isinstance(probe, Transferability) for probe in sweep.probes)}


def test_hidden_representations_has_the_study_s_25_cells_a_target() -> None:
    """175 fine-tuned networks on 7 targets: 2 sources x 2 ways and one start from scratch, on 5 folds."""
    assert len(cells("hidden_representations.py")) == 175
    assert set(Counter(cell.images.dataset for cell in cells("hidden_representations.py")).values()) == {175 // 7}
    assert count("hidden_representations.py", head_epochs=30) == 2 * count("hidden_representations.py", source="random")


def test_hidden_representations_mirrors_all_but_the_chest_x_rays() -> None:
    found = {cell.images.dataset for cell in cells("hidden_representations.py") if cell.images.augment == "keras"}
    assert set(Counter(cell.images.augment for cell in cells("hidden_representations.py"))) == {"keras", "keras_noflip"}
    assert found == {"ddti", "busi", "cbis_ddsm", "knee", "isic2018", "pcam_small"}


TARGETS = {
    "feature_reuse.py": {"aptos2019", "ddsm", "isic2019", "chexpert_u_zeros", "pcam"},
    "transfusion.py": {"aptos2019", "chexpert_five_u_zeros"},
    "truncated_transfer.py": {"bimcv", "ham10000"},
}


@pytest.mark.parametrize(("name", "targets"), TARGETS.items())
def test_a_study_has_its_own_targets(name: str, targets: set[str]) -> None:
    assert {cell.images.dataset for cell in cells(name)} == targets


@pytest.mark.parametrize("name", FILES)
def test_a_set_of_several_labels_has_its_own_loss(name: str) -> None:
    for sweep in load(ROOT / "search_spaces" / name):
        for cell in sweep.cells:
            assert (cell.recipe.loss == "bce") == (DATASETS[cell.images.dataset].task == "multilabel")


@pytest.mark.parametrize("name", STUDIES)
def test_the_small_form_names_sets_that_are_shared(name: str, shared_data: Path) -> None:
    named = {cell.images.dataset for sweep in load(ROOT / "search_spaces" / name, small=True) for cell in sweep.cells}
    assert all(len(DATASETS[each].index(shared_data)) for each in named)


def test_feature_reuse_draws_each_target_as_the_study_does() -> None:
    found = {(cell.images.dataset, cell.images.protocol, cell.images.fold) for cell in cells("feature_reuse.py")}
    assert found == {
        ("aptos2019", "random_70_15_15_images", 0),
        ("ddsm", "official_images", 0),
        ("isic2019", "random_80_10_10_images", 0),
        ("chexpert_u_zeros", "random_80_10_10", 0),
        ("pcam", "official_images", 0),
    }


def test_feature_reuse_has_three_starts_of_four_models_five_times() -> None:
    models = {"deit_small_patch16_224.fb_in1k", "swin_tiny_patch4_window7_224.ms_in1k"}
    models |= {"inception_v3.tv_in1k", "resnet50.tv_in1k"}
    for model in models:
        for target in TARGETS["feature_reuse.py"]:
            own: dict[str, Any] = dict(model=model, dataset=target)
            assert count("feature_reuse.py", source="random", depth=None, **own) == 5
            assert count("feature_reuse.py", source="imagenet", blocks=None, depth=None, **own) == 5
            assert count("feature_reuse.py", blocks=0, rest="stats", **own) == 5


def test_feature_reuse_transfers_up_to_each_of_the_study_s_layers() -> None:
    """ResNet-50: the first convolution without its norm layer, with it, then three of four stages."""
    found = {
        (cell.weights.blocks, cell.weights.norms)
        for cell in cells("feature_reuse.py")
        if cell.network.model == "resnet50.tv_in1k" and cell.weights.rest == "stats"
    }
    assert found == {(0, "copy"), (1, "reset"), (1, "copy"), (4, "copy"), (8, "copy"), (14, "copy")}


def test_truncated_transfer_begins_at_the_study_s_block_points() -> None:
    depths = {cell.network.depth for cell in cells("truncated_transfer.py")} - {None}
    assert depths == {4, 8, 14, 17}


@pytest.mark.parametrize(
    ("best", "around"),
    [(4, {1, 2, 3, 5, 6, 7}), (8, {5, 6, 7, 9, 10, 11, 12, 13}), (14, {9, 10, 11, 12, 13, 15, 16}), (17, {15, 16})],
)
def test_truncated_transfer_goes_on_between_the_neighbours_of_the_best_point(best: int, around: set[int]) -> None:
    blocks, layers = load(ROOT / "search_spaces" / "truncated_transfer.py")[:2]
    assert layers.choose is not None
    rows = [{"key": cell.key} | cell.row() | {"best_val_auprc": 0.5} for cell in blocks.cells]
    for row in rows:
        if row["depth"] == best and row["dataset"] == "bimcv":
            row["best_val_auprc"] = 0.6
    found = [cell for cell in layers.choose(rows) if cell.images.dataset == "bimcv" and cell.network.depth]
    assert {cell.network.depth for cell in found} == around
    assert {(cell.images.fold, cell.images.protocol) for cell in found} == {
        (fold, "files:BIMCV/noisy") for fold in (1, 2, 3)
    }


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("name", STUDIES)
def test_the_small_form_runs_to_its_end(name: str, tmp_path: Path, shared_data: Path) -> None:
    site = make_site(tmp_path, shared_data)
    found = start("-m", "sweeper.run", f"search_spaces/{name}", "--small", site=site)
    assert found.returncode == 0, found.stdout + found.stderr
    for sweep in load(ROOT / "search_spaces" / name, small=True):
        table = frames.runs(sweep.name, site)
        assert len(table) >= len(sweep.cells) > 0 or sweep.choose
        assert not table.empty
