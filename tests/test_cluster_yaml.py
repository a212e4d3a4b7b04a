"""`cluster.yaml` against Ray's own cluster schema and launcher, bash, and what the project needs of a cluster.

No cloud is touched; what only a cloud can show (that nodes come up, mount and join) is not tested here.
"""

import copy
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "cluster.yaml").read_text()
CLUSTER: dict[str, Any] = yaml.safe_load(TEXT)
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())

ROLES = ("head", "worker")
HEAD = CLUSTER["available_node_types"][CLUSTER["head_node_type"]]
WORKERS = {name: kind for name, kind in CLUSTER["available_node_types"].items() if name != CLUSTER["head_node_type"]}
GPU_INSTANCE = re.compile(r"(p|g)\d+[a-z-]*\.")
"""The instance families of the provider's accelerated-computing list that carry NVIDIA GPUs."""


@pytest.fixture(scope="module")
def filled() -> dict[str, Any]:
    """The configuration as `ray up` completes it before it is checked."""
    from ray.autoscaler._private.util import prepare_config

    return prepare_config(copy.deepcopy(CLUSTER))


def _commands(filled: dict[str, Any]) -> list[str]:
    kinds = ("initialization_commands", "head_setup_commands", "worker_setup_commands")
    starts = ("head_start_ray_commands", "worker_start_ray_commands")
    return [command for kind in kinds + starts for command in filled[kind]]


def _start_command(role: str) -> str:
    (command,) = [command for command in CLUSTER[f"{role}_start_ray_commands"] if "ray start " in command]
    return command


def _environment(role: str, home: Path) -> dict[str, str]:
    """What `ray start` would find in its environment: everything before it is run by bash, in an empty home."""
    before = _start_command(role).split("ray start ")[0]
    outside = {"HOME": str(home), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}  # Ray's ssh wrapper sets the last
    if role == "worker":
        outside["RAY_HEAD_IP"] = "10.0.0.7"
    subprocess.run(["bash", "-ec", CLUSTER["setup_commands"][0]], env=outside, check=True)
    printed = subprocess.run(["bash", "-c", f"{before} env"], env=outside, check=True, capture_output=True, text=True)
    return dict(line.split("=", 1) for line in printed.stdout.splitlines())


def test_ray_accepts_the_cluster(filled: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import validate_config

    validate_config(filled)


def test_rays_check_refuses_a_misspelt_field(filled: dict[str, Any]) -> None:
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import validate_config

    with pytest.raises(ValidationError, match="max_worker"):
        validate_config(filled | {"max_worker": 3})


def test_every_command_is_valid_bash(filled: dict[str, Any]) -> None:
    for command in _commands(filled):
        subprocess.run(["bash", "-n", "-c", command], check=True, capture_output=True)


def test_the_header_says_what_was_not_run() -> None:
    assert "not yet on AWS itself.\n" in TEXT


def test_the_head_has_no_gpu() -> None:
    assert not GPU_INSTANCE.match(HEAD["node_config"]["InstanceType"])


def test_the_head_offers_no_cpu_to_trials() -> None:
    assert HEAD["resources"] == {"CPU": 0}


def test_every_worker_group_has_gpus() -> None:
    assert WORKERS
    assert all(GPU_INSTANCE.match(kind["node_config"]["InstanceType"]) for kind in WORKERS.values())


def test_every_worker_group_says_how_few_and_how_many() -> None:
    assert all(kind["min_workers"] == 0 < kind["max_workers"] for kind in WORKERS.values())


def test_the_cluster_may_hold_as_many_workers_as_its_largest_group() -> None:
    assert CLUSTER["max_workers"] == max(kind["max_workers"] for kind in WORKERS.values())


def test_workers_are_spot_or_on_demand_and_otherwise_alike() -> None:
    nodes = [dict(kind["node_config"]) for kind in WORKERS.values()]
    markets = [node.pop("InstanceMarketOptions", {}).get("MarketType") for node in nodes]
    assert sorted(markets, key=str) == [None, "spot"]
    assert nodes[0] == nodes[1]


def test_the_head_is_not_spot() -> None:
    assert "InstanceMarketOptions" not in HEAD["node_config"]


def test_idle_workers_are_given_back() -> None:
    assert 0 < CLUSTER["idle_timeout_minutes"] <= 30


def test_no_port_is_opened_beside_ssh() -> None:
    assert "IpPermissions" not in CLUSTER["provider"]["security_group"]


def test_the_dashboard_listens_on_the_head_alone() -> None:
    assert "--dashboard-host=127.0.0.1" in _start_command("head")


@pytest.mark.parametrize("role", ROLES)
def test_ray_starts_with_token_authentication(role: str, tmp_path: Path) -> None:
    assert _environment(role, tmp_path)["RAY_AUTH_MODE"] == "token"


@pytest.mark.parametrize("role", ROLES)
def test_ray_does_not_build_the_environment_again_for_each_worker_process(role: str, tmp_path: Path) -> None:
    assert _environment(role, tmp_path)["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"


@pytest.mark.parametrize("role", ROLES)
def test_ray_chooses_the_threads_of_its_worker_processes(role: str, tmp_path: Path) -> None:
    assert "OMP_NUM_THREADS" not in _environment(role, tmp_path)


@pytest.mark.parametrize("role", ROLES)
def test_the_projects_environment_comes_first_on_the_path(role: str, tmp_path: Path) -> None:
    assert _environment(role, tmp_path)["PATH"].startswith(f"{tmp_path}/sweeper/.venv/bin:")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("variable", ["SWEEPER_DATA", "SWEEPER_STORAGE"])
def test_data_and_storage_are_on_the_shared_file_system(role: str, variable: str, tmp_path: Path) -> None:
    assert _environment(role, tmp_path)[variable].startswith("/mnt/sweeper/")


@pytest.mark.parametrize("role", ROLES)
def test_the_cache_is_on_the_nodes_own_disk(role: str, tmp_path: Path) -> None:
    assert _environment(role, tmp_path)["SWEEPER_CACHE"].startswith(f"{tmp_path}/")


def test_workers_track_on_the_head(tmp_path: Path) -> None:
    assert _environment("worker", tmp_path)["MLFLOW_TRACKING_URI"] == "http://10.0.0.7:5000"


def test_the_head_tracks_on_itself(tmp_path: Path) -> None:
    own = subprocess.run(["hostname", "-I"], check=True, capture_output=True, text=True).stdout.split(" ")[0].strip()
    assert _environment("head", tmp_path)["MLFLOW_TRACKING_URI"] == f"http://{own}:5000"


def test_setting_a_node_up_twice_leaves_one_line_in_its_shell_profile(tmp_path: Path) -> None:
    for _ in range(2):
        _environment("head", tmp_path)
    assert (tmp_path / ".bashrc").read_text().count("sweeper_env") == 1


def test_the_services_start_before_ray() -> None:
    commands = CLUSTER["head_start_ray_commands"]
    services, ray = (
        next(i for i, each in enumerate(commands) if part in each) for part in ("services start", "ray start ")
    )
    assert services < ray


def test_the_services_keep_everything_on_the_shared_file_system(tmp_path: Path) -> None:
    assert _environment("head", tmp_path)["SWEEPER_SERVICES"].startswith("/mnt/sweeper/")


def test_the_head_installs_what_services_need() -> None:
    extra = PROJECT["project"]["optional-dependencies"]["cluster"]
    assert {Requirement(each).name for each in extra} == {"psycopg2-binary", "supervisor", "uvloop"}
    assert any("uv sync" in each and "--extra cluster" in each for each in CLUSTER["head_setup_commands"])


def test_every_node_mounts_the_shared_file_system_before_setup() -> None:
    assert any(
        "mount -t nfs4" in command and ":/ /mnt/sweeper" in command for command in CLUSTER["initialization_commands"]
    )


def test_what_a_person_must_fill_in_is_marked() -> None:
    assert {"ami-FILL-IN", "fs-FILL-IN"} <= set(re.findall(r"\b(?:ami|fs)-[\w-]+", TEXT))


def test_no_real_id_of_a_machine_image_or_file_system_is_in_the_file() -> None:
    assert not re.search(r"\b(ami|fs|sg|subnet|vpc)-[0-9a-f]{8,17}\b", TEXT)


def test_the_token_travels_as_a_file_and_is_not_in_the_file() -> None:
    assert CLUSTER["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert not re.search(r"RAY_AUTH_TOKEN\s*=", TEXT)


def test_nothing_in_the_file_looks_like_a_secret() -> None:
    assert not re.search(r"\b[0-9a-fA-F]{32,}\b|AKIA|aws_secret|BEGIN [A-Z ]*PRIVATE KEY|password", TEXT)


def test_no_package_registry_is_named() -> None:
    assert not re.search(r"index-url|--index|extra-index|simple/|\.whl\b", TEXT)


def test_rays_version_is_said_in_the_project_alone() -> None:
    requirements = [Requirement(each) for each in PROJECT["project"]["dependencies"]]
    (ray,) = [each for each in requirements if each.name == "ray"]
    assert not [bound.version for bound in ray.specifier if bound.version in TEXT]
    assert not re.search(r"\bray(\[[a-z,]*\])?\s*[=<>~]=|install.*\bray\b", TEXT)


def test_both_roles_install_the_project_with_a_python_it_allows(filled: dict[str, Any]) -> None:
    allowed = SpecifierSet(PROJECT["project"]["requires-python"])
    for role in ROLES:
        versions = re.findall(r"uv sync --python (\S+)", " ".join(filled[f"{role}_setup_commands"]))
        assert len(versions) == 1
        assert versions[0] in allowed


def test_workers_install_the_versions_that_the_head_resolved() -> None:
    assert "~/sweeper/uv.lock" in CLUSTER["cluster_synced_files"]
    assert any("uv sync" in command and "--frozen" in command for command in CLUSTER["worker_setup_commands"])


def test_every_package_of_the_project_is_copied() -> None:
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    wanted = {f"~/sweeper/{name}": f"./{name}" for name in [*packages, "search_spaces", "pyproject.toml", "README.md"]}
    assert wanted.items() <= CLUSTER["file_mounts"].items()


def test_every_part_that_is_copied_exists() -> None:
    parts = [local for local in CLUSTER["file_mounts"].values() if local.startswith("./")]
    assert [part for part in parts if not (ROOT / part).exists()] == []


def test_neither_the_environment_nor_the_history_is_copied() -> None:
    assert {"**/.venv", "**/.git"} <= set(CLUSTER["rsync_exclude"])
    assert not [local for local in CLUSTER["file_mounts"].values() if (ROOT / local).resolve() == ROOT.resolve()]
