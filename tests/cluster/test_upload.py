"""What `ray job submit --working-dir .` sends to a cluster: Ray packs the project and what lies about in it."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package

ROOT = Path(__file__).parents[2]
BIG = 4 * 2**20
"""Bytes of each file that must stay here; more than the whole project."""


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Bytes of each file that is sent, from a clone in which somebody has worked."""
    folder = tmp_path_factory.mktemp("upload")
    clone = folder / "clone"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    lie_about = ("data/busi/1.png", "storage/mlflow.db", "cache/x.npy", ".venv/lib/torch.so", ".git/objects/pack/1")
    for name in (*lie_about, "uv.lock"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_bytes(bytes(BIG))
    packed = folder / "sent.zip"
    create_package(str(clone), packed, include_gitignore=True, excludes=get_runtime_env_default_excludes())
    with zipfile.ZipFile(packed) as file:
        return {each.filename: each.file_size for each in file.infolist() if not each.is_dir()}


def test_the_code_is_sent(sent: dict[str, int]) -> None:
    assert {"sweeper/run.py", "sweeper/data/busi.py", "analysis/report.py", "search_spaces/quickstart.py"} <= set(sent)


@pytest.mark.parametrize("room", ["data/", "storage/", "cache/", ".venv/", ".git/"])
def test_no_data_environment_or_history_is_sent(sent: dict[str, int], room: str) -> None:
    assert not [name for name in sent if name.startswith(room)]


def test_what_is_sent_is_small(sent: dict[str, int]) -> None:
    assert sum(sent.values()) < BIG
