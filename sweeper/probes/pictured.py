"""Probes that leave a picture: what they draw, the numbers behind it, and those of them that are rows.

What a model must be asked for was made before; here it is laid into the plane, over its images, or side by side.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file

from sweeper import models
from sweeper.cell import Cell, Images, seed_of
from sweeper.filters import tiled
from sweeper.pairing import Ask
from sweeper.probe_types import Embedding, Filters, GradCam, State
from sweeper.probes.asked import Runs, maps_of, of_plane, subject
from sweeper.probes.draws import Positions
from sweeper.probes.embedding import plane
from sweeper.probes.kept import blocks_of, of_block
from sweeper.probes.needs import loaded, mapped_positions, pieces, positions
from sweeper.probes.pictures import LOOKS, PANELS, Map, filters_png, maps_png, plane_png, planes_png
from sweeper.site import Site

_METHODS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
_STATES: tuple[State, ...] = ("start", "best")
Numbers = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What such a probe leaves."""

    numbers: dict[str, float]
    """Metric -> value: its rows."""
    files: dict[str, bytes]
    """End of a name -> content."""
    block: int | None = None
    """That the numbers are of."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The images that a picture is of."""

    pixels: np.ndarray = field(repr=False)
    """uint8 (images, size, size, 3)."""
    names: Sequence[str]
    labels: np.ndarray
    """(images,), or (images, classes) of a multi-label set."""
    classes: Sequence[str]
    part: str
    fingerprint: str
    """Of the data set."""


def seen(images: Images, part: str, where: Positions, site: Site) -> Seen:
    """The images at some positions of a part."""
    data = loaded(images, site)
    shown = getattr(data, part)
    return Seen(
        pixels=shown.tensor(where).movedim(1, -1).numpy(),
        names=[shown.names[each] for each in where],
        labels=shown.labels[where],
        classes=data.classes,
        part=part,
        fingerprint=data.fingerprint,
    )


def picture(ask: Ask, runs: Runs, site: Site) -> Picture:
    """The picture that a probe asks for."""
    probe, title = ask.probe, ask.cell.title()
    match probe:
        case Embedding():
            side = of_plane(ask, probe, runs)
            images = seen(side.shown.images, side.shown.part, positions(side.shown, site), site)
            return embedding(probe, of_block(side, blocks_of(side, site) - 1, site)[0], images, title=title)
        case GradCam():
            need = maps_of(ask, probe, runs)
            images = seen(need.shown.images, need.shown.part, mapped_positions(need, site), site)
            ((_, path),) = pieces(need, site)
            return grad_cam(probe, load_file(path), images, title=title)
        case Filters():
            states = {name: load_file(subject(ask, runs, name).path(site)) for name in _STATES}
            return filters(probe, states, ask.cell, title=title)
        case _:
            raise TypeError(f"probe {probe.name} leaves no picture")


def embedding(probe: Embedding, features: np.ndarray, images: Seen, *, title: str) -> Picture:
    """The plane as `.png`, and `-points.parquet`: `image`, `label`, `class`, `x`, `y`.

    Where an image may have several classes, the plane is shown once for each, and `label_0`, `label_1`, ... (1, 0 or
    NaN where it is not known) take the place of `label`; `class` names all that it is known to have.
    """
    seed = seed_of("embedding", images.fingerprint) % 2**32
    found = plane(features, method=probe.method, neighbours=probe.neighbours, seed=seed)
    points = {"x": found.points[:, 0], "y": found.points[:, 1]}
    several = images.labels.ndim == 2
    known = {f"label_{n}": own for n, own in enumerate(images.labels.T)} if several else {"label": images.labels}
    classes = [_truth(label, images.classes) for label in images.labels]
    table = pd.DataFrame({"image": images.names, **known, "class": classes, **points})
    shares = [found.numbers[name] for name in ("explained_1", "explained_2") if name in found.numbers]
    x, y = (f"component {n}: {share:.0%} of the variance" for n, share in enumerate(shares, 1)) if shares else ("", "")
    believed = f"trustworthiness {found.numbers['trustworthiness']:.3f}"
    told = f"{_METHODS[probe.method]} of {len(table)} {images.part} images, {probe.state} state, {believed}"
    if len(images.classes) > (PANELS if several else LOOKS):
        told += f"; the first {PANELS} classes" if several else f"; looks come again after {LOOKS} classes"
    draw = planes_png if several else plane_png
    png = draw(found.points, images.labels, images.classes, title=f"{title}\n{told}", x=x, y=y)
    return Picture(numbers=found.numbers, files={".png": png, "-points.parquet": _parquet(table)})


def grad_cam(probe: GradCam, made: Numbers, images: Seen, *, title: str) -> Picture:
    """The sheet as `.png`, and `-maps.npz`: `maps`, `classes`, `predicted`, `labels`, `images`, `block`.

    Rows: `gradcam_images`, `gradcam_places` (of the block in an image), and `gradcam_blank`: of how many images the map
    is 0 throughout, since nothing at the block speaks for the class.
    """
    maps, block = made["maps"], int(made["block"])
    several = images.labels.ndim == 2  # then several classes are predicted, or none
    shown = []
    for place, name in enumerate(images.names):
        truth = _truth(images.labels[place], images.classes)
        verdict = (
            f"true {truth}, {'highest' if several else 'predicted'} {images.classes[int(made['predicted'][place])]}"
        )
        shown.append(Map(title=f"{name}\n{verdict}", pixels=images.pixels[place], values=maps[place]))
    of = "true class" if probe.of == "label" else "class with the highest score" if several else "predicted class"
    places = " x ".join(str(side) for side in maps.shape[1:])
    told = f"Grad-CAM of the {of} of {len(shown)} {images.part} images, {probe.state} state, block {block}: {places} "
    told += "places" if maps[0].size > 1 else "place, the whole image"
    png = maps_png(shown, title=f"{title}\n{told}")
    labels, names = images.labels, np.array(images.names)
    npz = _npz({**made, "labels": labels, "images": names})
    numbers = {
        "gradcam_images": float(len(maps)),
        "gradcam_places": float(maps[0].size),
        "gradcam_blank": float((maps.max(axis=(1, 2)) == 0).sum()),
    }
    return Picture(numbers=numbers, files={".png": png, "-maps.npz": npz}, block=block)


def filters(probe: Filters, states: Mapping[str, Numbers], cell: Cell, *, title: str) -> Picture:
    """The picture as `.png`; its row `filters` is how many there are, its weights are those of the stored states."""
    classes = len(states["start"]["head.bias"])
    with torch.device("meta"):
        name = models.first_weight(models.build(cell.network, classes=classes, size=cell.images.size))
    before, after = states["start"][name], states["best"][name]
    both = np.concatenate([before, after])
    ends = float(both.min()), float(both.max())
    moved = after.astype(np.float64) - before
    largest = float(np.abs(moved[: probe.count, 0]).max())
    change = tiled(moved, count=probe.count, ends=(-(largest or 1.0), largest or 1.0)) * 2 - 1
    gaps = tiled(np.zeros_like(moved), count=probe.count, ends=(0.0, 1.0)) == 1
    grids = {
        text: tiled(each, count=probe.count, ends=ends)
        for text, each in (("before training", before), ("after, on the same scale", after))
    }
    told = f"first channel of {min(probe.count, len(before))} of {len(before)} first-layer filters"
    png = filters_png(grids, np.where(gaps, np.nan, change), largest=largest, title=f"{title}\n{told}")
    return Picture(numbers={"filters": float(len(before))}, files={".png": png}, block=1)


def _truth(label: np.ndarray | np.integer, classes: Sequence[str]) -> str:
    """Of an image's label, or of the classes that it is known to have."""
    if np.ndim(label) == 0:
        return classes[int(label)]
    labels = np.asarray(label, dtype=np.float64)
    there = ", ".join(name for name, value in zip(classes, labels, strict=True) if value == 1)
    return there or ("none known" if np.isnan(labels).any() else "none")


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer)
    return buffer.getvalue()


def _npz(arrays: Numbers) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
