"""The operations on batches, against torchvision and scipy on one image at a time with what was drawn for it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torchvision.transforms import InterpolationMode
from torchvision.transforms import v2 as vision
from torchvision.transforms.v2 import functional as one

from sweeper.data.augment import AUGMENTS, view_of
from sweeper.data.augment_colours import COLOURS, _recolour
from sweeper.data.augment_draws import DRAWS, chosen, uniform, windows
from sweeper.data.augment_names import OPERATIONS, SETS, augment_problem, parse
from sweeper.data.augment_places import Cut, Flip, Warp, placed

SHAPE = (24, 30, 40)
"""Images, height, width."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(number: int = SHAPE[0], height: int = SHAPE[1], width: int = SHAPE[2]) -> torch.Tensor:
    """Images without sharp edges, in memory as channels_last: half a pixel makes them a little different."""
    coarse = torch.randint(256, (number, 3, 5, 5), generator=generator(9)).float()
    fine = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)
    return fine.clamp(0, 255).round().to(torch.uint8).contiguous(memory_format=torch.channels_last)


def settings(name: str, **given: Any) -> dict[str, Any]:
    """An operation's settings as a text would give them."""
    return {setting: value for setting, (_, value) in OPERATIONS[name].items()} | given


def drawn(name: str, seed: int = 0, shape: tuple[int, int, int] = SHAPE, **given: Any) -> Any:
    return DRAWS[name](shape, generator(seed), **settings(name, **given))


def assert_like(found: torch.Tensor, expected: torch.Tensor, most: int = 1) -> None:
    """Both round once, maybe to different sides."""
    difference = (found.int() - expected.int()).abs()
    assert difference.max() <= most, difference.float().mean()


def each_cut(images: torch.Tensor, cut: Cut) -> torch.Tensor:
    size = list(images.shape[-2:])
    sides = zip(cut.top.tolist(), cut.left.tolist(), cut.height.tolist(), cut.width.tolist(), strict=True)
    return torch.stack([one.resized_crop(each, *side, size) for each, side in zip(images, sides, strict=True)])


@pytest.mark.parametrize("name", ["center_crop", "resized_crop"])
def test_a_cut_is_torchvisions_resized_crop(name: str) -> None:
    cut = drawn(name)
    assert_like(placed(smooth(), [cut]), each_cut(smooth(), cut))


def test_a_random_crop_is_torchvisions_crop_of_the_padded_image_stretched_back() -> None:
    cut = drawn("crop", share=0.8, padding=0.1)
    padded = one.pad(smooth(), [4, 3])  # 0.1 of the width and of the height
    assert (cut.left < 0).any()
    moved = Cut(left=cut.left + 4, top=cut.top + 3, width=cut.width, height=cut.height)
    expected = torch.stack(
        [
            one.resized_crop(image, top, left, height, width, list(SHAPE[1:]))
            for image, top, left, height, width in zip(
                padded, *(getattr(moved, name).tolist() for name in ("top", "left", "height", "width")), strict=True
            )
        ]
    )
    assert_like(placed(smooth(), [cut]), expected)


def test_both_ways_to_cut_give_the_same_image() -> None:
    still = Warp(matrix=torch.eye(3, dtype=torch.float64).repeat(SHAPE[0], 1, 1), edge=True)
    cut, flip = drawn("resized_crop"), drawn("hflip")
    assert_like(placed(smooth(), [cut, flip]), placed(smooth(), [cut, flip, still]))


def test_center_crop_is_torchvisions() -> None:
    expected = one.resize(one.center_crop(smooth(), [26, 35]), list(SHAPE[1:]))
    assert_like(placed(smooth(), [drawn("center_crop", share=0.875)]), expected)


@pytest.mark.parametrize(("name", "expected"), [("hflip", one.horizontal_flip), ("vflip", one.vertical_flip)])
def test_a_flip_is_torchvisions(name: str, expected: Callable[[torch.Tensor], torch.Tensor]) -> None:
    flip = drawn(name)
    assert 0 < flip.chosen.sum() < SHAPE[0]
    assert torch.equal(
        placed(smooth(), [flip]),
        torch.stack([expected(each) if now else each for each, now in zip(smooth(), flip.chosen, strict=True)]),
    )


def redrawn(name: str, p: float, ranges: list[tuple[float, float]], seed: int = 0) -> tuple[torch.Tensor, list[Any]]:
    """What an operation drew: which images it takes, and uniform values over these ranges."""
    draws = generator(seed)
    taken = chosen(SHAPE[0], p, draws)
    return taken, [uniform(SHAPE[0], *each, draws).tolist() for each in ranges]


def test_a_rotation_is_torchvisions() -> None:
    taken, (angles,) = redrawn("rotate", 0.7, [(-40, 40)])
    expected = [
        one.rotate(each, angle, interpolation=InterpolationMode.BILINEAR) if now else each
        for each, angle, now in zip(smooth(), angles, taken, strict=True)
    ]
    assert_like(placed(smooth(), [drawn("rotate", angle=40, p=0.7)]), torch.stack(expected))


def test_an_affine_map_is_torchvisions() -> None:
    ranges = [(-30.0, 30.0), (-0.2 * 40, 0.2 * 40), (-0.3 * 30, 0.3 * 30), (0.5, 2.0), (-20.0, 20.0)]
    taken, (angles, across, down, scales, shears) = redrawn("affine", 0.7, ranges)
    expected = [
        one.affine(each, angle, [round(x), round(y)], scale, [shear, 0.0], interpolation=InterpolationMode.BILINEAR)
        if now
        else each
        for each, angle, x, y, scale, shear, now in zip(
            smooth(), angles, across, down, scales, shears, taken, strict=True
        )
    ]
    change = drawn("affine", degrees=30, translate=(0.2, 0.3), scale=(0.5, 2), shear=20, p=0.7)
    assert_like(placed(smooth(), [change]), torch.stack(expected))


def test_a_perspective_is_torchvisions() -> None:
    change = drawn("perspective", distortion=0.5, p=0.7)
    taken, _ = redrawn("perspective", 0.7, [])
    draws = generator()
    chosen(SHAPE[0], 0.7, draws)
    inwards = [
        (torch.rand(SHAPE[0], generator=draws, dtype=torch.float64) * (most + 1)).long().tolist()
        for _ in range(4)
        for most in (10, 7)  # half of half the width, and of the height
    ]
    corners = [[0, 0], [39, 0], [39, 29], [0, 29]]
    ways = [[1, 1], [-1, 1], [-1, -1], [1, -1]]
    expected = []
    for row, (image, now) in enumerate(zip(smooth(), taken, strict=True)):
        moved = [
            [corner[axis] + way[axis] * inwards[2 * place + axis][row] for axis in range(2)]
            for place, (corner, way) in enumerate(zip(corners, ways, strict=True))
        ]
        expected.append(one.perspective(image, corners, moved) if now else image)
    assert_like(placed(smooth(), [change]), torch.stack(expected))


def test_keras_affine_is_scipys_with_the_matrix_of_keras() -> None:
    number, height, width = SHAPE
    draws = generator()
    ranges = [(-10, 10), (-0.1 * height, 0.1 * height), (-0.1 * width, 0.1 * width), (-5, 5), (0.9, 1.1), (0.9, 1.1)]
    angles, down, across, shears, zoom_down, zoom_across = (uniform(number, *each, draws).tolist() for each in ranges)
    found = placed(smooth(), [drawn("keras_affine", shear=5)])
    middle = np.array([[1, 0, height / 2 - 0.5], [0, 1, width / 2 - 0.5], [0, 0, 1]])
    for row, image in enumerate(smooth()):
        angle, shear = math.radians(angles[row]), math.radians(shears[row])
        turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
        shift = np.array([[1, 0, down[row]], [0, 1, across[row]], [0, 0, 1]])
        slant = np.array([[1, -math.sin(shear), 0], [0, math.cos(shear), 0], [0, 0, 1]])
        zoom = np.diag([zoom_down[row], zoom_across[row], 1])
        matrix = middle @ turn @ shift @ slant @ zoom @ np.linalg.inv(middle)
        expected = [
            ndimage.affine_transform(channel.astype(float), matrix[:2, :2], matrix[:2, 2], order=1, mode="nearest")
            for channel in image.numpy()
        ]
        assert_like(found[row], torch.from_numpy(np.stack(expected)).round())


def jitters(factors: list[list[float]], order: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Images changed by ours with the same four factors for all, and by torchvision's one after the other."""
    adjust = (one.adjust_brightness, one.adjust_contrast, one.adjust_saturation, one.adjust_hue)
    images = smooth(len(factors))
    orders = torch.tensor(order).repeat(len(factors), 1)
    found = _recolour(images.float(), torch.tensor(factors), order=orders).round().clamp(0, 255)
    expected = []
    for image, values in zip(images, factors, strict=True):
        changed = image.float() / 255
        for index in order:
            changed = adjust[index](changed, values[index])
        expected.append(changed * 255)
    return found, torch.stack(expected).round()


@pytest.mark.parametrize("index", range(4), ids=["brightness", "contrast", "saturation", "hue"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_each_colour_change_is_torchvisions(index: int, sign: int) -> None:
    alone = [1.0, 1.0, 1.0, 0.0]
    alone[index] += sign * 0.4
    assert_like(*jitters([alone, alone, alone], [index, *({0, 1, 2, 3} - {index})]))


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_the_four_colour_changes_are_torchvisions_in_the_order_that_was_drawn(order: list[int]) -> None:
    assert_like(*jitters([[1.2, 0.8, 1.1, 0.1], [0.7, 1.3, 0.5, -0.3]], order))


def test_jitter_takes_the_images_the_factors_and_the_order_that_it_draws() -> None:
    given = settings("jitter", p=0.6)
    found = COLOURS["jitter"](smooth(), generator(), **given)
    draws = generator()
    taken = chosen(SHAPE[0], 0.6, draws)
    order = torch.rand(SHAPE[0], 4, generator=draws).argsort(dim=1)
    factors = [uniform(SHAPE[0], 1 - each, 1 + each, draws) for each in (0.2, 0.2, 0.1)]
    factors.append(uniform(SHAPE[0], -0.1, 0.1, draws))
    adjust = (one.adjust_brightness, one.adjust_contrast, one.adjust_saturation, one.adjust_hue)
    for row, image in enumerate(smooth()):
        expected = image.float() / 255
        for index in order[row].tolist() if taken[row] else []:
            expected = adjust[index](expected, float(factors[index][row]))
        assert_like(found[row], (255 * expected).round())


def test_grayscale_is_torchvisions() -> None:
    found = COLOURS["grayscale"](smooth(), generator(), p=1)
    assert_like(found, one.rgb_to_grayscale(smooth(), num_output_channels=3))


def test_blur_is_torchvisions() -> None:
    found = COLOURS["blur"](smooth(), generator(), radius=(0.3, 2), p=0.6)
    taken, (radii,) = redrawn("blur", 0.6, [(0.3, 2)])
    expected = [
        one.gaussian_blur(each, [13, 13], [sd, sd]) if now else each
        for each, sd, now in zip(smooth(), radii, taken, strict=True)
    ]
    assert_like(found, torch.stack(expected))


def test_solarize_is_torchvisions() -> None:
    found = COLOURS["solarize"](smooth(), generator(), threshold=100, p=0.6)
    taken, _ = redrawn("solarize", 0.6, [])
    expected = [one.solarize(each, 100) if now else each for each, now in zip(smooth(), taken, strict=True)]
    assert torch.equal(found, torch.stack(expected))


def test_erasing_rubs_out_one_window_of_the_drawn_share_and_shape_in_the_colour() -> None:
    images = torch.full((400, 3, 64, 64), 7, dtype=torch.uint8)
    found = COLOURS["erasing"](images, generator(), scale=(0.1, 0.3), ratio=(0.5, 2), value=(1, 2, 3), p=1)
    for image in found:
        gone = image[0] != 7
        height, width = (int(gone.any(dim=axis).sum()) for axis in (1, 0))
        assert torch.equal(image[:, gone].unique(dim=1).flatten(), torch.tensor([1, 2, 3], dtype=torch.uint8))
        assert gone.sum() == height * width
        assert 0.09 < gone.sum() / 64**2 < 0.32
        assert 0.45 < height / width < 2.2


def test_the_windows_of_erasing_have_torchvisions_mean_size() -> None:
    images = torch.zeros(2000, 3, 40, 40, dtype=torch.uint8)
    ours = COLOURS["erasing"](images, generator(), scale=(0.02, 0.33), ratio=(0.3, 3.3), value=255, p=1)
    torch.manual_seed(0)
    theirs = torch.stack([vision.RandomErasing(p=1, value=255)(each) for each in images])
    assert (ours > 0).float().mean() == pytest.approx(
        float((theirs > 0).float().mean()), abs=0.012
    )  # five standard errors


@pytest.mark.parametrize(("scale", "ratio"), [((0.08, 1), (3 / 4, 4 / 3)), ((0.8, 1.2), (3 / 4, 4 / 3))])
def test_resized_crop_draws_windows_as_torchvision_does(scale: Any, ratio: Any) -> None:
    ours = DRAWS["resized_crop"]((4000, 60, 60), generator(), scale=scale, ratio=ratio)
    torch.manual_seed(0)
    blank = torch.zeros(3, 60, 60)
    draw = vision.RandomResizedCrop(60, scale=scale, ratio=ratio)
    theirs = [draw.make_params([blank]) for _ in range(4000)]
    for name in ("top", "left", "height", "width"):
        mine, other = getattr(ours, name).double(), torch.tensor([float(each[name]) for each in theirs])
        error = 5 * float((mine.var() / 4000 + other.var() / 4000).sqrt())
        assert mine.mean() == pytest.approx(float(other.mean()), abs=error)
        assert mine.std() == pytest.approx(float(other.std()), rel=0.08)


def test_a_window_that_never_fits_is_the_largest_in_the_middle() -> None:
    cut = DRAWS["resized_crop"]((3, 20, 60), generator(), scale=(1, 1), ratio=(1, 1))
    assert (cut.top.tolist(), cut.left.tolist()) == ([0] * 3, [20] * 3)
    assert (cut.height.tolist(), cut.width.tolist()) == ([20] * 3, [20] * 3)


def test_windows_have_the_drawn_area_and_shape() -> None:
    heights, widths, fits = windows((500, 200, 300), (0.1, 0.4), (0.5, 2), generator())
    area, aspect = heights * widths / (200 * 300), widths / heights
    assert (area > 0.095).all()
    assert (area < 0.41).all()
    assert (aspect > 0.48).all()
    assert (aspect < 2.1).all()
    assert torch.equal(fits, (heights <= 200) & (widths <= 300))


GEOMETRY = "resized_crop(scale=(0.5, 1)) + hflip() + rotate(angle=30) + perspective(distortion=0.3, p=1)"


def one_by_one(text: str, images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """The operations one after the other, each resampled and rounded by itself."""
    draws = generator(seed)
    for each in parse(text).train:
        images = placed(images, [DRAWS[each.name]((len(images), *images.shape[-2:]), draws, **each.settings)])
    return images


def test_one_resampling_shows_what_one_after_the_other_shows() -> None:
    images = smooth(16, 64, 64)
    found, expected = AUGMENTS[GEOMETRY](images, generator()), one_by_one(GEOMETRY, images)
    difference = (found.int() - expected.int()).abs().float()
    assert difference.mean() < 2  # resampling three times blurs
    assert (difference > 40).float().mean() < 0.002


def test_what_a_change_left_black_stays_black_in_the_next() -> None:
    white = torch.full((8, 3, 32, 32), 255, dtype=torch.uint8)
    halves = Cut(*(), **{"left": torch.full((8,), 16), "top": torch.zeros(8).long()}, **_whole(32, 8))
    back = Cut(left=torch.full((8,), -16), top=torch.zeros(8).long(), **_whole(32, 8))
    found = placed(white, [halves, back])
    assert (found[:, :, :, :15] == 0).all()
    assert (found[:, :, :, 17:] == 255).all()


def _whole(side: int, number: int) -> dict[str, torch.Tensor]:
    return {"width": torch.full((number,), side), "height": torch.full((number,), side)}


def test_images_that_nothing_happens_to_keep_their_very_pixels() -> None:
    images = torch.randint(256, (64, 3, 20, 20), generator=generator(), dtype=torch.uint8)
    found = AUGMENTS["rotate(angle=90, p=0.5) + perspective(p=0.5)"](images, generator())
    draws = generator()
    turned = chosen(64, 0.5, draws)
    uniform(64, -90, 90, draws)
    left_alone = ~turned & ~chosen(64, 0.5, draws)
    assert 0 < left_alone.sum() < 64
    assert torch.equal(found[left_alone], images[left_alone])


def test_images_that_are_only_mirrored_keep_their_very_pixels() -> None:
    images = torch.randint(256, (64, 3, 20, 20), generator=generator(), dtype=torch.uint8)
    found = AUGMENTS["hflip(p=1) + vflip(p=1)"](images, generator())
    assert torch.equal(found, images.flip(-1, -2))


@pytest.mark.parametrize("before", ["", "resized_crop() + "])
def test_what_is_mirrored_twice_is_not_mirrored(before: str) -> None:
    twice = AUGMENTS[f"{before}hflip(p=1) + vflip(p=1) + hflip(p=1)"](smooth(), generator())
    assert torch.equal(twice, AUGMENTS[f"{before}vflip(p=1)"](smooth(), generator()))


def test_a_cut_that_is_mirrored_is_the_mirror_image_of_the_cut() -> None:
    cut = drawn("resized_crop")
    some = torch.arange(SHAPE[0]) % 3 == 0
    found = placed(smooth(), [cut, Flip(chosen=some, axis=-1), Flip(chosen=~some, axis=-2)])
    plain = placed(smooth(), [cut])
    assert torch.equal(found[some], plain[some].flip(-1))
    assert torch.equal(found[~some], plain[~some].flip(-2))


def test_hflip_is_flip() -> None:
    assert torch.equal(AUGMENTS["hflip(p=0.5)"](smooth(), generator()), AUGMENTS["flip"](smooth(), generator()))


EVERY = [*SETS, GEOMETRY, *(f"{name}(angle=30)" if name == "rotate" else f"{name}()" for name in OPERATIONS)]


@pytest.mark.parametrize("text", EVERY)
class TestEveryAugmentation:
    def test_the_first_images_of_a_batch_do_not_depend_on_what_the_others_show(self, text: str) -> None:
        images = smooth()
        other = torch.cat([images[:5], 255 - images[5:]])
        first, second = (AUGMENTS[text](each, generator()) for each in (images, other))
        assert torch.equal(first[:5], second[:5])

    def test_the_generator_moves_on_alike_whatever_the_images_show(self, text: str) -> None:
        draws = generator(), generator()
        for each, images in zip(draws, (smooth(), torch.zeros_like(smooth())), strict=True):
            AUGMENTS[text](images, each)
        assert torch.equal(draws[0].get_state(), draws[1].get_state())

    def test_results_lie_in_memory_as_channels_last(self, text: str) -> None:
        assert AUGMENTS[text](smooth(), generator()).is_contiguous(memory_format=torch.channels_last)

    def test_floats_change_as_bytes_do(self, text: str) -> None:
        whole = AUGMENTS[text](smooth().float(), generator())
        assert_like(AUGMENTS[text](smooth(), generator()), whole, most=3 if "jitter" in SETS.get(text, text) else 2)

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
    def test_what_is_given_stays_as_it_is(self, text: str, dtype: torch.dtype) -> None:
        images = smooth().to(dtype)
        AUGMENTS[text](images, generator())
        assert torch.equal(images, smooth().to(dtype))

    def test_an_image_of_one_pixel_stays_one(self, text: str) -> None:
        images = torch.full((4, 3, 1, 1), 9, dtype=torch.uint8)
        assert AUGMENTS[text](images, generator()).shape == images.shape

    def test_no_images_are_none(self, text: str) -> None:
        assert AUGMENTS[text](smooth()[:0], generator()).shape == (0, 3, *SHAPE[1:])


@pytest.mark.parametrize("name", ["ttl", "feature_reuse"])
def test_validation_images_are_the_middle_of_them_as_torchvision_resizes_and_crops(name: str) -> None:
    view = view_of(name)
    assert view is not None
    images = smooth(4, 224, 224)
    expected = one.center_crop(one.resize(images, [256, 256]), [224, 224])
    assert_like(view(images), expected, most=2)  # resampled from 256 there, from the middle 196 of 224 here


@pytest.mark.parametrize("name", ["none", "flip_shift", "keras", "hflip(p=1)"])
def test_other_augmentations_leave_validation_images_alone(name: str) -> None:
    assert view_of(name) is None


def test_after_a_bar_stands_what_validation_images_undergo() -> None:
    view = view_of("hflip() | center_crop(share=0.5)")
    assert view is not None
    assert_like(view(smooth()), placed(smooth(), [drawn("center_crop", share=0.5)]), most=0)


def test_the_names_of_sets_are_what_they_stand_for() -> None:
    for name, text in SETS.items():
        assert torch.equal(AUGMENTS[name](smooth(), generator()), AUGMENTS[text](smooth(), generator()))


def test_every_operation_of_the_language_can_be_applied() -> None:
    assert set(OPERATIONS) == set(DRAWS) | set(COLOURS)


def test_operations_are_applied_in_the_order_in_which_they_are_written() -> None:
    images = smooth()
    first = AUGMENTS["solarize(threshold=100, p=1) + grayscale(p=1)"](images, generator())
    expected = one.rgb_to_grayscale(one.solarize(images, 100), num_output_channels=3)
    assert_like(first, expected)
    assert not torch.equal(first, AUGMENTS["grayscale(p=1) + solarize(threshold=100, p=1)"](images, generator()))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keras_nofilp", "augment 'keras_nofilp' is unknown; did you mean keras_noflip?"),
        ("flip then shift", "neither one of none, flip, shift, flip_shift, keras"),
        ("", "neither one of"),
        ("hfilp()", "operation 'hfilp' is unknown; did you mean hflip"),
        ("hflip + vflip()", "'hflip' is no operation; write name(setting=value), joined by +"),
        ("hflip(0.5)", "'hflip(0.5)' is no operation"),
        ("hflip(q=0.5)", "hflip has no setting 'q'; there are p"),
        ("hflip(p=0.5, p=0.6)", "hflip has one of its settings twice"),
        ("hflip(p=1.5)", "p of hflip is 1.5; it must be a number from 0 to 1"),
        ("hflip(p=True)", "p of hflip is True"),
        ("hflip(p=x)", "p of hflip is 'x'"),
        ("rotate()", "rotate needs angle=, a number from 0 to 180"),
        ("resized_crop(scale=0.5)", "scale of resized_crop is 0.5; it must be two numbers"),
        ("resized_crop(scale=(1, 0.5))", "the smaller one first"),
        ("jitter(brightness=1e999)", "brightness of jitter is inf"),
        ("erasing(value=(1, 2))", "it must be a number from 0 to 255, or three"),
        ("hflip() | rotate(angle=5)", "draws 'rotate' for validation images; after | there may be center_crop"),
        ("multi_crop()", "several views of one image"),
    ],
)
def test_a_wrong_text_is_answered_with_what_is_wrong_in_it(text: str, said: str) -> None:
    found = augment_problem(text)
    assert found is not None
    assert said in found


@pytest.mark.parametrize("text", [*SETS, "none", "flip_shift", GEOMETRY, " hflip( p = 1 )"])
def test_a_right_text_has_no_problem(text: str) -> None:
    assert augment_problem(text) is None


def test_a_flip_of_a_turned_image_is_not_the_turn_of_its_mirror_image() -> None:
    flip, turn = Flip(chosen=torch.ones(SHAPE[0]).bool(), axis=-1), drawn("rotate", angle=60)
    assert not torch.equal(placed(smooth(), [flip, turn]), placed(smooth(), [turn, flip]))
    assert_like(placed(smooth(), [turn, flip]), placed(smooth(), [turn]).flip(-1))
