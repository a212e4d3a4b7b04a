"""States that no trained network has."""

import pytest
import torch
from torch import Tensor, nn

from sweeper.weights.soundness import check_sound

SOURCE = "file:/a/state.pt"


def _state() -> dict[str, Tensor]:
    """Of two convolutions with batch norms that saw some images."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5))
    network(torch.randn(2, 3, 8, 8))
    return network.state_dict()


def test_a_trained_state_is_sound() -> None:
    check_sound(_state(), SOURCE)


def test_a_state_without_batch_norms_is_sound() -> None:
    check_sound(nn.Linear(3, 2).state_dict(), SOURCE)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["0.weight", "1.running_mean", "3.running_var", "3.bias"])
def test_a_value_that_is_not_finite_is_an_error(name: str, value: float) -> None:
    state = _state()
    state[name].view(-1)[-1] = value
    with pytest.raises(ValueError, match=f"file:/a/state.pt' has values that are not finite in {name}"):
        check_sound(state, SOURCE)


@pytest.mark.parametrize("value", [0.0, -0.5])
def test_a_variance_that_is_not_above_zero_is_an_error(value: float) -> None:
    state = _state()
    state["3.running_var"][2] = value
    with pytest.raises(ValueError, match=r"variance is not above 0 \(3\.running_var\)"):
        check_sound(state, SOURCE)


def test_batch_norms_that_never_saw_an_image_are_an_error() -> None:
    fresh = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)).state_dict()
    with pytest.raises(ValueError, match=r"never saw an image: .* \(1\.running_var, 2\.running_var\); name a trained"):
        check_sound(fresh, SOURCE)


def test_one_fresh_batch_norm_beside_a_trained_one_is_sound() -> None:
    check_sound(_state() | nn.ModuleList([nn.Identity(), nn.BatchNorm2d(4)]).state_dict(), SOURCE)
