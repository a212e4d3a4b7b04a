"""What parts of a split share and must not: patients, equal images, and near-duplicates.

Whether a sweep may go on all the same is `gate`'s to decide. Images are compared as networks see them, decoded at one
size: a copy in another file format is found, two sets are not compared with one another.

Equal images are equal in every pixel. Near-duplicates are two images whose perceptual hashes (`imagehash.phash`, 64
bits) differ in at most 4 bits, and whose grey pixels, at no more than 64 x 64, correlate above 0.995. The hash alone
would refuse every set of aligned images; measured on real sets, pairs at 4 bits or fewer and those among them above
0.995: paediatric X-rays at 224 px 8 and 0, PneumoniaMNIST (5856 X-rays of one kind) 255 and 0, digits at 16 px 58 and
0, 6000 CT, MRI and X-ray images at 64 px 2279 and 5 (slices of one scan that differ by noise), 3475 photographs at 128
px 13 and 3 (one photograph uploaded twice), BreastMNIST 183 and 105 (its source has repeats and videos). The highest
correlation between different X-rays was 0.975, between different digits 0.992. Small images say less: the 6000
at 28 px have 111 such pairs.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal

import numpy as np
import pandas as pd
from PIL import Image

from sweeper.data.cache import Cached
from sweeper.data.dataset import PARTS

HASH_BITS, SIMILAR, SIDE = 4, 0.995, 64
"""Bits that hashes may differ in, what the correlation must exceed, and pixels of a side that it is taken at."""
_TWINS = "twins-1.parquet"
"""Raise the number whenever what counts as a twin changes."""
_PAIRS_AT_ONCE = 4096


_Kind = Literal["patient", "identical", "near"]


@dataclass(frozen=True, kw_only=True)
class Leak:
    """Images of one part that have something in another."""

    kind: _Kind
    part: str
    """Whose images are counted."""
    other: str
    """Where they should have nothing."""
    images: int
    first: tuple[str, str]
    """An image of `part`, and one of `other` that it belongs to."""

    def __str__(self) -> str:
        has = {"patient": "a patient", "identical": "an identical image", "near": "a near-duplicate"}[self.kind]
        count = f"{self.images} image{'s' if self.images > 1 else ''}"
        return f"{count} of {self.part} with {has} in {self.other} (first: {' and '.join(self.first)})"


def leaks(index: pd.DataFrame, parts: pd.Series, twins: pd.DataFrame) -> list[Leak]:
    """What parts of a split share; empty for a sound split.

    Args:
        index: columns `image` and `patient`.
        parts: of the same rows; `unused` images share nothing.
        twins: as `find_twins` makes it of the same rows.
    """
    rows = {part: np.flatnonzero((parts == part).to_numpy()) for part in PARTS}
    images, patients = index["image"].to_numpy(), pd.factorize(index["patient"])[0].astype(np.int64)
    groups = _groups(len(index), twins)
    found = []
    for other, part in combinations(PARTS, 2):
        shared: dict[_Kind, np.ndarray] = {
            "patient": _meet(patients, rows[part], rows[other]),
            "identical": _meet(groups, rows[part], rows[other]),
            "near": _meet_near(groups, twins, rows[part], rows[other]),
        }
        for kind, pairs in shared.items():
            if len(pairs):
                first = (str(images[pairs[0, 0]]), str(images[pairs[0, 1]]))
                found.append(Leak(kind=kind, part=part, other=other, images=len(pairs), first=first))
    return found


def twins_of(whole: Cached) -> pd.DataFrame:
    """`find_twins` of a decoded set, found once and kept in its entry of the cache."""
    path = Path(str(whole.pixels.filename)).parent / _TWINS
    if not path.exists():
        found = find_twins(whole.pixels)
        with NamedTemporaryFile(dir=path.parent, prefix=".twins-", delete=False) as unfinished:
            found.to_parquet(unfinished)
        os.chmod(unfinished.name, 0o644)  # as other files of the entry: several people may share a cache
        os.replace(unfinished.name, path)
    return pd.read_parquet(path)


def find_twins(pixels: np.ndarray) -> pd.DataFrame:
    """Pairs of images that are equal or near-duplicates: columns `row`, `twin`, `bits` and `correlation`.

    An equal image stands once, with the first one that it equals, -1 bits and correlation 1; near-duplicates are found
    among the first ones only. Hashes are compared where they agree in one of five stretches, as those that differ in at
    most four bits must: time grows with the pairs that agree, not with all pairs.

    Args:
        pixels: uint8 (images, size, size, channels), 1 or 3 channels.
    """
    seen: dict[bytes, int] = {}
    marks = (hashlib.sha256(each.tobytes()).digest() for each in pixels)
    firsts = np.array([seen.setdefault(mark, row) for row, mark in enumerate(marks)])
    rows = np.flatnonzero(firsts == np.arange(len(pixels)))
    equal = np.flatnonzero(firsts != np.arange(len(pixels)))
    tables = [pd.DataFrame({"row": firsts[equal], "twin": equal, "bits": -1, "correlation": 1.0})]
    pairs, bits = _close(_hashes(pixels, rows))
    if len(pairs):
        alike = _correlations(pixels, rows[pairs])
        near = pd.DataFrame(rows[pairs], columns=["row", "twin"]).assign(bits=bits, correlation=alike)
        tables.append(near[near["correlation"] > SIMILAR])
    found = pd.concat(tables, ignore_index=True).astype({"row": "int64", "twin": "int64", "bits": "int64"})
    return found.sort_values(["row", "twin"], ignore_index=True)


def _groups(images: int, twins: pd.DataFrame) -> np.ndarray:
    """For each image the first one that it equals, int64 (images,)."""
    groups = np.arange(images)
    equal = twins[twins["bits"] < 0]
    groups[equal["twin"]] = equal["row"]
    return groups


def _meet(marks: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Each of our rows whose mark one of theirs has, with the first such one, (pairs, 2)."""
    known, places = np.unique(marks[theirs], return_index=True)
    shared = ours[np.isin(marks[ours], known)]
    return np.stack([shared, theirs[places[np.searchsorted(known, marks[shared])]]], axis=1)


def _meet_near(groups: np.ndarray, twins: pd.DataFrame, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Each of our rows that is a near-duplicate of one of theirs, with one such, (pairs, 2)."""
    pairs = twins.loc[twins["bits"] >= 0, ["row", "twin"]].to_numpy()
    pairs = np.concatenate([pairs, pairs[:, ::-1]])  # (links, 2): ours, theirs
    links = pairs[np.isin(pairs[:, 1], groups[theirs])]
    own, places = np.unique(links[:, 0], return_index=True)
    shared = ours[np.isin(groups[ours], own)]
    wanted = links[places[np.searchsorted(own, groups[shared])], 1]
    known, first = np.unique(groups[theirs], return_index=True)
    return np.stack([shared, theirs[first[np.searchsorted(known, wanted)]]], axis=1)


def _hashes(pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The perceptual hash of each of these images, uint64 (rows,)."""
    import imagehash

    packed = [np.packbits(imagehash.phash(_picture(pixels[row])).hash.reshape(-1)) for row in rows]  # 8 bytes each
    return np.array(packed, dtype=np.uint8).reshape(-1, 8).view(np.uint64).reshape(-1)


def _close(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of hashes that differ in at most `HASH_BITS` bits, (pairs, 2), and in how many, (pairs,)."""
    pairs, bits = [np.empty((0, 2), np.int64)], [np.empty(0, np.int64)]
    edges = np.linspace(0, 64, HASH_BITS + 2).round().astype(int)
    masks = [np.uint64((1 << int(stop)) - (1 << int(start))) for start, stop in pairwise(edges)]
    for number, mask in enumerate(masks):
        for ours, theirs in _agreeing(hashes & mask):
            differing = hashes[ours] ^ hashes[theirs]
            count = np.bitwise_count(differing).astype(np.int64)
            new = count <= HASH_BITS
            for earlier in masks[:number]:  # these were found there
                new &= (differing & earlier) != 0
            pairs.append(np.sort(np.stack([ours[new], theirs[new]], axis=1), axis=1))
            bits.append(count[new])
    return np.concatenate(pairs), np.concatenate(bits)


def _agreeing(marks: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of positions with equal marks, in portions no longer than `marks`."""
    order = np.argsort(marks, kind="stable")
    ordered = marks[order]
    starts = np.arange(len(marks))
    for step in range(1, len(marks)):
        starts = starts[starts + step < len(marks)]
        starts = starts[ordered[starts] == ordered[starts + step]]
        if not len(starts):
            return
        yield order[starts], order[starts + step]


def _correlations(pixels: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Pearson's correlation of the grey pixels of each pair of images, (pairs,); 0 where an image is constant."""
    rows, places = np.unique(pairs, return_inverse=True)
    small = np.stack([_thumbnail(pixels[row]) for row in rows])  # uint8 (rows, pixels)
    places = places.reshape(-1, 2)
    found = np.empty(len(pairs))
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        now = slice(start, start + _PAIRS_AT_ONCE)
        one, other = (_standardised(small[places[now, side]]) for side in (0, 1))
        found[now] = (one * other).sum(axis=1)
    return found


def _standardised(small: np.ndarray) -> np.ndarray:
    centred = small - small.mean(axis=1, keepdims=True, dtype=np.float32)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    grey, side = _picture(pixels).convert("L"), min(SIDE, len(pixels))
    return np.asarray(grey.resize((side, side), Image.Resampling.BOX)).reshape(-1)


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.asarray(pixels).squeeze(-1) if pixels.shape[-1] == 1 else np.asarray(pixels))
