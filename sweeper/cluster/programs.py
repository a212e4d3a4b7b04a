"""What supervisord is told to run on the head: PostgreSQL, MLflow's server and Prometheus, each as one command.

supervisord itself is started and asked in `services`.
"""

import shlex
import shutil
import sys
from pathlib import Path

from sweeper.cluster.database import system_user
from sweeper.cluster.head import Services


def settings(services: Services, programs: Path) -> str:
    """supervisord's settings: what is to run, how it is ended, and where it logs."""
    logs, user = services.folder / "logs", system_user()
    if len(socket := str(services.own / "socket")) > 100:
        raise ValueError(f"{socket} is too long for a socket: set XDG_STATE_HOME to a shorter folder")
    lines = [
        *("[unix_http_server]", f"file={socket}", "chmod=0700", ""),
        *(
            "[supervisord]",
            "nodaemon=true",
            "silent=true",
            f"pidfile={services.own / 'pid'}",
            f"logfile={logs / 'supervisord.log'}",
        ),
        *("logfile_maxbytes=10MB", "logfile_backups=1", *(["user=root"] if user else []), ""),
        *(
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        ),
        *("", "[supervisorctl]", f"serverurl=unix://{socket}", ""),
        *_section("postgres", _postgres(services, programs), logs, 1, "INT", "stopwaitsecs=60"),
        *([f"user={user}"] if user else []),
        *_section("mlflow", _mlflow(services), logs, 2, "TERM", "stopasgroup=true", "killasgroup=true"),
        f'environment=PGPASSFILE="{services.passwords}",MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",'
        'MLFLOW_DISABLE_TELEMETRY="true"',  # no study reports home, nor does a page that shows one
    ]
    if prometheus := shutil.which("prometheus"):
        lines += _section("prometheus", _prometheus(services, prometheus), logs, 3, "TERM")
    return "\n".join(lines).replace("%", "%%") + "\n"


def _section(name: str, command: list[str], logs: Path, priority: int, end: str, *more: str) -> list[str]:
    """One service; `end` is the signal by which it ends, also when its supervisor is gone."""
    return [
        *("", f"[program:{name}]", f"command={shlex.join(['setpriv', '--pdeathsig', end, *command])}"),
        *(f"priority={priority}", "directory=/", "autorestart=true", "startretries=1000000", f"stopsignal={end}"),
        *("redirect_stderr=true", f"stdout_logfile={logs / name}.log", "stdout_logfile_maxbytes=10MB", *more),
    ]


def _postgres(services: Services, programs: Path) -> list[str]:
    """On the loopback address alone, with a password: of all machines only the head's own processes come near it."""
    settings = {"listen_addresses": "127.0.0.1", "port": services.database_port, "unix_socket_directories": ""}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [str(programs / "postgres"), "-D", str(services.database), *options]


def _mlflow(services: Services) -> list[str]:
    """Files of cells are not sent through the server: whoever writes or reads them does so in the shared folder.

    Through it, to log and read back 100 files of 1 MB took 2.4 times as long (2.1 to 4.3 in three rounds), and 4 of
    50 MB 2.6 times, on a busy machine of four cores (tests/benchmarks/bench_artifacts.py).

    uvloop sends what it has at once. asyncio does not on a socket that several workers share (it sets TCP_NODELAY only
    where it made the socket itself), and each answer on a connection in use then takes 40 ms longer: the client's
    system waits for more before it confirms the first part. A cell has eight calls.
    """
    hosts = f"{services.host}:{services.port},localhost:*,127.0.0.1:*"
    command = [
        sys.executable,
        "-I",
        str(Path(__file__).with_name("guard.py")),
        sys.executable,
        "-m",
        "mlflow",
        "server",
    ]
    command += ["--host", services.host, "--port", str(services.port)]
    command += ["--workers", "2", "--uvicorn-opts", "--loop uvloop"]
    command += ["--allowed-hosts", hosts, "--backend-store-uri", services.uri]
    return [*command, "--no-serve-artifacts", "--default-artifact-root", services.artifacts.as_uri()]


def _prometheus(services: Services, program: str) -> list[str]:
    """Its samples lie on the head's own disk: it is not safe on a network's."""
    command = [program, f"--config.file={services.own / 'prometheus.yml'}", "--storage.tsdb.retention.time=30d"]
    command += [f"--storage.tsdb.path={services.own / 'prometheus'}"]
    return [*command, f"--web.listen-address=127.0.0.1:{services.prometheus_port}"]


def prometheus_settings(services: Services) -> str:
    """Whom Prometheus asks: Ray says it in a file that it writes anew as nodes come and go."""
    targets = services.ray / "prom_metrics_service_discovery.json"
    return (
        "global: {scrape_interval: 10s}\n"
        f"scrape_configs: [{{job_name: ray, file_sd_configs: [{{files: ['{targets}']}}]}}]\n"
    )
