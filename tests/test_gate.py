"""What a study may not begin with, and what is kept of it when it may."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import environment_of, make_site
from fakes import write_classes

from sweeper import Cca, Cka, gate, store
from sweeper.cell import Cell
from sweeper.grid import StudyError, Sweep, check, grid
from sweeper.site import Site

ROOT = Path(__file__).parents[1]
REASON = "the copies are wanted"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """With a folder of 40 images, of which one is copied under ten names, and a table of patients."""
    made = make_site(tmp_path)
    write_classes(made.data / "own", {"cat": 20, "dog": 20})
    first = sorted((made.data / "own" / "cat").iterdir())[0]
    for number in range(10):
        (first.parent / f"copy{number}{first.suffix}").write_bytes(first.read_bytes())
    return made


def _cells(**axes: object) -> list[Cell]:
    return grid(**{"dataset": "folder:own", "model": "cbr_mini", "size": 16, "fold": 1, "lr": 1e-3} | axes)


def _sweep(allow: str | None = None, **axes: object) -> Sweep:
    return Sweep(name="study", cells=_cells(**axes), allow_leakage=allow)


def test_copies_in_two_parts_are_refused_before_anything_is_recorded(site: Site) -> None:
    said: list[str] = []
    with pytest.raises(
        StudyError, match=r"study 'study': folder:own at 16 px, sweeper fold 1: \d+ images? of .* with an "
    ):
        gate.judge([_sweep()], site, said.append)
    assert not site.storage.exists()
    assert any("identical image in train" in line for line in said)


def test_a_reason_lets_a_sweep_begin_and_is_kept_with_what_was_found(site: Site) -> None:
    splits = gate.judge([_sweep(REASON)], site, print)["study"]
    store.initialise(site, "study")
    gate.record(splits, site, "study")
    (kept,) = (json.loads(text) for name, text in store.notes(site, "study").items() if name.startswith(gate.SPLIT))
    assert (kept["dataset"], kept["fold"], kept["allowed"]) == ("folder:own", 1, REASON)
    assert {each["kind"] for each in kept["leaks"]} >= {"identical"}


def test_a_reason_speaks_for_its_own_sweep_alone(site: Site) -> None:
    other = Sweep(name="other", cells=_cells(seed=1))
    with pytest.raises(StudyError) as error:
        gate.judge([_sweep(REASON), other], site, print)
    assert "study 'other'" in str(error.value)
    assert "study 'study'" not in str(error.value)


def test_a_sound_set_begins_without_reason(site: Site) -> None:
    (found,) = gate.judge([_sweep(dataset="digits")], site, print)["study"]
    assert found.leaks == ()


def test_every_fold_and_size_is_judged_once_whatever_the_fractions(site: Site) -> None:
    sweep = _sweep(dataset="digits", fold=[1, 2], size=[8, 16], fraction=[0.5, 1.0], augment=["none", "flip"])
    found = gate.judge([sweep], site, print)["study"]
    assert sorted((each.size, each.fold) for each in found) == [(8, 1), (8, 2), (16, 1), (16, 2)]


def test_too_few_images_for_a_probe_are_known_before_training(site: Site) -> None:
    sweep = Sweep(name="study", cells=_cells(dataset="digits", size=8), probes=[Cca(), Cka(), Cka(stimuli=4)])
    with pytest.raises(StudyError, match=r"study 'study': probe cca: a draw of 10000 points takes \d+ images of block"):
        gate.judge([sweep], site, print)
    assert not site.storage.exists()
    fewer = Sweep(name="study", cells=sweep.cells, probes=[Cca(points=300, channels=4), Cka()])
    assert gate.judge([fewer], site, print)["study"]


def test_an_impossible_number_of_shots_is_known_before_training(site: Site) -> None:
    with pytest.raises(ValueError, match="shots=999 needs as many"):
        gate.judge([_sweep(dataset="digits", shots=999)], site, print)


def test_split_files_that_change_after_the_start_are_refused(site: Site) -> None:
    images = {
        label: sorted(f"{label}/{p.name}" for p in (site.data / "own" / label).glob("[!c]*"))
        for label in ("cat", "dog")
    }
    for part, rows in {"train": slice(0, 12), "val": slice(12, 15), "test": slice(15, 20)}.items():
        lines = ["path", *(image for label in images.values() for image in label[rows])]
        (site.data / f"{part}.csv").write_text("\n".join(lines))
    sweep = _sweep(REASON, protocol=f"files:{site.data}", fold=0)
    splits = gate.judge([sweep], site, print)["study"]
    store.initialise(site, "study")
    gate.record(splits, site, "study")
    gate.refuse_changed(gate.judge([sweep], site, print)["study"], site, "study")
    with (site.data / "train.csv").open("a") as file:
        file.write("\n\n")
    (changed,) = gate.judge([sweep], site, print)["study"]
    assert changed.files != splits[0].files
    with pytest.raises(ValueError, match=r"the files of .* have changed since the study was begun"):
        gate.refuse_changed([changed], site, "study")


@pytest.mark.parametrize("reason", ["", "  ", True, 3])
def test_a_reason_is_words(reason: object) -> None:
    with pytest.raises(StudyError, match="it must be the reason, in words, or None"):
        check([_sweep(reason)], lambda cell: [])  # type: ignore[arg-type]


def test_the_command_ends_with_the_finding_as_a_mistake_of_the_study_file(site: Site, tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text(
        "from sweeper import Sweep, grid\n"
        'cells = grid(dataset="folder:own", model="cbr_mini", size=16, fold=1, epochs=1)\n'
        'sweep = Sweep(name="study", cells=cells)\n'
    )
    command = [sys.executable, "-m", "sweeper.run", str(tmp_path / "study.py")]
    env = os.environ | environment_of(site)
    found = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert found.returncode == 2, found.stderr
    assert 'Sweep(allow_leakage="reason")' in found.stderr


def test_a_fraction_and_shots_together_are_refused() -> None:
    with pytest.raises(StudyError, match=r"^fraction=0\.5 and shots=3 both say which images train: give one$"):
        check([_sweep(dataset="digits", fraction=0.5, shots=3)], lambda cell: [])
