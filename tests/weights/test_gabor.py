"""Gabor filters, against their Fourier transforms."""

import math

import pytest
import torch
from torch import Tensor

from sweeper import models, weights
from sweeper.cell import Gabor, Network, Weights
from sweeper.models.classifier import Classifier
from sweeper.site import Site
from sweeper.weights.gabor import make_filters

SD = 0.05
PADDED = 256
BROAD = Gabor(orientations=6, wavelengths=(4.0, 7.0), phases=(0.0, 30.0, 90.0), colours=("grey",), bandwidth=0.8)
EXPECTED = [
    (180 * angle / 6, wavelength, phase)
    for angle in range(6)
    for wavelength in (4.0, 7.0)
    for phase in (0.0, 30.0, 90.0)
]


def _filters(bank: Gabor, count: int, *, kernel: int = 7, channels: int = 3, order: str = "rgb") -> Tensor:
    return make_filters(bank, torch.Size((count, channels, kernel, kernel)), sd=SD, order=order)


def _build(model: str = "resnet18", input: str = "rgb") -> Classifier:
    torch.manual_seed(0)
    return models.build(Network(model=model, input=input), classes=2)  # type: ignore[arg-type]


def _pour(model: Classifier, site: Site, order: str = "rgb", **values: object) -> object:
    return weights.pour(Weights(**values), model, seed=0, site=site, order=order)  # type: ignore[arg-type]


def _peak(plane: Tensor) -> tuple[float, float]:
    """Angle in degrees, 0 to 180, and wavelength in pixels of the strongest frequency of a plane (height, width)."""
    power = torch.fft.fft2(plane.double(), s=(PADDED, PADDED)).abs()
    row, column = divmod(int(power.argmax()), PADDED)
    down, right = torch.fft.fftfreq(PADDED)[row].item(), torch.fft.fftfreq(PADDED)[column].item()
    return math.degrees(math.atan2(down, right)) % 180, 1 / math.hypot(down, right)


def _phase(plane: Tensor, angle: float, wavelength: float) -> float:
    """Degrees, about the middle of the plane, of its wave at an angle and a wavelength."""
    height, width = plane.shape
    down = (torch.arange(height).double() - (height - 1) / 2)[:, None] * math.sin(math.radians(angle))
    right = (torch.arange(width).double() - (width - 1) / 2)[None, :] * math.cos(math.radians(angle))
    wave = torch.exp(-2j * math.pi * (down + right) / wavelength)
    return math.degrees(torch.angle((plane.double() * wave).sum()).item())


@pytest.mark.parametrize(("number", "expected"), enumerate(EXPECTED))
def test_a_filters_strongest_frequency_has_its_orientation_and_wavelength(
    number: int, expected: tuple[float, float, float]
) -> None:
    angle, wavelength = _peak(_filters(BROAD, 36, kernel=41)[number, 0])
    assert abs((angle - expected[0] + 90) % 180 - 90) < 2
    assert wavelength == pytest.approx(expected[1], rel=0.04)


@pytest.mark.parametrize(("number", "expected"), enumerate(EXPECTED))
def test_a_filter_has_its_phase(number: int, expected: tuple[float, float, float]) -> None:
    angle, wavelength, phase = expected
    assert _phase(_filters(BROAD, 36, kernel=41)[number, 0], angle, wavelength) == pytest.approx(phase, abs=1.5)


@pytest.mark.parametrize("aspect", [0.5, 2.0])
def test_the_envelope_is_longer_along_the_stripes_by_its_aspect(aspect: float) -> None:
    plane = _filters(Gabor(colours=("grey",), aspect=aspect, wavelengths=(6.0,)), 1, kernel=41)[0, 0].double()
    place = torch.arange(41).double() - 20
    along = plane[:, 20].square()  # stripes at 0 degrees are upright; on them the wave is at its height
    spread = (along * place.square()).sum().div(along.sum()).sqrt().item()
    assert spread == pytest.approx(aspect * 0.5 * 6.0 / math.sqrt(2), rel=0.05)  # of a squared Gaussian


@pytest.mark.parametrize("kernel", [3, 5, 7, 11, 16])
@pytest.mark.parametrize("colour", ["grey", "red_green", "blue_yellow"])
def test_every_filter_has_mean_zero_and_the_layers_sd(kernel: int, colour: str) -> None:
    filters = _filters(Gabor(colours=(colour,), wavelengths=(2.7, 4.3)), 32, kernel=kernel)
    torch.testing.assert_close(filters.mean(dim=(1, 2, 3)), torch.zeros(32), atol=1e-7, rtol=0)
    torch.testing.assert_close(filters.square().mean(dim=(1, 2, 3)).sqrt(), torch.full((32,), SD))


def test_grey_filters_weigh_all_colours_alike() -> None:
    red, green, blue = _filters(Gabor(colours=("grey",)), 8).unbind(1)
    assert torch.equal(red, green)
    assert torch.equal(red, blue)


def test_red_green_filters_see_no_blue_and_no_grey() -> None:
    red, green, blue = _filters(Gabor(colours=("red_green",)), 8).unbind(1)
    assert torch.equal(red, -green)
    assert not blue.any()


def test_blue_yellow_filters_see_no_grey() -> None:
    red, green, blue = _filters(Gabor(colours=("blue_yellow",)), 8).unbind(1)
    assert torch.equal(red, green)
    torch.testing.assert_close(blue, -2 * red)


def test_colours_follow_the_order_of_the_channels() -> None:
    bank = Gabor(colours=("red_green", "blue_yellow"))
    assert torch.equal(_filters(bank, 32, order="bgr"), _filters(bank, 32).flip(1))


def test_filters_are_the_combinations_with_the_last_field_turning_fastest() -> None:
    bank = Gabor(orientations=2, wavelengths=(3.0, 6.0), phases=(0.0, 90.0), colours=("grey", "red_green"))
    found = _filters(bank, 16)
    for number, (wavelength, phase, colour) in enumerate(
        (wavelength, phase, colour) for wavelength in (3.0, 6.0) for phase in (0.0, 90.0) for colour in bank.colours
    ):
        alone = Gabor(orientations=2, wavelengths=(wavelength,), phases=(phase,), colours=(colour,))
        assert torch.equal(found[number], _filters(alone, 1)[0])
        assert torch.equal(found[8 + number], _filters(alone, 2)[1])


def test_a_layer_with_more_filters_takes_them_again_from_the_first() -> None:
    filters = _filters(Gabor(), 70)  # 8 orientations, 2 wavelengths, 2 phases, 2 colours: 64
    assert torch.equal(filters[64:], filters[:6])
    assert len({tuple(each.flatten().tolist()) for each in filters}) == 64


def test_a_layer_with_fewer_filters_takes_the_first_ones() -> None:
    assert torch.equal(_filters(Gabor(), 10), _filters(Gabor(), 64)[:10])


def test_a_filter_that_is_flat_in_its_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"wavelength 2, phase 90 and 0 degrees is flat in a kernel of 7 x 7 pixels"):
        _filters(Gabor(wavelengths=(2.0,), phases=(90.0,)), 1)


def test_a_coloured_filter_for_one_channel_is_refused() -> None:
    with pytest.raises(ValueError, match="colour 'red_green' needs three channels, and the layer has 1"):
        _filters(Gabor(colours=("red_green",)), 1, channels=1)


@pytest.mark.parametrize("model", ["resnet18", "cbr_tiny"])
def test_the_bank_fills_the_first_convolution_and_nothing_else(model: str, site: Site) -> None:
    built, start = _build(model), {name: tensor.clone() for name, tensor in _build(model).state_dict().items()}
    first = models.first_weight(built)
    _pour(built, site, gabor=Gabor())
    sd = start[first].std(correction=0).item()
    assert torch.equal(built.state_dict()[first], make_filters(Gabor(), start[first].shape, sd=sd))
    assert all(torch.equal(tensor, start[name]) for name, tensor in built.state_dict().items() if name != first)


def test_the_report_names_the_filled_layer_once(site: Site) -> None:
    report = weights.pour(Weights(gabor=Gabor()), _build(), seed=0, site=site)
    assert report.filled == ("conv1.weight",)
    assert "conv1.weight" not in report.left


def test_a_one_channel_layer_takes_a_grey_bank(site: Site) -> None:
    built = _build(input="sum")
    _pour(built, site, gabor=Gabor(colours=("grey",)))
    assert built.get_parameter("backbone.conv1.weight").square().mean(dim=(1, 2, 3)).std() < 1e-7


def test_the_model_hands_its_order_of_channels_on(site: Site) -> None:
    rgb, bgr = _build(), _build()
    _pour(rgb, site, gabor=Gabor())
    _pour(bgr, site, order="bgr", gabor=Gabor())
    name = "backbone.conv1.weight"
    assert torch.equal(bgr.get_parameter(name), rgb.get_parameter(name).flip(1))
