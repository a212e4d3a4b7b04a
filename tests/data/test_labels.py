"""Labels of images with any number of classes: their text, what is known, strata, and what parts must have."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import MultiLabelBinarizer

from sweeper.data.dataset import make_index
from sweeper.data.labels import NO_LABEL, check_parts, known_of, named_in, strata_of, texts_of

CLASSES = ("a", "b", "c", "d")


def column(*texts: str) -> pd.Series:
    return pd.Series(list(texts), dtype="str")


def drawn(images: int = 300, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1, 2, (images, len(CLASSES)), dtype=np.int8)


def test_what_is_written_is_read_back() -> None:
    np.testing.assert_array_equal(known_of(column(*texts_of(drawn(), CLASSES)), CLASSES), drawn())


def test_labels_are_those_that_scikit_learn_binarises() -> None:
    texts = texts_of(np.abs(drawn()), CLASSES)
    expected = MultiLabelBinarizer(classes=CLASSES).fit_transform([text.split("|") if text else [] for text in texts])
    np.testing.assert_array_equal(known_of(column(*texts), CLASSES), expected)


def test_a_text_names_its_classes_in_their_order_and_marks_the_unknown() -> None:
    assert list(texts_of(np.array([[0, -1, 0, 1], [0, 0, 0, 0]], dtype=np.int8), CLASSES)) == ["?b|d", ""]


def test_the_order_of_the_names_does_not_matter() -> None:
    known = known_of(column("c|a", "a|c"), CLASSES)
    np.testing.assert_array_equal(known[0], known[1])


def test_a_name_that_is_no_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"label 'a\|e' names 'e', which is none of a, b, c, d"):
        known_of(column("a", "a|e"), CLASSES)


@pytest.mark.parametrize("text", ["a|a", "a|?a"])
def test_a_class_that_is_named_twice_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="names a class twice"):
        known_of(column(text), CLASSES)


def test_what_is_not_known_is_not_there() -> None:
    assert named_in(column("a|?b", "", "c")) == {"a", "c"}


def index_of(rows: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """An index of these labels and patients."""
    return make_index((f"{number:03d}", label, patient, None) for number, (label, patient) in enumerate(rows))


def test_a_patient_is_of_the_class_with_the_fewest_images() -> None:
    index = index_of([("a|b", "p1"), ("a", "p2"), ("a|b", "p3"), ("b|c", "p3"), ("?c", "p4"), ("a", "p4")])
    assert strata_of(index).groupby(index["patient"]).first().to_dict() == {"p1": "b", "p2": "a", "p3": "c", "p4": "a"}


def test_of_equally_rare_classes_the_first_by_name_counts() -> None:
    assert list(strata_of(index_of([("b|a", "p1"), ("b|a", "p2")]))) == ["a", "a"]


def test_a_patient_without_a_class_is_of_a_stratum_of_its_own() -> None:
    assert list(strata_of(index_of([("", "p1"), ("?a", "p1"), ("a", "p2")]))) == [NO_LABEL, NO_LABEL, "a"]


def test_strata_do_not_depend_on_the_order_of_the_rows() -> None:
    index = index_of([(text, f"p{number % 70}") for number, text in enumerate(texts_of(drawn(), CLASSES))])
    shuffled = index.sample(frac=1, random_state=1)
    assert strata_of(shuffled).sort_index().equals(strata_of(index))


def parts_of(index: pd.DataFrame, *parts: str) -> pd.Series:
    return pd.Series(list(parts), index=index.index, dtype="str")


def test_a_class_without_image_in_train_is_refused_with_its_name() -> None:
    index = index_of([("a", "1"), ("a|b", "2"), ("", "3"), ("a", "4")])
    with pytest.raises(ValueError, match=r"^x: class 'b' has no image in train; it needs more patients$"):
        check_parts(index, parts_of(index, "train", "val", "val", "test"), "x")


def test_images_of_which_a_class_is_not_known_do_not_teach_it() -> None:
    index = index_of([("a|?b", "1"), ("b", "2"), ("a", "3"), ("a", "4")])
    with pytest.raises(ValueError, match="class 'b' has no image in train"):
        check_parts(index, parts_of(index, "train", "val", "val", "test"), "x")


@pytest.mark.parametrize("val", [("", ""), ("a|b", "b|a"), ("a", "?a")])
def test_a_validation_part_that_ranks_nothing_is_refused(val: tuple[str, str]) -> None:
    index = index_of([("a|b", "1"), (val[0], "2"), (val[1], "3"), ("a", "4")])
    with pytest.raises(ValueError, match=r"^x: val has no class with images of it and others"):
        check_parts(index, parts_of(index, "train", "val", "val", "test"), "x")


def test_a_part_without_image_is_refused() -> None:
    index = index_of([("a|b", "1"), ("a", "2"), ("b", "3")])
    with pytest.raises(ValueError, match=r"^x: test has no image"):
        check_parts(index, parts_of(index, "train", "val", "val"), "x")


def test_a_test_part_without_any_class_is_none_of_its_business() -> None:
    index = index_of([("a|b", "1"), ("a", "2"), ("b", "3"), ("", "4")])
    check_parts(index, parts_of(index, "train", "val", "val", "test"), "x")
