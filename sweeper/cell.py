"""The values of a study: a cell says everything that decides one result, and its key names it everywhere.

Nothing is run, read or checked against the disk here; `grid.check` judges values, and this file imports only the
standard library so that a search space loads at once.

A default below is also the field's *neutral value*: keys leave it out. It therefore never changes; a new field comes
with a default that means "as before", and every key that was ever recorded stays valid.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

SHARED_AXES = ("seed", "fold")


@dataclass(frozen=True, kw_only=True)
class Images:
    """What is looked at."""

    dataset: str
    """A name in `sweeper.data.DATASETS`, or `folder:PATH` (one folder per class)."""
    fold: int = 0
    """0 is the official split; 1..5 are patient-grouped, stratified folds (60/20/20 % train/val/test)."""
    fraction: float = 1.0
    """Share of the training patients, in (0, 1]; a smaller share is a subset of every larger one."""
    size: int = 224
    """Height and width in pixels that images are resized to."""
    augment: str = "none"
    """Random changes of training images: `none`, `flip`, `shift` or `flip_shift`."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """What looks."""

    model: str
    """A name in `sweeper.models.MODELS`: timm's names verbatim, and the `cbr_*` family."""
    depth: int | None = None
    """How many blocks are kept, from the first; None keeps all."""
    grain: Literal["block", "layer"] = "block"
    """What `depth`, `blocks` and `frozen` count: `block` (stages) or `layer` (the stem, then residual blocks)."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """How it starts."""

    source: str = "random"
    """`random`, `imagenet`, `radimagenet`, `cell:KEY`, `registry:NAME/VERSION` or `file:PATH`."""
    blocks: int | None = None
    """How many blocks, from the first, receive the source's values; None is all of them."""
    rest: Literal["random", "stats"] = "random"
    """The other blocks: the model's own random start, or Gaussian draws with each source tensor's mean and sd."""


@dataclass(frozen=True, kw_only=True)
class LrSearch:
    """A learning rate that is to be found on the validation part."""

    low: float
    """Smallest rate, > 0."""
    high: float
    """Largest rate, > low."""
    trials: int = 12
    """Rates tried, >= 1."""
    method: Literal["optuna", "grid"] = "optuna"
    """`grid`: log-spaced rates. `optuna`: the first half log-spaced, then Optuna's TPE."""
    share: tuple[str, ...] = SHARED_AXES
    """Axes whose cells use one rate together; the search runs on the first cell over these axes."""
    epochs: int | None = None
    """Epochs of a trial; None is the recipe's."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How it is trained."""

    lr: float | LrSearch = 1e-3
    """Peak learning rate, > 0, or the search that finds it."""
    epochs: int = 10
    """Passes over the training part, >= 1."""
    batch_size: int = 64
    """Images a step over all devices together; an epoch is cut into nearly equal batches of at most this size."""
    optimizer: str = "adam"
    """`adam`, `adamw` or `sgd` (Nesterov momentum 0.9)."""
    weight_decay: float = 0.0
    """Not applied to biases and other one-dimensional tensors."""
    schedule: str = "constant"
    """`constant` or `cosine` (to zero)."""
    warmup: float = 0.0
    """Epochs over which the rate rises linearly from zero."""
    frozen: int = 0
    """How many blocks, from the first, are not trained (their batch-norm statistics stay fixed as well)."""
    patience: int | None = None
    """Epochs without a better validation score after which training stops; None never stops early."""
    amp: Literal["off", "bf16"] = "off"
    """`bf16`: forward passes compute in bfloat16, in training and in evaluation; weights and scores stay float32."""


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
        return row

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
        if isinstance(flat["lr"], dict):
            flat["lr"] = LrSearch(**flat["lr"])
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
                told[axis] = _telling_fields(value) if isinstance(value, LrSearch) else value
        return told


def _telling_fields(search: LrSearch) -> dict[str, Any]:
    return {
        each.name: getattr(search, each.name)
        for each in dataclasses.fields(search)
        if getattr(search, each.name) != each.default
    }


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


_FLOATS = frozenset({"fraction", "lr", "weight_decay", "warmup"})


def _plain(axis: str, value: Any) -> Any:
    """A plain Python value: numpy scalars unpacked, and whole numbers as floats where the field is a float."""
    if isinstance(value, LrSearch):
        return dataclasses.replace(value, low=float(value.low), high=float(value.high), share=tuple(value.share))
    if hasattr(value, "item"):
        value = value.item()
    return float(value) if axis in _FLOATS and isinstance(value, int) and not isinstance(value, bool) else value


@dataclass(frozen=True, kw_only=True)
class Cka:
    """Debiased linear CKA of each block's output between the trained model and what it started from.

    Kornblith et al. 2019 with the unbiased HSIC of Song et al. 2012; at most 1, and near 0 or below for unrelated.
    """

    against: Literal["start"] = "start"
    part: Literal["train", "val"] = "val"
    """Whose images are shown."""

    @property
    def name(self) -> str:
        return "cka"


@dataclass(frozen=True, kw_only=True)
class Knn:
    """Score of a cosine-weighted k-NN classifier on each block's output; the training part is the bank.

    Wu et al. 2018 (neighbour weight exp(similarity / temperature)), as Matsoukas et al. 2022 use it.
    """

    k: int = 200
    """Neighbours; a bank with fewer images uses all of them."""
    temperature: float = 0.1
    part: Literal["val"] = "val"
    """Whose images are classified."""

    @property
    def name(self) -> str:
        return "knn"


@dataclass(frozen=True, kw_only=True)
class L2:
    """Per block, the mean over its weight tensors, norm layers left out, of ||trained - start||_F / elements."""

    against: Literal["start"] = "start"

    @property
    def name(self) -> str:
        return "l2"


Probe = Cka | Knn | L2


def probe_key(probe: Probe) -> str:
    """16 hex digits that name a probe and its settings."""
    return digest({"probe": probe.name} | dataclasses.asdict(probe))


def digest(value: Any) -> str:
    """The first 16 hex digits of the sha256 of a value's sorted JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def seed_of(*parts: Any) -> int:
    """A seed below 2**63 that depends on nothing but these values: one per purpose, so that draws never collide."""
    return int(digest(list(parts)), 16) >> 1
