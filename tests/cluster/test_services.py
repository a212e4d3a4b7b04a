"""The head's services for real: PostgreSQL, MLflow on it, and supervisord, killed and started again.

One set of services for the whole file, since each start takes seconds; the tests go in the order in which they stand.
"""

import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
import yaml
from driving import free_port
from mlflow import MlflowClient
from processes import tree

from sweeper import store
from sweeper.cluster import database, services
from sweeper.cluster.__main__ import main
from sweeper.cluster.head import Services
from sweeper.cluster.programs import prometheus_settings
from sweeper.site import Site

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        not (shutil.which("postgres") or list(Path("/usr/lib/postgresql").glob("*/bin/postgres"))),
        reason="PostgreSQL is not installed: apt-get install postgresql",
    ),
]


@pytest.fixture(scope="module")
def head() -> Iterator[Services]:
    """Services of a head of their own; where root runs the tests, others must come through the folder."""
    folder = Path(tempfile.mkdtemp(prefix="sweeper-head-"))
    folder.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("SWEEPER_SERVICES", str(folder / "services"))
        patch.setenv("SWEEPER_STORAGE", str(folder / "storage"))
        patch.setenv("SWEEPER_CACHE", str(folder / "cache"))
        patch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
        own = Services.from_environment(database_port=free_port(), prometheus_port=free_port())
        try:
            services.start(own, lambda _: None)
            yield own
        finally:
            services.stop(own)
            shutil.rmtree(folder)


def _supervisor(head: Services) -> int:
    return int((head.own / "pid").read_text())


def _pids(head: Services, word: str) -> list[int]:
    return [each.pid for each in tree(_supervisor(head)) if word in " ".join(each.command)]


def _server(head: Services) -> int:
    return next(each.pid for each in tree(_supervisor(head)) if each.command[1:4] == ["-m", "mlflow", "server"])


def _ask(head: Services, what: str) -> object:
    options = {"host": "127.0.0.1", "port": head.database_port, "user": "mlflow", "dbname": "postgres"}
    connection = psycopg2.connect(**options, passfile=str(head.passwords))
    try:
        with connection.cursor() as cursor:
            cursor.execute(what)
            row = cursor.fetchone()
            assert row is not None
            return row[0]
    finally:
        connection.close()


def _until(well: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not well():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_mlflow_keeps_its_record_in_postgresql(head: Services) -> None:
    client = MlflowClient(f"http://{head.host}:{head.port}")
    client.create_experiment("kept")
    assert _ask(head, "select count(*) from experiments where name = 'kept'") == 1


def test_what_a_run_leaves_is_written_to_the_storage_and_not_through_the_server(head: Services, tmp_path: Path) -> None:
    client = MlflowClient(f"http://{head.host}:{head.port}")
    found = client.get_experiment_by_name("kept")
    assert found is not None
    run = client.create_run(found.experiment_id)
    (tmp_path / "left.txt").write_text("by a cell")
    client.log_artifact(run.info.run_id, str(tmp_path / "left.txt"))
    (written,) = head.artifacts.rglob("left.txt")
    assert written.read_text() == "by a cell"


def test_a_state_is_registered_and_read_in_place(head: Services, tmp_path: Path) -> None:
    site = Site.from_environment()
    client = MlflowClient(site.tracking)
    run = client.create_run(client.create_experiment("registering"))
    (tmp_path / "best.safetensors").write_bytes(b"weights")
    client.log_artifact(run.info.run_id, str(tmp_path / "best.safetensors"))
    version = store.register(site, "named", "0123456789abcdef", run.info.run_id)
    found = store.registered_path("named", version, site)
    assert found.read_bytes() == b"weights"
    assert head.artifacts in found.parents


def test_the_database_listens_to_its_own_machine_alone(head: Services) -> None:
    assert _ask(head, "show listen_addresses") == "127.0.0.1"
    assert _ask(head, "show unix_socket_directories") == ""


def test_the_database_takes_nobody_without_the_password(head: Services, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    nothing.write_text("")
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(
            host="127.0.0.1", port=head.database_port, user="mlflow", dbname="postgres", passfile=str(nothing)
        )


def test_the_password_is_in_one_file_that_its_owner_alone_reads(head: Services) -> None:
    password = head.passwords.read_text().strip().rpartition(":")[2]
    assert stat.S_IMODE(head.passwords.stat().st_mode) == 0o600
    texts = [head.settings.read_text(), *(path.read_text(errors="replace") for path in head.folder.glob("logs/*"))]
    texts += [" ".join(each.command) for each in tree(_supervisor(head))]
    assert len(password) >= 32
    assert not [text for text in texts if password in text]


def test_no_process_of_mlflow_reports_home(head: Services) -> None:
    found = tree(_server(head))
    assert len(found) > 1  # the server and those that answer
    for each in found:
        assert b"MLFLOW_DISABLE_TELEMETRY=true" in Path(f"/proc/{each.pid}/environ").read_bytes().split(b"\0")


def test_who_answers_for_mlflow_does_not_hold_answers_back(head: Services) -> None:
    """uvloop sets TCP_NODELAY on every connection, asyncio not on those of a socket that workers share."""
    answering = [each for each in tree(_server(head)) if any("spawn_main" in word for word in each.command)]
    assert len(answering) == 2
    for each in answering:
        assert "/uvloop/" in Path(f"/proc/{each.pid}/maps").read_text()


def test_a_second_start_leaves_what_runs_alone(head: Services) -> None:
    before = {each.pid for each in tree(_supervisor(head)) if "-D" in each.command or "server" in each.command}
    services.start(head, lambda _: None)
    after = {each.pid for each in tree(_supervisor(head)) if "-D" in each.command or "server" in each.command}
    assert len(before) >= 2
    assert before == after


def test_another_head_is_kept_away_from_the_database(head: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(head.folder / "other"))  # what another machine has of its own
    with pytest.raises(RuntimeError, match=re.escape(f"has the services in {head.folder}")):
        services.start(head, lambda _: None)


def test_a_database_that_is_killed_comes_back_with_what_it_held(head: Services) -> None:
    os.kill(int((head.database / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
    programs = database.programs_of(head)
    _until(lambda: not database.accepts(head, programs))
    _until(lambda: database.accepts(head, programs))
    assert _ask(head, "select count(*) from experiments where name = 'kept'") == 1


def test_mlflow_comes_back_although_what_was_killed_had_children(head: Services) -> None:
    address = f"http://{head.host}:{head.port}/health"
    before = _pids(head, "mlflow")
    os.kill(_server(head), signal.SIGKILL)
    _until(lambda: not set(_pids(head, "mlflow")) & set(before))  # nothing is left of it, its workers neither
    _until(lambda: services.answers(address))


def test_services_whose_supervisor_is_killed_end_and_start_again(head: Services) -> None:
    known = tree(_supervisor(head))
    os.kill(_supervisor(head), signal.SIGKILL)
    _until(lambda: not [each for each in known if each.command])
    services.start(head, lambda _: None)
    assert MlflowClient(f"http://{head.host}:{head.port}").get_experiment_by_name("kept") is not None


def test_the_status_says_what_is_up_and_how_its_page_is_reached(
    head: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").touch()
    ports = ["--database-port", str(head.database_port), "--prometheus-port", str(head.prometheus_port)]
    code = main(["status", *ports])
    said = capsys.readouterr().out
    assert code == 1  # no Ray
    assert re.search(r"^Ray +down ", said, re.M)
    assert re.search(rf"^MLflow +up +http://127.0.0.1:{head.port}$", said, re.M)
    assert re.search(rf"^PostgreSQL +up +127.0.0.1:{head.database_port}, ", said, re.M)
    assert f"ssh -N -L {head.port}:127.0.0.1:{head.port} " in said
    assert "Ray's page asks for the cluster's token" in said


def test_a_stop_leaves_nothing_running(head: Services) -> None:
    known = tree(_supervisor(head))
    assert services.stop(head)
    assert not [each for each in known if each.command]
    assert not services.stop(head)


def test_the_address_of_mlflow_must_say_where_to_listen(head: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////tmp/x.db")
    with pytest.raises(ValueError, match=r"MLFLOW_TRACKING_URI is sqlite:////tmp/x\.db: set it to http://HOST:PORT"):
        Services.from_environment()


def test_the_services_need_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_SERVICES", "services")
    with pytest.raises(ValueError, match="SWEEPER_SERVICES is 'services': set it to an absolute folder"):
        Services.from_environment()


@pytest.mark.skipif(os.geteuid() != 0, reason="PostgreSQL runs as another user only for root")
def test_root_is_told_where_postgresql_cannot_come_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    own = Services(folder=tmp_path / "services", artifacts=tmp_path / "artifacts", host="127.0.0.1", port=free_port())
    with pytest.raises(PermissionError, match="PostgreSQL runs as postgres, who cannot reach"):
        services.start(own, lambda _: None)


def test_a_database_of_another_version_is_not_touched(tmp_path: Path) -> None:
    own = Services(folder=tmp_path, artifacts=tmp_path, host="127.0.0.1", port=1)
    own.database.mkdir()
    (own.database / "PG_VERSION").write_text("9.1\n")
    with pytest.raises(FileNotFoundError, match=r"made by PostgreSQL 9\.1, which is not installed"):
        database.programs_of(own)


def test_bash_starts_a_guard_that_leaves_no_grandchild() -> None:
    guard = Path(services.__file__).with_name("guard.py")
    sleeper = "sleep 1000 & echo $!; kill -9 $$"
    done = subprocess.run(["python3", guard, "bash", "-c", sleeper], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + 9
    assert not Path(f"/proc/{done.stdout.strip()}").exists()


def test_a_site_is_known_by_its_environment(head: Services) -> None:
    assert head.artifacts == Site.from_environment().storage / "artifacts"


def test_prometheus_asks_those_whom_rays_own_settings_name(tmp_path: Path) -> None:
    from ray.dashboard.modules.metrics.templates import PROMETHEUS_YML_TEMPLATE

    own = Services(folder=tmp_path, artifacts=tmp_path, host="127.0.0.1", port=1, ray=Path("/tmp/ray"))
    rays = PROMETHEUS_YML_TEMPLATE.format(prom_metrics_service_discovery_file_path="/tmp/ray/FILE")
    (found,) = yaml.safe_load(prometheus_settings(own))["scrape_configs"]
    (theirs,) = yaml.safe_load(rays.replace("FILE", "prom_metrics_service_discovery.json"))["scrape_configs"]
    assert found == theirs
