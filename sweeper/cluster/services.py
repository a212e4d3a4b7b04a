"""The services of a cluster's head, as daemons of whoever starts them: PostgreSQL, MLflow's server on it, Prometheus.

supervisord (of the package `supervisor`) runs them and starts anew what dies; it needs neither root nor systemd. A lock
in the services' folder keeps a second head away from the same database. How they are is told by `status`.
"""

import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from socket import gethostbyname

from sweeper.cluster import database
from sweeper.cluster.head import Services
from sweeper.cluster.programs import prometheus_settings, settings

_START_SECONDS = 180.0
_LOG_LINES = 5


def start(services: Services, say: Callable[[str], None] = print) -> None:
    """Starts what does not run, and returns when all of it answers; what runs with these settings is left alone.

    Raises:
        FileNotFoundError: when a program is not installed.
        RuntimeError: when another head has the folder, or a service does not come up.
    """
    programs = database.programs_of(services)
    _refuse_loopback_name(services)
    services.folder.mkdir(parents=True, exist_ok=True)
    services.artifacts.mkdir(parents=True, exist_ok=True)
    for folder in (services.folder / "logs", services.own, services.own / "prometheus"):
        folder.mkdir(parents=True, exist_ok=True)
    services.own.chmod(0o700)
    if shutil.which("prometheus"):
        (services.own / "prometheus.yml").write_text(prometheus_settings(services))
    else:
        say("Prometheus is not installed, so nothing collects Ray's numbers: apt-get install prometheus")
    database.make(services, programs, say)
    services.settings.write_text(settings(services, programs))
    if is_running(services):
        _control(services, "update")
    else:
        _launch(services)
    _wait_until("PostgreSQL", lambda: database.accepts(services, programs), services, "postgres")
    _wait_until("MLflow", lambda: answers(f"http://{services.host}:{services.port}/health"), services, "mlflow")
    say(f"MLflow at http://{services.host}:{services.port}, its database in {services.database}")


def stop(services: Services) -> bool:
    """Ends all services in order, the database last; says whether any ran."""
    if not is_running(services):
        return False
    _control(services, "stop", "mlflow")  # before the database, of which it holds connections
    _control(services, "shutdown")
    deadline = time.monotonic() + _START_SECONDS
    while is_running(services) or _is_held(services):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the services in {services.folder} have not ended after {_START_SECONDS:g} s")
        time.sleep(0.1)
    return True


def is_running(services: Services) -> bool:
    """Whether a supervisor of this folder answers on this machine."""
    return services.settings.exists() and _control(services, "pid", check=False).returncode == 0


def answers(address: str) -> bool:
    """Whether a web server says there that it is well."""
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def _refuse_loopback_name(services: Services) -> None:
    found = gethostbyname(services.host)
    if found.startswith("127.") and found != services.host and services.host != "localhost":
        raise ValueError(
            f"{services.host} is {found} on this machine, which no worker can reach: name the head by its address"
        )


def _launch(services: Services) -> None:
    """A supervisor in a session of its own, which holds the folder's lock for as long as it lives."""
    if find_spec("supervisor") is None:
        raise FileNotFoundError(f"the package supervisor is not in {sys.prefix}: uv sync --extra cluster")
    if _is_held(services):
        raise RuntimeError(
            f"another machine, or a supervisor that does not answer, has the services in {services.folder}: end it, or "
            "set SWEEPER_SERVICES to another folder"
        )
    command = ["flock", "--nonblock", _lock(services), sys.executable, "-m", "supervisor.supervisord"]
    command += ["--nodaemon", "-c", services.settings]
    with (services.folder / "logs" / "start.log").open("w") as log:
        subprocess.Popen(
            command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True
        )
    _wait_until("the supervisor", lambda: is_running(services), services, "start")


def _lock(services: Services) -> Path:
    return services.folder / "head.lock"


def _is_held(services: Services) -> bool:
    return subprocess.run(["flock", "--nonblock", _lock(services), "true"], check=False).returncode != 0


def _control(services: Services, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "supervisor.supervisorctl", "-c", services.settings, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"supervisorctl {' '.join(words)}: {(done.stdout + done.stderr).strip()}")
    return done


def _wait_until(name: str, well: Callable[[], bool], services: Services, log: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not well():
        if time.monotonic() > deadline:
            path = services.folder / "logs" / f"{log}.log"
            last = "\n".join(path.read_text(errors="replace").splitlines()[-_LOG_LINES:])
            raise RuntimeError(f"{name} does not answer after {_START_SECONDS:g} s; {path} ends with:\n{last}")
        time.sleep(0.2)
