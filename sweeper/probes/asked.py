"""What each probe needs of which states, before it can be computed from what was made of them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, assert_never

from sweeper import models
from sweeper.cell import NEUTRAL, Images, seed_of
from sweeper.ledger import Finished
from sweeper.models import Grain
from sweeper.pairing import Ask
from sweeper.probe_types import (
    L2,
    Agreement,
    At,
    Cca,
    Cka,
    Convergence,
    Cost,
    Embedding,
    Fid,
    Filters,
    GradCam,
    Knn,
    Procrustes,
    Reinit,
    Similarity,
    State,
    Transferability,
)
from sweeper.probes.draws import Draws
from sweeper.probes.needs import Costed, Features, Mapped, Need, Rescored, Shown, Subject, Sums, Take, loaded
from sweeper.site import Site

Runs = Mapping[str, Finished]
"""Key of a finished cell -> its run."""


def needed(ask: Ask, runs: Runs, site: Site) -> list[Need]:
    """Everything that has to be made for a probe of a cell, or of a pair; nothing where states or tables are enough."""
    probe = ask.probe
    match probe:
        case Cka(estimator="minibatch" | "batch_mean"):
            return [sums_of(ask, probe, runs)]
        case Cka() | Cca() | Procrustes():
            return list(two_sides(ask, probe, runs, site))
        case Knn():
            return [need for part in ("train", probe.part) for need in of_knn(ask, probe, part, runs)]
        case Reinit():
            return [Rescored(subject=subject(ask, runs, "best"), part=probe.part, kind=probe.kind)]
        case Fid():
            return list(of_fid(ask, probe, runs))
        case Transferability():
            return [of_start(ask, runs, probe.stimuli)]
        case Embedding():
            return [of_plane(ask, probe, runs)]
        case GradCam():
            return [maps_of(ask, probe, runs)]
        case Cost():
            return [costs_of(ask, probe, site)]
        case L2() | Agreement() | Convergence() | Filters():
            return []
        case _:
            assert_never(probe)


def subject(ask: Ask, runs: Runs, state: State, *, other: bool = False) -> Subject:
    """A state of the cell, or of the pair's other cell."""
    cell = ask.other if other and ask.other else ask.cell
    return Subject(cell=cell, run_id=runs[cell.key].run_id, state=state)


def two_sides(ask: Ask, probe: Similarity, runs: Runs, site: Site) -> tuple[Features, Features]:
    """What the two states that are compared make of the first cell's images."""
    first, second = _two_subjects(ask, probe, runs)
    shown = Shown(images=ask.cell.images, part=probe.part, stimuli=probe.stimuli)
    take = Take(kind=_kind(ask, probe, site), grain=_grain(ask, probe.at))
    return Features(subject=first, shown=shown, take=take), Features(subject=second, shown=shown, take=take)


def sums_of(ask: Ask, probe: Cka, runs: Runs) -> Sums:
    """The sums over batches of the two states that are compared."""
    first, second = _two_subjects(ask, probe, runs)
    return Sums(
        first=first,
        second=second,
        shown=Shown(images=ask.cell.images, part=probe.part, stimuli=probe.stimuli),
        features=probe.features,
        grain=_grain(ask, probe.at),
        batch=probe.batch,
    )


def of_knn(ask: Ask, probe: Knn, part: str, runs: Runs) -> list[Features]:
    """The features of one part that k-NN compares, to be laid side by side."""
    kinds = ("cls", "patches") if probe.features == "concat" else (probe.features,)
    own, shown = subject(ask, runs, probe.state), Shown(images=ask.cell.images, part=part)  # type: ignore[arg-type]
    return [Features(subject=own, shown=shown, take=Take(kind=kind, grain=_grain(ask, probe.at))) for kind in kinds]


def of_fid(ask: Ask, probe: Fid, runs: Runs) -> tuple[Features, Features]:
    """The starting state's features of the cell's training images, and of the other set's."""
    mine = of_start(ask, runs, probe.stimuli)
    images = Images(dataset=probe.to, fold=probe.to_fold, size=ask.cell.images.size, pixels=ask.cell.images.pixels)
    shown = Shown(images=images, part="train", stimuli=probe.stimuli)
    return mine, Features(subject=mine.subject, shown=shown, take=mine.take)


def of_start(ask: Ask, runs: Runs, stimuli: int | None) -> Features:
    """The starting state's pooled features of the cell's training images."""
    shown = Shown(images=ask.cell.images, part="train", stimuli=stimuli)
    take = Take(kind="pooled", grain=ask.cell.network.grain)
    return Features(subject=subject(ask, runs, "start"), shown=shown, take=take)


def of_plane(ask: Ask, probe: Embedding, runs: Runs) -> Features:
    """The features of the images that are laid into the plane."""
    shown = Shown(images=ask.cell.images, part=probe.part, stimuli=probe.stimuli)
    take = Take(kind=probe.features, grain=ask.cell.network.grain)
    return Features(subject=subject(ask, runs, probe.state), shown=shown, take=take)


def maps_of(ask: Ask, probe: GradCam, runs: Runs) -> Mapped:
    """The maps of the images that are shown."""
    return Mapped(
        subject=subject(ask, runs, probe.state),
        shown=Shown(images=ask.cell.images, part=probe.part, stimuli=probe.images),
        named=probe.named,
        grain=_grain(ask, probe.at),
        block=probe.at_block,
        of=probe.of,
    )


def costs_of(ask: Ask, probe: Cost, site: Site) -> Costed:
    """What the cell's network costs, cut behind each of its blocks."""
    network, images = ask.cell.network, ask.cell.images
    costless = {name: NEUTRAL[name] for name in ("depth", "head_start", "dropout")}
    return Costed(
        network=replace(network, **costless),
        depth=network.depth or models.MODELS[network.model].blocks[network.grain],
        classes=len(loaded(images, site).classes),
        size=images.size,
        batch=probe.batch,
        memory_batch=probe.memory_batch,
        on=probe.on,
        threads=probe.threads,
    )


def _two_subjects(ask: Ask, probe: Similarity, runs: Runs) -> tuple[Subject, Subject]:
    if ask.other is None:
        return subject(ask, runs, probe.state), subject(ask, runs, probe.against)
    state = probe.state if probe.other_state == "same" else probe.other_state
    return subject(ask, runs, probe.state), subject(ask, runs, state, other=True)


def _kind(ask: Ask, probe: Similarity, site: Site) -> Draws | Literal["pooled", "cls", "patches"]:
    if not isinstance(probe, Cca):
        assert probe.features != "all"  # these go batch by batch
        return probe.features
    if probe.kind != "drawn":
        return "pooled"
    seed = seed_of("drawn cca", loaded(ask.cell.images, site).fingerprint, probe.part)
    return Draws(seed=seed, points=probe.points, channels=probe.channels, draws=probe.draws)


def _grain(ask: Ask, at: At) -> Grain:
    return ask.cell.network.grain if at == "cell" else at
