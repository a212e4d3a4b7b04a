"""Splits kept on disk: what cuts a set anew for every process costs seconds, and scikit-learn's import two more.

How a set is cut stands in `folds`; a kept split is used only by the very code and version of scikit-learn that made it.
"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from sweeper.cell import Images, digest
from sweeper.data import folds, labels
from sweeper.data.cache import Cached
from sweeper.data.dataset import PARTS
from sweeper.data.protocols import FILES
from sweeper.data.split_files import digests_of
from sweeper.site import Site
from sweeper.work import write_whole

_NAMES = np.array([*PARTS, "unused"], dtype=object)


def parts_of(whole: Cached, images: Images, site: Site) -> pd.Series:
    """`folds.split` of a decoded set as `images` asks for it: each image's part, in the order of the set's index.

    What files say is read from them, once in a process.

    Raises:
        ValueError: as `folds.split`.
        FileNotFoundError: likewise.
    """
    return _parts_of(whole, _cut_by(images), site)[0]


def files_read(whole: Cached, images: Images, site: Site) -> Mapping[str, str]:
    """`split_files.digests_of` the split that `parts_of` makes, as its files were when this process read them."""
    return _parts_of(whole, _cut_by(images), site)[1]


def _cut_by(images: Images) -> Images:
    """Without the axes that cut nothing."""
    return replace(images, augment="none", pixels="source")


@lru_cache(maxsize=64)
def _parts_of(whole: Cached, images: Images, site: Site) -> tuple[pd.Series, Mapping[str, str]]:
    axes: dict[str, Any] = {name: getattr(images, name) for name in ("fold", "fraction", "shots", "protocol")}
    path = site.cache / "splits" / f"{digest([whole.fingerprint, images.dataset, axes, _made_by()])}.npy"
    if path.exists():
        return pd.Series(_NAMES[np.load(path)], index=whole.index.index, name="part", dtype="str"), {}
    files = digests_of(images.protocol, images.fold, site.data)
    several = whole.task == "multilabel"
    parts = folds.split(whole.index, **axes, root=site.data, name=images.dataset, several=several)
    if not images.protocol.startswith(FILES):
        _keep(parts, path)
    return parts, files


def _keep(parts: pd.Series, path: Path) -> None:
    content = io.BytesIO()
    np.save(content, pd.Index(_NAMES).get_indexer(pd.Index(parts)).astype(np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / "keep.lock"):  # processes of two machines may have one number
        write_whole(path, content.getvalue())


@lru_cache(maxsize=1)
def _made_by() -> list[str]:
    """What a split depends on beside the set and the cell."""
    code = b"".join(Path(module.__file__ or "").read_bytes() for module in (folds, labels))
    return [hashlib.sha256(code).hexdigest(), version("scikit-learn"), version("numpy")]
