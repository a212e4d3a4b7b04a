"""CKA over batches against golden values, the two papers' definitions and the order in which sums are merged."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from golden_layers import golden_layers, normal

from sweeper.probes.cka import cka_pairs
from sweeper.probes.cka_batches import BatchSums, batch_mean_cka, batch_sums, merged, minibatch_cka

Estimate = Callable[[BatchSums], np.ndarray]


def _by_batches(x: np.ndarray, y: np.ndarray, size: int) -> list[BatchSums]:
    return [batch_sums([x[i : i + size]], [y[i : i + size]]) for i in range(0, len(x), size)]


def test_minibatch_cka_of_the_golden_layers_is_the_golden_value() -> None:
    sums = merged(_by_batches(*golden_layers(), 64))
    assert minibatch_cka(sums)[0, 0] == pytest.approx(0.73210054, abs=5e-9)


def test_the_mean_over_batches_of_the_golden_layers_is_the_golden_value() -> None:
    sums = merged(_by_batches(*golden_layers(), 64))
    assert batch_mean_cka(sums)[0, 0] == pytest.approx(0.73157169, abs=5e-9)


@pytest.mark.parametrize("estimate", [minibatch_cka, batch_mean_cka])
def test_one_batch_of_all_images_is_cka_of_all_images(estimate: Estimate) -> None:
    xs, ys = [normal(40, 5), normal(40, 60)], [normal(40, 7, seed=1)]
    np.testing.assert_allclose(estimate(batch_sums(xs, ys)), cka_pairs(xs, ys), rtol=1e-12)


@pytest.mark.parametrize("estimate", [minibatch_cka, batch_mean_cka])
def test_batches_merged_by_two_actors_in_another_order_give_the_same_value(estimate: Estimate) -> None:
    parts = _by_batches(*golden_layers(), 50)
    actors = merged([merged(parts[7:]), merged(parts[:7][::-1])])
    assert actors.batches == 10
    np.testing.assert_allclose(estimate(actors), estimate(merged(parts)), rtol=1e-13)


def test_minibatch_cka_of_batches_of_eight_comes_near_to_cka_of_all_images() -> None:
    x, y = normal(4000, 30, seed=1), normal(4000, 30, seed=2)
    y = y + 0.7 * x
    sums = merged(_by_batches(x, y, 8))
    assert minibatch_cka(sums)[0, 0] == pytest.approx(cka_pairs([x], [y])[0, 0], abs=0.01)


def test_a_layer_dead_in_one_batch_has_a_minibatch_value_but_no_mean_of_ratios() -> None:
    x, y = golden_layers()
    x[:64] = 3.0
    sums = merged(_by_batches(x, y, 64))
    assert 0 < minibatch_cka(sums)[0, 0] < 1
    assert math.isnan(batch_mean_cka(sums)[0, 0])


def test_a_last_batch_of_three_images_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 4 images, there are 3"):
        _by_batches(normal(67, 2), normal(67, 3), 64)


def test_no_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="no batches"):
        merged([])


def test_batches_of_different_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="different layers"):
        merged([batch_sums([normal(8, 2)], [normal(8, 3)]), batch_sums([normal(8, 2)] * 2, [normal(8, 3)])])
