"""Values of any depth as 8 bits.

Windows that a file itself names are its reader's business.
"""

import numpy as np


def to_eight_bits(values: np.ndarray) -> np.ndarray:
    """uint8 of the same shape: the lowest value becomes 0 and the highest 255, linearly; a constant image becomes 0.

    Raises:
        ValueError: when a value is not finite.
    """
    values = values.astype(np.float64)
    low, high = values.min(), values.max()
    if not np.isfinite([low, high]).all():
        raise ValueError("it holds values that are not finite")
    span = high - low if high > low else 1.0
    return np.rint((values - low) * (255 / span)).astype(np.uint8)
