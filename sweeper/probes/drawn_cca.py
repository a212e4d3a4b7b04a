"""Mean CCA of two models' maps as Juodelyte et al. 2023 measured it: positions and channels, drawn again and again.

The maps are given; which images they were made of, and by which models, is the caller's to say.
"""

import numpy as np
import numpy.typing as npt
import torch

from sweeper.probes.cca import cca_pairs
from sweeper.probes.samples import Features, positions


def images_for(points: int, height: int, width: int) -> int:
    """How many images give about this many positions of maps of this size: round(points / (height * width)), >= 1."""
    return max(1, round(points / (height * width)))


def drawn_cca(
    x: Features, y: Features, *, seed: int, points: int = 10_000, channels: int = 64, draws: int = 5
) -> npt.NDArray[np.float64]:
    """Mean canonical correlation of each draw, (draws,); their mean is the value of Juodelyte et al. 2023.

    A draw takes `images_for(points, height, width)` images and `channels` channels, both without replacement, the same
    in both maps; every position is a sample. The mean is over all correlations of the draw, as there, where channels
    that are constant took no part either; linear dependence is cut (`cca`), where they added 1e-12 to the variances. A
    draw of constant channels alone is NaN. Draws depend on the seed and the maps' shape only: two pairs of models are
    drawn alike.

    Args:
        x: (images, channels, height, width); all its images are used where they are as many as a draw takes.
        y: the same images in the same order by the other model, of the same shape.

    Raises:
        ValueError: maps of different shapes, fewer images or channels than a draw takes, or as `cca`.
    """
    left, right = torch.as_tensor(x), torch.as_tensor(y)
    if left.ndim != 4 or left.shape != right.shape:
        raise ValueError(
            f"the maps have shapes {tuple(left.shape)} and {tuple(right.shape)}; the same channels can be drawn of both"
            " only if they are (images, channels, height, width) of one architecture: else take `cca` of all channels"
        )
    images = images_for(points, *left.shape[2:])
    for name, wanted, there in (("images", images, left.shape[0]), ("channels", channels, left.shape[1])):
        if not 1 <= wanted <= there:
            raise ValueError(f"a draw takes {wanted} {name} of maps of shape {tuple(left.shape)}, which have {there}")
    if draws < 1:
        raise ValueError(f"draws={draws} of channels; CCA needs at least 1")
    values = []
    for draw in range(draws):
        shown, drawn = draw_of(left.shape[0], left.shape[1], seed=seed, draw=draw, images=images, channels=channels)
        rows = [[positions(maps[shown][:, drawn])] for maps in (left, right)]
        values.append(float(cca_pairs(*rows)[0, 0]))
    return np.array(values)


def draw_of(
    there: int, width: int, *, seed: int, draw: int, images: int, channels: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The images and the channels of one draw: `images` of those `there` and `channels` of the map's `width`."""
    generator = np.random.default_rng((seed, draw))
    return generator.choice(there, images, replace=False), generator.choice(width, channels, replace=False)
