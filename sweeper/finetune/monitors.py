"""What a recipe watches on the validation part: the number that chooses the best state, stops, and lowers rates.

How often that is looked at, and what follows, is decided elsewhere.
"""

import math
from collections.abc import Mapping

from sweeper.metric import METRICS
from sweeper.rules import nearest

LOSS = "loss"
DOUBLE_SOFTMAX = "double_softmax_loss"


def watched(scores: Mapping[str, float], monitor: str, metric: str) -> float:
    """The monitor's value among the scores of a validation, its sign turned where lower is better: higher is better.

    Args:
        monitor: as in the recipe.
        metric: the data set's own.

    Raises:
        ValueError: when it is not among the scores, or undefined for these images.
    """
    name = _name(monitor, metric)
    if name not in scores:
        raise ValueError(f"monitor '{name}' is not among the validation scores; {nearest(name, scores)}")
    if math.isnan(scores[name]):
        raise ValueError(
            f"monitor '{name}' is undefined on the validation part, where {scores['classes_absent']:g} classes have no "
            "image; choose another monitor, or give that part images of more classes"
        )
    return scores[name] if rises(monitor, metric) else -scores[name]


def rises(monitor: str, metric: str) -> bool:
    """Whether a higher value of the monitor is better.

    Args:
        monitor: as in the recipe.
        metric: the data set's own.
    """
    name = _name(monitor, metric)
    return name not in (LOSS, DOUBLE_SOFTMAX) and METRICS[name].higher


def _name(monitor: str, metric: str) -> str:
    return metric if monitor == "metric" else monitor
