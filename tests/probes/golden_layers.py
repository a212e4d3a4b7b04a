"""Layers for the tests of similarity probes."""

import numpy as np


def golden_layers() -> tuple[np.ndarray, np.ndarray]:
    """Two layers that share eight factors, as in the golden values of google/svcca and Matsoukas et al.'s CKA."""
    draw = np.random.RandomState(0)
    factors = draw.randn(8, 500)
    first = draw.randn(20, 8) @ factors + 0.5 * draw.randn(20, 500)
    second = draw.randn(15, 8) @ factors + 0.5 * draw.randn(15, 500)
    return first.T.copy(), second.T.copy()


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)
