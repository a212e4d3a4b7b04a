"""The table of metric ids: what it says of each, and what a recorded number's name is spelt out to."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from sweeper.data.dataset import Metric
from sweeper.finetune.metrics import score
from sweeper.metric import CLASS_METRICS, COUNTS, LOSSES, METRICS, PARTS, TASKS, MetricInfo, Task, describe, metrics_of

ALL = {**METRICS, **COUNTS, **LOSSES}


@pytest.mark.parametrize("info", [*ALL.values(), *CLASS_METRICS.values()], ids=[*ALL, *CLASS_METRICS])
def test_every_id_says_what_it_is(info: MetricInfo) -> None:
    assert all(text.strip() for text in (info.definition, info.averaging, info.source))
    assert info.tasks
    assert set(info.tasks) <= set(TASKS)


def test_likelihood_and_calibration_are_better_when_lower() -> None:
    assert {name for name, info in METRICS.items() if not info.higher} == {"nll", "brier", "ece"}


def test_a_data_set_may_select_by_every_metric_of_which_more_is_better() -> None:
    assert set(get_args(Metric)) == {name for name, info in METRICS.items() if info.higher}


def test_no_two_ids_have_the_same_definition_and_averaging() -> None:
    assert len({(info.definition, info.averaging) for info in ALL.values()}) == len(ALL)


def test_a_multi_label_task_has_no_metric_of_one_predicted_class() -> None:
    assert not {"kappa", "quadratic_kappa", "ece", "balanced_accuracy", "auroc_ovo"} & set(metrics_of("multilabel"))


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("name", ["accuracy", "auroc", "kappa", "quadratic_kappa", "nll", "brier", "ece"])
def test_the_ends_of_a_metric_are_those_of_all_certain_and_right_and_all_certain_and_wrong(
    name: str, right: bool
) -> None:
    """Of two classes, of which each has three images."""
    labels = np.array([0, 0, 0, 1, 1, 1])
    rows = np.eye(3)[labels if right else 1 - labels]
    table = pd.DataFrame(rows, columns=["score_0", "score_1", "score_2"]).assign(label=labels)
    low, high = METRICS[name].ends
    assert score(table, "multiclass")[name] == pytest.approx(high if right == METRICS[name].higher else low, abs=1e-9)


@pytest.mark.parametrize("task", TASKS)
def test_no_value_of_random_predictions_lies_beyond_the_ends(task: Task) -> None:
    draw = np.random.default_rng(0)
    for classes in (2,) if task == "binary" else (3, 7):
        for sharp in (0.01, 1.0, 9.0):
            labels = draw.integers(classes, size=40)
            rows = draw.dirichlet(np.full(classes, sharp), 40)
            if task == "multilabel":
                truth = {f"label_{n}": draw.integers(2, size=40) for n in range(classes)}
            else:
                truth = {"label": labels}
            table = pd.DataFrame({f"score_{n}": rows[:, n] for n in range(classes)} | truth)
            for name, value in score(table, task).items():
                info = describe(f"test_{name}")
                assert info
                assert np.isnan(value) or info.info.ends[0] - 1e-12 <= value <= info.info.ends[1] + 1e-12, name


@pytest.mark.parametrize("start", PARTS)
@pytest.mark.parametrize("name", ALL)
def test_a_recorded_name_is_spelt_out(start: str, name: str) -> None:
    found = describe(start + name)
    assert found
    assert (found.id, found.part, found.info) == (name, PARTS[start], ALL[name])


@pytest.mark.parametrize("name", CLASS_METRICS)
def test_the_name_of_a_class_is_spelt_out_by_its_metric(name: str) -> None:
    found = describe(f"test_{name}_class_12")
    assert found
    assert (found.id, found.info) == (f"{name}_class_12", CLASS_METRICS[name])


@pytest.mark.parametrize("name", ["auroc", "best_epoch", "test_", "test_auroc_class_", "test_kappa_class_1", "test_x"])
def test_other_names_are_no_metrics(name: str) -> None:
    assert describe(name) is None


def test_the_table_loads_with_the_standard_library_alone() -> None:
    code = "import sys, sweeper.metric; sys.exit(bool({'numpy', 'pandas', 'torch', 'sklearn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False).returncode == 0
