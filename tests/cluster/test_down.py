"""What of a cluster cannot be ended from here, said before anything is ended; the rest is in `test_hosts.py`."""

import json
from pathlib import Path

import pytest

from sweeper.cluster.down import stop_ray


def test_a_machine_that_is_no_head_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="this machine is not the head of a cluster"):
        stop_ray(tmp_path / "ray_bootstrap_config.yaml")


def test_a_clouds_workers_are_left_to_ray_down(tmp_path: Path) -> None:
    path = tmp_path / "ray_bootstrap_config.yaml"
    path.write_text(json.dumps({"provider": {"type": "aws"}}))
    with pytest.raises(ValueError, match="the workers are of provider 'aws': `ray down` ends those"):
        stop_ray(path)
