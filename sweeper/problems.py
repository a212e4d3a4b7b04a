"""What the rooms know to be wrong with a study: names, impossible combinations, sources and images that are not there.

Whether values are of the right kind and range is `grid.check`'s business; nothing is decoded or split here.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec

from sweeper import data, models, store, weights
from sweeper.cell import NEUTRAL, Cell, Images, Network, Recipe, Weights
from sweeper.data.dataset import read_index
from sweeper.data.protocols import protocol_problem
from sweeper.data.split_files import digests_of
from sweeper.grid import StudyError, Sweep, source_key
from sweeper.metric import METRICS
from sweeper.pairing import other_images
from sweeper.probe_rules import beyond, is_sound
from sweeper.probe_types import Convergence, Embedding, Fid, GradCam, Probe, Transferability
from sweeper.rules import nearest
from sweeper.site import Site

_CLASS_TOKENS = ("vit", "generic")
"""Families of models that may have one."""
MONITORS = ("metric", "loss", "double_softmax_loss")
"""What a recipe may watch beside the metrics."""


def problems(cell: Cell) -> Iterator[str]:
    """What the rooms know to be wrong with a cell."""
    images, network = cell.images, cell.network
    yield from _image_problems(images)
    wrong = _network_problems(network, cell.weights, images.size, images.pixels)
    yield from wrong
    if not wrong:
        yield from _freezing_problems(network, cell.recipe)
    if images.dataset in data.DATASETS:
        yield from _judging_problems(images.dataset, cell.recipe)


@lru_cache(maxsize=4096)
def _image_problems(images: Images) -> tuple[str, ...]:
    found = []
    if images.dataset not in data.DATASETS:
        found.append(f"dataset '{images.dataset}' is unknown; {nearest(images.dataset, data.DATASETS)}")
    if unknown := data.augment_problem(images.augment):
        found.append(unknown)
    if (trouble := protocol_problem(images.protocol, images.fold)) is not None:
        found.append(trouble)
    return tuple(found)


@lru_cache(maxsize=4096)
def _network_problems(network: Network, start: Weights, size: int, pixels: str) -> tuple[str, ...]:
    trouble = models.problem(network, size)
    if trouble:
        return (trouble,)
    kept = _kept(network)
    found = []
    if start.blocks is not None and start.blocks > kept:
        found.append(_beyond("blocks", start.blocks, kept, network))
    unfit = weights.problem(start, network.model, slim=network.slim, input=network.input, pixels=pixels)
    return (*found, unfit) if unfit else tuple(found)


@lru_cache(maxsize=4096)
def _freezing_problems(network: Network, recipe: Recipe) -> tuple[str, ...]:
    kept, frozen = _kept(network), recipe.frozen
    if frozen > kept:
        return (_beyond("frozen", frozen, kept, network),)
    if frozen < kept:
        return ()
    if not recipe.head_epochs:
        return ()
    alone = f"frozen={frozen}, all {network.grain}s of '{network.model}'"
    return (
        f"head_epochs={recipe.head_epochs} with {alone}: the head is trained alone as it is; leave one of them out",
    )


@lru_cache(maxsize=4096)
def _judging_problems(dataset: str, recipe: Recipe) -> tuple[str, ...]:
    classes, declared = data.DATASETS[dataset].classes, data.DATASETS[dataset].task
    task = data.task_of(classes, declared) if classes else None  # what a folder holds is known when it is read
    found = []
    for axis in ("monitor", "head_monitor"):
        name = getattr(recipe, axis)
        if name in METRICS and task and task not in METRICS[name].tasks:
            found.append(f"{axis} '{name}' is not defined for '{dataset}', a {task} task")
        elif name not in METRICS and name not in MONITORS:
            found.append(f"{axis} '{name}' is unknown; {nearest(name, [*MONITORS, *METRICS])}")
    if task == "multilabel" and recipe.loss != "bce":
        found.append(f"loss '{recipe.loss}' is not defined for '{dataset}', a multilabel task; give loss='bce'")
    given = recipe.class_weights
    if classes and isinstance(given, tuple) and len(given) != len(classes):
        found.append(f"class_weights={given} are {len(given)} numbers for the {len(classes)} classes of '{dataset}'")
    return tuple(found)


def probe_problems_of(probes: Sequence[Probe], cell: Cell) -> Iterator[str]:
    """What the rooms know to be wrong with probes of a cell that is otherwise sound; nothing of probes that are not."""
    model, dataset = cell.network.model, cell.images.dataset
    for probe in filter(is_sound, probes):
        wanted = getattr(probe, "features", None)
        if wanted in ("cls", "concat") and models.family_of(model) not in _CLASS_TOKENS:
            yield f"probe {probe.name}: features='{wanted}' of '{model}', which has no class token"
        if isinstance(probe, Fid) and probe.to not in data.DATASETS:
            yield f"probe fid: the data set '{probe.to}' is unknown; {nearest(probe.to, data.DATASETS)}"
        if isinstance(probe, Embedding) and probe.method == "umap" and find_spec("umap") is None:
            yield "probe embedding: method='umap' needs the library umap-learn: pip install umap-learn, or give 'tsne'"
        if isinstance(probe, GradCam):
            yield from _map_problems(probe, cell.network)
        if isinstance(probe, Convergence):
            yield from _curve_problems(probe, cell)
        classes, task = data.DATASETS[dataset].classes, data.DATASETS[dataset].task
        if classes:
            yield from _task_problems(probe, dataset, data.task_of(classes, task))
        if isinstance(probe, Transferability) and probe.stimuli and classes and probe.stimuli < len(classes):
            few = f"stimuli={probe.stimuli} cannot be of all {len(classes)} classes of '{dataset}'"
            yield f"probe transferability: {few}; show more, or leave stimuli out for all training images"
        if isinstance(probe, Transferability) and "leep" in probe.scores:
            unfit = weights.head_problem(cell.weights, cell.network)
            if unfit:
                yield f"probe transferability: {unfit}; leave 'leep' out of its scores, or the cell out of the sweep"


def _task_problems(probe: Probe, dataset: str, task: str) -> Iterator[str]:
    """What of a probe needs another task."""
    score = probe.score if isinstance(probe, Convergence) else None
    if score is not None and score in METRICS and task not in METRICS[score].tasks:
        yield f"probe convergence: the score '{score}' is not defined for '{dataset}', a {task} task"
    if task != "multilabel":
        return
    told = f"images of '{dataset}' have several labels"
    if isinstance(probe, Transferability):
        yield f"probe transferability: {told}, and its scores need one each"
    if isinstance(probe, GradCam) and probe.of == "label":
        yield f"probe gradcam: {told}; give of='predicted'"


def _curve_problems(probe: Convergence, cell: Cell) -> Iterator[str]:
    """What no curve of a cell's score can do."""
    dataset, recipe = cell.images.dataset, cell.recipe
    if probe.score is None and dataset in data.DATASETS:
        own = beyond(probe.threshold, data.DATASETS[dataset].metric)
        yield from (f"probe convergence: {text} (the score of '{dataset}')" for text in own)
    longest = recipe.head_epochs + recipe.epochs
    if probe.until is not None and probe.until > longest:
        yield f"probe convergence: until={probe.until:g} is after the last of {longest} epochs; give at most that"
    elif probe.until is not None and probe.until <= 1 and recipe.validations == 1:
        yield f"probe convergence: until={probe.until:g} is not after the first validation, at epoch 1; give more"


def _kept(network: Network) -> int:
    return network.depth or models.MODELS[network.model].blocks[network.grain]


def _map_problems(probe: GradCam, network: Network) -> Iterator[str]:
    """Of where Grad-CAM looks: past the cut, or where a ViT's scores depend on no place any more."""
    grain = network.grain if probe.at == "cell" else probe.at
    kept = _kept_at(network, grain)
    asked = f"probe gradcam: at_block={probe.at_block}"
    if probe.at_block is not None and probe.at_block > kept:
        yield f"{asked}, and only {kept} {grain}s of '{network.model}' are kept"
        return
    if models.base_name(network.model) not in list(models.MODELS) or models.family_of(network.model) != "vit":
        return  # others are told when they are looked at
    halves = _kept_at(network, "layer")
    last = kept - 1 if grain == "block" else min(halves, 2 * models.MODELS[network.model].blocks["block"]) // 2 * 2 - 1
    if probe.at_block is None and last < 1:
        yield f"probe gradcam: '{network.model}' has no {grain} before its last attention; give at='layer'"
    elif probe.at_block is not None and probe.at_block > last:
        yield f"{asked}, and behind {grain} {last} the scores of '{network.model}' are of its class token alone"


def _kept_at(network: Network, grain: models.Grain) -> int:
    """Blocks before the cut, counted at either grain."""
    if grain == network.grain:
        return _kept(network)
    info = models.MODELS[network.model]
    if grain == "layer":
        return info.layers(network.depth, network.grain)
    return max(1, sum(count > 0 for count in info.stage_layers(network.depth, network.grain)))


def _beyond(axis: str, value: int, kept: int, network: Network) -> str:
    return f"{axis}={value} is impossible: only {kept} {network.grain}s of '{network.model}' are kept"


def check_sources(sweeps: Sequence[Sweep], site: Site) -> None:
    """Every `cell:KEY` is a cell of this file, declared no later than it is used, or a finished one."""
    declared: dict[str, Cell] = {}
    mistakes: dict[str, None] = {}
    for sweep in sweeps:
        declared |= {cell.key: cell for cell in sweep.cells}
        for cell in sweep.cells:
            key = source_key(cell)
            if key is not None and key in declared:
                mistakes |= dict.fromkeys(_source_problems(cell, declared[key]))
            elif key is not None:
                store.state_path(key, "best", site)
    if mistakes:
        raise StudyError("\n".join(mistakes))


def check_data(sweeps: Sequence[Sweep], site: Site) -> None:
    """Every image set that the sweeps show has an index that can be read, and every split of files has its files.

    As `gate.judge` says it of a run; what only decoding or splitting a set tells is left to that.

    Raises:
        FileNotFoundError: when a set or a file of a split is not there.
        ValueError: when an index is wrong.
    """
    shown = [each for sweep in sweeps for each in other_images(sweep.cells, sweep.probes)]
    shown += [cell.images for sweep in sweeps for cell in sweep.cells]
    read = set[str]()
    for dataset, protocol, fold in dict.fromkeys((each.dataset, each.protocol, each.fold) for each in shown):
        if dataset not in read and not data.DATASETS[dataset].packaged:
            read_index(data.DATASETS[dataset], site.data)
        read.add(dataset)
        digests_of(protocol, fold, site.data)


def _source_problems(cell: Cell, source: Cell) -> Iterator[str]:
    own, other = cell.network, source.network
    if own.model != other.model:
        yield f"a cell with model '{own.model}' cannot start from cell {source.key}, whose model is '{other.model}'"
        return
    info = models.MODELS[own.model]
    if info.layers(own.depth, own.grain) > info.layers(other.depth, other.grain):
        yield (
            f"a cell of depth {own.depth} cannot start from cell {source.key}, "
            f"which was cut at {other.depth} {other.grain}s"
        )
    for axis in ("width", "slim", "slim_factor"):
        then, now = getattr(other, axis), getattr(own, axis)
        if then != now and then != NEUTRAL[axis]:
            yield f"a cell with {axis}={now} cannot start from cell {source.key}, whose {axis} is {then}"
