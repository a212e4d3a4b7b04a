"""Whether there are images enough, and blocks alike enough, for a study's probes: before anything is trained.

Outputs of blocks are found on shapes alone, and only where a probe depends on them. Nothing is read; how many images a
part has is the caller's to say.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache

from sweeper import models
from sweeper.cell import Cell, Network
from sweeper.models import Grain
from sweeper.pairing import Ask
from sweeper.probe_types import At, Cca, Cka, Embedding, Procrustes, Transferability

SAMPLES = 5
"""Of `cca.SAMPLES`, which imports torch; a test compares them."""
FEWEST = {"debiased": 4, "biased": 2}
IN_PLANE = 12
"""Of `embedding`, which imports numpy."""
_Size = tuple[int, int]


def shortages(ask: Ask, images: Mapping[str, int], task: str) -> Iterator[str]:
    """What a probe of a cell, or of a pair, would be refused for, each in one sentence.

    Directions of a block are taken to be as many as its features: that some depend on others only its outputs tell.

    Args:
        images: part of the cell's data -> how many it has.
        task: of the cell's data.
    """
    probe = ask.probe
    if isinstance(probe, Transferability):
        yield from _unscored(probe, ask.cell, images["train"], task)
    if isinstance(probe, Embedding):
        yield from _unplaced(probe, ask.cell, min(probe.stimuli, images[probe.part]))
    if not isinstance(probe, Cka | Cca | Procrustes):
        return
    shown = min(probe.stimuli or images[probe.part], images[probe.part])
    if isinstance(probe, Cka):
        least = probe.batch if probe.estimator in ("minibatch", "batch_mean") else FEWEST[probe.estimator]
        if shown < least:
            yield f"it needs {least} images, and the {probe.part} part of {ask.cell.title()} shows {shown}"
    grains: list[Grain] = [_grain(probe.at, cell) for cell in ask.cells]
    if getattr(probe, "layers", "same") == "same":
        yield from _unlike(ask, grains)
    if isinstance(probe, Cca):
        for cell, grain in zip(ask.cells, grains, strict=True):
            yield from _few_samples(probe, cell, grain, shown)


def _unscored(probe: Transferability, cell: Cell, images: int, task: str) -> Iterator[str]:
    """Why features cannot be scored; of the H-score, because whatever the labels it would be the number of classes."""
    if task == "multilabel":
        yield f"images of '{cell.images.dataset}' have several labels, and its scores need one each"
    elif "h_score" in probe.scores:
        shown = min(probe.stimuli or images, images)
        _, width = sizes_of(cell.network, cell.network.grain, cell.images.size)[-1]
        if shown < width + 2:
            needed = f"h_score needs {width + 2} images for the {width} features of '{cell.network.model}'"
            yield f"{needed}, and {shown} are shown; take 'h_score_shrunk' in its place, or show more"


def _unplaced(probe: Embedding, cell: Cell, shown: int) -> Iterator[str]:
    """Why images cannot be laid into the plane."""
    least = IN_PLANE if probe.method == "pca" else max(IN_PLANE, probe.neighbours + 1)
    if shown < least:
        yield f"it needs {least} images, and the {probe.part} part of {cell.title()} shows {shown}"


def _unlike(ask: Ask, grains: list[Grain]) -> Iterator[str]:
    """Why a pair of cells cannot be compared block by block."""
    counts = [_blocks(cell, grain) for cell, grain in zip(ask.cells, grains, strict=True)]
    if len(set(counts)) > 1:
        remedy = "across others" if isinstance(ask.probe, Cca) else "across others, or give layers='all'"
        yield f"it compares a model of {counts[0]} blocks with one of {counts[1]}; compare {remedy}"
    elif ask.other and isinstance(ask.probe, Cca) and ask.probe.kind == "drawn":
        size = ask.cell.images.size
        sizes = [sizes_of(cell.network, grain, size) for cell, grain in zip(ask.cells, grains, strict=True)]
        for block, (one, other) in enumerate(zip(*sizes, strict=True), start=1):
            if one[0] != other[0]:
                yield f"block {block} has {one[0]} places in one model and {other[0]} in the other; take another kind"
                return


def _blocks(cell: Cell, grain: Grain) -> int:
    """How many blocks are tapped; the model is built only where it is cut at one grain and tapped at the other."""
    network = cell.network
    if network.depth is None or grain == network.grain:
        return network.depth or models.MODELS[network.model].blocks[grain]
    return len(sizes_of(network, grain, cell.images.size))


def _few_samples(probe: Cca, cell: Cell, grain: Grain, shown: int) -> Iterator[str]:
    """The first block for which a CCA has too few images, or too few samples a direction."""
    if probe.kind == "svcca" and probe.directions is None:
        return  # how many components explain a share of the variance only the outputs tell
    for block, (places, width) in enumerate(sizes_of(cell.network, grain, cell.images.size), start=1):
        name = f"block {block} of '{cell.network.model}' at {cell.images.size} px"
        if probe.kind != "drawn":
            kept = width if probe.directions is None else probe.directions
            if kept > width:
                yield f"directions={kept} are more than the {width} features of {name}; keep fewer"
                return
            if shown < SAMPLES * kept:
                needed = f"needs {SAMPLES * kept} images for {kept} directions of {name}, and {shown} are shown"
                yield f"it {needed}; show more, or take kind='svcca' with at most {max(1, shown // SAMPLES)} directions"
                return
            continue
        count = max(1, round(probe.points / places))
        if count > shown:
            needed = f"a draw of {probe.points} points takes {count} images of {name} (places: {places})"
            yield f"{needed}, and {shown} are shown; take at most {shown * places} points, or more stimuli"
            return
        if count * places < SAMPLES * min(probe.channels, width):
            needed = f"{SAMPLES * min(probe.channels, width)} for {min(probe.channels, width)} channels"
            yield f"a draw takes {count * places} places of {name}, and CCA needs {needed}; draw more points"
            return


@lru_cache(maxsize=256)
def sizes_of(network: Network, grain: Grain, size: int) -> tuple[_Size, ...]:
    """Of each block's output, class tokens left out: places of the image, and features at each.

    Args:
        size: height and width of the images in pixels.
    """
    import torch

    found: list[_Size] = []
    with torch.device("meta"):
        model = models.build(network, classes=2, size=size).eval()

        def measure(module: object, inputs: object, output: torch.Tensor) -> None:
            _, places, width = models.spread(model, output).shape
            found.append((places, width))

        for block in models.blocks(model, grain):
            model.get_submodule(block.tap).register_forward_hook(measure)
        with torch.inference_mode():
            model(torch.empty(1, 3, size, size))
    return tuple(found)


def _grain(at: At, cell: Cell) -> Grain:
    return cell.network.grain if at == "cell" else at
