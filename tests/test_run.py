"""The command, as a person uses it: real Ray, MLflow and Optuna on real images; nothing is replaced."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from conftest import environment_of, make_site
from PIL import Image

from analysis import frames
from sweeper import ledger, store
from sweeper.run import main
from sweeper.site import Site

ROOT = Path(__file__).parents[1]
STUDY = """
from sweeper import L2, Cka, Knn, LrSearch, Sweep, grid
common = dict(model="cbr_mini", fold=1, size=8)
first = Sweep(name="first", cells=grid(dataset="digits_0_4", lr=3e-3, epochs=2, **common), register="digits")
second = Sweep(
    name="second",
    cells=grid(dataset="digits_5_9", source=[first.cells[0], "random"], depth=[1, 2], seed=[0, 1], fraction=0.3,
               lr=LrSearch(low=1e-3, high=3e-2, trials=3, epochs=1), epochs=3, **common),
    probes=[Cka(against="start"), Knn(k=5), L2(against="start")],
)
sweeps = [first, second]
"""
BROKEN = """
from sweeper import LrSearch, Sweep, grid
common = dict(dataset="digits_0_4", model="cbr_mini", depth=1, fold=1, size=8, fraction=0.2, epochs=2, optimizer="sgd")
good = grid(lr=1e-2, **common)
nan = grid(lr=1e30, **common)
search = grid(lr=LrSearch(low=1e29, high=1e30, trials=2), **common)
heir = grid(source=nan[0], lr=1e-2, **common)
sweep = Sweep(name="broken", cells=good + nan + search + heir)
"""


STAGES = """
from sweeper import Sweep, best_rows, grid
common = dict(dataset="digits_0_4", model="cbr_mini", fold=1, size=8, fraction=0.2, epochs=2)
blocks = Sweep(name="blocks", cells=grid(depth=[1, 2], seed=range(2), lr=3e-3, **common))
def fractions(rows):
    (best,) = best_rows(rows, by=["dataset"], score="best_val_accuracy")
    return grid(depth=best["depth"], lr=best["lr_found"] / 10, **common)
sweeps = [blocks, Sweep(name="after", after=blocks, choose=fractions)]
"""
FAILING = STAGES.replace("lr=3e-3", "lr=1e30, optimizer='sgd'")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder with a study file and a site of its own."""

    site: Site
    file: Path

    def start(self, *more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "sweeper.run", str(self.file), *more],
            cwd=ROOT,
            env=os.environ | environment_of(self.site),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *more: str) -> tuple[int, str, str]:
        process = self.start(*more)
        out, err = process.communicate(timeout=500)
        return process.returncode, out, err


def place(folder: Path, text: str, data: Path | None = None) -> Place:
    (folder / "study.py").write_text(text)
    return Place(site=make_site(folder, data), file=folder / "study.py")


def numbers(site: Site) -> pd.DataFrame:
    """What must be equal however a study was interrupted."""
    found = frames.runs("second", site).set_index("key")
    return found.drop(columns=["run_id", "total_seconds", "commit"], errors="ignore").sort_index()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, str]:
    here = place(tmp_path_factory.mktemp("study"), STUDY)
    code, out, err = here.run()
    assert code == 0, out + err
    return here, out


@pytest.mark.ray
def test_a_study_ends_with_one_finished_run_and_one_row_per_cell(finished: tuple[Place, str]) -> None:
    site = finished[0].site
    table = frames.runs("second", site)
    assert len(table) == len(store.runs(site, "second")) == table["key"].nunique() == 8
    assert table["test_accuracy"].between(0, 1).all()
    assert len(frames.epochs("second", site)) == 8 * 3


@pytest.mark.ray
def test_the_seeds_of_a_setting_share_the_rate_that_was_found(finished: tuple[Place, str]) -> None:
    table = frames.runs("second", finished[0].site)
    rates = table.groupby(["source", "depth"], observed=True)["lr_found"]
    assert (rates.nunique() == 1).all()
    assert table["lr_found"].between(1e-3, 3e-2).all()


@pytest.mark.ray
def test_every_cell_has_its_probes_at_every_block(finished: tuple[Place, str]) -> None:
    site = finished[0].site
    rows = frames.probes("second", site)
    for key, depth in frames.runs("second", site)[["key", "depth"]].itertuples(index=False):
        own = rows[rows["key"] == key]
        assert set(own["probe"]) == {"cka", "knn", "l2"}
        assert set(own["block"]) == set(range(1, depth + 1))
    assert rows["value"].notna().all()


@pytest.mark.ray
def test_the_source_is_registered(finished: tuple[Place, str]) -> None:
    site = finished[0].site
    (key,) = frames.runs("first", site)["key"]
    assert store.registered_path("digits", "1", site) == store.state_path(key, "best", site)


@pytest.mark.ray
def test_the_end_shows_the_table_its_files_and_the_way_on(finished: tuple[Place, str]) -> None:
    here, out = finished
    assert "mlflow ui --backend-store-uri" in out
    assert "Ray dashboard:" in out
    written = [Path(line.strip()) for line in out.splitlines() if line.strip().startswith(str(here.site.storage))]
    assert {path.name for path in written} >= {"table.csv", "scores.png"}
    assert all(path.stat().st_size for path in written)


@pytest.mark.ray
def test_the_second_time_nothing_is_run(finished: tuple[Place, str]) -> None:
    here, _ = finished
    before = numbers(here.site)
    runs = {run.info.run_id for run in store.runs(here.site, "second")}
    code, out, err = here.run()
    assert code == 0, err
    assert "Ray dashboard" not in out
    assert {run.info.run_id for run in store.runs(here.site, "second")} == runs
    pd.testing.assert_frame_equal(numbers(here.site), before)


@pytest.mark.ray
@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_study_that_was_stopped_ends_with_the_same_table(
    finished: tuple[Place, str], tmp_path: Path, way: signal.Signals
) -> None:
    here = place(tmp_path, STUDY)
    process = here.start()
    deadline = time.monotonic() + 300
    while len(ledger.read(here.site, "second").finished) < 2 and process.poll() is None:
        assert time.monotonic() < deadline, "no cell was finished"
        time.sleep(0.05)
    process.send_signal(way)
    out, err = process.communicate(timeout=120)
    if way != signal.SIGKILL:
        assert process.returncode == 130, out + err
        assert "go on with: python -m sweeper.run" in err
    assert len(ledger.read(here.site, "second").finished) < 8
    code, out, err = here.run()
    assert code == 0, out + err
    pd.testing.assert_frame_equal(numbers(here.site), numbers(finished[0].site), check_exact=True)


@pytest.mark.ray
def test_failed_cells_are_named_and_the_others_go_on(tmp_path: Path) -> None:
    here = place(tmp_path, BROKEN)
    code, out, err = here.run()
    assert code == 3, out + err
    assert len(frames.runs("broken", here.site)) == 1
    assert "3 cells failed" in err
    assert re.search(r"DivergedError: the training loss became .* in epoch 1 at rate 1e\+30", err)
    assert "every one of the 2 learning rates tried from 1e+29 to 1e+30 diverged" in err
    assert re.search(r"its source, cell [0-9a-f]{16}, failed", err)


@pytest.mark.ray
def test_a_second_stage_runs_on_what_the_first_one_chose(tmp_path: Path) -> None:
    here = place(tmp_path, STAGES)
    code, out, err = here.run()
    assert code == 0, out + err
    first, second = frames.runs("blocks", here.site), frames.runs("after", here.site)
    best = first.groupby("depth")["best_val_accuracy"].mean().idxmax()
    assert second["depth"].tolist() == [best]
    assert second["lr_found"].tolist() == [3e-3 / 10]
    code, again, err = here.run()
    assert code == 0, err
    assert "Ray dashboard" not in again


@pytest.mark.ray
def test_a_second_stage_does_not_start_after_a_first_one_that_failed(tmp_path: Path) -> None:
    here = place(tmp_path, FAILING)
    code, out, err = here.run()
    assert code == 3, out + err
    assert "after was not run: its cells are chosen when all of 'blocks' are finished: 4 of 4 are missing." in err
    code, out, err = here.run()
    assert code == 3, out + err
    assert "Ray dashboard" not in out
    assert "after was not run" in err


def use(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment_of(site).items():
        monkeypatch.setenv(name, value)


def study(folder: Path, **axes: object) -> str:
    values = {"dataset": "folder:set", "model": "cbr_mini", "size": 8, "fold": 1} | axes
    text = ", ".join(f"{axis}={value!r}" for axis, value in values.items())
    (folder / "study.py").write_text(f"from sweeper import *\nsweep = Sweep(name='s', cells=grid({text}))\n")
    return str(folder / "study.py")


def write_images(folder: Path, **counts: int) -> Path:
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.new("L", (9, 9), number * 5).save(folder / name / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"dataset": "busy"}, "dataset 'busy' is unknown; did you mean busi"),
        ({"model": "resnet81"}, "model 'resnet81' is unknown; did you mean resnet18"),
        ({"model": "resnet18", "depth": 9}, "depth 9 of 'resnet18' is impossible"),
        ({"depth": 2, "frozen": 3}, "frozen=3 is impossible: only 2 blocks of 'cbr_mini' are kept"),
        ({"model": "cbr_small"}, "size 8 is too small for 'cbr_small'"),
        ({"source": "imagnet"}, "source 'imagnet' is unknown; did you mean imagenet"),
        ({"source": "imagenet"}, "source 'imagenet' has no weights for 'cbr_mini'"),
        ({"augment": "flop"}, "augment 'flop' is unknown; did you mean flip"),
        ({"modle": "x"}, "axis 'modle' is unknown; did you mean model?"),
        ({"pixels": "cafe"}, "pixels 'cafe' is unknown; did you mean caffe"),
        ({"monitor": "aurok"}, "monitor 'aurok' is unknown; did you mean auroc"),
        ({"head_monitor": "acuracy"}, "head_monitor 'acuracy' is unknown; did you mean accuracy"),
        ({"frozen": 4, "head_epochs": 2}, "head_epochs=2 with frozen=4, all blocks of 'cbr_mini'"),
        ({"dataset": "busi", "class_weights": ((1.0, 2.0, 3.0),)}, "are 3 numbers for the 2 classes of 'busi'"),
        ({"slim": 2, "model": "alexnet", "size": 224}, "only ResNets and DenseNets have slim variants"),
        ({"slim": 1, "model": "resnet18", "source": "imagenet", "blocks": 2}, "blocks=2 with slim=1"),
        ({"width": 8, "model": "resnet18"}, "width 8 of 'resnet18' is impossible"),
    ],
)
def test_a_mistake_in_the_file_is_answered_before_anything_runs(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, axes: dict, said: str
) -> None:
    use(site, monkeypatch)
    assert main([study(tmp_path, **axes)]) == 2
    assert said in capsys.readouterr().err


def test_a_source_cell_that_never_ran_is_one_sentence(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    use(site, monkeypatch)
    site.storage.mkdir()
    assert main([study(tmp_path, dataset="digits", source="cell:0123456789abcdef"), "--plan"]) == 1
    said = capsys.readouterr().err
    assert "LookupError: cell 0123456789abcdef has no finished run" in said
    assert "Traceback" not in said


def test_a_source_cell_serves_the_same_depth_at_another_grain(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    use(site, monkeypatch)
    (tmp_path / "study.py").write_text(
        "from sweeper import *\ncommon = dict(dataset='digits', model='resnet18', fold=1, size=8)\n"
        "source = grid(depth=2, **common)\n"
        "sweep = Sweep(name='s', cells=source + grid(source=source[0], depth=DEPTH, grain='layer', **common))\n"
    )
    text = (tmp_path / "study.py").read_text()
    for depth, code in ((5, 0), (6, 2)):  # the stem, and two residual blocks in each of two stages
        (tmp_path / "study.py").write_text(text.replace("DEPTH", str(depth)))
        assert main([str(tmp_path / "study.py"), "--plan"]) == code, capsys.readouterr().err


def test_a_source_cell_must_have_the_same_model_and_be_deep_enough(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    use(site, monkeypatch)
    (tmp_path / "study.py").write_text(
        "from sweeper import *\ncommon = dict(dataset='digits', fold=1, size=8)\n"
        "source = grid(model='cbr_mini', depth=2, **common)\n"
        "cells = grid(model=['cbr_mini', 'resnet18'], source=source[0], **common)\n"
        "sweep = Sweep(name='s', cells=source + cells)\n"
    )
    assert main([str(tmp_path / "study.py")]) == 2
    said = capsys.readouterr().err
    assert "a cell with model 'resnet18' cannot start from cell" in said
    assert "a cell of depth None cannot start from cell" in said


@pytest.mark.parametrize(
    ("counts", "fold", "said"),
    [
        ({}, 1, "data set 'folder:set' was not found"),
        ({"a": 10, "b": 3}, 1, "val has images of class 'a' alone"),
        ({"a": 10, "b": 10}, 0, "use fold=1..5"),
    ],
)
def test_bad_data_is_named_before_anything_runs(
    tmp_path: Path,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    counts: dict[str, int],
    fold: int,
    said: str,
) -> None:
    use(site, monkeypatch)
    write_images(site.data / "set", **counts)
    codes = {main([study(tmp_path, fold=each)]) for each in ({fold} if fold == 0 else range(1, 6))}
    assert 1 in codes
    assert said in capsys.readouterr().err


def test_a_corrupt_image_is_named_with_its_path(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    use(site, monkeypatch)
    write_images(site.data / "set", a=10, b=10)
    (site.data / "set" / "a" / "3.png").write_bytes(b"not an image")
    assert main([study(tmp_path)]) == 1
    assert str(site.data / "set" / "a" / "3.png") in capsys.readouterr().err


def test_a_plan_of_twenty_thousand_cells_imports_no_torch_and_leaves_nothing_behind(tmp_path: Path, site: Site) -> None:
    file = study(tmp_path, seed=range(1000), depth=[1, 2, 3, 4], fold=range(1, 6))
    code = (
        "import sys; from sweeper.run import main; code = main([sys.argv[1], '--plan']); "
        "print(code, sorted({'torch', 'ray', 'mlflow', 'timm', 'optuna', 'sklearn'} & set(sys.modules)))"
    )
    env = os.environ | environment_of(site)
    found = subprocess.run([sys.executable, "-c", code, file], cwd=ROOT, env=env, capture_output=True, text=True)
    assert found.stdout.splitlines()[-1] == "0 []", found
    assert "20000" in found.stdout
    assert not site.storage.exists()
