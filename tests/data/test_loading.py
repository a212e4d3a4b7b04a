"""Tensors of the parts, and what is done to training images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_site
from fakes import write_classes
from torch.nn import functional as F

from sweeper.cell import Images
from sweeper.data import AUGMENT_NAMES, DATASETS
from sweeper.data.cache import cached
from sweeper.data.loading import AUGMENTS, hold, load, move, normalise
from sweeper.site import Site

DIGITS = Images(dataset="digits", fold=1, size=8)
PARTS = ("train", "val", "test")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site whose cache these tests share."""
    return make_site(tmp_path_factory.mktemp("digits"))


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(number: int = 64, *, height: int = 16, width: int = 16) -> torch.Tensor:
    return torch.randint(256, (number, 3, height, width), generator=_generator(9), dtype=torch.uint8)


def test_the_parts_hold_every_image_once(digits: Site) -> None:
    loaded = load(DIGITS, digits)
    rows = np.concatenate([getattr(loaded, part).rows for part in PARTS])
    np.testing.assert_array_equal(np.sort(rows), np.arange(1797))


def test_a_fraction_shortens_the_training_part_alone(digits: Site) -> None:
    whole = load(DIGITS, digits)
    tenth = load(Images(dataset="digits", fold=1, size=8, fraction=0.1), digits)
    assert len(tenth.train) == pytest.approx(len(whole.train) / 10, abs=5)
    assert (len(tenth.val), len(tenth.test)) == (len(whole.val), len(whole.test))


def test_labels_are_scikit_learns_own(digits: Site) -> None:
    from sklearn.datasets import load_digits

    test = load(DIGITS, digits).test
    np.testing.assert_array_equal(test.labels, load_digits().target[[int(name) for name in test.names]])


def test_rows_and_labels_are_int64(digits: Site) -> None:
    train = load(DIGITS, digits).train
    assert (train.rows.dtype, train.labels.dtype) == (np.int64, np.int64)


def test_a_tensor_holds_the_images_of_its_names(digits: Site) -> None:
    test = load(DIGITS, digits).test
    expected = np.stack([DATASETS["digits"].decode(Path(), name)[:, :, 0] for name in test.names[3:9]])
    np.testing.assert_array_equal(test.tensor(np.arange(3, 9))[:, 0].numpy(), expected)


def test_grey_is_repeated_to_three_channels(digits: Site) -> None:
    images = load(DIGITS, digits).val.tensor(np.arange(5))
    assert images.shape == (5, 3, 8, 8)
    assert images.dtype == torch.uint8
    assert (images == images[:, :1]).all()


def test_images_lie_in_memory_as_channels_last(digits: Site) -> None:
    assert load(DIGITS, digits).val.tensor(np.arange(5)).is_contiguous(memory_format=torch.channels_last)


def test_on_a_cpu_a_part_stays_as_it_is(digits: Site) -> None:
    train = load(DIGITS, digits).train
    assert hold(train, torch.device("cpu")) is train


@pytest.mark.gpu
def test_a_part_held_on_a_gpu_gives_the_same_images(digits: Site) -> None:
    train = load(DIGITS, digits).train
    held = hold(train, torch.device("cuda"))
    found = held.tensor(np.array([5, 2, 9]))
    assert held is not train
    assert found.is_cuda
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found.cpu(), train.tensor(np.array([5, 2, 9])))


@pytest.mark.gpu
@pytest.mark.parametrize("name", AUGMENT_NAMES)
def test_a_gpu_changes_images_as_the_processor_does(name: str) -> None:
    there = AUGMENTS[name](move(_images(), torch.device("cuda")), _generator())
    assert torch.equal(there.cpu(), AUGMENTS[name](_images(), _generator()))


def test_colours_keep_their_channels(site: Site) -> None:
    write_classes(site.data / "pets", {"cat": 10, "dog": 10})
    found = cached(DATASETS["folder:pets"], 6, site)
    train = load(Images(dataset="folder:pets", fold=1, size=6), site).train
    for channel in range(3):
        expected = found.pixels[train.rows][:, :, :, channel]
        np.testing.assert_array_equal(train.tensor(np.arange(len(train)))[:, channel].numpy(), expected)


def test_a_channel_may_be_changed_without_changing_the_others(digits: Site) -> None:
    images = load(DIGITS, digits).train.tensor(np.arange(4))
    before = images.clone()
    images[:, 0] = 7
    assert torch.equal(images[:, 1:], before[:, 1:])


def test_a_tensor_may_be_changed_without_changing_the_cache(digits: Site) -> None:
    train = load(DIGITS, digits).train
    before = train.tensor(np.arange(4)).clone()
    train.tensor(np.arange(4)).fill_(7)
    assert torch.equal(train.tensor(np.arange(4)), before)


def test_what_is_known_of_the_set_comes_along(digits: Site) -> None:
    loaded = load(Images(dataset="digits_5_9", fold=1, size=8), digits)
    assert (loaded.classes, loaded.task, loaded.metric) == (("5", "6", "7", "8", "9"), "multiclass", "accuracy")
    assert loaded.fingerprint == cached(DATASETS["digits_5_9"], 8, digits).fingerprint


def test_the_fold_changes_what_is_tested(digits: Site) -> None:
    other = load(Images(dataset="digits", fold=2, size=8), digits)
    assert not set(load(DIGITS, digits).test.names) & set(other.test.names)


def test_a_changed_source_changes_what_is_loaded(site: Site) -> None:
    write_classes(site.data / "pets", {"cat": 10, "dog": 10})
    images = Images(dataset="folder:pets", fold=1, size=6)
    load(images, site)
    write_classes(site.data / "pets", {"cat": 20, "dog": 20})
    assert len(load(images, site).train) == 24


def test_without_a_look_the_images_are_those_that_were_found_before(site: Site) -> None:
    write_classes(site.data / "pets", {"cat": 10, "dog": 10})
    images = Images(dataset="folder:pets", fold=1, size=6)
    first = load(images, site, look=False)
    write_classes(site.data / "pets", {"cat": 20, "dog": 20})
    again = load(images, site, look=False)
    assert (again.fingerprint, again.train.names) == (first.fingerprint, first.train.names)
    assert load(images, site).fingerprint != first.fingerprint


def test_the_table_of_augmentations_has_the_names_that_studies_may_use() -> None:
    assert tuple(AUGMENTS) == AUGMENT_NAMES


@pytest.mark.parametrize("name", AUGMENT_NAMES)
class TestEveryAugmentation:
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
    def test_shape_and_type_stay(self, name: str, dtype: torch.dtype) -> None:
        images = _images(height=20, width=12).to(dtype)
        changed = AUGMENTS[name](images, _generator())
        assert changed.shape == images.shape
        assert changed.dtype == dtype

    def test_equal_generators_draw_equal_changes(self, name: str) -> None:
        first, second = (AUGMENTS[name](_images(), _generator(3)) for _ in range(2))
        assert torch.equal(first, second)

    def test_the_images_given_stay_as_they_are(self, name: str) -> None:
        images = _images()
        before = images.clone()
        AUGMENTS[name](images, _generator())
        assert torch.equal(images, before)

    def test_the_three_channels_change_alike(self, name: str) -> None:
        grey = _images()[:, :1].expand(-1, 3, -1, -1)
        changed = AUGMENTS[name](grey, _generator())
        assert (changed == changed[:, :1]).all()


@pytest.mark.parametrize("name", [name for name in AUGMENT_NAMES if name != "none"])
class TestEveryRandomAugmentation:
    def test_it_is_drawn_for_each_image(self, name: str) -> None:
        same = _images(1).expand(64, -1, -1, -1)
        changed = AUGMENTS[name](same, _generator())
        assert len(torch.unique(changed, dim=0)) > 1

    def test_the_next_draw_differs(self, name: str) -> None:
        generator, images = _generator(), _images()
        assert not torch.equal(AUGMENTS[name](images, generator), AUGMENTS[name](images, generator))


def test_none_changes_nothing() -> None:
    assert torch.equal(AUGMENTS["none"](_images(), _generator()), _images())


def test_a_flip_mirrors_an_image_exactly_or_leaves_it() -> None:
    images = _images()
    changed = AUGMENTS["flip"](images, _generator())
    for before, after in zip(images, changed, strict=True):
        mirrored = torch.from_numpy(np.ascontiguousarray(before.numpy()[:, :, ::-1]))
        assert torch.equal(after, before) or torch.equal(after, mirrored)


def test_images_are_flipped_where_the_generators_next_numbers_are_below_one_half() -> None:
    images = _images()
    flipped = (AUGMENTS["flip"](images, _generator()) != images).flatten(1).any(dim=1)
    assert torch.equal(flipped, torch.rand(len(images), generator=_generator()) < 0.5)


def test_images_are_shifted_as_far_as_the_generators_next_numbers_say() -> None:
    images, draws = _images(), _generator()
    tops, lefts = (torch.randint(5, (len(images),), generator=draws).tolist() for _ in range(2))
    for before, after, top, left in zip(images, AUGMENTS["shift"](images, _generator()), tops, lefts, strict=True):
        assert torch.equal(after, _shifts(before, 2)[2 - top, 2 - left])


def test_half_of_the_images_are_flipped() -> None:
    images = _images(4000, height=2, width=2)
    flipped = (AUGMENTS["flip"](images, _generator()) != images).flatten(1).any(dim=1)
    assert flipped.double().mean() == pytest.approx(0.5, abs=0.04)  # five standard errors


def _shifts(image: torch.Tensor, most: int) -> dict[tuple[int, int], torch.Tensor]:
    """Every shift of one image, made with torch's own replicate padding."""
    height, width = image.shape[1:]
    padded = F.pad(image[None].float(), (most, most, most, most), mode="replicate")[0].to(image.dtype)
    return {
        (down, right): padded[:, most - down : most - down + height, most - right : most - right + width]
        for down in range(-most, most + 1)
        for right in range(-most, most + 1)
    }


def test_a_shift_moves_whole_pixels_and_repeats_the_edge() -> None:
    images = _images()
    for before, after in zip(images, AUGMENTS["shift"](images, _generator()), strict=True):
        assert any(torch.equal(after, shifted) for shifted in _shifts(before, 2).values())


def test_every_shift_up_to_an_eighth_is_drawn() -> None:
    image = _images(1)[0]
    possible = _shifts(image, 2)
    changed = AUGMENTS["shift"](image.expand(600, -1, -1, -1), _generator())
    drawn = {place for place, shifted in possible.items() if (changed == shifted).flatten(1).all(dim=1).any()}
    assert drawn == set(possible)


def test_an_image_below_eight_pixels_is_not_shifted() -> None:
    images = _images(height=7, width=7)
    assert torch.equal(AUGMENTS["shift"](images, _generator()), images)


def test_flip_shift_is_a_shift_of_the_image_or_of_its_mirror_image() -> None:
    images = _images()
    for before, after in zip(images, AUGMENTS["flip_shift"](images, _generator()), strict=True):
        choices = [*_shifts(before, 2).values(), *_shifts(before.flip(-1), 2).values()]
        assert any(torch.equal(after, choice) for choice in choices)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_normalise_is_torchvisions_own(layout: torch.memory_format) -> None:
    from torchvision.transforms.v2 import functional as vision

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    images = _images(height=20, width=12)
    expected = vision.normalize(vision.to_dtype(images, torch.float32, scale=True), list(mean), list(std))
    found = normalise(images.contiguous(memory_format=layout), mean, std)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert found.is_contiguous(memory_format=layout)
