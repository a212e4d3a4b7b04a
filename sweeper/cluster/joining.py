"""Waits until machines have joined a Ray that others start: those that come later are not asked what they see.

Nothing is started here.
"""

import logging
import socket
import time

import ray

_SECONDS_BETWEEN_LOOKS = 1.0


def wait_for_machines(count: int, address: str, *, seconds: float) -> None:
    """Returns when so many machines of the Ray at an address are alive.

    Raises:
        ValueError: when the address is none.
        TimeoutError: when fewer are after so many seconds.
    """
    if not address.rpartition(":")[2].isdigit():
        raise ValueError(f"RAY_ADDRESS is {address!r}: set it to the HOST:PORT at which Ray is started")
    deadline = time.monotonic() + seconds
    while problem := unreachable(address):
        _wait(deadline, f"{problem} after {seconds:g} s: look at what Ray says there")
    ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    try:
        while (there := sum(node["Alive"] for node in ray.nodes())) < count:
            late = f"{there} of {count} machines have joined the Ray at {address} after {seconds:g} s"
            _wait(deadline, f"{late}: look at what Ray says on the others")
    finally:
        ray.shutdown()


def unreachable(address: str) -> str | None:
    """Why nothing can be joined there, if so: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return f"RAY_ADDRESS is {address!r}, not HOST:PORT" if address else "none was started on this machine"
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        return f"nobody answers at {address} ({error.strerror or error})"
    return None


def _wait(deadline: float, late: str) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError(late)
    time.sleep(_SECONDS_BETWEEN_LOOKS)
