"""Labels of sets whose images have any number of classes: as text in an index, as numbers, and a stratum per patient.

In an index the classes of an image stand as `A|B`, in the order of the set's classes, nothing where it has none; `?C`
is a class that is not known of it. Whoever reads a set decides which those are. pandas is imported inside functions.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

BETWEEN = "|"
"""Stands between two classes."""
UNKNOWN = "?"
"""Stands before a class that is not known of an image."""
NO_LABEL = "no label"
"""The stratum of patients none of whose images is of a class."""


def texts_of(known: "np.ndarray", classes: Sequence[str]) -> "np.ndarray":
    """The labels of images as text, (images,).

    Args:
        known: int8 (images, classes): 1 where an image is of a class, 0 where not, -1 where that is not known.
        classes: without '|', and none begins with '?'.
    """
    import numpy as np

    patterns, where = np.unique(known, axis=0, return_inverse=True)
    mark = {1: "", -1: UNKNOWN}
    texts = [
        BETWEEN.join(mark[value] + name for value, name in zip(row, classes, strict=True) if value)
        for row in patterns.tolist()
    ]
    return np.array(texts, dtype=object)[where.reshape(-1)]


def known_of(labels: "pd.Series", classes: Sequence[str]) -> "np.ndarray":
    """What the texts say, int8 (images, classes): 1, 0, or -1 where it is not known.

    Raises:
        ValueError: when a text names what is no class, or a class twice.
    """
    import numpy as np
    import pandas as pd

    codes, texts = pd.factorize(labels)
    place = {name: number for number, name in enumerate(classes)}
    found = np.zeros((len(texts), len(classes)), dtype=np.int8)
    for row, text in enumerate(texts):
        names = _split(text)
        if foreign := [each for each in names if each.removeprefix(UNKNOWN) not in place]:
            raise ValueError(f"label '{text}' names '{foreign[0]}', which is none of {', '.join(classes)}")
        if len({each.removeprefix(UNKNOWN) for each in names}) < len(names):
            raise ValueError(f"label '{text}' names a class twice; once is enough")
        for each in names:
            found[row, place[each.removeprefix(UNKNOWN)]] = -1 if each.startswith(UNKNOWN) else 1
    return found[codes]


def named_in(labels: "pd.Series") -> set[str]:
    """The classes that some image is of."""
    return {name for text in labels.unique() for name in _positives(text)}


def strata_of(index: "pd.DataFrame") -> "pd.Series":
    """One text per row that all rows of a patient share: the patient's class with the fewest images.

    Images are counted in the whole index; of classes with equally many it is the first by name. So cut into strata,
    groups of patients have about the same share of each rare class, and of the others as chance has it.

    Args:
        index: columns `label` and `patient`.
    """
    import numpy as np
    import pandas as pd

    codes, texts = pd.factorize(index["label"])
    positives = [_positives(text) for text in texts]
    images: Counter[str] = Counter()
    for names, number in zip(positives, np.bincount(codes).tolist(), strict=True):
        images.update(dict.fromkeys(names, number))
    order = [*sorted(images, key=lambda name: (images[name], name)), NO_LABEL]
    rank = {name: number for number, name in enumerate(order)}
    own = np.array([min((rank[name] for name in names), default=rank[NO_LABEL]) for names in positives])[codes]
    lowest = pd.Series(own, index=index.index).groupby(index["patient"]).transform("min")
    return pd.Series(np.array(order, dtype=object)[lowest.to_numpy()], index=index.index, dtype="str")


def check_parts(index: "pd.DataFrame", parts: "pd.Series", where: str) -> None:
    """Every class can be learned, and something can be ranked where epochs are chosen.

    Raises:
        ValueError: when a class of the index has no image in train, val or test has none at all, or val has no class
            with images of it and images that are known not to be.
    """
    labels = {part: index["label"][parts == part] for part in ("train", "val", "test")}
    if missing := sorted(named_in(index["label"]) - named_in(labels["train"])):
        raise ValueError(f"{where}: class '{missing[0]}' has no image in train; it needs more patients")
    for part in ("val", "test"):
        if labels[part].empty:
            raise ValueError(f"{where}: {part} has no image; it needs more patients")
    if not any(_is_ranked(name, labels["val"]) for name in named_in(labels["val"])):
        raise ValueError(f"{where}: val has no class with images of it and others; it needs more patients")


def _is_ranked(name: str, labels: "pd.Series") -> bool:
    """Whether some image is known not to be of a class that others are of."""
    return any(not {name, UNKNOWN + name} & set(_split(text)) for text in labels.unique())


def _split(text: str) -> list[str]:
    return text.split(BETWEEN) if text else []


def _positives(text: str) -> Iterable[str]:
    return [name for name in _split(text) if not name.startswith(UNKNOWN)]
