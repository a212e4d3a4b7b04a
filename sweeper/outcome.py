"""What a cell may use and what came of it: the numbers of its epochs, and what it leaves when it is trained.

Values only; `finetune` makes them and `store` records them.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sweeper.cell import Cell

Fault = Literal["own", "memory", "system", "storage", "away"]
"""Why a job failed: by itself (NaN, bad data), by the device's memory, by a process that died, by a storage that is
full, by one that its machine did not reach. By the last two no cell is recorded as failed: they stop the sweep."""
ATTEMPTS = 3
"""How often a cell is begun at most when the machine under it fails, or does not reach the storage."""


@dataclass(frozen=True, kw_only=True)
class Devices:
    """What one cell may use."""

    workers: int = 1
    gpus: float = 0.0
    """Of each worker."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one validation, and the training since the one before it, came to: a whole pass over the training part,
    or the share of one that the recipe's `validations` make it."""

    number: int
    """From 1; counts the validations of both phases."""
    train_loss: float
    """The recipe's loss over the images since the last validation, in training mode while weights were changing."""
    scores: dict[str, float]
    """Scores on the whole validation part, unrounded; `loss` is the recipe's."""
    lr: float
    """Rate of the last step, the head's where the backbone has its own."""
    seconds: float
    """Training and validation together."""
    images_per_second: float
    """Training images over the training time alone."""
    phase: Literal["head", "full"] = "full"
    """Whether the head alone was trained, before everything that the recipe trains."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a trained cell is known by; the files beside it hold its states and predictions."""

    cell: Cell
    lr: float
    """The rate it was trained at."""
    epochs: tuple[Epoch, ...]
    best: int
    """Number of the epoch with the best `monitor`, of those of phase `full`; the first of equals."""
    test_scores: dict[str, float]
    """Scores of the best state on the test part, which nothing else has looked at."""
    fingerprint: str
    """Of the decoded images and their labels."""
    seconds: float
    """Training, validation and test, over all attempts; start-up and files left out."""
    parts: int
    """Micro-batches that each batch was cut into: 2 after the device's memory was too small, else 1."""
    tags: Mapping[str, str]
    """Commit and versions that made it."""
    split_files: Mapping[str, str] = field(default_factory=dict)
    """Name -> 16 hex digits of each file that says which images a part has; empty where no files do."""

    @property
    def best_epoch(self) -> Epoch:
        return self.epochs[self.best - 1]

    def to_json(self) -> str:
        """JSON that `from_json` reads back to an equal outcome."""
        plain = dataclasses.asdict(dataclasses.replace(self, tags=dict(self.tags), split_files=dict(self.split_files)))
        return json.dumps(plain | {"cell": self.cell.to_json()}, indent=1)

    @staticmethod
    def from_json(text: str) -> "Outcome":
        """The outcome that `to_json` wrote."""
        plain: dict[str, Any] = json.loads(text)
        epochs = tuple(Epoch(**each) for each in plain.pop("epochs"))
        return Outcome(cell=Cell.from_json(plain.pop("cell")), epochs=epochs, **plain)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """How far a cell in training has come."""

    cell: Cell
    epochs: tuple[Epoch, ...]

    def to_json(self) -> str:
        """JSON that `from_json` reads back to an equal curve."""
        return json.dumps({"cell": self.cell.to_json(), "epochs": [dataclasses.asdict(each) for each in self.epochs]})

    @staticmethod
    def from_json(text: str) -> "Curve":
        """The curve that `to_json` wrote."""
        plain = json.loads(text)
        return Curve(cell=Cell.from_json(plain["cell"]), epochs=tuple(Epoch(**each) for each in plain["epochs"]))


@dataclass(frozen=True, kw_only=True)
class RateTrial:
    """What one learning rate came to, or one training through a range of them."""

    scores: tuple[float, ...]
    """The recipe's `monitor` at each validation, its sign turned where lower is better; none in a range test."""
    higher: bool = True
    """Whether a higher value of the monitor itself is better."""
    losses: tuple[float, ...] = ()
    """Of a range test: mean training loss at each of its rates, as far as it went."""
    diverged: str | None
    """Where training left the finite numbers, if it did."""
    seconds: float
    """Training and validation alone."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A cell that is trained and sealed in its folder."""

    seconds: float
    """Training and evaluation alone, over all attempts."""
    spent: float
    """The same, of the last attempt."""
    epochs: int
    images_per_second: float = 0.0
    """Of its last epoch, as `Epoch` has it."""
