"""A declared similarity of blocks' features: its values, what it reads by chance, and over which pairs of blocks."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from sweeper.probe_types import Cca, Cka, Procrustes
from sweeper.probe_types import Similarity as Declared
from sweeper.probes.baselines import Similarity, gaussian_values, permutation_null
from sweeper.probes.cca import cca_pairs, mean, svcca
from sweeper.probes.cka import cka_pairs
from sweeper.probes.cka_batches import BatchSums, batch_mean_cka, minibatch_cka
from sweeper.probes.procrustes import procrustes_pairs
from sweeper.probes.pwcca import pwcca
from sweeper.probes.samples import Features

Table = npt.NDArray[np.float64]
_GAUSSIAN_DRAWS = 5


def tables(probe: Declared, xs: Sequence[Features], ys: Sequence[Features], *, seed: int) -> dict[str, Table]:
    """Metric -> its value for every pair of layers, (len(xs), len(ys)).

    Beside the similarity's own name, where `probe.null` asks for permutations: `..._gaussian`, the mean over 5 draws of
    what independent Gaussian features of the same shapes read; the 95 % band of shuffled images, `..._null_low`,
    `..._null_median`, `..._null_high`, and `..._p_value`. Positions of maps are not exchangeable: drawn CCA has the
    Gaussian value alone.
    """
    measure, name = _measure(probe), probe.name
    if not probe.null:
        return {name: measure(xs, ys)}
    found = {f"{name}_gaussian": gaussian_values(measure, xs, ys, draws=_GAUSSIAN_DRAWS, seed=seed).mean(axis=0)}
    if isinstance(probe, Cca) and probe.kind == "drawn":
        return {name: measure(xs, ys)} | found
    null = permutation_null(measure, xs, ys, permutations=probe.null, seed=seed)
    band = {"null_low": null.low, "null_median": null.median, "null_high": null.high, "p_value": null.p_value}
    return {name: null.value} | found | {f"{name}_{end}": table for end, table in band.items()}


def values(probe: Declared, lefts: Sequence[Features], rights: Sequence[Features], *, seed: int) -> dict[str, float]:
    """Metric -> the mean over draws of its value for one pair of blocks.

    Args:
        lefts: the block's features, one array per draw.
        rights: likewise of the other state, in the same draws.
    """
    each = [tables(probe, [left], [right], seed=seed) for left, right in zip(lefts, rights, strict=True)]
    return {metric: float(np.mean([table[metric] for table in each])) for metric in each[0]}


def of_sums(sums: BatchSums, estimator: str) -> Table:
    """CKA of every pair of blocks from the sums over batches, by `minibatch` or else the mean over batches."""
    return minibatch_cka(sums) if estimator == "minibatch" else batch_mean_cka(sums)


def _measure(probe: Declared) -> Similarity:
    match probe:
        case Procrustes():
            return procrustes_pairs
        case Cka(estimator="debiased" | "biased" as estimator):
            return lambda xs, ys: cka_pairs(xs, ys, estimator=estimator)
        case Cca(kind="svcca", directions=directions, variance=variance):
            share = None if directions else variance
            return lambda xs, ys: _each(xs, ys, lambda x, y: mean(svcca(x, y, directions=directions, variance=share)))
        case Cca(kind="pwcca"):
            return lambda xs, ys: _each(xs, ys, pwcca)
        case Cca():
            return cca_pairs
        case _:
            raise ValueError(f"{probe} goes batch by batch; see `of_sums`")


def _each(xs: Sequence[Features], ys: Sequence[Features], measure: Callable[[Features, Features], float]) -> Table:
    return np.array([[measure(x, y) for y in ys] for x in xs])
