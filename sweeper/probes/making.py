"""Makes pieces of what probes need, in one process: what `activations` has its actors do, without Ray."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save

from sweeper.finetune.training import device_name
from sweeper.models import Grain
from sweeper.probes.cka_batches import BatchSums, batch_sums, merged
from sweeper.probes.cost import costs, cut_at
from sweeper.probes.draws import Draws
from sweeper.probes.grad_cam import grad_cam
from sweeper.probes.needs import (
    CHUNK,
    Costed,
    Features,
    Mapped,
    Need,
    Rescored,
    Shown,
    Subject,
    Sums,
    Take,
    chunk_of,
    folder,
    loaded,
    mapped_positions,
    pieces,
    positions,
    shown_key,
    state_key,
)
from sweeper.probes.reinit import rescored
from sweeper.probes.tapped import Keep, Tapped, gram
from sweeper.site import Site
from sweeper.work import write_whole

BATCH = 256
"""Images in a forward pass."""
SECONDS = 1.0
"""That a network's time is taken for."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Some pieces that are made together: all takes of one state on the same images, in one pass."""

    needs: tuple[Need, ...]
    """Several of `Features` with the same subject and images, else one."""
    start: int

    @property
    def alone(self) -> bool:
        """Whether nothing else may run beside it, for it takes a time."""
        return isinstance(self.needs[0], Costed)


def tasks(needs: Sequence[Need], site: Site) -> list[Task]:
    """What is still to be made, in the order of the needs; what two of them share is made once."""
    grouped: dict[Any, dict[str, Need]] = defaultdict(dict)
    for need in needs:
        match need:
            case Features():
                grouped[state_key(need.subject, site), shown_key(need.shown, site)].setdefault(need.take.name, need)
            case Costed():
                grouped[folder(need, site)].setdefault(str(need.depth), need)
            case _:
                grouped[need].setdefault("", need)
    found: dict[tuple[Any, int], list[Need]] = defaultdict(list)
    for group, members in grouped.items():
        for need in members.values():
            for start, path in pieces(need, site):
                if not path.exists() and not (found[group, start] and isinstance(need, Costed)):
                    found[group, start].append(need)
    return [Task(needs=tuple(members), start=start) for (_, start), members in found.items() if members]


def make(task: Task, site: Site, device: torch.device) -> None:
    """Makes the pieces of a task."""
    match task.needs[0]:
        case Features() as need:
            made = _features(
                need.subject, need.shown, [each.take for each in _of_features(task)], task.start, site, device
            )
        case Sums() as need:
            made = [json.dumps(_sums(need, task.start, site, device)).encode()]
        case Rescored() as need:
            made = [json.dumps(rescored(need, task.start, site, device)).encode()]
        case Costed() as need:
            made = [json.dumps(_costs(need, task.start, device)).encode()]
        case Mapped() as need:
            made = [_maps(need, site, device)]
    for need, content in zip(task.needs, made, strict=True):
        path = dict(pieces(need, site))[task.start]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)


def _costs(need: Costed, depth: int, device: torch.device) -> dict[str, Any]:
    """Of the network cut at one depth."""
    if need.on == "cuda" and device.type != "cuda":
        raise ValueError(
            "probe cost: on='cuda' needs a GPU, and the cells of this sweep have none; run it where there is one, with "
            "gpus_per_cell above 0, or give on='cpu'"
        )
    where = device if need.on == "cuda" else torch.device("cpu")
    found = costs(
        cut_at(need.network, depth),
        classes=need.classes,
        size=need.size,
        batch=need.batch,
        memory_batch=need.memory_batch,
        device=where,
        threads=need.threads,
        seconds=SECONDS,
    )
    return found | {"device": device_name(where)}


def _maps(need: Mapped, site: Site, device: torch.device) -> bytes:
    """Tensors `maps`, `classes`, `predicted` and `block`, of the images in their order."""
    data, where = loaded(need.shown.images, site), mapped_positions(need, site)
    part = getattr(data, need.shown.part)
    own = need.subject
    tapped = Tapped(own.path(site), own.cell.network, size=own.cell.images.size, device=device)
    classes = torch.from_numpy(part.labels[where]).to(device) if need.of == "label" else None
    inputs = tapped.normalised(part.tensor(where))
    found = grad_cam(tapped.model, inputs, grain=need.grain, block=need.block, classes=classes)
    tensors = {"maps": found.maps, "classes": found.classes, "predicted": found.predicted}
    return save(tensors | {"block": np.array(found.block)})


def _of_features(task: Task) -> Iterator[Features]:
    yield from (need for need in task.needs if isinstance(need, Features))


@lru_cache(maxsize=2)
def _tapped(subject: Subject, site: Site, device: torch.device) -> Tapped:
    return Tapped(subject.path(site), subject.cell.network, size=subject.cell.images.size, device=device)


def _features(
    subject: Subject, shown: Shown, takes: Sequence[Take], start: int, site: Site, device: torch.device
) -> list[bytes]:
    """One file per take: tensors `block` or `block.draw`, counted from 0."""
    tapped, where = _tapped(subject, site, device), positions(shown, site)
    part = getattr(loaded(shown.images, site), shown.part)
    found: list[dict[str, list[np.ndarray]]] = [defaultdict(list) for _ in takes]
    for first in range(start, min(start + CHUNK, len(where)), BATCH):
        chosen = where[first : min(first + BATCH, start + CHUNK)]
        keeps: dict[Grain, list[Keep]] = defaultdict(list)
        numbers: dict[Grain, list[int]] = defaultdict(list)
        for number, take in enumerate(takes):
            keeps[take.grain].append(_keep(tapped, take, first=first, images=len(where)))
            numbers[take.grain].append(number)
        for grain, blocks in tapped.see(part.tensor(chosen), keeps).items():
            for block, kept in enumerate(blocks):
                for number, values in zip(numbers[grain], kept, strict=True):
                    several = values if isinstance(values, list) else [values]
                    for draw, each in enumerate(several):
                        found[number][f"{block}.{draw}"].append(each)
    return [save({name: np.concatenate(values) for name, values in each.items()}) for each in found]


def _keep(tapped: Tapped, take: Take, *, first: int, images: int) -> Keep:
    if isinstance(take.kind, Draws):
        return partial(tapped.rows_of, draws=take.kind, first=first, images=images)
    reduce: Callable[[torch.Tensor], torch.Tensor] = getattr(tapped, take.kind)
    return lambda output: reduce(output).cpu().numpy()


def _sums(need: Sums, start: int, site: Site, device: torch.device) -> dict[str, Any]:
    """Of the whole batches among the images from `start` on; only a batch's Gram matrices are held at a time."""
    both = [_tapped(subject, site, device) for subject in (need.first, need.second)]
    where = positions(need.shown, site)
    part = getattr(loaded(need.shown.images, site), need.shown.part)
    last = min(start + chunk_of(need), len(where) // need.batch * need.batch)
    parts = []
    for first in range(start, last, need.batch):
        images = part.tensor(where[first : first + need.batch])
        layers = [_grams(tapped, images, need) for tapped in both]
        parts.append(batch_sums(layers[0], layers[1], grams=True))
    return {name: np.asarray(value).tolist() for name, value in asdict(merged(parts)).items()}


def _grams(tapped: Tapped, images: torch.Tensor, need: Sums) -> list[np.ndarray]:
    reduce = getattr(tapped, need.features)
    return [kept[0] for kept in tapped.see(images, {need.grain: [lambda output: gram(reduce(output))]})[need.grain]]


def read_sums(need: Sums, site: Site) -> BatchSums:
    """The sums of all pieces."""
    told = [json.loads(path.read_text()) for _, path in pieces(need, site)]
    arrays = [{name: np.array(value) for name, value in each.items() if name != "batches"} for each in told]
    return merged(BatchSums(batches=each["batches"], **own) for each, own in zip(told, arrays, strict=True))
