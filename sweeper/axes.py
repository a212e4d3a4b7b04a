"""The axes of a study, by the parts of a cell: what each is, its values, and its neutral value.

A default below is also the field's *neutral value*: keys leave it out. It therefore never changes; a new field comes
with a default that means "as before", and every key that was ever recorded stays valid. What values are right is
judged in `rules`.
"""

from dataclasses import dataclass
from typing import Literal

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
    """Random changes of training images: a name (`none`, `flip`, `shift`, `flip_shift`, `keras`, `keras_noflip`, `ttl`,
    `feature_reuse`), or operations in their order, as `sweeper.data.augment_names` spells them."""
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
