"""CCA, SVCCA and PWCCA against golden values, scikit-learn, subspace angles, regression and random matrices."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from golden_layers import golden_layers, normal
from scipy.linalg import subspace_angles
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from sweeper.probes.cca import cca, cca_pairs, mean, svcca, thresholded_mean
from sweeper.probes.pwcca import pwcca, pwcca_of_google


def _by_angles(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Canonical correlations as cosines of the angles between the two column spaces, largest first."""
    return np.sort(np.cos(subspace_angles(x - x.mean(axis=0), y - y.mean(axis=0))))[::-1]


def test_mean_cca_of_the_golden_layers_is_the_golden_value() -> None:
    assert mean(cca(*golden_layers())) == pytest.approx(0.57896376, abs=5e-9)


def test_the_thresholded_mean_of_the_golden_layers_is_the_golden_value() -> None:
    assert thresholded_mean(cca(*golden_layers())) == pytest.approx(0.65653297, abs=5e-9)


def test_svcca_of_eight_directions_of_the_golden_layers_is_the_golden_value() -> None:
    found = svcca(*golden_layers(), directions=8)
    assert (len(found), mean(found)) == (8, pytest.approx(0.95520316, abs=5e-9))


def test_svcca_of_99_percent_of_the_golden_layers_variance_is_the_golden_value() -> None:
    found = svcca(*golden_layers(), variance=0.99)
    assert (len(found), mean(found)) == (12, pytest.approx(0.67192917, abs=5e-9))


def test_pwcca_of_the_golden_layers_is_the_golden_value() -> None:
    first, second = golden_layers()
    assert pwcca(second, first) == pytest.approx(0.87059484, abs=5e-9)


def test_googles_pwcca_of_the_golden_layers_is_the_golden_value_in_either_order() -> None:
    first, second = golden_layers()
    # The paper's value is 1.0e-5 away. Another LAPACK may choose other signs, which may move google's by 3e-3.
    assert pwcca_of_google(second, first) == pytest.approx(0.87060529, abs=5e-9)
    assert pwcca_of_google(first, second) == pytest.approx(0.87060529, abs=5e-9)


def test_correlations_are_those_of_scikit_learns_canonical_variates() -> None:
    x, y = golden_layers()
    left, right = CCA(n_components=3, max_iter=20_000, tol=1e-10).fit_transform(x, y)
    expected = [np.corrcoef(left[:, i], right[:, i])[0, 1] for i in range(3)]
    np.testing.assert_allclose(cca(x, y)[:3], expected, atol=1e-6)


@pytest.mark.parametrize("widths", [(1, 1), (3, 7), (12, 5), (30, 30)])
def test_correlations_are_cosines_of_the_angles_between_the_subspaces(widths: tuple[int, int]) -> None:
    x, y = normal(300, widths[0]), normal(300, widths[1], seed=1)
    y[:, 0] += x[:, 0]
    found = cca(x, y)
    assert len(found) == min(widths)
    np.testing.assert_allclose(found, _by_angles(x, y), atol=1e-12)


def test_the_correlation_with_a_single_feature_is_the_multiple_correlation_of_regression() -> None:
    x, y = golden_layers()
    expected = math.sqrt(LinearRegression().fit(x, y[:, 0]).score(x, y[:, 0]))
    assert cca(x, y[:, :1])[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("smallest", [1e-1, 1.1e-2, 0.9e-2, 1e-4, 1e-6])
def test_nearly_dependent_features_lose_no_digits(smallest: float) -> None:
    # 1e-2 is where the ratio of variances is 1e-4, and samples take over from covariances.
    x, y = normal(400, 6), normal(400, 5, seed=1)
    y[:, 0] += x[:, 0]
    near = x.copy()
    near[:, 1] = x[:, 0] + smallest * x[:, 1]  # spans the same space
    np.testing.assert_allclose(cca(near, y), _by_angles(x, y), atol=1e-11 if smallest >= 1e-4 else 1e-9)


def test_any_invertible_map_shift_and_scale_of_a_side_changes_nothing() -> None:
    x, y = golden_layers()
    moved = x @ normal(20, 20, seed=3) * np.logspace(-4, 4, 20) + 100
    np.testing.assert_allclose(cca(moved, y), cca(x, y), atol=1e-10)


def test_the_same_permutation_of_both_sides_samples_changes_nothing() -> None:
    x, y = golden_layers()
    order = np.random.default_rng(0).permutation(500)
    np.testing.assert_allclose(cca(x[order], y[order]), cca(x, y), atol=1e-12)


def test_constant_and_dependent_features_add_no_direction() -> None:
    x, y = golden_layers()
    more = np.column_stack([np.full(500, 0.1), x, x[:, 0] - 2 * x[:, 1], np.zeros(500)])
    found = cca(more, y)
    assert len(cca(more, x)) == 20
    np.testing.assert_allclose(found, cca(x, y), atol=1e-10)


def test_a_constant_layer_has_no_correlations_and_no_mean() -> None:
    x, y = np.full((500, 3), 1 / 3), golden_layers()[1]
    assert len(cca(x, y)) == len(svcca(x, y, directions=2)) == len(svcca(x, y, variance=0.9)) == 0
    assert all(map(math.isnan, (mean(cca(x, y)), thresholded_mean(cca(x, y)), pwcca(x, y), pwcca_of_google(x, y))))


def test_correlations_of_independent_layers_end_where_random_matrices_end() -> None:
    n, a, b = 20_000, 0.02, 0.01
    found = cca(normal(n, int(a * n)), normal(n, int(b * n), seed=1))
    low, high = (math.sqrt(a * (1 - b)) + sign * math.sqrt(b * (1 - a)) for sign in (-1, 1))
    assert (found[-1], found[0]) == (pytest.approx(low, abs=0.005), pytest.approx(high, abs=0.005))


def test_all_pairs_are_the_means_one_at_a_time() -> None:
    xs = [normal(300, width, seed=width) for width in (2, 9, 20)] + [np.zeros((300, 4))]
    ys = [normal(300, 9, seed=9) ** 2, normal(300, 5, seed=20)]
    np.testing.assert_allclose(cca_pairs(xs, ys), [[mean(cca(x, y)) for y in ys] for x in xs], atol=1e-13)
    np.testing.assert_allclose(cca_pairs(xs, xs), [[mean(cca(x, y)) for y in xs] for x in xs], atol=1e-13)


@pytest.mark.parametrize("samples", [500, 30])
def test_svcca_is_cca_of_scikit_learns_components(samples: int) -> None:
    x, y = (normal(samples, width, seed=width) @ normal(width, width) for width in (20, 40))
    parts = [PCA(n_components=4, svd_solver="full").fit_transform(each) for each in (x, y)]
    np.testing.assert_allclose(svcca(x, y, directions=4), _by_angles(*parts), atol=1e-10)


@pytest.mark.parametrize("variance", [0.3, 0.9, 1.0])
def test_svcca_keeps_as_many_components_as_scikit_learn_for_a_share_of_variance(variance: float) -> None:
    x = normal(500, 20) @ normal(20, 20)
    kept = PCA(n_components=variance, svd_solver="full").fit(x).n_components_ if variance < 1 else 20
    assert len(svcca(x, x, variance=variance)) == kept


def test_pwcca_weighs_by_projections_on_the_canonical_variates() -> None:
    # x is (3 a, b), y is (a, noise): the variates of x are a and b themselves, weights are 3 and 1.
    a, b, noise = np.linalg.qr(normal(100, 4) - normal(100, 4).mean(axis=0))[0].T[:3]
    x, y = np.column_stack([3 * a, b]), np.column_stack([a, 0.6 * b + 0.8 * noise])
    assert pwcca(x, y) == pytest.approx((3 * 1 + 1 * 0.6) / 4, abs=1e-12)


def test_pwcca_of_a_layer_with_itself_is_one() -> None:
    x, _ = golden_layers()
    assert pwcca(x, x @ normal(20, 20)) == pytest.approx(1, abs=1e-10)


def test_pwcca_ignores_features_of_the_second_layer_that_depend_on_others() -> None:
    x, y = golden_layers()
    assert pwcca(x, np.column_stack([y, y[:, :3] * 2])) == pytest.approx(pwcca(x, y), abs=1e-10)


def test_googles_pwcca_of_dependent_features_is_refused() -> None:
    x, y = golden_layers()
    with pytest.raises(ValueError, match="depend linearly"):
        pwcca_of_google(x, np.column_stack([y, y[:, 0]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_features_in_low_precision_are_computed_in_high_precision(dtype: torch.dtype) -> None:
    x, y = (torch.tensor(each).to(dtype) for each in golden_layers())
    np.testing.assert_array_equal(cca(x, y), cca(x.double().numpy(), y.double().numpy()))


Measure = Callable[[np.ndarray, np.ndarray], object]


@pytest.mark.parametrize("measure", [cca, pwcca, pwcca_of_google, lambda x, y: svcca(x, y, variance=1.0)])
def test_fewer_than_five_samples_a_direction_are_refused(measure: Measure) -> None:
    measure(normal(50, 10), normal(50, 2))
    with pytest.raises(ValueError, match="10 directions needs 5 samples for each, there are 49"):
        measure(normal(49, 10), normal(49, 2))


def test_fewer_samples_may_be_allowed_by_name() -> None:
    assert len(cca(normal(20, 10), normal(20, 2), samples=1)) == 2


@pytest.mark.parametrize("width", [20, 600])
def test_svcca_of_more_directions_than_there_are_is_refused(width: int) -> None:
    x = normal(500, 20) @ normal(20, width)
    with pytest.raises(ValueError, match="keeps 21 directions, a layer has 20"):
        svcca(x, normal(500, 30), directions=21)


@pytest.mark.parametrize("choice", [{}, {"directions": 3, "variance": 0.9}, {"directions": 0}, {"variance": 1.2}])
def test_svcca_of_an_unclear_share_is_refused(choice: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="SVCCA keeps"):
        svcca(*golden_layers(), **choice)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("measure", [cca, pwcca, pwcca_of_google])
def test_different_samples_are_refused(measure: Measure) -> None:
    with pytest.raises(ValueError, match="one side has 50, the other 51"):
        measure(normal(50, 2), normal(51, 2))


def test_features_that_are_not_finite_are_refused() -> None:
    x = normal(50, 2)
    x[7, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        cca(x, normal(50, 2))
