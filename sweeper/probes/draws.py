"""What is drawn of images, the same for every model: which stimuli, which images of a draw, which channels.

Draws depend on the data and the probe alone, never on a cell: whatever is compared was shown the same.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sweeper.cell import digest, seed_of
from sweeper.data.loading import Loaded, Part

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Positions and channels drawn as `drawn_cca` draws them; their rows are what leaves the actor."""

    seed: int
    points: int
    channels: int
    draws: int

    @property
    def name(self) -> str:
        return f"points-{digest([self.seed, self.points, self.channels, self.draws])}"


def stimuli(part: Part, wanted: int | None, *, fingerprint: str, name: str) -> Positions:
    """Which of a part's images are shown, as ascending positions.

    Args:
        wanted: at most so many, drawn by data set and part; None shows all.
        fingerprint: of the data set.
        name: of the part.
    """
    if wanted is None or wanted >= len(part):
        return np.arange(len(part))
    generator = np.random.default_rng(seed_of("stimuli", fingerprint, name))
    return np.sort(generator.permutation(len(part))[:wanted])  # fewer are among more


def content_of(data: Loaded, part: str, augment: str, positions: Positions) -> str:
    """16 hex digits of what is shown: equal where cells show the very same images in the same way."""
    names = getattr(data, part).names
    shown = "none" if part == "train" else augment  # the view of validation images; training ones are shown whole
    return digest([data.fingerprint, shown, [names[each] for each in positions]])
