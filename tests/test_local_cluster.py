"""The cluster of a lab's own machines against Ray's schema and launcher, bash, and the source of all clusters."""

import copy
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeper.cluster.__main__ import main
from sweeper.cluster.local import SOURCE, Lab, derived

AWS: dict[str, Any] = yaml.safe_load(SOURCE.read_text())
LAB = Lab(head="10.7.0.1", workers=("10.7.0.2", "10.7.0.3"), user="ann")
SET_UP = replace(LAB, environment="/opt/sweeper")
LABS = {"bare machines": LAB, "machines set up": SET_UP, "a head that trains": replace(LAB, head_works=True, cpus=2)}
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture(params=LABS.values(), ids=list(LABS))
def own(request: pytest.FixtureRequest) -> dict[str, Any]:
    return derived(AWS, request.param)


def _environment(lab: Lab, home: Path) -> dict[str, str]:
    """What a login shell of a machine finds in its environment after setup, as bash says."""
    own, outside = derived(AWS, lab), {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    subprocess.run(["bash", "-ec", own["setup_commands"][0]], env=outside, check=True)
    printed = subprocess.run(["bash", "-c", ". ~/.sweeper_env; env"], env=outside, check=True, capture_output=True)
    return dict(line.split("=", 1) for line in printed.stdout.decode().splitlines())


def _start(own: dict[str, Any], role: str) -> str:
    (command,) = [each for each in own[f"{role}_start_ray_commands"] if "ray start " in each]
    return command


def test_ray_accepts_it_and_makes_a_node_of_every_machine(own: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    filled = prepare_config(copy.deepcopy(own))
    validate_config(filled)
    (kind,) = filled["available_node_types"].values()
    assert (kind["min_workers"], kind["max_workers"], filled["max_workers"]) == (2, 2, 2)


def test_every_command_is_valid_bash(own: dict[str, Any]) -> None:
    for command in [each for name, commands in own.items() if name.endswith("_commands") for each in commands]:
        subprocess.run(["bash", "-n", "-c", command], check=True, capture_output=True)


def test_what_is_copied_and_how_the_token_travels_is_the_sources() -> None:
    own = derived(AWS, LAB)
    for name in ("file_mounts", "cluster_synced_files", "rsync_exclude", "cluster_name"):
        assert own[name] == AWS[name]


def test_bare_machines_are_set_up_as_the_clouds_are() -> None:
    own = derived(AWS, LAB)
    for name in ("worker_setup_commands", "worker_start_ray_commands"):
        assert own[name] == AWS[name]
    assert own["head_setup_commands"][:-1] == AWS["head_setup_commands"]
    assert own["setup_commands"][1:] == AWS["setup_commands"][1:]


def test_head_and_workers_start_as_the_clouds_do(own: dict[str, Any]) -> None:
    for role in STARTS:
        assert all(now.startswith(before) for now, before in zip(own[role], AWS[role], strict=True))


def test_the_head_offers_nothing_to_trials_unless_it_is_to_train() -> None:
    assert _start(derived(AWS, LAB), "head").endswith(" --num-cpus=0 --num-gpus=0")
    assert "--num-" not in _start(derived(AWS, replace(LAB, head_works=True)), "head")


def test_a_worker_offers_the_cpus_that_were_said() -> None:
    assert _start(derived(AWS, replace(LAB, cpus=3)), "worker").endswith(" --num-cpus=3")


def test_the_environment_names_the_labs_folders(tmp_path: Path) -> None:
    found = _environment(replace(LAB, storage="/lab/results", data="/lab/images"), tmp_path)
    assert found["SWEEPER_STORAGE"] == "/lab/results"
    assert found["SWEEPER_DATA"] == "/lab/images"
    assert found["SWEEPER_SERVICES"] == "/lab/results/services"
    assert found["SWEEPER_CACHE"] == f"{tmp_path}/sweeper-cache"


def test_the_database_may_lie_on_a_disk_of_the_heads(tmp_path: Path) -> None:
    assert _environment(replace(LAB, services="/var/db"), tmp_path)["SWEEPER_SERVICES"] == "/var/db"


def test_all_machines_track_on_the_head(tmp_path: Path) -> None:
    assert _environment(LAB, tmp_path)["MLFLOW_TRACKING_URI"] == "http://10.7.0.1:5000"


def test_machines_that_are_added_are_admitted_when_their_list_has_come_and_the_environment_is_there(
    own: dict[str, Any],
) -> None:
    assert own["head_setup_commands"][-1].endswith("python -m sweeper.cluster admit")


def test_ray_starts_all_workers_and_not_one_fewer_which_its_second_autoscaler_does(tmp_path: Path) -> None:
    assert _environment(LAB, tmp_path)["RAY_enable_autoscaler_v2"] == "0"


def test_ray_starts_with_token_authentication(tmp_path: Path) -> None:
    assert _environment(LAB, tmp_path)["RAY_AUTH_MODE"] == "token"


def test_machines_that_are_set_up_use_their_environment_and_the_code_that_was_copied(tmp_path: Path) -> None:
    found = _environment(SET_UP, tmp_path)
    assert found["PATH"].startswith("/opt/sweeper/bin:")
    assert found["PYTHONPATH"] == f"{tmp_path}/sweeper"


def test_nothing_is_installed_on_machines_that_are_set_up() -> None:
    text = yaml.safe_dump(derived(AWS, SET_UP))
    assert "apt-get" not in text
    assert "uv" not in text.replace("uv.lock", "").replace("UV_RUN", "").split()
    assert "install" not in text


def test_nobody_needs_to_be_root_on_machines_that_are_set_up() -> None:
    assert "sudo" not in yaml.safe_dump(derived(AWS, SET_UP))


def test_nothing_of_the_cloud_is_left(own: dict[str, Any]) -> None:
    text = yaml.safe_dump(own)
    assert not [word for word in ("FILL-IN", "amazonaws", "ubuntu", "region", "/mnt/sweeper/mlflow") if word in text]


@pytest.mark.parametrize(
    ("lab", "match"),
    [
        (replace(LAB, storage="results"), "--storage results is not absolute"),
        (replace(LAB, storage="/my results"), "characters that a shell would read"),
        (replace(LAB, workers=("10.7.0.1",)), "10.7.0.1 is named twice"),
        (replace(LAB, workers=()), "no worker is named"),
    ],
)
def test_what_cannot_be_is_refused(lab: Lab, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        derived(AWS, lab)


def test_a_source_that_lost_its_folders_is_refused() -> None:
    changed = copy.deepcopy(AWS)
    changed["setup_commands"][0] = changed["setup_commands"][0].replace("'SWEEPER_DATA=", "'DATA=")
    with pytest.raises(ValueError, match=r"cluster\.yaml: what .*SWEEPER_DATA.* is there 0 times"):
        derived(changed, LAB)


def test_the_command_prints_it_with_the_command_that_makes_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["local", "--head", "10.7.0.1", "--workers", "10.7.0.2", "10.7.0.3", "--user", "ann"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed) == derived(AWS, LAB)
    assert f"python -m sweeper.cluster {' '.join(arguments)}\n" in printed


def test_the_command_says_what_is_wrong_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["local", "--head", "a", "--workers", "a"]) == 1
    assert capsys.readouterr().err.startswith("ValueError: machine a is named twice")


def test_no_worker_and_no_head_that_trains_is_no_cluster() -> None:
    assert derived(AWS, replace(LAB, workers=(), head_works=True))["provider"]["worker_ips"] == []
