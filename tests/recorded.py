"""Records cells of known numbers in a real store as a driver does: a sealed folder, then MLflow; nothing is trained."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

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
    split_files: Mapping[str, str] = {},
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
        split_files=dict(split_files),
    )
    (folder / "outcome.json").write_text(outcome.to_json())
    seal(folder)
    return folder


def record(site: Site, study: str, cell: Cell, **known: object) -> str:
    """The run of a cell that is recorded now."""
    with tempfile.TemporaryDirectory() as folder:
        sealed_folder(Path(folder), cell, **known)  # type: ignore[arg-type]
        return store.publish(site, study, Path(folder), lambda: None)


def consistent(cell: Cell) -> dict[str, Any]:
    """What `record` takes of a cell of `digits_0_4` whose states are real and whose scores are of its predictions."""
    from sweeper.finetune.metrics import score  # scikit-learn, which most users of this file do without

    table = predictions(cell)
    scores = {part: score(rows, "multiclass") for part, rows in table.groupby("part")}
    first, last = epochs(0.1, 0.2)
    worse = {name: value / 2 for name, value in scores["val"].items()}
    return {
        "done": (replace(first, scores=worse), replace(last, scores=scores["val"])),
        "test_scores": scores["test"],
        "predictions": table,
        "states": lambda folder: write_real_states(folder, cell),
    }


def predictions(cell: Cell) -> pd.DataFrame:
    """25 validation and 35 test images of 5 classes."""
    scores = np.random.default_rng(cell.seed).dirichlet(np.ones(5), 60)
    parts = {"part": ["val"] * 25 + ["test"] * 35, "label": [0, 1, 2, 3, 4] * 12}
    names = {"image": [f"{n}.png" for n in range(60)], "patient": [f"p{n}" for n in range(60)]}
    return pd.DataFrame(names | parts | {f"score_{n}": scores[:, n] for n in range(5)})


def write_real_states(folder: Path, cell: Cell) -> None:
    draw = np.random.default_rng(cell.seed)
    for name in ("best", "start"):
        state = {"head.weight": draw.standard_normal((5, 8)).astype(np.float32), "steps": np.array(7)}
        save_file(state, folder / f"{name}.safetensors", metadata={"cell": cell.to_json()})
