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
_ROUNDING = 1e-4
"""Outlines are floats of 32 bits."""


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
    most four bits must: time grows with the pairs that agree, not with all pairs. Of these nothing is kept but those
    whose outlines leave it open whether they correlate, so that many images of one hash, as dark ones, take no memory.

    Args:
        pixels: uint8 (images, size, size, channels), 1 or 3 channels.
    """
    firsts, hashes, outlines = _seen_once(pixels)
    rows = np.flatnonzero(firsts == np.arange(len(pixels)))
    equal = np.flatnonzero(firsts != np.arange(len(pixels)))
    tables = [pd.DataFrame({"row": firsts[equal], "twin": equal, "bits": -1, "correlation": 1.0})]
    kept = [(pairs[may], bits[may]) for pairs, bits in _close(hashes) for may in [_may_correlate(outlines, pairs)]]
    if any(len(pairs) for pairs, _ in kept):
        pairs, bits = (np.concatenate(each) for each in zip(*kept, strict=True))
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


def _seen_once(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each image the first that it equals, int64 (images,), and of each first one hash and outline.

    The hash is the perceptual one, uint64 (firsts,); the outline is `_outline`'s, (firsts, places). Every image is read
    once: all of them may be more than the memory holds.
    """
    import imagehash

    known: dict[bytes, int] = {}
    firsts, hashes, outlines = np.empty(len(pixels), np.int64), [], []
    for row, each in enumerate(pixels):
        firsts[row] = known.setdefault(hashlib.sha256(np.ascontiguousarray(each).data).digest(), row)
        if firsts[row] == row:
            grey = _picture(each).convert("L")
            hashes.append(np.packbits(imagehash.phash(grey).hash.reshape(-1)))  # 8 bytes
            outlines.append(_outline(_thumbnail(grey)))
    packed = np.array(hashes, dtype=np.uint8).reshape(-1, 8)
    return firsts, packed.view(np.uint64).reshape(-1), np.array(outlines, dtype=np.float32)


def _outline(small: np.ndarray) -> np.ndarray:
    """The sums of at most 8 x 8 patches of a small image after standardisation, each by the root of its size.

    These are coordinates in an orthogonal projection, so two outlines are never farther apart than the images, and
    images of unit length that correlate by r are the root of 2 - 2r apart. Float32 (patches,).
    """
    side = round(small.size**0.5)
    edges = np.unique(np.linspace(0, side, 9).round().astype(int))
    image = _standardised(small.reshape(1, -1)).reshape(side, side)
    sums = np.add.reduceat(np.add.reduceat(image, edges[:-1], axis=0), edges[:-1], axis=1)
    long = np.sqrt(np.diff(edges))
    return (sums / np.outer(long, long)).reshape(-1)


def _may_correlate(outlines: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Whether the outlines of each pair are as near as a correlation above `SIMILAR` makes them, bool (pairs,)."""
    found = np.empty(len(pairs), dtype=bool)
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        now = slice(start, start + _PAIRS_AT_ONCE)
        between = outlines[pairs[now, 0]] - outlines[pairs[now, 1]]
        found[now] = (between**2).sum(axis=1) < 2 * (1 - SIMILAR) + _ROUNDING
    return found


def _close(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of hashes that differ in at most `HASH_BITS` bits, (pairs, 2), and in how many, (pairs,), in portions."""
    edges = np.linspace(0, 64, HASH_BITS + 2).round().astype(int)
    masks = [np.uint64((1 << int(stop)) - (1 << int(start))) for start, stop in pairwise(edges)]
    for number, mask in enumerate(masks):
        for ours, theirs in _agreeing(hashes & mask):
            differing = hashes[ours] ^ hashes[theirs]
            count = np.bitwise_count(differing).astype(np.int64)
            new = count <= HASH_BITS
            for earlier in masks[:number]:  # these were found there
                new &= (differing & earlier) != 0
            yield np.sort(np.stack([ours[new], theirs[new]], axis=1), axis=1), count[new]


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
    small = np.stack([_thumbnail(_picture(pixels[row]).convert("L")) for row in rows])  # uint8 (rows, pixels)
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


def _thumbnail(grey: Image.Image) -> np.ndarray:
    side = min(SIDE, grey.height)
    return np.asarray(grey.resize((side, side), Image.Resampling.BOX)).reshape(-1)


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.asarray(pixels).squeeze(-1) if pixels.shape[-1] == 1 else np.asarray(pixels))
