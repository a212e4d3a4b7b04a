"""What many tests share: a site of their own, and the real image sets where they are present."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: tests share the cores, where threads wait for each other
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # else Ray starts every worker through `uv run`: 5 s each

from pathlib import Path

import pytest

from sweeper.site import Site

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real image sets are not at {SHARED_DATA}")
    return SHARED_DATA


def make_site(folder: Path, data: Path | None = None) -> Site:
    return Site(
        data=data or folder / "data",
        cache=folder / "cache",
        storage=folder / "storage",
        tracking=f"sqlite:///{folder / 'storage' / 'mlflow.db'}",
    )
