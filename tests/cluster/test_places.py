"""What a machine says of a site's folders: one sentence for each that is not as it must be."""

import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sweeper.cluster.places import _look
from sweeper.locks import held
from sweeper.site import Site


@pytest.fixture
def whole(site: Site) -> Iterator[Site]:
    """A site that is as it must be, with one image set, while the head holds its sign."""
    for folder in (site.data / "busi", site.storage):
        folder.mkdir(parents=True)
    with held(site.storage / "sign"):
        yield site


def _problems(site: Site, names: list[str] | None = None) -> list[str]:
    return _look(site, site.storage / "sign", names)[1]


def test_nothing_is_wrong_where_all_is_there(whole: Site) -> None:
    assert _problems(whole, ["busi"]) == []


def test_nothing_is_left_where_a_machine_was_looked_at(whole: Site) -> None:
    before = sorted(whole.storage.iterdir())
    _problems(whole)
    assert sorted(whole.storage.iterdir()) == before
    assert list(whole.cache.iterdir()) == []


def test_a_storage_that_is_not_mounted_is_named(whole: Site) -> None:
    there = replace(whole, storage=whole.storage / "elsewhere")
    assert _problems(there) == [f"storage {there.storage} is not there: mount the folder that the head has there"]


def test_a_folder_of_the_same_name_is_not_the_shared_one(whole: Site) -> None:
    (whole.storage / "sign").unlink()
    assert _problems(whole) == [
        f"storage {whole.storage} is not the folder that the head has there: mount the same one"
    ]


def test_a_storage_whose_locks_stay_on_one_machine_is_named(whole: Site) -> None:
    """Another folder of the same content is what a machine sees that does not see the head's locks."""
    there = replace(whole, storage=whole.storage.with_name("there"))
    shutil.copytree(whole.storage, there.storage)
    assert _problems(there) == [
        f"storage {there.storage} keeps locks (flock, SQLite's) to one machine, so that two could write one file at "
        "once: mount it with locks that all machines share, or use another file system"
    ]


def test_an_image_set_that_one_machine_lacks_is_named(whole: Site) -> None:
    (problem,) = _problems(whole, ["busi", "knee"])
    assert problem == f"data {whole.data} lacks knee, which the head has"


def test_a_data_folder_that_is_not_mounted_is_named(whole: Site) -> None:
    shutil.rmtree(whole.data)
    (problem,) = _problems(whole, ["busi"])
    assert problem.startswith(f"data {whole.data} is not there: mount")


def test_a_driver_without_data_asks_for_none(whole: Site) -> None:
    shutil.rmtree(whole.data)
    assert _problems(whole, None) == []


def test_a_cache_that_cannot_be_made_is_named(whole: Site) -> None:
    there = replace(whole, cache=whole.storage / "sign" / "cache")
    (problem,) = _problems(there)
    assert problem.startswith(f"cache {there.cache} cannot be made (Not a directory)")
