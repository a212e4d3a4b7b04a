"""What the services of a cluster's head are called, where they lie and where they listen.

Nothing is started here: see `services`.
"""

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from socket import gethostname
from typing import Self
from urllib.parse import urlsplit

import platformdirs

from sweeper.site import Site

DATABASE_PORT = 5433
"""Debian's own PostgreSQL has 5432."""
PROMETHEUS_PORT = 9090
"""Where Ray's dashboard looks for it."""
RAY_FOLDER = Path("/tmp/ray")
"""Ray's own choice."""
DATABASE_USER = "mlflow"


@dataclass(frozen=True, kw_only=True)
class Services:
    """Where the services of one head are, and where they listen."""

    folder: Path
    """Database, password, logs and settings; only this head uses it."""
    artifacts: Path
    """What cells leave; all machines write and read it."""
    host: str
    """The one address at which workers reach MLflow."""
    port: int
    database_port: int = DATABASE_PORT
    prometheus_port: int = PROMETHEUS_PORT
    ray: Path = RAY_FOLDER
    """Ray's folder, in which it says where its numbers are to be had."""

    @classmethod
    def from_environment(
        cls, *, database_port: int = DATABASE_PORT, prometheus_port: int = PROMETHEUS_PORT, ray: Path = RAY_FOLDER
    ) -> Self:
        """Those that `SWEEPER_SERVICES`, `SWEEPER_STORAGE` and `MLFLOW_TRACKING_URI` name.

        Raises:
            ValueError: when one of the three does not name what is needed.
        """
        folder = os.environ.get("SWEEPER_SERVICES")
        if not folder or not Path(folder).is_absolute():
            raise ValueError(f"SWEEPER_SERVICES is {folder!r}: set it to an absolute folder for the head's database")
        site = Site.from_environment()
        uri = urlsplit(site.tracking)
        if uri.scheme != "http" or not uri.hostname or not uri.port:
            raise ValueError(
                f"MLFLOW_TRACKING_URI is {site.tracking}: set it to http://HOST:PORT, the address of this machine at "
                "which workers are to reach MLflow"
            )
        return cls(
            folder=Path(folder),
            artifacts=site.storage / "artifacts",
            host=uri.hostname,
            port=uri.port,
            database_port=database_port,
            prometheus_port=prometheus_port,
            ray=ray,
        )

    @property
    def database(self) -> Path:
        """PostgreSQL's files."""
        return self.folder / "postgres"

    @property
    def passwords(self) -> Path:
        """libpq's own form, readable by this user alone."""
        return self.folder / "pgpass"

    @property
    def uri(self) -> str:
        """Of the database, with the driver that the extra `cluster` brings; its password is never part of it."""
        return f"postgresql+psycopg2://{DATABASE_USER}@127.0.0.1:{self.database_port}/postgres"

    @property
    def own(self) -> Path:
        """What means something on this machine alone: the socket, process numbers, Prometheus' samples."""
        name = sha256(f"{gethostname()}:{self.folder}".encode()).hexdigest()[:8]
        return platformdirs.user_state_path("sweeper") / f"services-{name}"

    @property
    def settings(self) -> Path:
        """What supervisord reads."""
        return self.own / "supervisord.conf"
