"""What each metric id means: definition, averaging, tasks, source, and whether a higher value is better.

Nothing is computed here (`finetune.metrics` does that) and nothing is imported, so that a plan can judge a monitor's
name at once. A recorded number is named by its part and its id, as `test_auroc`; `describe` spells such a name out.

In every definition a class is *present* in a part when it has an image there (in a multi-label task: a positive one),
and *ranked* when it has images of and not of it. Averages over classes leave the others out, and `classes_absent` and
`classes_unranked` count them. What cannot be computed (as an AUROC of one class) is NaN, never 0 or 0.5. The predicted
class is the one with the highest probability, the first of several; in a multi-label task the classes above 0.5, and
what is not known of an image is left out of everything. A present class that is never predicted has precision and F1
of 0.
"""

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Task = Literal["binary", "multiclass", "multilabel"]
TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel")


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """What a metric is."""

    definition: str
    averaging: str
    """Over what a mean is taken, and with which weights."""
    source: str
    """Where it is defined, or who uses it."""
    higher: bool = True
    """Whether a higher value is better."""
    ends: tuple[float, float] = (0.0, 1.0)
    """No value is below the first or above the second, in whatever task."""
    tasks: tuple[Task, ...] = TASKS
    """Where it is defined."""


_ONE_LABEL: tuple[Task, ...] = ("binary", "multiclass")
_CLASS_1 = "none for a binary task, which is judged by class 1"
_MACRO = f"mean over ranked classes; {_CLASS_1}"
_PRESENT = "mean over present classes"
_ROC = "area under the ROC curve, a tie between a positive and a negative counting one half"
_AVERAGE_PRECISION = "average precision: sum over thresholds of precision x gain in recall"
_TRAPEZOID = (
    "area under the precision-recall curve with straight lines between thresholds, from precision 1 at recall 0"
)

METRICS: Mapping[str, MetricInfo] = MappingProxyType(
    {
        "auroc": MetricInfo(
            definition=f"{_ROC}; each class against all others",
            averaging=_MACRO,
            source="Hanley & McNeil 1982; Peng et al. 2023",
        ),
        "auprc": MetricInfo(
            definition=f"{_AVERAGE_PRECISION}; each class against all others; its mean over classes is known as mAP",
            averaging=_MACRO,
            source="scikit-learn's average_precision_score; the mAP of Matsoukas et al. 2022",
        ),
        "accuracy": MetricInfo(
            definition="share of images whose class is predicted; in a multi-label task, all of whose labels are",
            averaging="mean over images",
            source="subset accuracy of Matsoukas et al. 2022 in a multi-label task",
        ),
        "balanced_accuracy": MetricInfo(
            definition="share of a class's images that are predicted to be of it",
            averaging=_PRESENT,
            source="Brodersen et al. 2010, without their correction for chance",
            tasks=_ONE_LABEL,
        ),
        "f1_macro": MetricInfo(
            definition="2 x true positives / (images of the class + images predicted to be of it)",
            averaging=_PRESENT,
            source="Matsoukas et al. 2022",
        ),
        "nll": MetricInfo(
            definition="-ln(probability of the true class), in nats, at most 36.04; in a multi-label task, of each",
            averaging="mean over images, and over labels",
            source="scikit-learn's log_loss, whose floor of a probability it has",
            higher=False,
            ends=(0.0, -math.log(sys.float_info.epsilon)),
        ),
        "auroc_ovo": MetricInfo(
            definition=f"{_ROC}; of two classes' images alone, by the scores of the one and then of the other",
            averaging=f"mean over ordered pairs of present classes; {_CLASS_1}",
            source="Hand & Till 2001; Matsoukas et al. 2022",
            tasks=_ONE_LABEL,
        ),
        "auroc_weighted": MetricInfo(
            definition=f"{_ROC}; each class against all others",
            averaging=f"mean over ranked classes, weighted by their positives; {_CLASS_1}",
            source="Provost & Domingos 2000; first version of Juodelyte et al. 2023",
        ),
        "auroc_micro": MetricInfo(
            definition=f"{_ROC}; of all pairs of an image and a class in one ranking, positive where the class is true",
            averaging="none: every class's scores, also an absent one's, are in the one ranking",
            source="second version of Juodelyte et al. 2023, there at 200 thresholds, here at all",
        ),
        "auprc_trapezoid": MetricInfo(
            definition=f"{_TRAPEZOID}; each class against all others",
            averaging=_MACRO,
            source="Peng et al. 2023; too high where points are far apart (Davis & Goadrich 2006)",
        ),
        "precision_macro": MetricInfo(
            definition="share of the images predicted to be of a class that are of it",
            averaging=_PRESENT,
            source="Matsoukas et al. 2022",
        ),
        "recall_macro": MetricInfo(
            definition="share of a class's images that are predicted to be of it: equal to balanced_accuracy",
            averaging=_PRESENT,
            source="Matsoukas et al. 2022",
        ),
        "kappa": MetricInfo(
            definition="1 - disagreement / disagreement expected from how often each class is true and is predicted",
            averaging="none",
            source="Cohen 1960; Matsoukas et al. 2022",
            ends=(-1.0, 1.0),
            tasks=_ONE_LABEL,
        ),
        "quadratic_kappa": MetricInfo(
            definition="kappa in which a disagreement counts the squared difference of the classes' numbers",
            averaging="none",
            source="Cohen 1968; Matsoukas et al. 2022",
            ends=(-1.0, 1.0),
            tasks=_ONE_LABEL,
        ),
        "ece": MetricInfo(
            definition="|accuracy - mean top probability| of the images in each of 15 equal bins (a, b] of the latter",
            averaging="mean over bins, weighted by their images",
            source="Guo et al. 2017",
            higher=False,
            tasks=_ONE_LABEL,
        ),
        "brier": MetricInfo(
            definition="squared difference of probability and truth, summed over classes; of class 1 in a binary task",
            averaging="mean over images, and over labels in a multi-label task",
            source="Brier 1950; scikit-learn's brier_score_loss",
            higher=False,
            ends=(0.0, 2.0),
        ),
    }
)
"""Id -> what it is, of the metrics that a whole part has: each may select epochs."""

CLASS_METRICS: Mapping[str, MetricInfo] = MappingProxyType(
    {
        "auroc": MetricInfo(definition=_ROC, averaging="none", source="Peng et al. 2023"),
        "auprc": MetricInfo(definition=_AVERAGE_PRECISION, averaging="none", source="as auprc"),
        "auprc_trapezoid": MetricInfo(definition=_TRAPEZOID, averaging="none", source="Peng et al. 2023"),
    }
)
"""Id `ID_class_N` -> what it is, of a single class against all others: the id without its class."""

COUNTS: Mapping[str, MetricInfo] = MappingProxyType(
    {
        "classes_absent": MetricInfo(
            definition="number of classes without an image (in a multi-label task: a positive one) in the part",
            averaging="none",
            source="none",
            higher=False,
            ends=(0.0, math.inf),
        ),
        "classes_unranked": MetricInfo(
            definition="number of classes all of whose images, or none of whose images, are positive in the part",
            averaging="none",
            source="none",
            higher=False,
            ends=(0.0, math.inf),
        ),
    }
)
"""What the averages leave out. Where `classes_unranked` is 0 nothing is NaN."""

LOSSES: Mapping[str, MetricInfo] = MappingProxyType(
    {
        "loss": MetricInfo(
            definition="the recipe's own loss, with its class weights",
            averaging="as the recipe's",
            source="the recipe",
            higher=False,
            ends=(0.0, math.inf),
        ),
        "double_softmax_loss": MetricInfo(
            definition="the recipe's loss of probabilities that are taken as logits",
            averaging="as the recipe's",
            source="a defect of Peng et al. 2023, who select by it",
            higher=False,
            ends=(0.0, math.inf),
        ),
    }
)
"""What a recipe may watch beside the metrics; not of predictions alone, so that `score` has none of them."""

PARTS: Mapping[str, str] = MappingProxyType(
    {
        "best_val_": "validation part, at the epoch that was chosen",
        "val_": "validation part, after the epoch",
        "test_": "test part, by the state that was chosen",
    }
)
"""How the name of a recorded number begins -> the images that it is of."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a recorded number is."""

    id: str
    part: str
    """The images that it is of."""
    info: MetricInfo


def metrics_of(task: str) -> list[str]:
    """The ids that are defined for a task."""
    return [name for name, info in METRICS.items() if task in info.tasks]


def describe(column: str) -> Recorded | None:
    """What a recorded number is, by its name, as `test_auprc_class_2`; None when no metric is recorded under it."""
    start = next((start for start in PARTS if column.startswith(start)), "")
    name = column.removeprefix(start)
    info = _info(name) if start else None
    return info and Recorded(id=name, part=PARTS[start], info=info)


def _info(name: str) -> MetricInfo | None:
    of_class = re.fullmatch(r"(\w+)_class_(\d+)", name)
    return CLASS_METRICS.get(of_class[1]) if of_class else {**METRICS, **COUNTS, **LOSSES}.get(name)
