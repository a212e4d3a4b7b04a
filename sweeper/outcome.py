"""What came of a cell: the numbers of its epochs, and what it leaves when it is trained.

Values only; `finetune` makes them and `store` records them.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one pass over the training part came to."""

    number: int
    """From 1."""
    train_loss: float
    """Mean over the images, in training mode, while the weights were changing."""
    scores: dict[str, float]
    """Scores on the whole validation part after the epoch, unrounded."""
    lr: float
    """Rate of the last step."""
    seconds: float
    """Training and validation together."""
    images_per_second: float
    """Training images over the training time alone."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a trained cell leaves: numbers, and files in one folder."""

    epochs: tuple[Epoch, ...]
    best: Epoch
    """The epoch with the best validation score; the first of equals."""
    test_scores: dict[str, float]
    """Scores of the best state on the test part, which nothing else has looked at."""
    fingerprint: str
    """Of the decoded images and their labels."""
    folder: Path
    """Holds `best.safetensors`, `start.safetensors`, `predictions.parquet` and `epochs.parquet`."""
