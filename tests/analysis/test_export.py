"""Exported files against the frames that they are of."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import recording
from pandas.testing import assert_frame_equal
from recording import EMPTY, MIXED, STUDY

from analysis import export
from sweeper.site import Site


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return recording.recorded(tmp_path_factory.getbasetemp() / "recorded")


def test_parquet_gives_back_the_frame_with_its_types(recorded: Site, tmp_path: Path) -> None:
    export.export([STUDY], tmp_path, recorded)
    for kind, of in export.KINDS.items():
        assert_frame_equal(pd.read_parquet(tmp_path / f"{kind}.parquet"), of(STUDY, recorded))


def test_csv_keeps_every_digit(recorded: Site, tmp_path: Path) -> None:
    export.export([STUDY, MIXED], tmp_path, recorded, kinds=["runs"], formats=["csv"])
    read = pd.read_csv(tmp_path / "runs.csv", float_precision="round_trip")
    wanted = export.KINDS["runs"]([STUDY, MIXED], recorded)
    assert read["test_auroc"].tolist() == wanted["test_auroc"].tolist()
    assert read["key"].tolist() == wanted["key"].tolist()


def test_a_study_without_finished_cells_gives_files_without_rows(recorded: Site, tmp_path: Path) -> None:
    export.export([EMPTY], tmp_path, recorded, formats=["parquet"])
    assert [len(pd.read_parquet(path)) for path in sorted(tmp_path.iterdir())] == [0, 0, 0, 0]


def test_the_command_names_what_it_wrote(recorded: Site, tmp_path: Path) -> None:
    known = {**os.environ, "SWEEPER_STORAGE": str(recorded.storage), "MLFLOW_TRACKING_URI": ""}
    command = [sys.executable, "-m", "analysis.frames", STUDY, MIXED, str(tmp_path / "out"), "--formats", "parquet"]
    told = subprocess.run(
        command, env=known, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.split() == [str(tmp_path / "out" / f"{kind}.parquet") for kind in export.KINDS]
    assert all(Path(line).is_file() for line in told.stdout.split())


def test_an_unknown_study_is_an_error_of_one_line_and_writes_nothing(
    recorded: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SWEEPER_STORAGE", str(recorded.storage))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert export.main(["transfre", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert told.startswith("there is no study 'transfre'")
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()
