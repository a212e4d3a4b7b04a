"""Ends all that runs on a lab's machines: `ray down` ends the head's Ray alone, and the workers' goes on for minutes.

Run on the head, which knows the machines from its `ray up`. A cloud's machines are ended by `ray down` itself.
"""

import json
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

CONFIG = Path("~/ray_bootstrap_config.yaml")
"""What `ray up` leaves on a head."""
_STOP = ". ~/.sweeper_env; ray stop"
_SECONDS = 60


def stop_ray(config: Path = CONFIG) -> list[str]:
    """Ends Ray on the head, then on all workers, and returns a sentence for each that did not answer.

    The head comes first: else it would start the workers' anew.

    Raises:
        FileNotFoundError: when this machine is no head.
        ValueError: when its workers are a cloud's.
        RuntimeError: when the head's Ray does not end.
    """
    path = config.expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is not there: this machine is not the head of a cluster that `ray up` brought up"
        )
    cluster = json.loads(path.read_text())
    if cluster["provider"]["type"] != "local":
        raise ValueError(f"the workers are of provider '{cluster['provider']['type']}': `ray down` ends those")
    if subprocess.run(["bash", "-c", _STOP], check=False).returncode:
        raise RuntimeError(f"`{_STOP}` failed on the head: end what it names, then run this again")
    workers = cluster["provider"]["worker_ips"]
    with ThreadPoolExecutor(max(len(workers), 1)) as threads:
        return [said for said in threads.map(partial(_stop_worker, auth=cluster["auth"]), workers) if said]


def _stop_worker(worker: str, auth: Mapping[str, Any]) -> str:
    """Why Ray could not be ended on a worker; empty when it was."""
    key = ["-i", str(Path(auth["ssh_private_key"]).expanduser())] if "ssh_private_key" in auth else []
    options = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "StrictHostKeyChecking=no"]
    options += ["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]  # as Ray itself
    words = ["ssh", *key, *options, f"{auth['ssh_user']}@{worker}", _STOP]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"{worker} did not answer within {_SECONDS} s: run `{_STOP}` there"
    if done.returncode:
        why = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return f"{worker}: {why[-1]}; run `{_STOP}` there"
    return ""
