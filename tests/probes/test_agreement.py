"""Agreement against scikit-learn's kappa, hand counts, a published formula, and simulated independence."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from sweeper.finetune.metrics import score
from sweeper.probes.agreement import agreement


def _table(scores: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    names = [f"i{number:04}" for number in range(len(scores))]
    table = pd.DataFrame({"image": names, "patient": names, "part": "test"})
    if labels.ndim == 2:
        table = table.assign(**{f"label_{place}": column for place, column in enumerate(labels.T)})
    else:
        table["label"] = labels
    return table.assign(**{f"score_{place}": column for place, column in enumerate(scores.T)})


def _choices(chosen: list[int] | np.ndarray, labels: list[int] | np.ndarray, classes: int) -> pd.DataFrame:
    """A table whose highest score is that of the chosen class."""
    scores = np.full((len(chosen), classes), 0.4 / (classes - 1))
    scores[np.arange(len(chosen)), chosen] = 0.6
    return _table(scores, np.asarray(labels))


def _draw(seed: int, images: int = 400, classes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Choices of two cells and the labels, of which both know something."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(classes, size=images)
    knows = draw.random((2, images)) < [[0.6], [0.4]]
    first, second = np.where(knows, labels, draw.integers(classes, size=(2, images)))
    return first, second, labels


def test_the_kappa_of_decisions_is_scikit_learns() -> None:
    first, second, labels = _draw(0)
    found = agreement(_choices(first, labels, 4), _choices(second, labels, 4), "multiclass")
    assert found["decision_kappa"] == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)
    assert found["decision_observed"] == pytest.approx(np.mean(first == second), abs=1e-15)


def test_the_kappa_of_mistakes_is_scikit_learns_of_being_right() -> None:
    first, second, labels = _draw(1)
    found = agreement(_choices(first, labels, 4), _choices(second, labels, 4), "multiclass")
    expected = cohen_kappa_score(first == labels, second == labels)
    assert found["mistake_kappa"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("label", range(4))
def test_kappas_by_class_are_scikit_learns_of_that_class(label: int) -> None:
    first, second, labels = _draw(2)
    found = agreement(_choices(first, labels, 4), _choices(second, labels, 4), "multiclass", by_class=True)
    of_it = labels == label
    mistakes = cohen_kappa_score(first[of_it] == label, second[of_it] == label)
    assert found[f"decision_kappa_class_{label}"] == pytest.approx(cohen_kappa_score(first == label, second == label))
    assert found[f"mistake_kappa_class_{label}"] == pytest.approx(mistakes)


def test_four_images_counted_by_hand() -> None:
    # Right are: first on images 1, 2, 3; second on 1, 2, 4. Accuracies 3/4 and 3/4, agreement on 1 and 2.
    found = agreement(_choices([0, 0, 1, 0], [0, 0, 1, 1], 2), _choices([0, 0, 0, 1], [0, 0, 1, 1], 2), "binary")
    assert found["mistake_observed"] == 0.5
    assert found["mistake_expected"] == pytest.approx(9 / 16 + 1 / 16)
    assert found["mistake_kappa"] == pytest.approx((0.5 - 0.625) / 0.375)


def test_the_legacy_expectation_is_of_the_first_cells_accuracy_alone() -> None:
    # Accuracies 3/4 and 1/4: 3/16 + 3/16 if independent, 9/16 + 1/16 as Juodelyte et al.'s code has it.
    tables = _choices([0, 0, 0, 1], [0] * 4, 2), _choices([0, 1, 1, 1], [0] * 4, 2)
    found, turned = agreement(*tables, "binary"), agreement(*tables[::-1], "binary")
    assert (found["mistake_expected"], found["mistake_expected_legacy"]) == pytest.approx((6 / 16, 10 / 16))
    assert turned["mistake_expected"] == pytest.approx(6 / 16)


def test_the_expectation_uses_the_accuracies_that_score_gives() -> None:
    first, second, labels = _draw(3)
    tables = _choices(first, labels, 4), _choices(second, labels, 4)
    a, b = (score(table, "multiclass")["accuracy"] for table in tables)
    found = agreement(*tables, "multiclass")["mistake_expected"]
    assert found == pytest.approx(a * b + (1 - a) * (1 - b), abs=1e-12)


def test_the_mistakes_of_independent_cells_agree_as_expected() -> None:
    draw = np.random.default_rng(4)
    labels = draw.integers(3, size=200_000)
    tables = []
    for accuracy in (0.9, 0.7):
        off = draw.integers(1, 3, size=len(labels)) * (draw.random(len(labels)) > accuracy)
        tables.append(_choices((labels + off) % 3, labels, 3))
    found = agreement(*tables, "multiclass")
    assert found["mistake_observed"] == pytest.approx(0.9 * 0.7 + 0.1 * 0.3, abs=0.005)
    assert found["mistake_kappa"] == pytest.approx(0.0, abs=0.015)


def test_a_cell_agrees_with_itself_wholly() -> None:
    first, _, labels = _draw(5)
    table = _choices(first, labels, 4)
    found = agreement(table, table, "multiclass")
    assert [found[name] for name in ("decision_observed", "decision_kappa", "mistake_observed", "mistake_kappa")] == [
        1
    ] * 4


def test_binary_cells_that_never_agree_have_the_kappa_of_opposites() -> None:
    found = agreement(_choices([0, 1, 0, 1], [0, 0, 1, 1], 2), _choices([1, 0, 1, 0], [0, 0, 1, 1], 2), "binary")
    assert found["decision_observed"] == found["mistake_observed"] == 0.0
    assert found["decision_kappa"] == pytest.approx(-1.0)


def test_the_cells_may_be_exchanged_but_for_the_legacy_value() -> None:
    first, second, labels = _draw(6)
    tables = _choices(first, labels, 4), _choices(second, labels, 4)
    ways = [agreement(*pair, "multiclass", by_class=True) for pair in (tables, tables[::-1])]
    one, other = ({name: value for name, value in way.items() if "legacy" not in name} for way in ways)
    assert one == pytest.approx(other, abs=1e-12)


def test_the_order_of_the_rows_does_not_matter() -> None:
    first, second, labels = _draw(7)
    tables = _choices(first, labels, 4), _choices(second, labels, 4)
    shuffled = tables[1].sample(frac=1.0, random_state=0)
    assert agreement(tables[0], shuffled, "multiclass") == agreement(*tables, "multiclass")


def test_cells_that_are_both_always_right_leave_no_kappa_of_mistakes() -> None:
    table = _choices([0, 1, 2], [0, 1, 2], 3)
    found = agreement(table, table, "multiclass")
    assert found["mistake_observed"] == found["mistake_expected"] == 1.0
    assert math.isnan(found["mistake_kappa"])
    assert found["decision_kappa"] == pytest.approx(1.0)


def test_a_class_without_images_has_no_mistakes_to_compare() -> None:
    table = _choices([0, 1, 2], [0, 1, 1], 3)
    found = agreement(table, table, "multiclass", by_class=True)
    assert math.isnan(found["mistake_observed_class_2"])
    assert found["decision_observed_class_2"] == 1.0


def _labelled(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    labels = (draw.random((300, 3)) < [0.1, 0.5, 0.3]).astype(float)
    return draw.random((300, 3)), draw.random((300, 3)) * 0.5 + 0.4 * labels, labels


def test_labels_of_one_image_are_judged_one_by_one() -> None:
    first, second, labels = _labelled(0)
    found = agreement(_table(first, labels), _table(second, labels), "multilabel", by_class=True)
    says = first > 0.5, second > 0.5
    assert found["decision_observed"] == pytest.approx(np.mean(says[0] == says[1]), abs=1e-12)
    for label in range(3):
        right = [each[:, label] == (labels[:, label] == 1) for each in says]
        assert found[f"mistake_kappa_class_{label}"] == pytest.approx(cohen_kappa_score(*right), abs=1e-12)


def test_labels_with_their_own_rates_do_not_make_independent_cells_look_alike() -> None:
    # Pooling the marks before the expectation would call two cells alike that both know only how rare a label is.
    draw = np.random.default_rng(8)
    labels = np.zeros((50_000, 2))
    first, second = (0.5 + 0.4 * np.where(draw.random((50_000, 2)) < [0.95, 0.05], 1, -1) for _ in range(2))
    found = agreement(_table(first, labels), _table(second, labels), "multilabel")
    assert found["decision_observed"] == pytest.approx(0.905, abs=0.01)
    assert found["decision_kappa"] == pytest.approx(0.0, abs=0.02)


def test_labels_that_are_not_known_are_no_mistakes() -> None:
    first, second, labels = _labelled(1)
    hidden = labels.copy()
    hidden[:100] = np.nan
    part = agreement(_table(first[100:], labels[100:]), _table(second[100:], labels[100:]), "multilabel")
    found = agreement(_table(first, hidden), _table(second, hidden), "multilabel")
    mistakes = [name for name in found if name.startswith("mistake")]
    assert {name: found[name] for name in mistakes} == pytest.approx({name: part[name] for name in mistakes})


def _with(table: pd.DataFrame, place: int, **values: object) -> pd.DataFrame:
    changed = table.copy()
    for name, value in values.items():
        changed.loc[place, name] = value
    return changed


THREE = _choices([0, 1, 2], [0, 1, 2], 3)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (THREE.iloc[:2], r"1 are in one table alone \(image 'i0002' of part 'test' only in the first\)"),
        (_with(THREE, 0, image="strange"), "2 are in one table alone"),
        (_with(THREE, 0, part="val"), "of different images"),
        (_with(THREE, 1, label=2), r"different labels for 1 images \(first 'i0001'"),
        (_choices([0, 1, 2], [0, 1, 2], 4), "of 3 and of 4 classes"),
        (pd.concat([THREE, THREE.iloc[:1]]), "'i0000' of part 'test' is twice in the second"),
        (THREE.drop(columns="image"), "second predictions have no column 'image'"),
        (_with(THREE, 0, score_0=math.nan), "not finite"),
    ],
)
def test_tables_that_are_not_of_the_same_images_and_labels_are_refused(other: pd.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        agreement(THREE, other, "multiclass")


def test_tables_without_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        agreement(THREE.iloc[:0], THREE.iloc[:0], "multiclass")
