"""Measures the mean and sd of a data set's training pixels, once for each fold and size.

The share of the training patients that a cell uses does not matter: a smaller one sees what a larger one sees.
"""

import json
from functools import lru_cache

import numpy as np

from sweeper.cell import Images
from sweeper.data.loading import Part, load
from sweeper.site import Site
from sweeper.weights.pixels import Pixels, Three
from sweeper.work import write_whole

_AT_ONCE = 512


@lru_cache(maxsize=64)
def measure(dataset: str, fold: int, size: int, site: Site) -> Pixels:
    """Mean and population sd of each channel over all pixels of the training part, found again in the cache.

    Raises:
        ValueError: when a channel is the same everywhere, so that it cannot be scaled.
    """
    loaded = load(Images(dataset=dataset, fold=fold, size=size), site)
    path = site.cache / f"pixels-{loaded.fingerprint}-{size}-fold{fold}.json"
    if not path.exists():
        mean, std = _moments(loaded.train)
        if min(std) == 0:
            raise ValueError(
                f"pixels 'dataset': a channel of the training images of {dataset} fold {fold} is {mean} everywhere, "
                "with no sd to divide by; name another way of normalising"
            )
        write_whole(path, json.dumps({"mean": mean, "std": std}).encode())
    said = json.loads(path.read_text())
    return Pixels(mean=_three(said["mean"]), std=_three(said["std"]))


def _moments(part: Part) -> tuple[list[float], list[float]]:
    """Exact sums over counts of the 256 values; a grey image's channel stands for all three."""
    counts = np.zeros((part.pixels.shape[-1], 256), dtype=np.int64)  # (channels, values)
    for start in range(0, len(part), _AT_ONCE):
        chosen = np.asarray(part.pixels)[part.rows[start : start + _AT_ONCE]]  # (n, size, size, channels)
        for channel, found in enumerate(counts):
            found += np.bincount(chosen[..., channel].reshape(-1), minlength=256)
    values = np.arange(256) / 255
    total = counts.sum(axis=1)
    mean = counts @ values / total
    variance = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / total
    repeat = 3 // len(counts)
    return mean.tolist() * repeat, np.sqrt(variance).tolist() * repeat


def _three(values: list[float]) -> Three:
    red, green, blue = values
    return red, green, blue
