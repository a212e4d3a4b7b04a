"""Seconds of the similarity probes against the studies' way in plain numpy and against the matrix products alone.

It prints and judges no time; it does insist that both ways come to the same values. Run it as a script, which needs
neither pytest nor Ray, or with `pytest -m benchmark -n0 -s tests/benchmarks/bench_similarity.py`:

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_similarity.py [--images 2000] [--points 10000] [--repeats 5]

Cases: CKA of all pairs of 17 blocks with 64 to 512 channels (a ResNet-18's and more), of one model's blocks with
themselves and of two models'; mean CCA of 10,000 positions of 64 channels. "Products" is what no way can do without,
in numpy's BLAS, which knows that X X^T is symmetric: CKA's Gram matrices and the inner products of all pairs of them;
CCA's covariances within and across. The repeats alternate: all meet the same machine.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]
else:
    import pytest

    pytestmark = pytest.mark.benchmark

from bench_loop import surroundings

from sweeper.probes.cca import cca_pairs
from sweeper.probes.cka import cka_pairs

_WIDTHS = [64] * 3 + [128] * 4 + [256] * 6 + [512] * 4


def test_similarity_against_the_studies_way() -> None:
    main(["--images", "200", "--points", "1000", "--repeats", "1"])


def main(arguments: list[str]) -> None:
    """Prints the seconds of each way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(f"\n{surroundings(torch.device('cpu'))}; numpy {np.__version__}; 1 thread; {chosen.repeats} repeats")
    xs, ys = _layers(_WIDTHS, chosen.images, seed=0), _layers(_WIDTHS, chosen.images, seed=1)
    for name, others in (("themselves", xs), ("another model's", ys)):
        _race(
            f"CKA of {len(xs)} blocks with {name}, {chosen.images} images",
            {
                "sweeper": lambda others=others: cka_pairs(xs, others),
                "products": lambda others=others: _gram_products(xs, others),
                "studies": lambda others=others: _cka_as_the_study(xs, others),
            },
            chosen.repeats,
        )
    (x,), (y,) = _layers([64], chosen.points, seed=2), _layers([64], chosen.points, seed=3)
    _race(
        f"mean CCA of {chosen.points} points of 64 channels",
        {
            "sweeper": lambda: cca_pairs([x], [y]),
            "products": lambda: (x.T @ x, y.T @ y, x.T @ y),
            "studies": lambda: _cca_as_the_study(x, y),
        },
        chosen.repeats * 5,
    )


def _layers(widths: list[int], samples: int, *, seed: int) -> list[np.ndarray]:
    """Features after a rectifier that share a few factors with those of any other seed."""
    factors = np.random.default_rng(99).normal(size=(samples, 16))
    draw = np.random.default_rng(seed)
    layers = (factors @ draw.normal(size=(16, width)) + 3 * draw.normal(size=(samples, width)) for width in widths)
    return [np.maximum(layer, 0) for layer in layers]


def _race(case: str, ways: Mapping[str, Callable[[], object]], repeats: int) -> None:
    found = {name: way() for name, way in ways.items()}  # to warm up
    np.testing.assert_allclose(found["sweeper"], found["studies"], atol=1e-8)  # type: ignore[arg-type]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    print(f"{case}: median (min to max) seconds, times sweeper's median")
    ours = statistics.median(seconds["sweeper"])
    for name, each in seconds.items():
        middle = statistics.median(each)
        print(f"  {name:9}{middle:9.4f} ({min(each):.4f} to {max(each):.4f}) {middle / ours:7.2f} x")


def _gram_products(xs: list[np.ndarray], ys: list[np.ndarray]) -> np.ndarray:
    rows = np.stack([(x @ x.T).ravel() for x in xs])
    columns = rows if ys is xs else np.stack([(y @ y.T).ravel() for y in ys])
    return rows @ columns.T


def _cka_as_the_study(xs: list[np.ndarray], ys: list[np.ndarray]) -> np.ndarray:
    """Every pair by itself: both Gram matrices, their U-centring, three inner products."""
    return np.array([[_pair_as_the_study(x, y) for y in ys] for x in xs])


def _pair_as_the_study(x: np.ndarray, y: np.ndarray) -> float:
    left, right = _u_centred(x @ x.T), _u_centred(y @ y.T)
    return float(np.vdot(left, right) / (np.linalg.norm(left) * np.linalg.norm(right)))


def _u_centred(gram: np.ndarray) -> np.ndarray:
    images = len(gram)
    np.fill_diagonal(gram, 0)
    means = gram.sum(axis=0) / (images - 2)
    means -= means.sum() / (2 * (images - 1))
    gram = gram - means[:, None] - means[None, :]
    np.fill_diagonal(gram, 0)
    return gram


def _cca_as_the_study(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """One joint covariance, 1e-12 added to the variances, pseudo-inverses and their roots, then the singular values."""
    width = x.shape[1]
    joint = np.cov(x.T, y.T)
    own_x, own_y, cross = joint[:width, :width], joint[width:, width:], joint[:width, width:]
    scale_x, scale_y = np.abs(own_x).max(), np.abs(own_y).max()
    roots = [
        _root(np.linalg.pinv(own / scale + 1e-12 * np.eye(len(own))))
        for own, scale in ((own_x, scale_x), (own_y, scale_y))
    ]
    _, singular, _ = np.linalg.svd(roots[0] @ (cross / np.sqrt(scale_x * scale_y)) @ roots[1])
    return np.array([[np.abs(singular).mean()]])


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


if __name__ == "__main__":
    main(sys.argv[1:])
