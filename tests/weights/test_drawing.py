"""The samplers of Matsoukas et al. 2022 beside the Gaussian one, against numpy and scipy."""

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from sweeper.weights.drawing import Sampler, draw_like

SAMPLERS: list[Sampler] = ["stats", "shuffle", "bootstrap", "fixed"]


def _exponential() -> Tensor:
    """Skewed values, nearly all different."""
    return torch.empty(40, 25, 5, 2).exponential_(2.0, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_draw_has_the_tensors_shape_and_type(sampler: Sampler) -> None:
    drawn = draw_like(_exponential(), "a", sampler)
    assert drawn.shape == (40, 25, 5, 2)
    assert drawn.dtype == torch.float32


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_name_gives_one_draw(sampler: Sampler) -> None:
    assert torch.equal(draw_like(_exponential(), "a", sampler), draw_like(_exponential(), "a", sampler))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_another_name_gives_another_draw(sampler: Sampler) -> None:
    assert not torch.equal(draw_like(_exponential(), "a", sampler), draw_like(_exponential(), "b", sampler))


def test_shuffled_values_are_the_tensors_in_another_order() -> None:
    like, drawn = _exponential().flatten(), draw_like(_exponential(), "a", "shuffle").flatten()
    assert torch.equal(drawn.sort().values, like.sort().values)
    assert abs(np.corrcoef(drawn, like)[0, 1]) < 4 / np.sqrt(len(like))


def test_bootstrapped_values_are_the_tensors_with_repetitions() -> None:
    like, drawn = _exponential().flatten().numpy(), draw_like(_exponential(), "a", "bootstrap").flatten().numpy()
    assert np.isin(drawn, like).all()
    share = len(np.unique(drawn)) / len(np.unique(like))
    assert share == pytest.approx(1 - np.exp(-1), abs=0.02)  # of n values drawn n times
    assert scipy.stats.ks_2samp(drawn, like).pvalue > 0.001


def test_fixed_draws_know_nothing_of_the_tensor() -> None:
    drawn = draw_like(_exponential(), "a", "fixed").flatten()
    assert scipy.stats.kstest(drawn, "norm", args=(0, 0.05)).pvalue > 0.001
    assert torch.equal(drawn, draw_like(torch.zeros(40, 25, 5, 2), "a", "fixed").flatten())
