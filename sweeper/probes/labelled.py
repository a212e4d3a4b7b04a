"""Features with the class of each image, checked once for all that score them.

Nothing is scored here.
"""

import numpy as np
import numpy.typing as npt
import torch

Features = npt.NDArray[np.floating] | torch.Tensor
Labels = npt.NDArray[np.integer] | torch.Tensor


def labelled(
    features: Features, labels: Labels, score: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], int]:
    """The features in float64, (images, features), the labels, (images,), and the number of classes.

    Args:
        score: what needs them, as errors call it.

    Raises:
        ValueError: shapes that do not fit, a feature that is not finite, labels that are no classes 0..k-1, k >= 2, or
            a class without an image.
    """
    x = torch.as_tensor(features).detach().double().cpu().numpy()
    y = torch.as_tensor(labels).detach().cpu().numpy()
    if x.ndim != 2 or not x.size:
        raise ValueError(f"features have shape {x.shape}; {score} needs (images, features), at least one of each")
    if y.shape != (len(x),):
        raise ValueError(f"{score} needs one class an image: there are {len(x)} images and labels of shape {y.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"the features for {score} hold values that are not finite; look for a run that diverged")
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
        raise ValueError(f"{score} needs labels 0, 1, ...; there is {y.min()} ({y.dtype})")
    counts = np.bincount(y)
    if len(counts) < 2:
        raise ValueError(f"{score} needs two classes; all {len(y)} images are of class 0")
    if not counts.all():
        raise ValueError(
            f"{score} has no image of class {int(np.argmin(counts))} of {len(counts)}; use images of all classes, or "
            "number those that there are from 0"
        )
    return x, y.astype(np.int64), len(counts)
