"""One run as a value: a cell says everything that decides one result, and its key names it everywhere.

Nothing is run, read or checked against the disk here; `grid.check` judges values. Cells, their parts and the probes
import only the standard library, so that a search space loads at once.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any

from sweeper.axes import SHARED_AXES as SHARED_AXES  # at home here once, and still imported from here
from sweeper.axes import Gabor, Images, LrSearch, Network, Recipe, Weights
from sweeper.probe_types import ALWAYS_TOLD, Probe
from sweeper.probe_types import L2 as L2
from sweeper.probe_types import Cka as Cka
from sweeper.probe_types import Knn as Knn


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run: everything that decides its result, and nothing else."""

    images: Images
    network: Network
    weights: Weights = field(default_factory=Weights)
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    """Draws the head, the random start, the order of the images and the augmentation."""

    @cached_property
    def key(self) -> str:
        """16 hex digits: sha256 of the sorted JSON of the fields that differ from their neutral value."""
        return digest(self._telling)

    def row(self) -> dict[str, Any]:
        """One flat row, axis name -> value; a searched rate is spread over columns `lr_low`, `lr_high`, ..."""
        row = {axis: getattr(part, axis) for axis, part in self._parts()}
        if isinstance(self.recipe.lr, LrSearch):
            search = dataclasses.asdict(self.recipe.lr)
            row |= {"lr": None} | {f"lr_{name}": value for name, value in search.items()}
        return row | {"gabor": self.weights.gabor and json.dumps(dataclasses.asdict(self.weights.gabor))}

    def setting(self) -> str:
        """The key of this cell's rate search: equal for cells that differ only in the axes that share one rate."""
        search = self.recipe.lr
        if not isinstance(search, LrSearch):
            raise TypeError(f"cell {self.key} has the fixed rate {search}: it belongs to no rate search")
        return digest({axis: value for axis, value in self._telling.items() if axis not in search.share})

    def replace(self, **values: Any) -> "Cell":
        """The cell with other values of some axes: `cell.replace(seed=3, lr=1e-4)`."""
        return make_cell(**{axis: getattr(part, axis) for axis, part in self._parts()} | values)

    def title(self) -> str:
        """A name for people, as `resnet50-isic2019-imagenet-s3 [70ed...]`."""
        source = self.weights.source.replace("/", "_")[:24]
        dataset = self.images.dataset.rsplit("/", 1)[-1]
        return f"{self.network.model}-{dataset}-{source}-s{self.seed} [{self.key}]"

    def to_json(self) -> str:
        """JSON that `from_json` reads back to an equal cell."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @staticmethod
    def from_json(text: str) -> "Cell":
        """The cell that `to_json` wrote; fields added since then take their neutral value."""
        parts = json.loads(text)
        flat = {"seed": parts.pop("seed")} | {axis: value for part in parts.values() for axis, value in part.items()}
        for axis, kind in _VALUES.items():
            if isinstance(flat.get(axis), dict):
                flat[axis] = kind(**flat[axis])
        return make_cell(**flat)

    def _parts(self) -> Iterator[tuple[str, Any]]:
        for part in (self.images, self.network, self.weights, self.recipe):
            for each in dataclasses.fields(part):
                yield each.name, part
        yield "seed", self

    @cached_property
    def _telling(self) -> dict[str, Any]:
        """The fields that differ from their neutral value."""
        told = {}
        for axis, part in self._parts():
            value = getattr(part, axis)
            if value != NEUTRAL.get(axis, dataclasses.MISSING):
                told[axis] = _telling_fields(value) if isinstance(value, LrSearch | Gabor) else value
        return told


def _telling_fields(value: LrSearch | Gabor) -> dict[str, Any]:
    return {
        each.name: getattr(value, each.name)
        for each in dataclasses.fields(value)
        if getattr(value, each.name) != each.default
    }


_VALUES = MappingProxyType({"lr": LrSearch, "gabor": Gabor})
"""Axes that may hold a value with fields of its own."""


PARTS = MappingProxyType({"images": Images, "network": Network, "weights": Weights, "recipe": Recipe})
AXES = MappingProxyType(
    {each.name: name for name, part in PARTS.items() for each in dataclasses.fields(part)} | {"seed": "seed"}
)
"""Axis name -> the part of a cell that holds it."""
NEUTRAL = MappingProxyType(
    {
        each.name: each.default
        for part in (*PARTS.values(), Cell)
        for each in dataclasses.fields(part)
        if each.name in AXES and each.default is not dataclasses.MISSING
    }
)
"""Axis name -> neutral value, for the axes that have one."""


def make_cell(**values: Any) -> Cell:
    """The cell with these axis values, written flat: `make_cell(dataset="digits", model="cbr_mini", seed=1)`.

    Numbers are taken in their field's type (`1` and numpy's `1.0` are the same fraction, hence the same key).
    """
    parts: dict[str, Any] = {
        name: part(**{axis: _plain(axis, values[axis]) for axis in values if AXES[axis] == name})
        for name, part in PARTS.items()
    }
    return Cell(**parts, seed=_plain("seed", values.get("seed", 0)))


TUPLES = MappingProxyType({"milestones": int, "class_weights": float})
"""Axes whose values may be several numbers, and their kind."""
_FLOATS = frozenset(
    {"fraction", "dropout", "lr", "momentum", "weight_decay", "warmup", "lr_end", "factor", "lr_floor", "clip"}
    | {"focal_gamma", "backbone_decay", "head_lr"}
)


def _plain(axis: str, value: Any) -> Any:
    """A plain Python value: numpy scalars unpacked, and whole numbers as floats where the field is a float."""
    if isinstance(value, LrSearch):
        return dataclasses.replace(value, low=float(value.low), high=float(value.high), share=tuple(value.share))
    if isinstance(value, Gabor):
        return _plain_gabor(value)
    if axis in TUPLES and isinstance(value, list | tuple):
        return tuple(float(each) if TUPLES[axis] is float else each for each in value)
    if hasattr(value, "item"):
        value = value.item()
    return float(value) if axis in _FLOATS and isinstance(value, int) and not isinstance(value, bool) else value


def _plain_gabor(bank: Gabor) -> Gabor:
    return Gabor(
        orientations=bank.orientations,
        wavelengths=tuple(map(float, bank.wavelengths)),
        phases=tuple(map(float, bank.phases)),
        colours=tuple(bank.colours),
        bandwidth=float(bank.bandwidth),
        aspect=float(bank.aspect),
    )


@lru_cache(maxsize=1024)
def probe_key(probe: Probe) -> str:
    """16 hex digits that name a probe and its settings."""
    always = ALWAYS_TOLD.get(probe.name, ())
    values = {each.name: (getattr(probe, each.name), each.default) for each in dataclasses.fields(probe)}
    told = {name: value for name, (value, neutral) in values.items() if name in always or value != neutral}
    return digest({"probe": probe.name} | told | ({"version": probe.version} if probe.version > 1 else {}))


def digest(value: Any) -> str:
    """The first 16 hex digits of the sha256 of a value's sorted JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def seed_of(*parts: Any) -> int:
    """A seed below 2**63 that depends on nothing but these values: one per purpose, so that draws never collide."""
    return int(digest(list(parts)), 16) >> 1
