"""Similarities and neighbours against the packages that others use for them, on layers that no other test has seen."""

from typing import Any

import cka as pytorch_cka
import faiss
import numpy as np
import pytest
import torch
from golden_layers import normal
from rsatoolbox.rdm import RDMs, compare
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group
from sklearn.cross_decomposition import CCA
from torch import nn
from torch.utils.data import DataLoader

from sweeper.probes.cca import cca, mean, svcca
from sweeper.probes.cka import cka, cka_pairs
from sweeper.probes.cka_batches import batch_sums, merged, minibatch_cka
from sweeper.probes.knn import knn_scores
from sweeper.probes.procrustes import procrustes
from sweeper.probes.pwcca import pwcca, pwcca_of_google


def layers(*widths: int, images: int = 120, seed: int = 7) -> list[np.ndarray]:
    """Layers of those widths and of unequal scales that share five factors."""
    draw = np.random.default_rng(seed)
    factors = draw.normal(size=(images, 5))
    return [
        (factors @ draw.normal(size=(5, width)) + draw.normal(size=(images, width))) * draw.uniform(0.2, 4, width)
        for width in widths
    ]


def turned(layer: np.ndarray, how: str) -> np.ndarray:
    """The layer rotated, scaled as a whole and shifted, or with its features in another order."""
    width = layer.shape[1]
    match how:
        case "rotation":
            return layer @ ortho_group.rvs(width, random_state=1)
        case "scale":
            return 1e-3 * layer + 40
        case _:
            return layer[:, np.random.default_rng(1).permutation(width)]


def test_debiased_cka_is_pytorch_ckas() -> None:
    xs, ys = layers(3, 40, 300), layers(12, 500, seed=8)
    ys[0] += 2 * xs[1][:, :12]
    told = pytorch_cka.cka_from_features(*([torch.from_numpy(each) for each in side] for side in (xs, ys)))
    own = cka_pairs(xs, ys)
    assert (own > 0.02).any(axis=1).all()  # what is below 0 that package calls 0
    np.testing.assert_allclose(np.maximum(own, 0), told.numpy(), atol=1e-12)


def test_minibatch_cka_is_pytorch_ckas_of_two_networks() -> None:
    torch.manual_seed(3)
    images = torch.randn(256, 20, dtype=torch.float64)
    networks = [nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 8)).double() for _ in range(2)]
    (told,) = pytorch_cka.compute_cka(*networks, DataLoader(images, batch_size=64), layers=["0", "2"], progress=False)  # type: ignore[arg-type]
    parts = []
    with torch.inference_mode():
        for batch in images.split(64):
            seen = [[network[:1](batch), network(batch)] for network in networks]
            parts.append(batch_sums(seen[0], seen[1]))
    np.testing.assert_allclose(minibatch_cka(merged(parts)), told.numpy(), rtol=1e-6)  # it sums in single precision


@pytest.mark.parametrize(("measure", "method"), [("cka", "cosine_cov"), ("procrustes", "bures")])
def test_cka_and_procrustes_are_rsatoolboxs_of_the_images_distances(measure: str, method: str) -> None:
    x, y = layers(9, 200, images=50)
    tables = [RDMs(pdist(each, "sqeuclidean")[None]) for each in (x, y)]
    found = cka(x, y, estimator="biased") if measure == "cka" else procrustes(x, y)
    assert found == pytest.approx(compare(*tables, method=method)[0, 0], abs=1e-7)


@pytest.mark.parametrize("widths", [(4, 9), (7, 3)])
def test_cca_and_pwcca_are_of_scikit_learns_canonical_variates(widths: tuple[int, int]) -> None:
    x, y = layers(*widths, images=400)
    several = min(widths)
    left, right = CCA(n_components=several, max_iter=50_000, tol=1e-13).fit_transform(x, y)
    wanted = np.array([np.corrcoef(left[:, each], right[:, each])[0, 1] for each in range(several)])
    np.testing.assert_allclose(cca(x, y), wanted, atol=1e-5)
    weights = np.abs((left / np.linalg.norm(left, axis=0)).T @ (x - x.mean(axis=0))).sum(axis=1)
    assert pwcca(x, y) == pytest.approx(weights @ wanted / weights.sum(), abs=1e-5)


def test_both_pwccas_are_one_where_features_are_centred_and_white() -> None:
    # Without a mean to add and a covariance to leave out, google's directions are the canonical variates.
    x, y = (np.linalg.qr(each - each.mean(axis=0))[0] for each in layers(6, 9, images=200))
    assert pwcca_of_google(x, y) == pytest.approx(pwcca(x, y), abs=1e-12)
    assert 0.2 < pwcca(x, y) < 0.9


@pytest.mark.parametrize("how", ["rotation", "scale", "order"])
def test_similarities_do_not_change_with_rotation_scale_or_order_of_features(how: str) -> None:
    x, y = layers(8, 11, images=200)
    other = turned(y, how)
    for measure in (cka, lambda x, y: cka(x, y, estimator="biased"), procrustes, pwcca):
        assert measure(x, other) == pytest.approx(measure(x, y), abs=1e-9)
    np.testing.assert_allclose(svcca(x, other, directions=4), svcca(x, y, directions=4), atol=1e-9)
    assert mean(cca(x, other)) == pytest.approx(mean(cca(x, y)), abs=1e-9)


def test_debiased_cka_of_independent_features_is_about_zero_where_biased_is_far_above() -> None:
    values = [cka_pairs([normal(60, 500, seed=n)], [normal(60, 800, seed=100 + n)])[0, 0] for n in range(40)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 40**0.5
    assert np.std(values) == pytest.approx((2 / (60 * 57)) ** 0.5, rel=0.3)  # of wide features: 2 / (n (n - 3))
    assert cka(normal(60, 500), normal(60, 800, seed=1), estimator="biased") > 0.8


@pytest.mark.parametrize("several", [False, True])
def test_votes_are_those_of_the_neighbours_that_faiss_finds(several: bool) -> None:
    draw = np.random.default_rng(11)
    labels: Any = (draw.random((1500, 3)) < 0.3).astype(np.float32) if several else draw.integers(0, 3, 1500)
    bank, queries = (draw.normal(size=(count, 48)).astype(np.float32) for count in (1500, 130))
    bank[:, 0] += labels[:, 0] if several else labels
    units = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (bank, queries)]
    index = faiss.IndexFlatIP(48)
    index.add(units[0])
    near, places = index.search(units[1], 200)
    weights = np.exp(near.astype(np.float64) / 0.1)
    marks = labels if several else np.eye(3)[labels]
    wanted = np.einsum("qk,qkc->qc", weights, marks[places]) / weights.sum(axis=1, keepdims=True)
    found = knn_scores(bank, labels, queries, k=200, temperature=0.1, classes=3)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
