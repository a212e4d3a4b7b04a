"""Records cells of known numbers in a real store as a driver does: a sealed folder, then MLflow; nothing is trained."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from sweeper import store
from sweeper.cell import Cell
from sweeper.outcome import Epoch, Outcome
from sweeper.site import Site
from sweeper.work import seal


def epochs(*accuracies: float) -> tuple[Epoch, ...]:
    return tuple(
        Epoch(number=n, train_loss=1 / n, scores={"accuracy": value}, lr=0.1, seconds=1.5, images_per_second=9.0)
        for n, value in enumerate(accuracies, start=1)
    )


def write_states(folder: Path) -> None:
    for name in ("best", "start"):
        (folder / f"{name}.safetensors").write_text(f"{name} state")


def sealed_folder(
    folder: Path,
    cell: Cell,
    *,
    done: tuple[Epoch, ...] = epochs(1 / 7, 2 / 7),
    test_scores: Mapping[str, float] = {"accuracy": 1 / 3},
    lr: float = 1e-3,
    predictions: pd.DataFrame | None = None,
    states: Callable[[Path], None] = write_states,
    fingerprint: str = "f",
) -> Path:
    """A trained cell's folder; the last epoch is the best."""
    folder.mkdir(parents=True, exist_ok=True)
    states(folder)
    if predictions is None:
        predictions = pd.DataFrame({"image": ["a"], "part": ["test"], "score_0": [0.123456789012345]})
    predictions.to_parquet(folder / "predictions.parquet")
    rows = [{"epoch": each.number, **store.epoch_numbers(each)} for each in done]
    pd.DataFrame(rows).to_parquet(folder / "epochs.parquet")
    outcome = Outcome(
        cell=cell,
        lr=lr,
        epochs=done,
        best=len(done),
        test_scores=dict(test_scores),
        fingerprint=fingerprint,
        seconds=sum(each.seconds for each in done),
        parts=1,
        tags={"sweeper.commit": "abc"},
    )
    (folder / "outcome.json").write_text(outcome.to_json())
    seal(folder)
    return folder


def record(site: Site, study: str, cell: Cell, **known: object) -> str:
    """The run of a cell that is recorded now."""
    with tempfile.TemporaryDirectory() as folder:
        sealed_folder(Path(folder), cell, **known)  # type: ignore[arg-type]
        return store.publish(site, study, Path(folder), lambda: None)
