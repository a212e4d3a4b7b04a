"""Ray's own list of a lab's machines, which a machine that is added later gets into."""

import json
from pathlib import Path

import pytest

from sweeper.cluster.admit import admit


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    return tmp_path


def told(folder: Path, *workers: str) -> list[str]:
    """What is known after `ray up` with these workers."""
    path = folder / "config.yaml"
    provider = {"type": "local", "head_ip": "10.0.0.1", "worker_ips": list(workers)}
    path.write_text(json.dumps({"cluster_name": "lab", "provider": provider}))
    return admit(path)


def test_a_machine_that_is_added_is_known_and_what_is_known_of_the_others_stays(folder: Path) -> None:
    assert told(folder, "10.0.0.2") == ["10.0.0.2"]
    state = folder / "ray" / "cluster-lab.state"
    known = json.loads(state.read_text())
    known["10.0.0.2"]["state"] = "running"
    state.write_text(json.dumps(known))
    assert told(folder, "10.0.0.2", "10.0.0.3") == ["10.0.0.2", "10.0.0.3"]
    known = json.loads(state.read_text())
    assert {name: known[name]["state"] for name in ("10.0.0.2", "10.0.0.3")} == {
        "10.0.0.2": "running",
        "10.0.0.3": "terminated",
    }


def test_a_machine_that_is_no_longer_named_is_forgotten(folder: Path) -> None:
    told(folder, "10.0.0.2", "10.0.0.3")
    assert told(folder, "10.0.0.2") == ["10.0.0.2"]
