"""What probes need of stored states before they can be computed, and where the pieces of it lie in the storage.

A piece is one file, made whole or not at all: what was made before a driver was killed is there for the next one.
Those of a start that came from a source are told by its content, so that all cells with the same start share them.
"""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors import safe_open

from sweeper import models, store
from sweeper.cell import Cell, Images, Network, digest
from sweeper.data.loading import Loaded, load
from sweeper.models import Grain
from sweeper.probes.draws import Draws, Positions, content_of, stimuli
from sweeper.site import Site

CHUNK = 1024
"""Images of a piece: what is lost at most when a process dies, and what one holds the features of at a time."""
_VERSION = 1
"""Rises when what lies in a piece changes its meaning."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A stored state of a finished cell."""

    cell: Cell
    run_id: str
    state: Literal["best", "start"]
    folder: Path | None = field(default=None, compare=False)
    """Where the run's files lie, if it was looked up already (see `located`)."""

    @property
    def private(self) -> bool:
        """Whether no other cell has this state to share: what is made of it may be deleted when its own is done.

        The same random start is another cell's only where nothing but the recipe differs; a source's is that of many,
        and of other studies, which may be reading what was made of it.
        """
        return self.state == "best" or self.cell.weights.source == "random"

    def path(self, site: Site) -> Path:
        name = f"{self.state}.safetensors"
        return self.folder / name if self.folder else store.artifact(site, self.run_id, name)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Images that a model is shown."""

    images: Images
    part: Literal["train", "val", "test"]
    stimuli: int | None = None


@dataclass(frozen=True, kw_only=True)
class Take:
    """What is kept of the output of each block of a grain."""

    kind: Literal["pooled", "cls", "patches"] | Draws
    grain: Grain

    @property
    def name(self) -> str:
        return f"{self.grain}-{self.kind.name if isinstance(self.kind, Draws) else self.kind}"


@dataclass(frozen=True, kw_only=True)
class Features:
    """What a state makes of images, block by block."""

    subject: Subject
    shown: Shown
    take: Take


@dataclass(frozen=True, kw_only=True)
class Sums:
    """What CKA by batches needs of two states that see the same images: sums over batches, of all pairs of blocks."""

    first: Subject
    second: Subject
    shown: Shown
    features: Literal["pooled", "cls", "patches", "all"]
    grain: Grain
    batch: int


@dataclass(frozen=True, kw_only=True)
class Rescored:
    """Scores of a trained state with nothing changed (piece 0) and with its first, second, ... block put back."""

    subject: Subject
    part: Literal["val", "test"]
    kind: Literal["reinit", "rerand"]


@dataclass(frozen=True, kw_only=True)
class Costed:
    """What a network costs, cut behind each of its blocks up to a depth: a piece each, which all networks share that
    are the same up to there."""

    network: Network
    """Without its depth, and without what changes no cost."""
    depth: int
    classes: int
    size: int
    batch: int
    memory_batch: int
    on: Literal["cpu", "cuda"]
    threads: int


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """Where a state sees a class in some images, by Grad-CAM."""

    subject: Subject
    shown: Shown
    named: tuple[str, ...]
    """Images that are shown instead; none leaves it to `shown`."""
    grain: Grain
    block: int | None
    of: Literal["predicted", "label"]


Need = Features | Sums | Rescored | Costed | Mapped


def folder(need: Need, site: Site) -> Path:
    """Where the pieces of a need lie: in no cache, because what one node makes is read on another."""
    match need:
        case Features():
            parts = [state_key(need.subject, site), shown_key(need.shown, site), need.take.name]
        case Sums():
            states = [state_key(need.first, site), state_key(need.second, site)]
            parts = [*states, shown_key(need.shown, site), need.features, need.grain, need.batch]
        case Rescored():
            images = shown_key(Shown(images=need.subject.cell.images, part=need.part), site)
            parts = [state_key(need.subject, site), images, need.part, need.kind]
        case Costed():
            parts = [*(value for name, value in asdict(need).items() if name != "depth"), version("torch")]
        case Mapped():  # of a state with its head, which those that share a start need not have in common
            state = [need.subject.run_id, need.subject.state]
            parts = [*state, shown_key(need.shown, site), need.named, need.grain, need.block, need.of]
    return site.storage / "probes" / digest([_VERSION, type(need).__name__, *parts])


def starts(need: Need, site: Site) -> range:
    """What the pieces of a need are counted by: their first image, the block, or the depth."""
    match need:
        case Features():
            return range(0, len(positions(need.shown, site)), CHUNK)
        case Sums():
            whole = len(positions(need.shown, site)) // need.batch * need.batch
            if not whole:
                raise ValueError(f"batch={need.batch} is more than the {need.shown.part} part has images")
            return range(0, whole, chunk_of(need))
        case Rescored():
            network = need.subject.cell.network
            return range(1 + (network.depth or models.MODELS[network.model].blocks[network.grain]))
        case Costed():
            return range(1, need.depth + 1)
        case Mapped():
            return range(1)


def chunk_of(need: Sums) -> int:
    """Images of a piece: whole batches."""
    return max(1, CHUNK // need.batch) * need.batch


def pieces(need: Need, site: Site) -> Iterator[tuple[int, Path]]:
    """Each piece of a need in order: what it is counted by, and its file."""
    place = folder(need, site)
    suffix = "safetensors" if isinstance(need, Features | Mapped) else "json"
    for start in starts(need, site):
        yield start, place / f"{start}.{suffix}"


def located(need: Need, site: Site) -> Need:
    """The need with its states' folders looked up, so that who makes it asks MLflow nothing and imports none of it."""
    match need:
        case Costed():
            return need  # of no state
        case Sums():
            return replace(need, first=_located(need.first, site), second=_located(need.second, site))
        case Features() | Rescored() | Mapped():
            return replace(need, subject=_located(need.subject, site))


def _located(subject: Subject, site: Site) -> Subject:
    return replace(subject, folder=store.patiently(lambda: store.local_folder(site, subject.run_id), site))


def forget(need: Need, site: Site) -> None:
    """Deletes the pieces of a need, unless another study may share them."""
    match need:
        case Costed():
            return
        case Mapped():
            private = True
        case Sums():
            private = need.first.private or need.second.private
        case _:
            private = need.subject.private
    if private:
        shutil.rmtree(folder(need, site), ignore_errors=True)


@lru_cache(maxsize=64)
def positions(shown: Shown, site: Site) -> Positions:
    """Which images of the part are shown, ascending."""
    data = loaded(shown.images, site)
    part = getattr(data, shown.part)
    return stimuli(part, shown.stimuli, fingerprint=data.fingerprint, name=shown.part)


def mapped_positions(need: Mapped, site: Site) -> Positions:
    """Which images of the part have maps: those named, in the order of their names, or those shown.

    Raises:
        ValueError: when the part has no image of a name.
    """
    if not need.named:
        return positions(need.shown, site)
    images = need.shown.images
    names = getattr(loaded(images, site), need.shown.part).names
    if lost := sorted(set(need.named) - set(names)):
        raise ValueError(
            f"image '{lost[0]}' is not in the {need.shown.part} part of '{images.dataset}', fold {images.fold}; name "
            f"others, as '{names[0]}', or give images=8"
        )
    return np.flatnonzero(np.isin(names, need.named)).astype(np.int64)


@lru_cache(maxsize=8)
def loaded(images: Images, site: Site) -> Loaded:
    """The images as this process knows them."""
    return load(images, site, look=False)


@lru_cache(maxsize=1024)
def shown_key(shown: Shown, site: Site) -> str:
    """16 hex digits of what is shown: equal where cells show the very same pixels."""
    content = content_of(loaded(shown.images, site), shown.part, shown.images.augment, positions(shown, site))
    return digest([content, shown.images.size])


@lru_cache(maxsize=4096)
def state_key(subject: Subject, site: Site) -> str:
    """16 hex digits of what a state makes of images before its head: by its content where it is shared."""
    if subject.private:
        return digest([subject.run_id, subject.state])
    network = {name: value for name, value in asdict(subject.cell.network).items() if "head" not in name}
    told = hashlib.sha256()
    with safe_open(subject.path(site), framework="np") as file:
        said = file.metadata()
        for name in sorted(name for name in file.keys() if not name.startswith("head.")):  # noqa: SIM118 (not a dict)
            tensor = file.get_tensor(name)
            told.update(f"{name} {tensor.dtype} {tensor.shape} ".encode())
            told.update(tensor.tobytes())
    return digest([told.hexdigest(), network, said["mean"], said["std"], said.get("order", "rgb")])
