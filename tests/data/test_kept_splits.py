"""Splits are cut once: whoever asks later, in whatever process, reads the same parts without scikit-learn."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from fakes import write_classes

from sweeper.cell import Images
from sweeper.data import DATASETS, folds, kept_splits
from sweeper.data.cache import cached
from sweeper.data.kept_splits import parts_of
from sweeper.data.loading import load
from sweeper.site import Site

ASKED = [
    Images(dataset="digits", fold=1, size=8),
    Images(dataset="digits", fold=4, size=8, fraction=0.1),
    Images(dataset="digits", fold=2, size=8, shots=3),
    Images(dataset="digits", fold=3, size=8, protocol="hidden_v2"),
]
_ASK = """
import sys
from pathlib import Path
from sweeper.cell import Images
from sweeper.data.loading import load
from sweeper.site import Site
cache = Path(sys.argv[1])
site = Site(data=cache, cache=cache, storage=cache, tracking="")
print(load(Images(dataset="digits", fold=1, size=8), site).test.names)
print("sklearn.model_selection" in sys.modules)
"""


def _kept(site: Site) -> list[Path]:
    return sorted((site.cache / "splits").glob("*.npy"))


@pytest.mark.parametrize("images", ASKED, ids=["fold", "fraction", "shots", "protocol"])
def test_a_kept_split_is_the_one_that_was_cut(images: Images, site: Site) -> None:
    whole = cached(DATASETS["digits"], 8, site)
    first = parts_of(whole, images, site)
    kept_splits._parts_of.cache_clear()
    asked = {"fold": images.fold, "fraction": images.fraction, "shots": images.shots, "protocol": images.protocol}
    pd.testing.assert_series_equal(parts_of(whole, images, site), folds.split(whole.index, **asked, name="digits"))
    pd.testing.assert_series_equal(parts_of(whole, images, site), first)
    assert len(_kept(site)) == 1


def test_each_cut_is_kept_for_itself(site: Site) -> None:
    whole = cached(DATASETS["digits"], 8, site)
    for images in ASKED:
        parts_of(whole, images, site)
    assert len(_kept(site)) == len(ASKED)


def test_other_code_or_another_scikit_learn_cuts_anew(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cached(DATASETS["digits"], 8, site)
    parts_of(whole, ASKED[0], site)
    kept_splits._parts_of.cache_clear()
    monkeypatch.setattr(kept_splits, "_made_by", lambda: ["other"])
    parts_of(whole, ASKED[0], site)
    assert len(_kept(site)) == 2


def test_what_files_say_is_not_kept(site: Site) -> None:
    write_classes(site.data / "pets", {"cat": 12, "dog": 12})
    images = Images(dataset="folder:pets", fold=1, size=8)
    whole = cached(DATASETS["folder:pets"], 8, site)
    parts = folds.split(whole.index, fold=1, name="pets")
    table = whole.index[["image", "label", "patient"]].assign(part=parts)
    table.to_csv(site.data / "parts.csv", index=False)
    found = parts_of(whole, Images(dataset=images.dataset, fold=0, size=8, protocol="files:parts.csv"), site)
    assert list(found) == list(parts)
    assert not _kept(site)


def test_a_process_tells_the_split_files_as_it_read_them(site: Site) -> None:
    """Not as they are when it records what it trained."""
    write_classes(site.data / "pets", {"cat": 12, "dog": 12})
    whole = cached(DATASETS["folder:pets"], 8, site)
    table = whole.index[["image", "label", "patient"]].assign(part=folds.split(whole.index, fold=1, name="pets"))
    table.to_csv(site.data / "parts.csv", index=False)
    images = Images(dataset="folder:pets", fold=0, size=8, protocol="files:parts.csv")
    first = load(images, site).split_files
    assert first == {"parts.csv": hashlib.sha256((site.data / "parts.csv").read_bytes()).hexdigest()[:16]}
    table.iloc[::-1].to_csv(site.data / "parts.csv", index=False)
    assert load(replace(images, augment="flip"), site).split_files == first
    kept_splits._parts_of.cache_clear()
    assert load(images, site).split_files != first
    assert load(replace(images, protocol="sweeper", fold=1), site).split_files == {}


def test_a_process_that_finds_a_kept_split_does_without_scikit_learn(site: Site) -> None:
    whole = cached(DATASETS["digits"], 8, site)
    parts = parts_of(whole, ASKED[0], site)
    done = subprocess.run([sys.executable, "-c", _ASK, str(site.cache)], capture_output=True, text=True, check=True)
    names, imported = done.stdout.splitlines()
    assert names == str(whole.index["image"][parts == "test"].tolist())
    assert imported == "False"
