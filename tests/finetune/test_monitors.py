"""What is watched on the validation part, and which way is better."""

import math

import pytest

from sweeper.finetune.monitors import rises, watched
from sweeper.metric import METRICS

SCORES = {"accuracy": 0.5, "nll": 0.25, "loss": 2.0, "double_softmax_loss": 1.5, "kappa": math.nan, "classes_absent": 1}


def test_the_metric_is_the_data_sets_own() -> None:
    assert watched(SCORES, "metric", "accuracy") == 0.5


@pytest.mark.parametrize("monitor", ["nll", "loss", "double_softmax_loss"])
def test_what_is_better_when_lower_has_its_sign_turned(monitor: str) -> None:
    assert watched(SCORES, monitor, "accuracy") == -SCORES[monitor]
    assert not rises(monitor, "accuracy")


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_watched_in_its_own_direction(name: str) -> None:
    assert rises(name, "accuracy") == METRICS[name].higher
    assert watched({name: 0.25}, name, "accuracy") == (0.25 if METRICS[name].higher else -0.25)


def test_a_monitor_that_is_no_score_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="'acuracy' is not among the validation scores; did you mean accuracy"):
        watched(SCORES, "acuracy", "accuracy")


def test_a_monitor_that_is_undefined_is_refused() -> None:
    with pytest.raises(ValueError, match="'kappa' is undefined on the validation part, where 1 classes"):
        watched(SCORES, "kappa", "accuracy")
