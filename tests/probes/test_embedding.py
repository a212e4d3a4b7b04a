"""Images in the plane: against the singular value decomposition, and by properties where there is no closed form."""

import numpy as np
import pytest
from scipy.stats import special_ortho_group
from sklearn.datasets import load_digits

from sweeper.probes.embedding import plane

SETTINGS = dict(neighbours=10, seed=3)


def digits(images: int = 120) -> tuple[np.ndarray, np.ndarray]:
    features, labels = load_digits(return_X_y=True)
    return np.asarray(features)[:images], np.asarray(labels)[:images]


def test_principal_components_are_those_of_the_singular_value_decomposition() -> None:
    x, _ = digits()
    found = plane(x, method="pca", **SETTINGS)
    left, sizes, right = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    signs = np.sign(right[np.arange(2), np.abs(right[:2]).argmax(axis=1)])
    np.testing.assert_allclose(found.points, left[:, :2] * sizes[:2] * signs, rtol=1e-9, atol=1e-9)
    shares = sizes**2 / (sizes**2).sum()
    assert found.numbers["explained_1"] == pytest.approx(shares[0])
    assert found.numbers["explained_2"] == pytest.approx(shares[1])


def test_distances_between_images_by_components_do_not_change_with_a_rotation_or_shift_of_the_features() -> None:
    x, _ = digits()
    turned = x @ special_ortho_group.rvs(x.shape[1], random_state=0) + 5
    one, other = (plane(each, method="pca", **SETTINGS).points for each in (x, turned))
    distances = [np.linalg.norm(points[:, None] - points[None], axis=2) for points in (one, other)]
    np.testing.assert_allclose(*distances, atol=1e-8)


def test_features_of_two_dimensions_are_believed_wholly() -> None:
    x = np.random.default_rng(0).normal(size=(40, 2))
    assert plane(x, method="pca", **SETTINGS).numbers["trustworthiness"] == 1


def test_trustworthiness_is_its_definition() -> None:
    x = np.random.default_rng(1).normal(size=(60, 8))
    found = plane(x, method="pca", **SETTINGS)
    ranks, near = (np.linalg.norm(each[:, None] - each[None], axis=2) for each in (x, found.points))
    ranks = ranks.argsort(axis=1).argsort(axis=1)  # an image itself has rank 0
    near = near.argsort(axis=1)[:, 1:6]
    n, k = len(x), 5
    missed = sum(max(0, ranks[i, j] - k) for i in range(n) for j in near[i])
    assert found.numbers["trustworthiness"] == pytest.approx(1 - 2 / (n * k * (2 * n - 3 * k - 1)) * missed)


@pytest.mark.parametrize("method", ["tsne", pytest.param("umap", marks=pytest.mark.slow)])  # numba compiles for 40 s
def test_neighbours_in_the_plane_are_of_one_class_and_a_seed_gives_one_picture(method: str) -> None:
    if method == "umap":
        pytest.importorskip("umap")
    x, labels = digits()
    found = plane(x, method=method, **SETTINGS)  # type: ignore[arg-type]
    near = np.linalg.norm(found.points[:, None] - found.points[None], axis=2).argsort(axis=1)[:, 1]
    assert (labels[near] == labels).mean() > 0.8
    assert found.numbers["trustworthiness"] > plane(x, method="pca", **SETTINGS).numbers["trustworthiness"]
    np.testing.assert_array_equal(plane(x, method=method, **SETTINGS).points, found.points)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("features", "text"),
    [
        (np.zeros((11, 3)), r"shape \(11, 3\); a plane needs at least 12 images of 2 features"),
        (np.zeros((20, 1)), r"shape \(20, 1\)"),
        (np.ones((20, 3)), "all 20 images have the same features"),
        (np.full((20, 3), np.nan), "not finite"),
    ],
)
def test_what_has_no_plane_is_refused(features: np.ndarray, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        plane(features, method="pca", **SETTINGS)


def test_more_neighbours_than_images_are_refused() -> None:
    with pytest.raises(ValueError, match="method='tsne' with 30 neighbours needs more than the 20 images"):
        plane(digits(20)[0], method="tsne", neighbours=30, seed=0)
