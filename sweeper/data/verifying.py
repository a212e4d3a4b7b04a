"""What is wrong with an image set as it lies there: counts, files, channels, duplicates and labels, a remark on each.

Nothing is repaired or left out, and nothing here stops a study: the gate before a sweep has rules of its own.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pandas as pd

from sweeper.data.dataset import PARTS, Dataset, read_index, target_columns
from sweeper.data.leakage import find_twins
from sweeper.data.looking import SIDE, look_at_all
from sweeper.site import Site

NAMED, FEW = 20, 5
"""Images that a remark names at most: of what is wrong, and of what is only unusual, or in one group."""
_COLOUR_MODES = "RGB|CMYK|YCbCr|YBR|PALETTE|^P"
"""Of Pillow and of DICOM files."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Verified:
    """A set of which every image was looked at."""

    dataset: Dataset
    classes: tuple[str, ...]
    images: pd.DataFrame
    """A row an image: its index as `read_index` makes it, and the fields of `looking.Look`."""
    twins: pd.DataFrame
    """As `leakage.find_twins` makes it of the images that can be read, at `looking.SIDE` pixels in grey."""

    @property
    def sound(self) -> pd.DataFrame:
        """The images that can be read."""
        return self.images[self.images["error"] == ""]


@dataclass(frozen=True, kw_only=True)
class Remark:
    """What was found on one question."""

    topic: str
    text: str
    fault: bool = False
    """Whether the set is not sound by it."""
    named: tuple[str, ...] = ()
    """The first of the images or groups it is about, and how many more there are."""


def verify(dataset: Dataset, site: Site) -> Verified:
    """The set with every image decoded once; small copies lie in the cache folder meanwhile.

    Raises:
        FileNotFoundError: when the set is not there.
        ValueError: when its index is wrong.
    """
    index, classes = read_index(dataset, site.data)
    site.cache.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=site.cache) as small:
        images = look_at_all(dataset, site.data, index, small)
        small.flush()
        sound = int((images["error"] == "").sum())
        shape = (sound, SIDE, SIDE, 1)
        pixels = np.memmap(small, np.uint8, "r", shape=shape) if sound else np.empty(shape, np.uint8)
        return Verified(dataset=dataset, classes=classes, images=images, twins=find_twins(pixels))


def by_class(verified: Verified, images: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Each class's rows of these images; of a multi-label set a row may be in several classes, or in none."""
    if verified.dataset.task == "multilabel":
        columns = target_columns(verified.classes)
        return {label: images[images[column] == 1] for label, column in zip(verified.classes, columns, strict=True)}
    return {label: images[images["label"] == label] for label in verified.classes}


def counts(verified: Verified) -> pd.DataFrame:
    """A row a class and one `all`; a column an official part, then `images`, `published` and `difference`.

    The last two are there where numbers were published. Images that cannot be read count as well.
    """
    images, published = verified.images, verified.dataset.counts
    rows = by_class(verified, images) | {"all": images}
    parts = [part for part in PARTS if (images["part"] == part).any()]
    columns = {part: [int((each["part"] == part).sum()) for each in rows.values()] for part in parts}
    table = pd.DataFrame(columns | {"images": [len(each) for each in rows.values()]}, index=[*rows])
    if not published:
        return table
    table = table.drop(index="all") if verified.dataset.task == "multilabel" else table
    told = pd.Series({**published, "all": sum(published.values())}).reindex(table.index)
    return table.assign(published=told, difference=table["images"] - told)


def remarks(verified: Verified) -> tuple[Remark, ...]:
    """What was found, a remark a question, always in this order."""
    return (
        _of_counts(verified),
        _of_patients(verified.images),
        _of_errors(verified.images),
        _of_constants(verified.sound),
        _of_channels(verified.sound, verified.dataset.channels),
        _of_sizes(verified.sound),
        _of_modes(verified.sound),
        _of_duplicates(verified.sound),
        _of_near_duplicates(verified.sound, verified.twins),
    )


def _of_counts(verified: Verified) -> Remark:
    if not verified.dataset.counts:
        return Remark(topic="counts", text="no numbers were published to compare them with")
    table = counts(verified).drop(index="all", errors="ignore")
    wrong = table[table["difference"] != 0]
    if wrong.empty:
        return Remark(topic="counts", text="as published")
    named = [f"{label}: {row['images']} of {row['published']}" for label, row in wrong.iterrows()]
    return Remark(
        topic="counts", text=f"{len(wrong)} of {len(table)} classes differ from the published numbers",
        fault=True, named=_shortened(named),
    )  # fmt: skip


def _of_patients(images: pd.DataFrame) -> Remark:
    parts = images.groupby("patient", sort=True)["part"].nunique()
    text = f"{len(parts)} for {len(images)} images"
    if not (shared := parts[parts > 1]).empty:
        text += f"; {len(shared)} are in several official parts (first: {shared.index[0]}), so fold 0 is refused"
    return Remark(topic="patients", text=text)


def _of_errors(images: pd.DataFrame) -> Remark:
    wrong = images[images["error"] != ""]
    named = _shortened(f"{row.image}: {row.error}" for row in wrong.itertuples())
    return Remark(topic="unreadable", text=_so_many(len(wrong)), fault=bool(len(wrong)), named=named)


def _of_constants(sound: pd.DataFrame) -> Remark:
    wrong = sound["image"][sound["constant"]]
    return Remark(topic="constant", text=_so_many(len(wrong)), named=_shortened(wrong))


def _of_channels(sound: pd.DataFrame, channels: int) -> Remark:
    """Colour where grey is declared loses something; grey stored in three equal channels loses nothing."""
    coloured = sound["spread"] > 0
    if channels == 3:
        text = f"{_so_many(int((~coloured).sum()))} of this colour set with three equal channels"
        return Remark(topic="channels", text=text, named=_shortened(sound["image"][~coloured], FEW))
    text = f"{_so_many(int(coloured.sum()))} of this grey set with channels that differ"
    if coloured.any():
        text += f" (by up to {sound['spread'].max()} of 255), which become grey"
    if number := int((sound["mode"].str.contains(_COLOUR_MODES) & ~coloured).sum()):
        text += f"; {_so_many(number)} stored as colour with equal channels"
    strongest = sound[coloured].sort_values(["spread", "image"], ascending=[False, True])
    named = _shortened((f"{row.image}: by {row.spread}" for row in strongest.itertuples()), FEW)
    return Remark(topic="channels", text=text, named=named)


def _of_sizes(sound: pd.DataFrame) -> Remark:
    if sound.empty:
        return Remark(topic="sizes", text="no image can be read")
    found = sound.groupby(["width", "height"]).size().sort_values(ascending=False, kind="stable")
    by_area = sorted(found.index, key=lambda size: (size[0] * size[1], size))
    if len(found) == 1:
        return Remark(topic="sizes", text=f"{_size(found.index[0])} pixels, all of them")
    text = f"from {_size(by_area[0])} to {_size(by_area[-1])} pixels, width x height; {len(found)} sizes"
    if found.iloc[0] > 1:
        text += f", most often {_size(found.index[0])} ({found.iloc[0]} images)"
    return Remark(topic="sizes", text=text)


def _of_modes(sound: pd.DataFrame) -> Remark:
    found = sound["mode"].replace("", "in an array").value_counts()
    return Remark(topic="modes", text=", ".join(f"{mode} ({number})" for mode, number in found.items()) or "none")


def _of_duplicates(sound: pd.DataFrame) -> Remark:
    repeated = sound[sound["digest"].duplicated(keep=False)]
    if repeated.empty:
        return Remark(topic="duplicates", text="no images with equal pixels")
    unit, across = _unit(sound)
    groups = [group for _, group in repeated.groupby("digest", sort=False)]
    split = sum(group[unit].nunique() > 1 for group in groups)
    torn = sum(group["label"].nunique() > 1 for group in groups)
    worst = sorted(groups, key=lambda group: (group["label"].nunique() < 2, group[unit].nunique() < 2))
    return Remark(
        topic="duplicates",
        text=f"{len(repeated)} images have the pixels of others: {_so_many(len(groups), 'group')}, {split} of them "
        f"{across}, {torn} with different labels",
        fault=bool(split or torn),
        named=_shortened([" = ".join(_members(group)) for group in worst]),
    )


def _of_near_duplicates(sound: pd.DataFrame, twins: pd.DataFrame) -> Remark:
    """Pairs by the rule of the gate before a sweep, but of all images, and at one size."""
    unit, across = _unit(sound)
    one, other = (sound.iloc[twins[side]].reset_index(drop=True) for side in ("row", "twin"))
    near = (one["digest"] != other["digest"]) & (one[unit] != other[unit])
    pairs = [f"{image} ~ {twin}" for image, twin in zip(one["image"][near], other["image"][near], strict=True)]
    text = f"{_so_many(len(pairs), 'pair')} of images that look alike and are not equal, {across}"
    return Remark(topic="near-duplicates", text=text, fault=bool(pairs), named=_shortened(pairs))


def _unit(sound: pd.DataFrame) -> tuple[str, str]:
    """The column that equal images must share, and what it means when they do not."""
    if sound["part"].notna().any():
        return "part", "across official parts"
    return "patient", "across patients (folds may part them)"


def _members(group: pd.DataFrame) -> Iterator[str]:
    told = group["label"].nunique() > 1
    for row in group.head(FEW).itertuples():
        yield f"{row.image} ({row.label})" if told else str(row.image)
    if len(group) > FEW:
        yield f"{len(group) - FEW} more"


def _shortened(names: Iterable[Any], most: int = NAMED) -> tuple[str, ...]:
    """The first names, and how many more there are."""
    named = [str(name) for name in names]
    return (*named[:most], *([f"and {len(named) - most} more"] if len(named) > most else []))


def _so_many(number: int, what: str = "image") -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
