"""The record of a study is damaged on disk and in MLflow's database, byte by byte, and the command is to say where."""

import hashlib
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
import recorded
from conftest import make_site

from sweeper import Filters, check, ledger, store
from sweeper.cell import Cell, Cka, Knn, make_cell, probe_key
from sweeper.grid import Sweep
from sweeper.lease import acquire
from sweeper.plan import plan
from sweeper.site import Site

ROOT = Path(__file__).parents[1]
FILES = ("best.safetensors", "start.safetensors", "predictions.parquet", "epochs.parquet")
SEALED = (*FILES, "outcome.json")
CELLS = tuple(make_cell(dataset="digits_0_4", model="cbr_mini", seed=seed) for seed in range(3))
PROBES = (Cka(), Knn(k=3))


@dataclass(frozen=True, kw_only=True)
class Study:
    """Three finished cells with two probes each."""

    name: str
    site: Site
    runs: dict[str, str]
    """Key -> run."""

    def folder(self, cell: Cell) -> Path:
        found = store.local_folder(self.site, self.runs[cell.key])
        assert found
        return found

    def probe_file(self, cell: Cell, probe: Cka | Knn) -> Path:
        return self.folder(cell) / store.PROBES / f"{probe.name}-{probe_key(probe)}.parquet"

    def finished(self) -> set[str]:
        return set(ledger.read(self.site, self.name).finished)

    def open(self) -> sqlite3.Connection:
        """MLflow's database, behind its back."""
        return sqlite3.connect(self.site.tracking.removeprefix("sqlite:///"), timeout=60)

    def sql(self, text: str, *values: object) -> None:
        with closing(self.open()) as connection, connection:
            assert connection.execute(text, values).rowcount > 0

    def make_old(self, cell: Cell) -> None:
        """Leaves of a run what the system wrote before it had manifests."""
        for name in ("manifest.json", "outcome.json"):
            (self.folder(cell) / name).unlink()
        self.sql("DELETE FROM tags WHERE run_uuid = ? AND key = ?", self.runs[cell.key], store.EPOCHS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study that the tests damage one after another."""
    folder = tmp_path_factory.mktemp("check")
    return make_study(make_site(folder), "thorax", folder)


@pytest.fixture
def study(made: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Study]:
    """The study as it was made: its files and MLflow's database are put back after each test."""
    files, database = tmp_path / "files", sqlite3.connect(":memory:")
    with closing(made.open()) as now:
        now.backup(database)
    shutil.copytree(made.site.storage / "artifacts", files)
    use(made.site, monkeypatch)
    yield made
    shutil.rmtree(made.site.storage / "artifacts")
    shutil.rmtree(made.site.study(made.name), ignore_errors=True)
    shutil.copytree(files, made.site.storage / "artifacts")
    with closing(made.open()) as now, closing(database):
        database.backup(now)


def use(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command finds in its environment."""
    monkeypatch.setenv("SWEEPER_STORAGE", str(site.storage))
    monkeypatch.setenv("SWEEPER_CACHE", str(site.cache))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", site.tracking)
    monkeypatch.setenv("SWEEPER_PATIENCE", str(site.patience))


def make_study(site: Site, name: str, work: Path, cells: Sequence[Cell] = CELLS) -> Study:
    store.initialise(site, name)
    runs = {cell.key: recorded.record(site, name, cell, **recorded.consistent(cell)) for cell in cells}
    for key, run_id in runs.items():
        for probe in PROBES:
            rows = pd.DataFrame({"key": [key, key], "block": [1, 2], "value": [0.1, 0.2]})
            store.log_probe(site, run_id, probe, rows, work)
    return Study(name=name, site=site, runs=runs)


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def some_bits(path: Path, number: int) -> list[int]:
    return random.Random(path.name).sample(range(8 * path.stat().st_size), number)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def finding(path: Path | str, cell: Cell, study: Study, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """What the command says of a file: that and nothing else is damaged, and it is named by its cell."""
    assert check.main([study.name, *options]) == 3
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == f"{len(study.runs)} cells checked, 1 damaged"
    assert all(line.startswith(f"{cell.title()}: ") for line in lines)
    (line,) = [line for line in lines if str(path) in line]
    return line.removeprefix(f"{cell.title()}: {path} ")


def test_a_sound_study_is_sound(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([study.name]) == 0
    assert capsys.readouterr().out == "3 cells checked, 0 damaged\n"


def test_a_sound_study_is_sound_when_it_is_read(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([study.name, "--read-data"]) == 0
    assert capsys.readouterr().out == "3 cells checked, 0 damaged\n"


@pytest.mark.parametrize("name", [*SEALED, "manifest.json"])
def test_a_missing_file_is_named(study: Study, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = study.folder(CELLS[1]) / name
    path.unlink()
    assert finding(path, CELLS[1], study, capsys) == "is missing"


@pytest.mark.parametrize("name", SEALED)
def test_a_torn_file_is_named(study: Study, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = study.folder(CELLS[1]) / name
    size = path.stat().st_size
    truncate(path)
    assert finding(path, CELLS[1], study, capsys) == f"has {size // 2} bytes instead of {size}"


def test_a_torn_manifest_is_named(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    path = study.folder(CELLS[1]) / "manifest.json"
    truncate(path)
    assert finding(path, CELLS[1], study, capsys) == "is torn"


@pytest.mark.parametrize("name", SEALED)
def test_a_flipped_bit_is_named(study: Study, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = study.folder(CELLS[1]) / name
    for bit in some_bits(path, 4):
        flip(path, bit)
        assert finding(path, CELLS[1], study, capsys, "--read-data") == "has other bytes than were written"
        flip(path, bit)


def test_a_flipped_bit_of_a_manifest_is_damage(study: Study) -> None:
    path = study.folder(CELLS[1]) / "manifest.json"
    for bit in some_bits(path, 6):
        flip(path, bit)
        assert damaged(study) == {CELLS[1].key}, bit
        flip(path, bit)


def damaged(study: Study) -> set[str]:
    return {each.key for each in check.check(study.site, study.name, read=True) if each.lines}


def test_sizes_alone_do_not_show_a_flipped_bit(study: Study) -> None:
    flip(study.folder(CELLS[1]) / "best.safetensors", 8 * 200)
    assert check.main([study.name]) == 0


def test_a_run_from_before_manifests_is_sound(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    for cell in CELLS:
        study.make_old(cell)
    assert check.main([study.name]) == 0
    assert check.main([study.name, "--read-data"]) == 0


@pytest.mark.parametrize("name", FILES)
def test_an_empty_file_of_an_old_run_is_named(study: Study, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    study.make_old(CELLS[1])
    path = study.folder(CELLS[1]) / name
    path.write_bytes(b"")
    assert finding(path, CELLS[1], study, capsys) == "is empty"


@pytest.mark.parametrize("name", FILES)
def test_a_torn_file_of_an_old_run_is_named(study: Study, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    study.make_old(CELLS[1])
    path = study.folder(CELLS[1]) / name
    truncate(path)
    assert finding(path, CELLS[1], study, capsys, "--read-data").startswith("cannot be read: ")


@pytest.mark.parametrize("metric", ["test_auroc", "test_nll", "best_val_accuracy", "best_val_nll", "best_epoch"])
@pytest.mark.parametrize("old", [False, True])
def test_a_changed_metric_is_found(study: Study, metric: str, old: bool) -> None:
    if old:
        study.make_old(CELLS[1])
    change = "UPDATE latest_metrics SET value = value * 1.001 WHERE run_uuid = ? AND key = ?"
    study.sql(change, study.runs[CELLS[1].key], metric)
    assert damaged(study) == {CELLS[1].key}


def test_a_changed_metric_is_named_with_both_values(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    change = "UPDATE latest_metrics SET value = 0.5 WHERE run_uuid = ? AND key = 'test_auroc'"
    study.sql(change, study.runs[CELLS[1].key])
    path, right = study.folder(CELLS[1]) / "predictions.parquet", recorded.consistent(CELLS[1])["test_scores"]["auroc"]
    found = finding(path, CELLS[1], study, capsys, "--read-data")
    assert found == f"gives test_auroc {right!r}, and MLflow has 0.5"


def test_a_changed_tag_is_found(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    study.sql("UPDATE tags SET value = '1e-9' WHERE run_uuid = ? AND key = ?", study.runs[CELLS[1].key], store.LR_FOUND)
    path = study.folder(CELLS[1]) / "outcome.json"
    found = finding(path, CELLS[1], study, capsys, "--read-data")
    assert found == "has sweeper.lr_found 0.001, and MLflow has 1e-9"


def test_a_changed_point_of_a_curve_is_found(study: Study) -> None:
    change = "UPDATE metrics SET value = 0.123 WHERE run_uuid = ? AND key = 'val_auroc' AND step = 1"
    study.sql(change, study.runs[CELLS[1].key])
    assert damaged(study) == {CELLS[1].key}


@pytest.mark.parametrize("change", ["DELETE FROM metrics", "UPDATE metrics SET key = 'other'"])
def test_a_missing_epoch_point_is_found_without_reading(study: Study, change: str) -> None:
    study.sql(f"{change} WHERE run_uuid = ? AND key = 'train_loss' AND step = 1", study.runs[CELLS[1].key])
    assert check.main([study.name]) == 3


def test_an_epoch_point_that_stands_twice_is_found_without_reading(study: Study) -> None:
    text = (
        "INSERT INTO metrics SELECT key, value, timestamp + 1, run_uuid, step, is_nan FROM metrics "
        "WHERE run_uuid = ? AND key = 'train_loss' AND step = 1"
    )
    study.sql(text, study.runs[CELLS[1].key])
    assert check.main([study.name]) == 3


def test_a_run_whose_key_is_not_its_cells_is_found(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = study.runs[CELLS[1].key]
    other = CELLS[1].replace(lr=0.5)
    study.sql("UPDATE tags SET value = ? WHERE run_uuid = ? AND key = ?", other.to_json(), run_id, store.CELL)
    place = f"MLflow's tag sweeper.cell of run {run_id}"
    assert finding(place, CELLS[1], study, capsys) == f"is of cell {other.key}, not of {CELLS[1].key}"


def record_again(study: Study, cell: Cell) -> str:
    """A second finished run of a cell, as nothing here makes one any more."""
    client = store.client_of(study.site.tracking)
    client.delete_run(study.runs[cell.key])
    second = recorded.record(study.site, study.name, cell, **recorded.consistent(cell))
    client.restore_run(study.runs[cell.key])
    return second


def run_ids(study: Study) -> set[str]:
    return {run.info.run_id for run in store.runs(study.site, study.name)}


def test_of_two_runs_of_a_cell_the_older_is_kept(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    second = record_again(study, CELLS[1])
    found = finding(f"run {second}", CELLS[1], study, capsys)
    assert found.startswith(f"is finished beside run {study.runs[CELLS[1].key]}")
    assert check.main([study.name, "--repair"]) == 3
    assert run_ids(study) == set(study.runs.values())


def test_of_two_runs_of_a_cell_the_sound_one_is_kept(study: Study) -> None:
    second = record_again(study, CELLS[1])
    (study.folder(CELLS[1]) / "best.safetensors").unlink()
    assert check.main([study.name, "--repair"]) == 3
    assert run_ids(study) == {study.runs[CELLS[0].key], second, study.runs[CELLS[2].key]}


def test_a_missing_probe_is_named(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    path = study.probe_file(CELLS[1], PROBES[0])
    path.unlink()
    assert finding(path, CELLS[1], study, capsys) == "is missing"


def test_a_flipped_bit_of_a_probe_is_named(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    path = study.probe_file(CELLS[1], PROBES[0])
    for bit in some_bits(path, 4):
        flip(path, bit)
        assert finding(path, CELLS[1], study, capsys, "--read-data") == "has other bytes than were written"
        flip(path, bit)


def test_a_torn_probe_from_before_hashes_is_named(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    path, tag = study.probe_file(CELLS[1], PROBES[0]), f"{store.PROBE_SUM}.{probe_key(PROBES[0])}"
    study.sql("DELETE FROM tags WHERE run_uuid = ? AND key = ?", study.runs[CELLS[1].key], tag)
    truncate(path)
    assert finding(path, CELLS[1], study, capsys, "--read-data").startswith("cannot be read: ")


def test_repair_queues_again_exactly_what_is_damaged(study: Study) -> None:
    truncate(study.folder(CELLS[1]) / "best.safetensors")
    assert check.main([study.name, "--repair"]) == 3
    assert study.finished() == {CELLS[0].key, CELLS[2].key}
    assert plan(Sweep(name=study.name, cells=list(CELLS)), study.site).left == (CELLS[1],)


def test_repair_of_a_repaired_study_finds_nothing(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    truncate(study.folder(CELLS[1]) / "best.safetensors")
    check.main([study.name, "--repair"])
    capsys.readouterr()
    assert check.main([study.name, "--repair", "--read-data"]) == 0
    assert capsys.readouterr().out == "2 cells checked, 0 damaged\n"


def test_repair_of_a_probe_keeps_the_cell_and_its_other_probe(study: Study) -> None:
    study.probe_file(CELLS[1], PROBES[0]).unlink()
    assert check.main([study.name, "--repair"]) == 3
    found = ledger.read(study.site, study.name).finished
    assert found.keys() == study.runs.keys()
    assert found[CELLS[1].key].probes == {probe_key(PROBES[1])}
    assert found[CELLS[0].key].probes == {probe_key(probe) for probe in PROBES}


def test_repair_leaves_a_sound_study_as_it_is(study: Study) -> None:
    assert check.main([study.name, "--repair", "--read-data"]) == 0
    assert study.finished() == study.runs.keys()


def test_repair_is_refused_while_a_driver_works(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (study.folder(CELLS[1]) / "best.safetensors").unlink()
    monkeypatch.setattr(check, "_PATIENCE", 0.0)
    with acquire(study.site.study(study.name)):
        assert check.main([study.name, "--repair"]) == 1
    assert f"study {study.name} is held by pid" in capsys.readouterr().err
    assert study.finished() == study.runs.keys()


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("options", [[], ["--read-data"]])
def test_without_repair_nothing_is_written(
    study: Study, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truncate(study.folder(CELLS[1]) / "best.safetensors")
    study.probe_file(CELLS[0], PROBES[0]).unlink()
    monkeypatch.chdir(tmp_path)
    root = study.site.storage.parent
    before, here = snapshot(root), snapshot(tmp_path)
    assert check.main([study.name, *options]) == 3
    assert (snapshot(root), snapshot(tmp_path)) == (before, here)


WAITING = CELLS[0].replace(seed=7)


def waiting_folder(study: Study, cell: Cell = WAITING) -> Path:
    return recorded.sealed_folder(study.site.study(study.name) / "work-1" / cell.key, cell, **recorded.consistent(cell))


def test_a_cell_that_waits_to_be_recorded_is_no_damage(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    waiting_folder(study)
    assert check.main([study.name, "--read-data"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first == "1 trained cells are waiting to be recorded: the next run records them"
    assert last == "4 cells checked, 0 damaged"


@pytest.mark.parametrize("name", SEALED)
def test_damage_of_a_cell_that_waits_is_named(study: Study, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = waiting_folder(study) / name
    flip(path, some_bits(path, 1)[0])
    assert check.main([study.name, "--read-data"]) == 3
    assert f"{path} has other bytes than were written\n" in capsys.readouterr().out


def test_repair_discards_a_damaged_cell_that_waits(study: Study) -> None:
    bad, good = waiting_folder(study), waiting_folder(study, WAITING.replace(seed=8))
    truncate(bad / "best.safetensors")
    assert check.main([study.name, "--repair"]) == 3
    assert not bad.exists()
    assert check.main([study.name, "--read-data"]) == 0
    assert good.exists()


def test_a_folder_of_another_cell_does_not_pass_for_a_waiting_one(study: Study) -> None:
    folder = waiting_folder(study)
    folder.rename(folder.with_name("0123456789abcdef"))
    assert check.main([study.name]) == 3


def test_what_a_recorded_cell_left_behind_is_not_judged(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    (waiting_folder(study, CELLS[0]) / "best.safetensors").unlink()  # as a driver that is just removing it does
    assert check.main([study.name]) == 0
    assert capsys.readouterr().out == "3 cells checked, 0 damaged\n"


def test_a_run_of_no_cell_is_not_looked_at(study: Study) -> None:
    client = store.client_of(study.site.tracking)
    run = client.create_run(client.get_experiment_by_name(study.name).experiment_id)
    client.set_terminated(run.info.run_id, "FINISHED")
    assert check.main([study.name, "--read-data"]) == 0


@pytest.mark.parametrize("options", [[], ["--repair"]])
def test_an_unknown_study_is_an_error_that_names_those_there_are(
    study: Study, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert check.main(["stduy", *options]) == 1
    said = capsys.readouterr().err
    assert "there is no study 'stduy'" in said
    assert study.name in said
    assert not study.site.study("stduy").exists()


def test_where_nothing_was_recorded_nothing_is_made(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(site, monkeypatch)
    assert check.main(["study", "--repair"]) == 1
    assert "nothing was recorded at sqlite:///" in capsys.readouterr().err
    assert not site.storage.exists()


def test_mlflow_that_is_away_is_an_error(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(replace(site, tracking="http://127.0.0.1:9", patience=0.0), monkeypatch)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert check.main(["study"]) == 1
    assert "ConnectionError: MLflow at http://127.0.0.1:9" in capsys.readouterr().err


def test_files_that_are_away_altogether_are_an_error(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    folder = study.folder(CELLS[0]).parents[1]
    folder.rename(folder.with_name("elsewhere"))
    assert check.main([study.name, "--repair"]) == 1
    assert f"{folder}, which holds the files of all runs, is not there" in capsys.readouterr().err
    assert study.finished() == study.runs.keys()


def damaged_copy(study: Study, site: Site, monkeypatch: pytest.MonkeyPatch, where: Callable[[bytes], int]) -> None:
    """Lets the command find a copy of the database with other bytes somewhere."""
    content = bytearray(Path(study.site.tracking.removeprefix("sqlite:///")).read_bytes())
    start = where(bytes(content))
    content[start : start + 8] = bytes(8)
    site.storage.mkdir(parents=True)
    Path(site.tracking.removeprefix("sqlite:///")).write_bytes(content)
    use(site, monkeypatch)


def test_a_broken_database_is_an_error(
    study: Study, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged_copy(study, site, monkeypatch, lambda content: 100)  # the header of the first page
    assert check.main([study.name]) == 1
    assert f"SQLite cannot read {site.tracking}: database disk image is malformed" in capsys.readouterr().err


def test_other_bytes_in_a_database_are_an_error(
    study: Study, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged_copy(study, site, monkeypatch, lambda content: content.rfind(b"train_loss"))  # a row, or its index entry
    assert check.main([study.name, "--read-data"]) == 1
    assert f"the database {site.tracking} is damaged" in capsys.readouterr().err


def test_a_mistake_in_the_command_has_its_own_code() -> None:
    with pytest.raises(SystemExit) as ended:
        check.main([])
    assert ended.value.code == 2


def test_the_help_says_the_exit_codes() -> None:
    done = subprocess.run([sys.executable, "-m", "sweeper.check", "--help"], cwd=ROOT, capture_output=True, text=True)
    said = " ".join(done.stdout.split())
    assert done.returncode == 0
    assert all(f" {code}" in said for code in ("0 sound", "1 error", "2 a mistake", "3 damage found"))


def test_the_command_names_the_file_and_exits_with_its_code(study: Study) -> None:
    path = study.folder(CELLS[1]) / "epochs.parquet"
    path.unlink()
    command = [sys.executable, "-m", "sweeper.check", study.name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 3, done.stderr
    assert done.stdout == f"{CELLS[1].title()}: {path} is missing\n3 cells checked, 1 damaged\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Path]]:
    """A tracking server that keeps the files itself, and the folder in which it does."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = [
        "--backend-store-uri",
        f"sqlite:///{folder / 'server.db'}",
        "--artifacts-destination",
        str(folder / "kept"),
    ]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", *place]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while True:
        with socket.socket() as asked:
            if asked.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert process.poll() is None
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.1)
    yield replace(make_site(folder), tracking=f"http://127.0.0.1:{port}"), folder / "kept"
    process.terminate()
    process.wait(timeout=60)


@pytest.mark.slow
def test_what_a_server_keeps_is_checked_there(
    server: tuple[Site, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site, kept = server
    use(site, monkeypatch)
    study = make_study(site, "served", tmp_path, CELLS[:2])
    run_id = study.runs[CELLS[1].key]
    (path,) = kept.rglob(f"{run_id}/artifacts/best.safetensors")
    uri = f"mlflow-artifacts:/{path.relative_to(kept).as_posix()}"
    store.artifact(site, run_id, path.name)  # a sound copy in the cache proves nothing
    assert check.main([study.name, "--read-data"]) == 0
    capsys.readouterr()
    flip(path, 8 * path.stat().st_size - 3)
    assert finding(uri, CELLS[1], study, capsys, "--read-data") == "has other bytes than were written"
    path.unlink()
    assert finding(uri, CELLS[1], study, capsys) == "is missing"
    assert check.main([study.name, "--repair"]) == 3
    assert study.finished() == {CELLS[0].key}


def pictured(study: Study, cell: Cell, work: Path) -> Path:
    """A picture that a probe left beside its rows."""
    rows = pd.DataFrame({"key": [cell.key], "block": [1], "value": [64.0]})
    store.log_probe(study.site, study.runs[cell.key], Filters(), rows, work, files={".png": b"a picture"})
    return study.folder(cell) / store.PROBES / f"filters-{probe_key(Filters())}.png"


def test_a_picture_that_is_gone_is_damage_of_its_probe(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = pictured(study, CELLS[0], tmp_path)
    assert check.main([study.name]) == 0
    capsys.readouterr()
    picture.unlink()
    assert finding(picture, CELLS[0], study, capsys) == "is missing"


def test_a_changed_picture_is_found_where_files_are_read(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = pictured(study, CELLS[0], tmp_path)
    assert check.main([study.name, "--read-data"]) == 0
    capsys.readouterr()
    flip(picture, 3)
    assert finding(picture, CELLS[0], study, capsys, "--read-data") == "has other bytes than were written"
