"""The report of a recorded study, and its command."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import recording
from recording import EMPTY, MIXED, STUDY

from analysis import frames
from analysis.report import Report, main, report
from analysis.table import table
from sweeper.site import Site


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return recording.recorded(tmp_path_factory.getbasetemp() / "recorded")


@pytest.fixture(scope="module")
def made(recorded: Site, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report(STUDY, tmp_path_factory.mktemp("report") / "new", recorded)


@pytest.fixture
def at_site(recorded: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_STORAGE", str(recorded.storage))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_a_report_writes_table_cells_and_both_figures(made: Report) -> None:
    names = ["table.csv", "table.tex", "runs.parquet", "metrics.csv"]
    names += [f"{n}.{e}" for n in ("scores", "probes") for e in ("png", "pdf", "csv")]
    assert [path.name for path in made.files] == names
    assert sorted(path.name for path in made.files[0].parent.iterdir()) == sorted(names)


def test_a_study_without_probes_has_one_figure(recorded: Site, tmp_path: Path) -> None:
    assert not any(path.stem == "probes" for path in report(MIXED, tmp_path, recorded).files)


def test_the_files_hold_the_frame_and_the_table_to_the_last_bit(recorded: Site, tmp_path: Path) -> None:
    report(MIXED, tmp_path, recorded)
    runs = frames.runs(MIXED, recorded)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "runs.parquet"), runs)
    read = pd.read_csv(tmp_path / "table.csv", float_precision="round_trip")
    assert read["mean"].tolist() == table(runs)["mean"].tolist()


def test_every_score_of_a_cell_is_spelt_out(recorded: Site, tmp_path: Path) -> None:
    report(STUDY, tmp_path, recorded)
    found = pd.read_csv(tmp_path / "metrics.csv")
    scores = [name for name in frames.runs(STUDY, recorded) if name.startswith(("best_val_", "test_"))]
    assert found["column"].tolist() == scores
    assert found.drop(columns="higher").map(lambda text: bool(text.strip())).all(axis=None)


def test_the_same_record_gives_the_same_files(made: Report, recorded: Site, tmp_path: Path) -> None:
    again = report(STUDY, tmp_path, recorded)
    assert again.text == made.text
    assert [path.read_bytes() for path in again.files] == [path.read_bytes() for path in made.files]


def test_the_text_says_what_is_the_same_for_all_rows(made: Report) -> None:
    caption, header, *rows = made.text.splitlines()
    assert caption == "breastmnist, resnet10t, mean ± sd (n) over seeds; lr_found is the geometric mean"
    assert header.split() == ["depth", "fraction", "source", "test_auroc", "lr_found"]
    assert len(rows) == 8


def test_a_study_without_finished_cells_has_no_report(recorded: Site, tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="no cell of study 'empty' is finished"):
        report(EMPTY, tmp_path, recorded)


@pytest.mark.usefixtures("at_site")
def test_the_command_prints_the_table_and_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([MIXED, str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "test_accuracy" in said
    assert str(tmp_path / "scores.png") in said


@pytest.mark.usefixtures("at_site")
def test_an_unknown_study_is_one_sentence_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transfre"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("there is no study 'transfre' at sqlite:")
    assert said.err.count("\n") == 1


def test_a_whole_report_imports_neither_torch_nor_ray_nor_pyplot(recorded: Site, tmp_path: Path) -> None:
    code = (
        "import sys; from analysis.report import main; code = main(sys.argv[1:]); "
        "sys.exit(code or bool({'torch', 'ray', 'timm', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    environment = os.environ | {"SWEEPER_STORAGE": str(recorded.storage), "MLFLOW_TRACKING_URI": recorded.tracking}
    command = [sys.executable, "-c", code, MIXED, str(tmp_path)]
    repository = Path(__file__).parents[2]
    assert subprocess.run(command, cwd=repository, env=environment, check=False).returncode == 0
