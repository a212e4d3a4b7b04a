"""What a figure says of itself: the same in all of its files, read back by other programs' readers."""

import json
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from analysis.explain import explain, main
from analysis.plates import Plate, origin, save

RUNS = pd.DataFrame(
    {
        "study": ["s", "s"],
        "key": ["aa", "bb"],
        "run_id": ["run1", "run2"],
        "commit": ["abc", "def"],
        "fingerprint": ["f1", "f1"],
        "dataset": ["busi", "busi"],
        "protocol": ["sweeper", "sweeper"],
        "fold": [1, 2],
        "fraction": [1.0, 0.1],
    }
)
COMMAND = 'python -m analysis.transfusion s "an out"'


@pytest.fixture
def plate() -> Plate:
    figure = Figure()
    figure.subplots().plot([1, 2])
    data = pd.DataFrame({"x": [0.1 + 0.2]})
    return Plate(name="lines", shows="ü (a) \\ b", data=data, keys=frozenset({"aa", "bb"}), figure=figure)


@pytest.fixture
def folder(plate: Plate, tmp_path: Path) -> Path:
    save(plate, tmp_path, origin(plate, RUNS, COMMAND))
    return tmp_path


@pytest.mark.parametrize("ending", ["png", "pdf", "csv", "json"])
def test_every_file_of_a_figure_says_what_it_is_of(folder: Path, ending: str) -> None:
    found = explain(folder / f"lines.{ending}")
    assert found["command"] == COMMAND
    assert found["shows"] == "ü (a) \\ b"
    cells = [(each["key"], each["run_id"], each["commit"], each["split"]) for each in found["cells"]]
    assert cells == [("aa", "run1", "abc", "sweeper, fold 1"), ("bb", "run2", "def", "sweeper, fold 2, 0.1 of it")]


def test_a_picture_alone_is_enough(folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / "elsewhere"
    alone.mkdir()
    for ending in ("png", "pdf"):
        (folder / f"lines.{ending}").rename(alone / f"lines.{ending}")
        assert explain(alone / f"lines.{ending}")["commits"] == ["abc", "def"]


def test_the_json_lies_where_any_reader_of_png_finds_it(folder: Path) -> None:
    with Image.open(folder / "lines.png") as image:
        assert json.loads(image.text["sweeper"])["figure"] == "lines"  # type: ignore[attr-defined]


def test_the_numbers_keep_every_digit(folder: Path) -> None:
    assert pd.read_csv(folder / "lines.csv", float_precision="round_trip")["x"].tolist() == [0.1 + 0.2]


def test_the_same_plate_gives_the_same_bytes(plate: Plate, folder: Path, tmp_path: Path) -> None:
    again = save(plate, tmp_path / "again", origin(plate, RUNS, COMMAND))
    assert [path.read_bytes() for path in again] == [(folder / path.name).read_bytes() for path in again]


def test_a_cell_that_is_in_no_run_cannot_be_traced(plate: Plate) -> None:
    with pytest.raises(ValueError, match="is of cell bb, which the runs do not hold"):
        origin(plate, RUNS[:1], COMMAND)


def test_a_figure_of_nothing_cannot_be_traced(plate: Plate) -> None:
    empty = Plate(name="none", shows="", data=plate.data)
    with pytest.raises(ValueError, match="names no cell and no table"):
        origin(empty, RUNS, COMMAND)


def test_the_command_prints_runs_commits_splits_and_what_makes_it_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder / "lines.png")]) == 0
    said = capsys.readouterr().out
    for part in (COMMAND, "abc, def", "busi: sweeper, fold 1 [f1]", "aa  run1  abc", "bb  run2  def"):
        assert part in said


@pytest.mark.parametrize("name", ["other.png", "other.json", "other.txt", "none.pdf"])
def test_a_file_that_is_no_figure_is_one_sentence_and_exit_code_1(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (2, 2)).save(tmp_path / "other.png")
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "other.txt").write_text("{}")
    assert main([str(tmp_path / name)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert name in said.err
