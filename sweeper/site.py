"""Where things lie on this machine or cluster: data, cache, storage and the tracking server, read from the environment.

Nothing here decides a result, so nothing here is part of a key.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

import platformdirs


@dataclass(frozen=True, kw_only=True)
class Site:
    """Four places and one limit; every worker of a cluster must see the same ones.

    A folder is given as a path or a `file://` URL; a bucket, as `s3://`, can be `data` alone, and mounted.
    """

    data: Path
    """Image sets in their own on-disk form: `SWEEPER_DATA`."""
    cache: Path
    """Decoded images, made again when lost: `SWEEPER_CACHE`."""
    storage: Path
    """Results, states and searches; keep it: `SWEEPER_STORAGE`."""
    tracking: str
    """MLflow's tracking URI: `MLFLOW_TRACKING_URI`, or a SQLite file in `storage`."""

    patience: float = 600.0
    """Seconds that MLflow may be away before a study stops: `SWEEPER_PATIENCE`."""

    @classmethod
    def from_environment(cls) -> Self:
        """The places that the environment names, else the platform's folders for this user's data and cache."""
        home = platformdirs.user_data_path("sweeper")
        storage = _path("SWEEPER_STORAGE", home / "storage")
        return cls(
            data=_path("SWEEPER_DATA", home / "data"),
            cache=_path("SWEEPER_CACHE", platformdirs.user_cache_path("sweeper")),
            storage=storage,
            tracking=os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{storage / 'mlflow.db'}",
            patience=_seconds("SWEEPER_PATIENCE", 600.0),
        )

    def study(self, name: str) -> Path:
        """The folder of one study's own files: rate searches, table, figures."""
        return self.storage / "studies" / name


def _seconds(variable: str, default: float) -> float:
    given = os.environ.get(variable)
    try:
        seconds = float(given or default)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise ValueError(f"{variable} is {given}; it must be a number of seconds, at least 0")
    return seconds


def _path(variable: str, default: Path) -> Path:
    """A folder, given as a path or as `file://`; elsewhere a URL would silently become a folder of that name."""
    given = os.environ.get(variable) or str(default)
    url = urlsplit(given)
    if url.scheme == "file" and url.netloc in ("", "localhost"):
        given = unquote(url.path)
    elif "://" in given:
        mounted = variable == "SWEEPER_DATA" or url.scheme == "file"  # what is written a bucket does not keep safely
        remedy = "mount it, and name its path" if mounted else "name one of a disk or of a file server"
        raise ValueError(f"{variable} is {given}, but files are read as those of a folder: {remedy}")
    return Path(given).expanduser().absolute()
