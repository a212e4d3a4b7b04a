"""A probe's rows, computed from what was made of the states: pure functions over arrays, states and tables.

Features are read a block at a time: memory is 24 bytes x images x features of the widest block, whatever the number of
blocks, but with `layers='all'`, where all blocks are held. CKA block by block takes 8 bytes x features squared x 3, and
no more for more images; k-NN holds the images that are asked for, and of its bank a piece.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, assert_never

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file

from sweeper import models, store, weights
from sweeper.cell import probe_key, seed_of
from sweeper.finetune.loop import prediction_table
from sweeper.finetune.metrics import score
from sweeper.metric import LOSSES, METRICS
from sweeper.outcome import Outcome
from sweeper.pairing import Ask
from sweeper.probe_types import (
    L2,
    Agreement,
    Cca,
    Cka,
    Convergence,
    Cost,
    Embedding,
    Fid,
    Filters,
    GradCam,
    Knn,
    Pictured,
    Procrustes,
    Reinit,
    Transferability,
)
from sweeper.probes import pictured, similarity
from sweeper.probes.agreement import agreement
from sweeper.probes.asked import Runs, costs_of, needed, of_fid, of_knn, of_start, subject, sums_of, two_sides
from sweeper.probes.cka_pieces import cka_of_pieces
from sweeper.probes.convergence import progress
from sweeper.probes.distance import cosine_by_block, l2_by_block, l2_total, relative_l2_by_block
from sweeper.probes.fid import frechet
from sweeper.probes.kept import blocks_of, in_pieces, moments_of, of_block
from sweeper.probes.knn import knn_scores_of_pieces
from sweeper.probes.making import read_sums
from sweeper.probes.needs import Costed, Features, loaded, pieces, positions
from sweeper.probes.transferability import SCORES, Target
from sweeper.site import Site

_COSTS = (
    *("backbone_parameters", "parameters", "macs", "forward_bytes", "training_bytes"),
    *("latency_ms", "latency_ms_min", "latency_ms_max", "measurements", "passes"),
)
"""Metrics of `Cost`, as `probes.cost` defines them."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """One number that a probe found."""

    metric: str
    value: float
    block: int | None = None
    """From 1; None for a number of the whole model."""
    other_block: int | None = None
    device: str | None = None
    """Of a time: the name of the device that took it."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a probe leaves in a cell's run."""

    rows: pd.DataFrame
    files: Mapping[str, bytes] = field(default_factory=dict)
    """End of a name -> content of what lies beside the rows, as `.png`."""


def answer(ask: Ask, runs: Runs, site: Site) -> Answer:
    """The rows, and the files of a probe that leaves a picture.

    A row per number: `key`, `probe`, `probe_key`, its settings, `block`, `other`, `other_block`, `metric`, `value`; and
    `device`, where a time was taken.

    Raises:
        ValueError: when the probe cannot be computed, naming it and its cell.
    """
    try:
        if isinstance(ask.probe, Pictured):
            picture = pictured.picture(ask, runs, site)
            values = [Value(metric=name, value=each, block=picture.block) for name, each in picture.numbers.items()]
            return Answer(rows=_rows(ask, values), files=picture.files)
        return Answer(rows=_rows(ask, list(_values(ask, runs, site))))
    except (ValueError, ArithmeticError) as error:
        raise ValueError(f"{ask.title()}: {error}") from error


def _rows(ask: Ask, values: list[Value]) -> pd.DataFrame:
    settings = {name: _plain(value) for name, value in asdict(ask.probe).items()}
    known = {"key": ask.cell.key, "probe": ask.probe.name, "probe_key": probe_key(ask.probe), **settings}
    known["other"] = ask.other.key if ask.other else None
    frame = pd.DataFrame([known | asdict(each) for each in values])
    frame = frame.drop(columns="device") if frame["device"].isna().all() else frame
    types = {"other": "str", "other_block": "Int64", "block": "Int64" if frame["block"].isna().any() else "int64"}
    last = ["block", "other", "other_block", "metric", "value"]
    return frame.astype(types)[[*(name for name in frame if name not in last), *last]]


def _plain(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value


def _values(ask: Ask, runs: Runs, site: Site) -> Iterator[Value]:
    probe = ask.probe
    match probe:
        case Cka(estimator="minibatch" | "batch_mean"):
            table = similarity.of_sums(read_sums(sums_of(ask, probe, runs), site), probe.estimator)
            yield from _matrix(probe.name, table, probe.layers)
        case Cka() | Cca() | Procrustes():
            yield from _similarities(ask, probe, runs, site)
        case Knn():
            yield from _neighbours(ask, probe, runs, site)
        case L2():
            yield from _distances(ask, probe, runs, site)
        case Reinit():
            yield from _rescored(ask, runs, site)
        case Agreement():
            one, other = (_predictions(ask, runs, probe.part, site, other=each) for each in (False, True))
            found = agreement(one, other, loaded(ask.cell.images, site).task, by_class=True)
            yield from (Value(metric=metric, value=value) for metric, value in found.items())
        case Fid():
            told = frechet(*(moments_of(side, site) for side in of_fid(ask, probe, runs)))
            yield Value(metric="fid", value=told.distance)
            yield Value(metric="fid_means", value=told.means)
            yield Value(metric="fid_covariances", value=told.covariances)
        case Transferability():
            target = _target(ask, probe, runs, site)
            yield from (Value(metric=name, value=SCORES[name](target)) for name in probe.scores)
        case Cost():
            yield from _costs(costs_of(ask, probe, site), site)
        case Convergence():
            yield from _progress(ask, probe, runs, site)
        case Embedding() | GradCam() | Filters():
            yield from ()  # of `pictured`
        case _:
            assert_never(probe)


def _costs(need: Costed, site: Site) -> Iterator[Value]:
    for depth, path in pieces(need, site):
        told = json.loads(path.read_text())
        for metric in _COSTS:
            yield Value(metric=metric, value=float(told[metric]), block=depth, device=told["device"])


def _progress(ask: Ask, probe: Convergence, runs: Runs, site: Site) -> Iterator[Value]:
    data, recipe = loaded(ask.cell.images, site), ask.cell.recipe
    name = probe.score or data.metric
    outcome = Outcome.from_json(store.artifact(site, subject(ask, runs, "best").run_id, "outcome.json").read_text())
    found = progress(
        outcome.epochs,
        name,
        threshold=probe.threshold,
        falling=not ({**METRICS, **LOSSES}[name].higher),
        steps_per_epoch=math.ceil(len(data.train) / recipe.batch_size),
        validations=recipe.validations,
        until=probe.until,
    )
    yield from (Value(metric=metric, value=value) for metric, value in found.items())


def _similarities(ask: Ask, probe: Cka | Cca | Procrustes, runs: Runs, site: Site) -> Iterator[Value]:
    sides = two_sides(ask, probe, runs, site)
    seed = seed_of("null", probe_key(probe), loaded(ask.cell.images, site).fingerprint)
    counts = [blocks_of(side, site) for side in sides]
    if getattr(probe, "layers", "same") == "all":
        layers = [
            [of_block(side, block, site)[0] for block in range(count)]
            for side, count in zip(sides, counts, strict=True)
        ]
        for metric, table in similarity.tables(probe, *layers, seed=seed).items():
            yield from _matrix(metric, table, "all")
        return
    if counts[0] != counts[1]:
        raise ValueError(
            f"the two states have {counts[0]} and {counts[1]} blocks; give layers='all', where there is one"
        )
    for block in range(counts[0]):
        if (told := _streamed(probe, sides, block, site)) is not None:
            yield Value(metric=probe.name, value=told, block=block + 1, other_block=block + 1)
            continue
        left, right = (of_block(side, block, site) for side in sides)
        for metric, value in similarity.values(probe, left, right, seed=seed).items():
            yield Value(metric=metric, value=value, block=block + 1, other_block=block + 1)


def _streamed(probe: Cka | Cca | Procrustes, sides: tuple[Features, Features], block: int, site: Site) -> float | None:
    """CKA of a block by pieces, whatever the number of images; None where all features are needed at once."""
    if not isinstance(probe, Cka) or probe.null or probe.estimator not in ("debiased", "biased"):
        return None
    return cka_of_pieces(lambda: in_pieces(sides, block, site), estimator=probe.estimator)


def _matrix(metric: str, table: np.ndarray, layers: str) -> Iterator[Value]:
    if layers == "same" and table.shape[0] != table.shape[1]:
        raise ValueError(f"the two states have {table.shape[0]} and {table.shape[1]} blocks; give layers='all'")
    for row, column in np.ndindex(*table.shape):
        if layers == "all" or row == column:
            yield Value(metric=metric, value=float(table[row, column]), block=row + 1, other_block=column + 1)


def _neighbours(ask: Ask, probe: Knn, runs: Runs, site: Site) -> Iterator[Value]:
    data = loaded(ask.cell.images, site)
    banks, queries = of_knn(ask, probe, "train", runs), of_knn(ask, probe, probe.part, runs)
    for block in range(blocks_of(banks[0], site)):
        votes = knn_scores_of_pieces(
            lambda block=block: _side_by_side(banks, block, site),
            data.train.labels,
            np.concatenate(list(_side_by_side(queries, block, site))),
            k=probe.k,
            temperature=probe.temperature,
            classes=len(data.classes),
        )
        table = prediction_table(getattr(data, probe.part), probe.part, np.asarray(votes))
        for metric, value in score(table, data.task).items():
            yield Value(metric=metric, value=value, block=block + 1)


def _side_by_side(sides: Sequence[Features], block: int, site: Site) -> Iterator[np.ndarray]:
    """The features of several takes of the same images, laid side by side, piece by piece."""
    yield from (np.concatenate(each, axis=1) for each in in_pieces(sides, block, site))


def _distances(ask: Ask, probe: L2, runs: Runs, site: Site) -> Iterator[Value]:
    before, after = (load_file(subject(ask, runs, state).path(site)) for state in ("start", "best"))
    network = ask.cell.network
    model = models.build(network, classes=len(before["head.bias"]), size=ask.cell.images.size)
    keys = models.weight_keys(model, network.grain)
    match probe.kind:
        case "total":
            yield Value(metric="l2_total", value=l2_total(l2_by_block(before, after, keys)))
            return
        case "study":
            found = l2_by_block(before, after, keys)
        case "relative":
            found = relative_l2_by_block(before, after, keys)
        case "cosine":
            found = cosine_by_block(before, after, keys)
    metric = {"study": "l2", "relative": "l2_relative", "cosine": "cosine"}[probe.kind]
    for block, value in enumerate(found.values(), start=1):
        yield Value(metric=metric, value=value, block=block)


def _rescored(ask: Ask, runs: Runs, site: Site) -> Iterator[Value]:
    (need,) = needed(ask, runs, site)
    for block, path in pieces(need, site):
        for metric, value in json.loads(path.read_text()).items():
            yield Value(metric=metric, value=value, block=block or None)


def _predictions(ask: Ask, runs: Runs, part: str, site: Site, *, other: bool) -> pd.DataFrame:
    path = store.artifact(site, subject(ask, runs, "best", other=other).run_id, "predictions.parquet")
    table = pd.read_parquet(path)
    return table[table["part"] == part].reset_index(drop=True)


def _target(ask: Ask, probe: Transferability, runs: Runs, site: Site) -> Target:
    side = of_start(ask, runs, probe.stimuli)
    data, shown = loaded(ask.cell.images, site), positions(side.shown, site)
    if data.task == "multilabel":
        raise ValueError("scores of transferability need one label an image, and this data set has several")
    features = of_block(side, blocks_of(side, site) - 1, site)[0]
    head = weights.source_head(ask.cell.weights.source, ask.cell.network, site) if "leep" in probe.scores else None
    return Target(
        features=features,
        labels=data.train.labels[shown],
        patients=np.asarray(data.train.patients)[shown],
        source_probabilities=head and head.probabilities(torch.from_numpy(features)),
        seed=seed_of("transferability", data.fingerprint) % 2**31,
    )
