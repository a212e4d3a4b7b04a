"""Asks finished cells what they kept of their start: probes over stored states, recorded as rows beside the cells.

Pure functions of arrays live in the modules beside this one; Ray is imported only when probes run.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import pandas as pd

from sweeper import models, store
from sweeper.cell import L2, Cell, Cka, Knn, Probe, probe_key
from sweeper.data.loading import Loaded, load
from sweeper.finetune.loop import prediction_table
from sweeper.finetune.metrics import score
from sweeper.grid import Sweep
from sweeper.ledger import Finished
from sweeper.live import shown
from sweeper.outcome import Devices
from sweeper.probes.cka import cka as linear_cka  # `probes.cka` stays the module
from sweeper.probes.distance import l2_by_block
from sweeper.probes.knn import knn_scores
from sweeper.site import Site

Features = Mapping[tuple[str, str], Sequence[np.ndarray]]
"""(state, part) -> one array (images, channels) per block."""


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """A finished cell and the probes it still lacks."""

    cell: Cell
    run_id: str
    missing: tuple[Probe, ...]


def run_probes(
    sweep: Sweep,
    done: Mapping[str, Finished],
    site: Site,
    *,
    slots: int,
    devices: Devices,
    work: Path,
    check_lease: Callable[[], None],
) -> None:
    """Runs what is missing of the sweep's probes on its finished cells, and stores each cell's rows as they come.

    Args:
        work: the study's folder of work in flight.
        check_lease: raises when the study is no longer this driver's.
    """
    subjects = list(_lacking(sweep, done))
    if not subjects:
        return
    with shown({f"{sweep.name}: probes": len(subjects)}) as (progress,):
        for subject, features in _with_features(subjects, site, slots, devices):
            progress.started()
            data = load(subject.cell.images, site, look=False)
            for probe in subject.missing:
                rows = _rows(probe, subject, features, data, site)
                store.patiently(partial(_log, site, subject, probe, rows, work, check_lease), site)
            progress.ended()


def _log(
    site: Site, subject: _Subject, probe: Probe, rows: pd.DataFrame, work: Path, check_lease: Callable[[], None]
) -> None:
    check_lease()  # at each attempt: with the study, its folder of work goes to another driver
    store.log_probe(site, subject.run_id, probe, rows, work)


def _lacking(sweep: Sweep, done: Mapping[str, Finished]) -> Iterator[_Subject]:
    for cell in sweep.cells:
        record = done.get(cell.key)
        if record is None:
            continue
        missing = tuple(probe for probe in sweep.probes if probe_key(probe) not in record.probes)
        if missing:
            yield _Subject(cell=cell, run_id=record.run_id, missing=missing)


def _needs(probe: Probe) -> set[tuple[str, str]]:
    """The (state, part) pairs whose features a probe reads."""
    match probe:
        case Cka():
            return {("best", probe.part), ("start", probe.part)}
        case Knn():
            return {("best", "train"), ("best", probe.part)}
        case L2():
            return set()
        case _:
            assert_never(probe)


def _with_features(
    subjects: Sequence[_Subject], site: Site, slots: int, devices: Devices
) -> Iterator[tuple[_Subject, Features]]:
    """Each subject with the features its probes read, in one stream over all of them."""
    needs = [sorted(set[tuple[str, str]]().union(*map(_needs, subject.missing))) for subject in subjects]
    stream: Iterator[list[np.ndarray]] = iter(())
    if any(needs):
        from sweeper.probes.activations import Pass, features

        passes = [
            Pass(
                cell=subject.cell,
                run_id=subject.run_id,
                state=state,
                part=part,
                images=len(getattr(load(subject.cell.images, site, look=False), part)),
            )
            for subject, pairs in zip(subjects, needs, strict=True)
            for state, part in pairs
        ]
        stream = features(passes, site, slots=slots, devices=devices)
    for subject, pairs in zip(subjects, needs, strict=True):
        yield subject, {pair: next(stream) for pair in pairs}


def _rows(probe: Probe, subject: _Subject, features: Features, data: Loaded, site: Site) -> pd.DataFrame:
    """A row per block (from 1) and metric: `key`, `probe`, `probe_key`, its settings, `block`, `metric`, `value`."""
    match probe:
        case Cka():
            pairs = zip(features["best", probe.part], features["start", probe.part], strict=True)
            values: Iterable[dict[str, float]] = ({"cka": linear_cka(after, before)} for after, before in pairs)
        case Knn():
            pairs = zip(features["best", "train"], features["best", probe.part], strict=True)
            values = (_knn(probe, bank, queries, data) for bank, queries in pairs)
        case L2():
            values = ({"l2": value} for value in _distances(subject, site))
        case _:
            assert_never(probe)
    known = {"key": subject.cell.key, "probe": probe.name, "probe_key": probe_key(probe), **asdict(probe)}
    return pd.DataFrame(
        [
            {**known, "block": block, "metric": metric, "value": value}
            for block, scores in enumerate(values, start=1)
            for metric, value in scores.items()
        ]
    )


def _knn(probe: Knn, bank: np.ndarray, queries: np.ndarray, data: Loaded) -> dict[str, float]:
    part: Any = getattr(data, probe.part)
    votes = knn_scores(
        bank, data.train.labels, queries, k=probe.k, temperature=probe.temperature, classes=len(data.classes)
    )
    return score(prediction_table(part, probe.part, np.asarray(votes)), data.task)


def _distances(subject: _Subject, site: Site) -> list[float]:
    """Per block, the L2 distance of its weights from their start."""
    from safetensors.numpy import load_file

    states = [load_file(store.artifact(site, subject.run_id, f"{name}.safetensors")) for name in ("start", "best")]
    cell = subject.cell
    model = models.build(cell.network, classes=len(states[0]["head.bias"]), size=cell.images.size)
    keys = models.weight_keys(model, cell.network.grain)
    return list(l2_by_block(states[0], states[1], keys).values())
