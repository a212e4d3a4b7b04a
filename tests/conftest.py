"""What many tests share: a site of their own, and the real image sets where they are present."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: tests share the cores, where threads wait for each other
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # else Ray starts every worker through `uv run`: 5 s each

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sweeper.site import Site

if TYPE_CHECKING:
    from queueing import Begin

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real image sets are not at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one record for all tests of a module, each of which has studies of its own: to make it takes
    seconds."""
    from sweeper import store

    folder = tmp_path_factory.mktemp("store")
    store.initialise(make_site(folder), "first")
    return folder


@pytest.fixture(scope="module")
def prepared(root: Path) -> Site:
    """The site of that record."""
    return make_site(root)


@pytest.fixture
def begin(prepared: Site, tmp_path: Path, request: pytest.FixtureRequest) -> "Iterator[Begin]":
    """Begins a queue for cells of this test's own study."""
    from queueing import queues

    with queues(prepared, request.node.name, tmp_path) as run:
        yield run


def make_site(folder: Path, data: Path | None = None) -> Site:
    return Site(
        data=data or folder / "data",
        cache=folder / "cache",
        storage=folder / "storage",
        tracking=f"sqlite:///{folder / 'storage' / 'mlflow.db'}",
    )


def environment_of(site: Site) -> dict[str, str]:
    """By which a command finds the site."""
    return {
        "SWEEPER_DATA": str(site.data),
        "SWEEPER_CACHE": str(site.cache),
        "SWEEPER_STORAGE": str(site.storage),
        "MLFLOW_TRACKING_URI": site.tracking,
    }
