"""What each value of a probe must be, and which probes are impossible for a study's cells, before anything is trained.

What only the models know (who has a class token) is asked in `problems`.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import inf, isfinite
from typing import Any, get_args, get_type_hints

from sweeper.cell import AXES, Cell
from sweeper.metric import LOSSES, METRICS
from sweeper.pairing import asks, axes_across
from sweeper.probe_types import (
    Agreement,
    Cca,
    Cka,
    Convergence,
    Cost,
    Embedding,
    Fid,
    GradCam,
    Knn,
    Probe,
    Procrustes,
    Transferability,
)
from sweeper.rules import is_int, is_number, nearest

SCORES = ("logme", "h_score", "h_score_shrunk", "leep", "nleep", "transrate", "knn", "linear_probe")
"""Of `Transferability`."""
_LEAST = {
    "k": 1,
    "batch": 4,
    "stimuli": 4,
    "null": 0,
    "points": 1,
    "channels": 1,
    "draws": 1,
    "directions": 1,
    "to_fold": 0,
    "memory_batch": 2,
    "threads": 1,
    "neighbours": 2,
    "images": 1,
    "at_block": 1,
    "count": 1,
}
_MOST_IMAGES = 64
"""That Grad-CAM shows: all are in memory at once with all their outputs."""
_PLANE = (12, 10_000)
"""Images in the plane: those whose neighbours can be compared, and those whose distances fit into memory."""
_MOST_FOLDS = 5
"""Of the other set of `Fid`, which is cut by the protocol `sweeper`."""
_SEEN_ALIKE = ("size",)
"""Axes that the two cells of a pair must have in common, for both see the same pixels."""
_SCORED_ALIKE = ("dataset", "fold", "protocol")
"""... and those that decide which images are scored."""


def probe_problems(probes: Sequence[Probe], cells: Sequence[Cell]) -> Iterator[str]:
    """What is wrong with a sweep's probes, each in one sentence."""
    for probe in probes:
        found = _own_problems(probe)
        yield from (f"probe {probe.name}: {text}" for text in found)
        if not found and axes_across(probe) and cells and not asks(cells, [probe]):
            axes = ", ".join(axes_across(probe))
            yield f"probe {probe.name}: no two cells differ in {axes} alone; leave the probe out, or add an axis"


@lru_cache(maxsize=1024)
def is_sound(probe: Probe) -> bool:
    """Whether each value of a probe is one that it may have."""
    return not _own_problems(probe)


def _own_problems(probe: Probe) -> list[str]:
    return [*_value_problems(probe), *_across_problems(probe)] or list(_joint_problems(probe))


def _value_problems(probe: Probe) -> Iterator[str]:
    for name, hint in get_type_hints(type(probe)).items():
        if name in ("version", "name"):
            continue
        value: Any = getattr(probe, name)
        choices = get_args(hint)
        if name in _LEAST:
            left_out = value is None and type(None) in choices
            least = 1 if isinstance(probe, Cost) and name == "batch" else _LEAST[name]
            if not left_out and not _at_least(value, least):
                yield f"{name} is {value!r}; it must be a whole number from {least}"
        elif choices and all(isinstance(choice, str) for choice in choices) and value not in choices:
            yield f"{name} is {value!r}; it must be {' or '.join(repr(choice) for choice in choices)}"


def _at_least(value: Any, least: int) -> bool:
    return is_int(value) and value >= least


def _across_problems(probe: Probe) -> Iterator[str]:
    axes = axes_across(probe)
    for axis in axes:
        if axis not in AXES:
            yield f"the axis '{axis}' to be compared across is unknown; {nearest(axis, AXES)}"
        elif axis in _SEEN_ALIKE:
            yield f"across='{axis}' is impossible: both cells of a pair see the same pixels"
        elif axis in _SCORED_ALIKE and isinstance(probe, Agreement):
            yield f"across='{axis}' is impossible: cells that differ in it are scored on different images"
    if not axes and isinstance(probe, Agreement):
        yield "across names no axis; give one, as across='source'"
    if not axes and getattr(probe, "other_state", "same") != "same":
        yield "other_state is of a pair's second cell; give across, or say against"


def _joint_problems(probe: Probe) -> Iterator[str]:
    match probe:
        case Cka():
            yield from _cka_problems(probe)
        case Cca():
            yield from _cca_problems(probe)
        case Knn(temperature=value) if not (is_number(value) and 0 < value < inf):
            yield f"temperature is {value!r}; it must be a number above 0"
        case Fid():
            yield from _distance_problems(probe)
        case Convergence():
            yield from _curve_problems(probe)
        case Embedding():
            yield from _plane_problems(probe)
        case GradCam():
            yield from _map_problems(probe)
        case Transferability():
            yield from _score_problems(probe.scores)
    if isinstance(probe, Cka | Cca | Procrustes) and _is_itself(probe):
        yield f"it compares a cell's {probe.state} state with itself, block by block; give against, across or layers"


def _cka_problems(probe: Cka) -> Iterator[str]:
    batchwise = probe.estimator in ("minibatch", "batch_mean")
    if probe.features == "all" and not batchwise:
        yield "features='all' are too many to be kept for all images; give estimator='minibatch' or 'batch_mean'"
    if batchwise and probe.null:
        yield f"null={probe.null} needs all images at once, and estimator='{probe.estimator}' goes batch by batch"
    if batchwise and probe.stimuli is not None and probe.stimuli < probe.batch:
        yield f"batch={probe.batch} is more than the stimuli={probe.stimuli} that are shown; give a smaller batch"


def _cca_problems(probe: Cca) -> Iterator[str]:
    if not (is_number(probe.variance) and 0 < probe.variance <= 1):
        yield f"variance is {probe.variance!r}; it must be a share above 0 and at most 1"
    if probe.directions is not None and probe.kind != "svcca":
        yield f"directions={probe.directions} is SVCCA's; give kind='svcca', or leave it out"
    if probe.directions is not None and probe.stimuli is not None and probe.stimuli < probe.directions:
        yield f"directions={probe.directions} are more than the stimuli={probe.stimuli} have; keep fewer, or show more"


def _distance_problems(probe: Fid) -> Iterator[str]:
    if not (isinstance(probe.to, str) and probe.to):
        yield f"to is {probe.to!r}; it must be the name of a data set"
    if probe.to_fold > _MOST_FOLDS:
        yield f"to_fold is {probe.to_fold}; it must be a whole number from 0 to {_MOST_FOLDS}"


def _curve_problems(probe: Convergence) -> Iterator[str]:
    if not (is_number(probe.threshold) and isfinite(probe.threshold)):
        yield f"threshold is {probe.threshold!r}; it must be the score that is to be reached"
    elif probe.score in METRICS or probe.score in LOSSES:
        yield from beyond(probe.threshold, str(probe.score))
    elif probe.score is not None:
        yield f"the score '{probe.score}' is unknown; {nearest(probe.score, [*METRICS, *LOSSES])}"
    if probe.until is not None and not (is_number(probe.until) and 0 < probe.until < inf):
        yield f"until is {probe.until!r}; it must be a number of epochs above 0"


def beyond(threshold: float, score: str) -> Iterator[str]:
    """Why a score cannot reach a threshold, or could never have been on its other side; nothing where it may.

    Args:
        score: a name in `sweeper.metric.METRICS` or `LOSSES`.
    """
    low, high = {**METRICS, **LOSSES}[score].ends
    if not low <= threshold <= high:
        there = f"at least {low:g}" if high == inf else f"from {low:g} to {high:g}"
        yield f"threshold is {threshold:g}, which no {score} has; it must be a number {there}, or of another score"


def _plane_problems(probe: Embedding) -> Iterator[str]:
    least, most = _PLANE
    if not least <= probe.stimuli <= most:
        yield f"stimuli is {probe.stimuli}; it must be a whole number from {least} to {most}"
    elif probe.method != "pca" and probe.neighbours >= probe.stimuli:
        yield f"neighbours is {probe.neighbours}; it must be fewer than the stimuli={probe.stimuli} images"


def _score_problems(scores: Any) -> Iterator[str]:
    if not isinstance(scores, tuple) or not scores or len(set(scores)) < len(scores):
        yield f"scores is {scores!r}; it must be a tuple of names, each named once"
    else:
        yield from (f"the score '{each}' is unknown; {nearest(each, SCORES)}" for each in scores if each not in SCORES)


def _map_problems(probe: GradCam) -> Iterator[str]:
    if probe.images > _MOST_IMAGES:
        yield f"images is {probe.images}; it must be a whole number from 1 to {_MOST_IMAGES}"
    named: Any = probe.named
    if not isinstance(named, tuple) or not all(isinstance(each, str) for each in named):
        yield f"named is {named!r}; it must be a tuple of names of images"
    elif len(named) > _MOST_IMAGES or len(set(named)) < len(named):
        yield f"named are {len(named)} images; they must be at most {_MOST_IMAGES}, each named once"


def _is_itself(probe: Any) -> bool:
    return not probe.across and probe.state == probe.against and getattr(probe, "layers", "same") == "same"
