"""A study's name belongs to its search space: what goes on without a question, and what is asked."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import environment_of, make_site
from recorded import record

from sweeper import store
from sweeper.cell import Cell, make_cell
from sweeper.grid import StudyError, Sweep
from sweeper.owner import claim, refuse_clash
from sweeper.plan import Plan, plan
from sweeper.site import Site

CELL = make_cell(dataset="digits", model="cbr_mini", lr=1e-3, size=8)
CELLS = [CELL.replace(seed=seed) for seed in range(3)]
OTHERS = [CELL.replace(depth=1, seed=seed) for seed in range(3)]
ROOT = Path(__file__).parents[1]


@pytest.fixture
def study(prepared: Site, request: pytest.FixtureRequest) -> str:
    """A study of this test's own that /home/ann/mine.py has begun."""
    name = request.node.name
    store.initialise(prepared, name)
    claim(left(prepared, name, CELLS), "/home/ann/mine.py", prepared)
    return name


def left(site: Site, name: str, cells: list[Cell]) -> Plan:
    return plan(Sweep(name=name, cells=cells), site)


def test_a_name_that_nobody_has_used_is_anybodys(prepared: Site) -> None:
    refuse_clash(left(prepared, "never", CELLS), "/home/bob/his.py", prepared)


def test_the_same_file_goes_on_whatever_its_cells_are(prepared: Site, study: str) -> None:
    refuse_clash(left(prepared, study, OTHERS), "/home/ann/mine.py", prepared)


def test_another_file_that_declares_a_cell_of_the_study_goes_on(prepared: Site, study: str) -> None:
    refuse_clash(left(prepared, study, [*OTHERS, CELLS[1]]), "/home/bob/his.py", prepared)


def test_another_file_with_other_cells_is_asked_whose_the_study_is(prepared: Site, study: str) -> None:
    with pytest.raises(StudyError) as asked:
        claim(left(prepared, study, OTHERS), "/home/bob/his.py", prepared)
    (said,) = str(asked.value).splitlines()
    assert said.startswith(f"study '{study}' was begun by ")
    assert " UTC from /home/ann/mine.py, and this file declares none of its cells" in said
    assert "--join" in said
    assert "name this sweep anew" in said


def test_the_same_path_on_another_machine_is_another_file(
    prepared: Site, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    with pytest.raises(StudyError, match="--join"):
        refuse_clash(left(prepared, study, OTHERS), "/home/ann/mine.py", prepared)


def test_another_users_file_is_another_one(prepared: Site, study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "bob")
    with pytest.raises(StudyError, match="--join"):
        refuse_clash(left(prepared, study, OTHERS), "/home/ann/mine.py", prepared)


def test_a_cell_that_was_recorded_is_known_though_the_file_has_changed_since(prepared: Site, study: str) -> None:
    record(prepared, study, CELLS[0])
    claim(left(prepared, study, OTHERS), "/home/ann/mine.py", prepared)
    refuse_clash(left(prepared, study, [CELLS[0]]), "/home/bob/his.py", prepared)
    with pytest.raises(StudyError, match="--join"):
        refuse_clash(left(prepared, study, [CELLS[1]]), "/home/bob/his.py", prepared)


def test_who_joins_is_not_asked_again(prepared: Site, study: str) -> None:
    claim(left(prepared, study, OTHERS), "/home/bob/his.py", prepared, join=True)
    claim(left(prepared, study, OTHERS), "/home/bob/his.py", prepared)
    refuse_clash(left(prepared, study, CELLS), "/home/ann/mine.py", prepared)  # it is still hers


def test_two_storage_folders_never_keep_one_study(prepared: Site, study: str, tmp_path: Path) -> None:
    """Even of one file: leases lie in the storage folder, so that neither would know of the other."""
    elsewhere = replace(prepared, storage=tmp_path / "elsewhere")
    mine = left(prepared, study, CELLS)
    with pytest.raises(StudyError, match=r"set SWEEPER_STORAGE to that folder, or, if .* add --join") as asked:
        refuse_clash(mine, "/home/ann/mine.py", elsewhere)
    assert str(prepared.storage) in str(asked.value)
    claim(mine, "/home/ann/mine.py", elsewhere, join=True)  # the old folder is gone, she says
    refuse_clash(mine, "/home/ann/mine.py", elsewhere)
    with pytest.raises(StudyError, match="set SWEEPER_STORAGE to that folder, or name this sweep anew"):
        refuse_clash(mine, "/home/ann/mine.py", prepared, join=True)  # it is not


def test_a_storage_folder_that_was_moved_is_the_same_one(prepared: Site, study: str, tmp_path: Path) -> None:
    moved = replace(prepared, storage=tmp_path / "moved")
    moved.study(study).parent.mkdir(parents=True)
    prepared.study(study).rename(moved.study(study))
    refuse_clash(left(prepared, study, CELLS), "/home/ann/mine.py", moved)


@pytest.mark.ray
def test_the_command_asks_with_one_sentence_and_ends_with_2(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    text = (
        "from sweeper import Sweep, grid\ncells = grid(dataset='digits', model='cbr_mini', lr=1e-3, size=8, fold=1)\n"
    )
    (tmp_path / "study.py").write_text(text + "sweep = Sweep(name='mine', cells=cells)\n")
    store.initialise(site, "mine")
    claim(left(site, "mine", OTHERS), "/home/ann/mine.py", site)
    command = [sys.executable, "-m", "sweeper.run", str(tmp_path / "study.py")]
    env = os.environ | environment_of(site)
    found = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert found.returncode == 2, found.stdout + found.stderr
    assert "study 'mine' was begun by" in found.stderr
    assert found.stderr.strip().splitlines()[1:] == found.stderr.strip().splitlines()[-1:]
