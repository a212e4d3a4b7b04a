"""Tables of predictions as the loop makes them, for the tests of metrics."""

import numpy as np
import pandas as pd


def task_of_classes(classes: int) -> str:
    return "binary" if classes == 2 else "multiclass"


def table_of(labels: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"label": labels} | {f"score_{number}": each for number, each in enumerate(scores.T)})


def random_table(classes: int, *, images: int = 200, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), generator.integers(0, classes, images - classes)])
    logits = generator.normal(size=(images, classes)) + 1.5 * np.eye(classes)[labels]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return table_of(labels, scores)


def binary_table(labels: list[int], positive: list[float]) -> pd.DataFrame:
    return table_of(np.array(labels), np.array([[1 - p, p] for p in positive]))


def scores_of(table: pd.DataFrame) -> np.ndarray:
    return table.filter(like="score_").to_numpy()
