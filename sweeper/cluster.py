"""The Ray cluster that a study runs on: joining it, leaving it, and how many cells it trains at once.

What runs on it is decided in `tuning` and `probes`.
"""

import logging
import math
import os

import ray

from sweeper.grid import Sweep
from sweeper.outcome import Devices


def connect() -> str:
    """Joins the cluster that `RAY_ADDRESS` names, or starts Ray on this machine; the address of its dashboard."""
    settings = {
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else every worker is started through `uv run`: 5 s each
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # MLflow is the record
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the sweep at once; nothing of Tune's is needed to go on
        "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0 Tune then says nothing; `live` does
    }
    os.environ.update({name: os.environ.get(name, value) for name, value in settings.items()})
    context = ray.init(log_to_driver=False, logging_level=logging.ERROR)
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return f"http://{context.dashboard_url}"


def disconnect() -> None:
    """Leaves the cluster; a Ray that was started here ends."""
    ray.shutdown()


def devices_of(sweep: Sweep) -> Devices:
    """What each cell of a sweep may use on the connected cluster."""
    gpus = sweep.gpus_per_cell
    if gpus is None:
        gpus = 1.0 if ray.cluster_resources().get("GPU", 0) else 0.0
    return Devices(workers=sweep.workers_per_cell, gpus=gpus)


def slots_of(devices: Devices) -> int:
    """How many cells the connected cluster trains at once.

    Raises:
        ValueError: when it cannot hold even one.
    """
    have = ray.cluster_resources()
    slots = have.get("CPU", 0) / devices.workers
    if "RAY_ADDRESS" in os.environ:  # nodes that are still to come count as well
        slots = max(slots, 1)
    if devices.gpus:
        slots = min(slots, have.get("GPU", 0) / (devices.gpus * devices.workers))
    if slots < 1:
        raise ValueError(
            f"one cell needs {devices.workers} worker(s) with 1 CPU and {devices.gpus:g} GPU each, but the cluster has "
            f"{have.get('CPU', 0):g} CPU and {have.get('GPU', 0):g} GPU; lower workers_per_cell or gpus_per_cell"
        )
    return math.floor(slots)
