"""Which of a sweep's cells promise most, by the transferability scores that its study has recorded.

It orders the queue among cells that take equally long, and nothing else: no cell is skipped, and no result depends on
the order in which cells were trained.
"""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sweeper import store
from sweeper.axes import Images, Network, Weights
from sweeper.cell import Cell, probe_key
from sweeper.grid import Sweep
from sweeper.ledger import Finished
from sweeper.probe_types import Transferability
from sweeper.site import Site

_Start = tuple[Images, Network, Weights]


def by_promise(cells: Sequence[Cell], sweep: Sweep, finished: Mapping[str, Finished], site: Site) -> list[Cell]:
    """The cells, of each target the most promising start first; those of which nothing is known last, else as declared.

    A start is a network, where its weights come from, and the images that it is shown, whatever the fold: so a score
    that one finished cell has serves those with other seeds, folds and recipes. Only scores of one target compare: what
    counts is how many of its starts have a higher one, by the first score of the sweep's first `Transferability`.

    One file is read for each start that has both a scored cell and one among `cells`; none where the probe is not
    declared, or nothing was scored yet.

    Args:
        cells: those to be run, in the order declared.
        finished: the study's finished cells by key.
    """
    probe = next((each for each in sweep.probes if isinstance(each, Transferability)), None)
    if probe is None:
        return list(cells)
    wanted = {_start(cell) for cell in cells}
    scored: dict[_Start, Finished] = {}
    for cell in sweep.cells:
        record = finished.get(cell.key)
        if record and probe_key(probe) in record.probes and _start(cell) in wanted:
            scored.setdefault(_start(cell), record)
    places = _places({start: _score(record, probe, site) for start, record in scored.items()})
    return sorted(cells, key=lambda cell: places.get(_start(cell), math.inf))


def _start(cell: Cell) -> _Start:
    return replace(cell.images, fold=0), cell.network, cell.weights


def _target(start: _Start) -> tuple[Any, ...]:
    images, _, _ = start
    return images.dataset, images.protocol, images.fraction, images.shots


def _score(record: Finished, probe: Transferability, site: Site) -> float:
    """A cell's first score, higher being better."""
    import pandas as pd  # which a driver does without where nothing was scored

    name = f"{store.PROBES}/{probe.name}-{probe_key(probe)}.parquet"
    rows = pd.read_parquet(store.artifact(site, record.run_id, name))
    return float(rows.loc[rows["metric"] == probe.scores[0], "value"].iloc[0])


def _places(scores: Mapping[_Start, float]) -> dict[_Start, int]:
    """Of each start, how many of the same target have a higher score; none of one whose score is NaN."""
    known = {start: score for start, score in scores.items() if not math.isnan(score)}
    targets: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for start, score in known.items():
        targets[_target(start)].append(score)
    ranked = {target: sorted(each) for target, each in targets.items()}
    return {
        start: len(ranked[_target(start)]) - bisect_right(ranked[_target(start)], score)
        for start, score in known.items()
    }
