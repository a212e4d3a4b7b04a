"""The probes that a study may ask of its finished cells, as values: what is compared or measured, on which images.

Nothing is computed here. A default below is the field's *neutral value*, which keys leave out (but for the fields that
the first three probes began with): a new field comes with a default that means "as before". `version` counts the ways
in which the code ever computed a probe: it rises with a change of its numbers, and all rows are made anew.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

Across = str | tuple[str, ...] | None
State = Literal["best", "start"]
At = Literal["cell", "block", "layer"]


@dataclass(frozen=True, kw_only=True)
class Cka:
    """Linear CKA of blocks' outputs between two states: by default the trained model and what it started from.

    Kornblith et al. 2019 with the unbiased HSIC of Song et al. 2012; at most 1, and near 0 or below for unrelated.
    """

    against: State = "start"
    """The cell's own state that `state` is compared with, where nothing is compared across cells."""
    part: Literal["train", "val", "test"] = "val"
    """Whose images are shown; of a pair of cells, the first one's, to both."""
    state: State = "best"
    """Of the cell; blocks of this state are rows (`block`)."""
    across: Across = None
    """An axis, or several: every pair of the study's cells that differ in these axes alone is compared instead."""
    other_state: Literal["same", "best", "start"] = "same"
    """Of the pair's second cell, with `across`."""
    layers: Literal["same", "all"] = "same"
    """Each block with the same block of the other state, or with all of them (`other_block`)."""
    at: At = "cell"
    """The grain whose blocks are tapped: the network's own, `block` or `layer`."""
    features: Literal["pooled", "cls", "patches", "all"] = "pooled"
    """Of a block's output: pooled as the head does, the class token, the mean of the other tokens or positions, or the
    whole of it as one vector (for the two estimators that go batch by batch)."""
    estimator: Literal["debiased", "biased", "minibatch", "batch_mean"] = "debiased"
    """Of all images at once; or `minibatch` (Nguyen et al. 2021), or `batch_mean` (Matsoukas et al. 2022): the mean of
    debiased CKA over batches."""
    batch: int = 64
    """Images of a batch, >= 4, for the two that go batch by batch; a last, smaller one is left out."""
    stimuli: int | None = None
    """At most so many images of the part, drawn by data set and part and never by cell, >= 4; None shows all."""
    null: int = 0
    """Permutations of the images for the band of chance and the p-value, beside the value of Gaussian features; 0 for
    neither. For estimators of all images at once."""

    version: ClassVar[int] = 1
    name: ClassVar[str] = "cka"


@dataclass(frozen=True, kw_only=True)
class Cca:
    """Canonical correlations of blocks' outputs between two states, their mean.

    By default as Juodelyte et al. 2023: spatial positions as samples, some images and channels drawn, the same in both.
    """

    kind: Literal["drawn", "mean", "svcca", "pwcca"] = "drawn"
    """`drawn`; or of pooled outputs, each image a sample: the mean of all correlations, of those of the main components
    (Raghu et al. 2017), or projection-weighted by the first state (Morcos et al. 2018)."""
    against: State = "start"
    part: Literal["train", "val", "test"] = "val"
    state: State = "best"
    across: Across = None
    other_state: Literal["same", "best", "start"] = "same"
    at: At = "cell"
    points: int = 10_000
    """Positions that a draw takes, of round(points / positions of a map) images."""
    channels: int = 64
    """Channels that a draw takes; blocks with fewer give all of theirs."""
    draws: int = 5
    directions: int | None = None
    """Components that SVCCA keeps; None keeps those that explain `variance`."""
    variance: float = 0.99
    """Share of the variance, in (0, 1]."""
    stimuli: int | None = None
    null: int = 0

    version: ClassVar[int] = 1
    name: ClassVar[str] = "cca"


@dataclass(frozen=True, kw_only=True)
class Procrustes:
    """Similarity of blocks' pooled outputs after the best rotation, in 0..1 (Ding et al. 2021), between two states."""

    against: State = "start"
    part: Literal["train", "val", "test"] = "val"
    state: State = "best"
    across: Across = None
    other_state: Literal["same", "best", "start"] = "same"
    layers: Literal["same", "all"] = "same"
    at: At = "cell"
    features: Literal["pooled", "cls", "patches"] = "pooled"
    stimuli: int | None = None
    null: int = 0

    version: ClassVar[int] = 1
    name: ClassVar[str] = "procrustes"


@dataclass(frozen=True, kw_only=True)
class Knn:
    """Score of a cosine-weighted k-NN classifier on each block's output; the training part is the bank.

    Wu et al. 2018 (neighbour weight exp(similarity / temperature)), as Matsoukas et al. 2022 use it.
    """

    k: int = 200
    """Neighbours; a bank with fewer images uses all of them."""
    temperature: float = 0.1
    part: Literal["val", "test"] = "val"
    """Whose images are classified."""
    state: State = "best"
    features: Literal["pooled", "cls", "patches", "concat"] = "pooled"
    """As of `Cka`; `concat` is the class token and the mean of the other tokens in one."""
    at: At = "cell"

    version: ClassVar[int] = 1
    name: ClassVar[str] = "knn"


@dataclass(frozen=True, kw_only=True)
class L2:
    """How far each block's weights, norm layers left out, are from their start."""

    against: Literal["start"] = "start"
    kind: Literal["study", "total", "relative", "cosine"] = "study"
    """`study`: the mean over its tensors of ||trained - start||_F / elements (Matsoukas et al. 2022); `total`: the mean
    of that over blocks; `relative`: ||trained - start|| / ||start||; `cosine`: of the angle between the two."""

    version: ClassVar[int] = 1
    name: ClassVar[str] = "l2"


@dataclass(frozen=True, kw_only=True)
class Reinit:
    """Scores of the trained model with one block put back (Zhang et al. 2019): how robust is it to the block's loss?"""

    kind: Literal["reinit", "rerand"] = "reinit"
    """To the cell's own start; or to another random start, drawn with another seed."""
    part: Literal["val", "test"] = "test"
    """Whose images are scored."""

    version: ClassVar[int] = 1
    name: ClassVar[str] = "reinit"


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How alike two cells decide and err (Juodelyte et al. 2023), from their stored predictions alone."""

    across: str | tuple[str, ...]
    """As of `Cka`, but for axes that change which images are scored."""
    part: Literal["val", "test"] = "test"

    version: ClassVar[int] = 1
    name: ClassVar[str] = "agreement"


@dataclass(frozen=True, kw_only=True)
class Fid:
    """Frechet distance (Heusel et al. 2017) between the cell's training images and another data set's.

    The extractor is the cell's own starting state: its last block's pooled output. With Inception's features, as
    published FIDs have them, numbers differ; compare only those of one extractor.
    """

    to: str
    """The other data set's name; its training part is seen at the cell's size."""
    to_fold: int = 0
    """Whose training part it is; 0 is the other set's official split."""
    stimuli: int | None = 10_000
    """At most so many of either set; None takes all."""

    version: ClassVar[int] = 1
    name: ClassVar[str] = "fid"


@dataclass(frozen=True, kw_only=True)
class Transferability:
    """Scores of the starting state's features on the cell's training images, which tell how well it may transfer.

    Of cells that take equally long, those are trained first whose start was scored highest (`sweeper.promise`).
    """

    scores: tuple[str, ...] = ("logme", "h_score", "transrate")
    """Names in `sweeper.probes.transferability.SCORES`, the first of which orders; `leep` only for cells that start as
    the whole of a source that has a head over its own classes."""
    stimuli: int | None = None

    version: ClassVar[int] = 1
    name: ClassVar[str] = "transferability"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the cell's network costs, cut behind each of its blocks: parameters, multiply-accumulates, time and memory.

    `block` is the depth of the cut. A cut is measured once for all cells that have it, with nothing else of the study
    running; `device` says on what.
    """

    batch: int = 1
    """Images of the forward pass whose time is taken: in single precision, warm, the median of a second's passes."""
    memory_batch: int = 32
    """Images of the forward pass and of the training step (AdamW, all weights) whose memory is counted, >= 2."""
    on: Literal["cpu", "cuda"] = "cpu"
    """Where the time is taken; `cuda` needs cells that have GPUs."""
    threads: int = 1
    """Of the CPU within an operation."""

    version: ClassVar[int] = 1
    name: ClassVar[str] = "cost"


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """How fast the cell learned: epochs and steps to a score (Raghu et al. 2019), and the area under its curve.

    From the recorded validation scores, neither smoothed nor continued. A score never reached is infinitely far.
    """

    threshold: float
    """Reached by a score at or above it; by one of which less is better, as `loss`, at or below it."""
    score: str | None = None
    """A name in `sweeper.metric.METRICS`, or `loss`; None is the data set's own."""
    until: float | None = None
    """Epoch, > 0, at which the area ends; a cell that stopped earlier has none (NaN). None ends it where the cell
    did: compare such areas only of cells that trained equally long (`curve_epochs`)."""

    version: ClassVar[int] = 1
    name: ClassVar[str] = "convergence"


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """The images in the plane by what the last block makes of them, coloured by class: a picture and the coordinates.

    Where an image may have several classes, each has a plane of its own.
    `trustworthiness` (Venna & Kaski 2001, 5 neighbours): 1 where all neighbours in the plane are so by the features.
    """

    method: Literal["pca", "tsne", "umap"] = "pca"
    """Principal components, t-SNE (van der Maaten & Hinton 2008) or UMAP (McInnes et al. 2018; needs umap-learn)."""
    neighbours: int = 15
    """UMAP's number of neighbours, >= 2, and t-SNE's perplexity; fewer than images."""
    part: Literal["train", "val", "test"] = "test"
    state: State = "best"
    features: Literal["pooled", "cls", "patches"] = "pooled"
    stimuli: int = 2000
    """At most so many images, drawn as of `Cka`, 12 to 10,000: memory is that squared."""

    version: ClassVar[int] = 1
    name: ClassVar[str] = "embedding"


@dataclass(frozen=True, kw_only=True)
class GradCam:
    """Where in some images the model sees a class: Grad-CAM (Selvaraju et al. 2017), a picture and the maps."""

    images: int = 8
    """How many, 1 to 64, drawn by data set and part and never by cell."""
    named: tuple[str, ...] = ()
    """Or which, by name."""
    of: Literal["predicted", "label"] = "predicted"
    """The class: the one with the highest score, or the true one (of images that have one)."""
    at_block: int | None = None
    """Whose output is weighed, from 1; None: the last one whose places the scores depend on."""
    at: At = "cell"
    part: Literal["train", "val", "test"] = "test"
    state: State = "best"

    version: ClassVar[int] = 1
    name: ClassVar[str] = "gradcam"


@dataclass(frozen=True, kw_only=True)
class Filters:
    """The filters of the first layer before and after training, as a picture (Juodelyte et al. 2023)."""

    count: int = 36
    """How many, from the first."""

    version: ClassVar[int] = 1
    name: ClassVar[str] = "filters"


Pictured = Embedding | GradCam | Filters
Probe = Cka | Cca | Procrustes | Knn | L2 | Reinit | Agreement | Fid | Transferability | Cost | Convergence | Pictured
Similarity = Cka | Cca | Procrustes

ALWAYS_TOLD = MappingProxyType({"cka": ("against", "part"), "knn": ("k", "temperature", "part"), "l2": ("against",)})
"""Fields that a key holds whatever their value, as it did before there were neutral values of probes."""
