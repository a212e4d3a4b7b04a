"""The Ray cluster that a study runs on: joining it, leaving it and watching over it.

How many cells it trains at once is `shares`' business, and what runs on it is decided in `tuning` and `probes`.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping

import ray
from rich.console import Console

_SECONDS_BETWEEN_LOOKS = 1.0
_GONE_SECONDS = 5.0
"""A part of Ray that refuses connections for so long does not come back."""
_left = threading.Event()


def connect() -> str:
    """Joins the cluster that `RAY_ADDRESS` names, or starts Ray on this machine; the address of its dashboard."""
    settings = {
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else every worker is started through `uv run`: 5 s each
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # MLflow is the record
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the sweep at once; nothing of Tune's is needed to go on
        "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0 Tune then says nothing; `live` does
    }
    os.environ.update({name: os.environ.get(name, value) for name, value in settings.items()})
    address = os.environ["RAY_ADDRESS"] if is_shared() else "local"  # by itself Ray joins what was last started here
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    context = ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    for each, handler in handlers.items():
        if callable(handler):  # Ray's own aborts at SIGTERM, or exits with 15, before anything can be said
            signal.signal(each, handler)
    for name in ("ray", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what fails is told by `jobs`, once and shorter
    _left.clear()
    threading.Thread(target=_watch, args=(_parts(),), name="watch over Ray", daemon=True).start()
    return f"http://{context.dashboard_url}"


def is_shared() -> bool:
    """Whether `RAY_ADDRESS` names a cluster, which others may use too and nodes may join."""
    return os.environ.get("RAY_ADDRESS", "") not in ("", "local")


def disconnect() -> None:
    """Leaves the cluster; a Ray that was started here ends."""
    _left.set()
    ray.shutdown()


def _parts() -> dict[str, tuple[str, int]]:
    """The parts of Ray without which nothing runs, and where they listen."""
    own = ray.get_runtime_context().get_node_id()
    node = next(each for each in ray.nodes() if each["NodeID"] == own)
    parts = {"raylet": (node["NodeManagerAddress"], node["NodeManagerPort"])}
    if not is_shared():  # a cluster may start its own anew, and Ray waits a minute for it
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        parts["GCS"] = (host, int(port))
    return parts


def _watch(parts: Mapping[str, tuple[str, int]]) -> None:
    """Ends this process when a part of Ray is gone: Ray would wait for it, for ever, and so would leaving Ray."""
    heard = dict.fromkeys(parts, time.monotonic())
    while not _left.wait(_SECONDS_BETWEEN_LOOKS):
        for name, address in parts.items():
            if not _refuses(address):
                heard[name] = time.monotonic()
            elif time.monotonic() - heard[name] > _GONE_SECONDS:
                Console().show_cursor()
                print(
                    f"RuntimeError: Ray's {name} at {address[0]}:{address[1]} is gone (killed, or out of memory); "
                    "what is finished is kept: run the same command again",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(1)


def _refuses(address: tuple[str, int]) -> bool:
    """Whether nobody listens there; a listener that is only slow does not refuse."""
    try:
        socket.create_connection(address, timeout=_GONE_SECONDS).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False
