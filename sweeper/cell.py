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
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any, Literal

from sweeper.probe_types import ALWAYS_TOLD, Probe
from sweeper.probe_types import L2 as L2  # at home here once, and still imported from here
from sweeper.probe_types import Cka as Cka
from sweeper.probe_types import Knn as Knn

SHARED_AXES = ("seed", "fold")


@dataclass(frozen=True, kw_only=True)
class Images:
    """What is looked at."""

    dataset: str
    """A name in `sweeper.data.DATASETS`, `folder:PATH` (one folder per class) or `table:PATH` (csv or parquet)."""
    fold: int = 0
    """0 is the official split; 1..5 are patient-grouped, stratified folds (60/20/20 % train/val/test). Other protocols
    have other folds."""
    fraction: float = 1.0
    """Share of the training patients, in (0, 1]; a smaller share is a subset of every larger one."""
    size: int = 224
    """Height and width in pixels that images are resized to."""
    augment: str = "none"
    """Random changes of training images: `none`, `flip`, `shift` or `flip_shift`."""
    pixels: str = "source"
    """How pixels are normalised: `source` (as the weights were trained), or a name in `sweeper.weights.PIXELS`."""
    protocol: str = "sweeper"
    """Who trains, validates and tests: a name in `sweeper.data.protocols`, or `files:PATH`, which is a folder of split
    tables or one exported table."""
    shots: int | None = None
    """Training patients of each class, >= 1, instead of a fraction; fewer are a subset of more. None keeps all."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """What looks."""

    model: str
    """A name in `sweeper.models.MODELS`: timm's names verbatim, and the `cbr_*` family."""
    depth: int | None = None
    """How many blocks are kept, from the first; None keeps all."""
    grain: Literal["block", "layer"] = "block"
    """What `depth`, `blocks`, `frozen` and `slim` count: `block` (stages of a convolutional net or Swin, blocks of a
    ViT) or `layer` (the stem, then residual blocks, dense layers, attention and MLP halves)."""
    head: Literal["pool", "flatten"] = "pool"
    """What the linear head takes: the mean over the image plane (a ViT's class token), or the whole last map."""
    head_start: Literal["uniform", "kaiming"] = "uniform"
    """The head's start, n inputs: torch's own, U(-1/sqrt(n), 1/sqrt(n)), or weights from N(0, 2/n) (He et al. 2015)."""
    dropout: float = 0.0
    """Probability, in [0, 1), with which an input of the head is dropped in training."""
    width: int | None = None
    """Channels of a `cbr_*` model's first block, later ones scaled alike; None is the model's own."""
    slim: int | None = None
    """How many blocks, from the first, keep their width; later ones are `slim_factor` times narrower (TransFusion).
    None slims nothing."""
    slim_factor: int = 2
    """What the channels of slimmed blocks are divided by, >= 1."""
    input: Literal["rgb", "red", "sum"] = "rgb"
    """What the first layer takes: three channels (grey repeated), or one, with the filters of the red channel
    (Matsoukas et al. 2022) or the sum of the three channels' filters, which sees grey as `rgb` does."""


@dataclass(frozen=True, kw_only=True)
class Gabor:
    """A bank of synthetic filters for the first convolution (Raghu et al. 2019, section 5), every parameter explicit.

    Filters are the combinations, the last field turning fastest; a first layer with more filters takes them again from
    the first, one with fewer takes the first ones.
    """

    orientations: int = 8
    """Equally spaced over 180 degrees, from 0, >= 1."""
    wavelengths: tuple[float, ...] = (3.0, 6.0)
    """Pixels per period, > 0."""
    phases: tuple[float, ...] = (0.0, 90.0)
    """Degrees."""
    colours: tuple[str, ...] = ("grey", "red_green")
    """`grey`, `red_green` or `blue_yellow`: the weights of the colour channels."""
    bandwidth: float = 0.5
    """Sd of the Gaussian envelope in wavelengths, > 0."""
    aspect: float = 1.0
    """Length of the envelope along the stripes over that across them, > 0."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """How it starts."""

    source: str = "random"
    """A name in `sweeper.weights.SOURCES`, `cell:KEY`, `registry:NAME/VERSION` or `file:PATH`."""
    blocks: int | None = None
    """How many blocks, from the first, receive the source's values; None is all of them."""
    rest: Literal["random", "stats", "shuffle", "bootstrap", "fixed"] = "random"
    """The other blocks: the model's own random start, or for each source tensor Gaussian draws with its mean and sd
    (`stats`), its values shuffled, its values drawn with replacement (`bootstrap`), or N(0, 0.05) (`fixed`)."""
    norms: Literal["copy", "reset"] = "copy"
    """Norm layers of the blocks that receive the source's values: taken over, or weight 1, bias 0, statistics 0, 1."""
    tables: Literal["keep", "draw"] = "keep"
    """Class tokens and position tables of blocks that `rest` draws: the source's (Matsoukas et al. 2022), or drawn."""
    gabor: Gabor | None = None
    """A bank that the first convolution starts with, after everything else; None leaves that layer alone."""


@dataclass(frozen=True, kw_only=True)
class LrSearch:
    """A learning rate that is to be found on the validation part."""

    low: float
    """Smallest rate, > 0."""
    high: float
    """Largest rate, > low."""
    trials: int = 12
    """Rates tried, >= 1."""
    method: Literal["optuna", "grid", "range_test"] = "optuna"
    """`grid`: log-spaced rates. `optuna`: the first half log-spaced, 1e-3 first where it lies between, then Optuna's
    TPE. `range_test`: one training whose rate rises from low to high in `trials` log-spaced stretches (Smith 2017);
    where its loss falls steepest, and an error where that could be chance. The cheapest, and the least safe."""
    share: tuple[str, ...] = SHARED_AXES
    """Axes whose cells use one rate together; the search runs on the first cell over these axes."""
    epochs: int | None = None
    """Epochs of a trial; None is the recipe's, and one of a range test."""
    schedule: Literal["recipe", "constant"] = "recipe"
    """Of a trial: the recipe's, or a constant rate without warm-up, as Matsoukas et al. (2022) try rates. A range test
    has a schedule of its own."""

    @property
    def trainings(self) -> int:
        """How many trainings the search takes."""
        return 1 if self.method == "range_test" else self.trials

    def trial_epochs(self, recipe: int) -> int:
        """Epochs of each of them, where the recipe has `recipe`."""
        return self.epochs or (1 if self.method == "range_test" else recipe)


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
    """`adam`, `adamw`, `sgd` or `lars`."""
    momentum: float = 0.9
    """Of `sgd` and `lars`, in [0, 1)."""
    nesterov: bool = True
    """Of `sgd` and `lars`."""
    weight_decay: float = 0.0
    """Not applied to biases and other one-dimensional tensors."""
    scale_lr: bool = False
    """Whether the rate is multiplied by batch_size / 256."""
    schedule: str = "constant"
    """After the warm-up: `constant`, `cosine`, `onecycle`, `multistep` or `plateau`."""
    warmup: float = 0.0
    """Epochs over which the rate rises linearly from zero."""
    warmup_steps: int = 0
    """The same in steps; one of the two."""
    lr_end: float = 0.0
    """Rate that `cosine` and `onecycle` end at, >= 0."""
    milestones: tuple[int, ...] = ()
    """Epochs after which `multistep` multiplies the rate by `factor`."""
    factor: float = 0.1
    """What `multistep` and `plateau` multiply the rate by, in (0, 1)."""
    plateau: int = 3
    """Validations without a better `monitor` that `plateau` stands before it lowers the rate."""
    lr_floor: float = 0.0
    """Training ends when the schedule has brought the rate below this; 0 never ends it."""
    clip: float | None = None
    """Largest norm of the gradient of all tensors together; longer ones are scaled down to it."""
    loss: str = "cross_entropy"
    """`cross_entropy`, `bce` (one-vs-rest sigmoids) or `focal` (Lin et al. 2017)."""
    class_weights: str | tuple[float, ...] = "none"
    """`none`, `balanced` (inverse class frequency in the training part, mean 1 over its images), or one number a class;
    with `bce` the weights of the positives; `balanced` of a multi-label set is negatives / positives of each class."""
    focal_gamma: float = 2.0
    """Of `focal`, >= 0."""
    frozen: int = 0
    """How many blocks, from the first, are not trained."""
    frozen_norms: Literal["fixed", "learn"] = "fixed"
    """Batch-norm statistics of frozen blocks: as they start, or still updated (as Peng et al. 2023 do)."""
    backbone_decay: float = 1.0
    """The backbone's rate is the head's divided by this, > 0 (layer-wise fine-tuning: 10)."""
    head_epochs: int = 0
    """Epochs before the others in which the head alone is trained, the backbone fixed in evaluation mode."""
    head_lr: float | None = None
    """Constant rate of those; None is `lr`."""
    head_patience: int | None = None
    """Validations of those without a better `head_monitor` after which they end."""
    head_monitor: str = "accuracy"
    """As `monitor`."""
    validations: int = 1
    """How often an epoch the validation part is scored, evenly spaced, >= 1; patience counts these."""
    monitor: str = "metric"
    """What chooses the best state, stops, and lowers the rate of `plateau`: `metric` (the data set's own), `loss` (the
    recipe's, on the validation part), a name in `sweeper.finetune.metrics.METRICS`, or `double_softmax_loss` (legacy:
    the loss of probabilities taken as logits, as Peng et al. 2023 select)."""
    patience: int | None = None
    """Validations without a better `monitor` after which training stops; None never stops early."""
    amp: Literal["off", "bf16", "fp16"] = "off"
    """What forward passes compute in, in training and in evaluation; weights and scores stay float32. `fp16`, with
    scaled gradients, needs a GPU."""


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
