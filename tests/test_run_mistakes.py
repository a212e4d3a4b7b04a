"""What the command answers to a mistake in the file or in the data, before anything runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import environment_of
from PIL import Image
from placed import ROOT

from sweeper.run import main
from sweeper.site import Site


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


@pytest.mark.parametrize(
    ("counts", "axes", "said"),
    [
        ({}, {}, "FileNotFoundError: data set 'folder:set' was not found; looked for "),
        ({"a": 10}, {}, "set holds a; it needs at least two class folders"),
        ({"a": 10, "b": 10}, {"dataset": ["folder:set", "busi"]}, "FileNotFoundError: data set 'busi' was not found"),
        ({"a": 10, "b": 10}, {"protocol": "files:cut"}, "FileNotFoundError: files:cut fold 1: there is no split of"),
    ],
)
def test_a_plan_says_of_images_that_cannot_be_read_what_the_run_says(
    tmp_path: Path,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    counts: dict[str, int],
    axes: dict,
    said: str,
) -> None:
    use(site, monkeypatch)
    write_images(site.data / "set", **counts)
    file = study(tmp_path, **axes)
    assert main([file, "--plan"]) == 1
    of_plan = capsys.readouterr()
    assert "searches" in of_plan.out
    assert not site.storage.exists()
    assert not site.cache.exists()
    assert main([file]) == 1
    assert said in (of_run := capsys.readouterr()).err
    assert of_plan.err == of_run.err


def test_a_plan_says_that_images_are_missing_which_a_probe_alone_shows(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    use(site, monkeypatch)
    file = Path(study(tmp_path, dataset="digits"))
    file.write_text(file.read_text().replace(")\n", ", probes=[Fid(to='busi')])\n"))
    assert main([str(file), "--plan"]) == 1
    assert capsys.readouterr().err.startswith("FileNotFoundError: data set 'busi' was not found")


def test_a_corrupt_image_is_named_with_its_path(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    use(site, monkeypatch)
    write_images(site.data / "set", a=10, b=10)
    (site.data / "set" / "a" / "3.png").write_bytes(b"not an image")
    assert main([study(tmp_path)]) == 1
    assert str(site.data / "set" / "a" / "3.png") in capsys.readouterr().err


def test_a_plan_of_twenty_thousand_cells_imports_no_torch_and_leaves_nothing_behind(tmp_path: Path, site: Site) -> None:
    write_images(site.data / "set", a=10, b=10)
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
    assert not site.cache.exists()
