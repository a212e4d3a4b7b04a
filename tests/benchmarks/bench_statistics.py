"""Seconds of a patient-clustered bootstrap and of DeLong's test, against a loop of scikit-learn and the double sum.

It prints and judges no time; it does insist that both ways come to the same numbers. Run it as a script, which needs no
pytest, or with `pytest -m benchmark -n0 -s tests/benchmarks/bench_statistics.py`:

    python tests/benchmarks/bench_statistics.py [--images 5000] [--resamples 1000] [--classes 2] [--rounds 5]

The loop draws the very same patients and scores each resample by `roc_auc_score` and `average_precision_score`, the
images' counts as sample weights; it is timed on 20 resamples a round and scaled up. Each time is the median (min, max)
of the rounds, of AUROC and AUPRC together, on one thread.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2])]
else:
    import pytest

    pytestmark = pytest.mark.benchmark

from analysis.statistics import bootstrap, delong
from analysis.statistics.resampling import resampling_of, weights_of
from analysis.statistics.scored import Scored, read_scored
from analysis.statistics.weighted import metrics_of

_LOOPED = 20


def test_statistics_against_loops() -> None:
    main(["--images", "600", "--resamples", "200", "--rounds", "1"])


def main(arguments: list[str]) -> None:
    """Prints the seconds of all ways and their ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args(arguments)
    print(f"\n{_processor()}; numpy {np.__version__}; {chosen.images} images, {chosen.classes} classes")
    for per_patient in (1, 4):
        _bench_bootstrap(chosen, per_patient)
    _bench_delong(chosen)


def _bench_bootstrap(chosen: argparse.Namespace, per_patient: int) -> None:
    table = _invent(chosen.images, chosen.classes, per_patient)
    task = "binary" if chosen.classes == 2 else "multiclass"
    scored = read_scored(table, task)
    weights = next(weights_of(scored, resampling_of(max(chosen.resamples, 100), 0.95, 0)))[:_LOOPED]
    fast = _seconds(chosen.rounds, lambda: bootstrap(table, task, resamples=chosen.resamples))
    slow = [each * chosen.resamples / _LOOPED for each in _seconds(chosen.rounds, lambda: _loop(scored, weights))]
    for metric, looped in zip(("auroc", "auprc"), _loop(scored, weights), strict=True):
        if not np.allclose(metrics_of(scored, [metric])(weights)[0], looped, rtol=1e-10):
            raise RuntimeError(f"{metric} of the resamples differs from scikit-learn's")
    print(f"bootstrap, {chosen.resamples} resamples, {per_patient} images a patient: {_told(fast)}")
    print(f"  loop of scikit-learn: {_told(slow)}, {statistics.median(slow) / statistics.median(fast):.0f} x")


def _bench_delong(chosen: argparse.Namespace) -> None:
    truth = np.arange(chosen.images) % 2 == 1
    scores = truth + np.random.default_rng(0).normal(size=(2, chosen.images))
    fast = _seconds(chosen.rounds, lambda: delong(truth, scores))
    slow = _seconds(chosen.rounds, lambda: _double_sum(truth, scores))
    if not np.allclose(delong(truth, scores).covariance, _double_sum(truth, scores), rtol=1e-9):
        raise RuntimeError("the covariance differs from that of the double sum")
    print(f"DeLong of 2 cells: {_told(fast)}")
    print(f"  double sum: {_told(slow)}, {statistics.median(slow) / statistics.median(fast):.0f} x")


def _loop(scored: Scored, weights: np.ndarray) -> tuple[list[float], list[float]]:
    """AUROC and AUPRC of each resample, one call of scikit-learn after the other."""
    classes = [1] if scored.task == "binary" else range(scored.truth.shape[1])
    aurocs, averages = [], []
    for row in weights:
        pairs = [(scored.truth[:, number], scored.scores[:, number]) for number in classes]
        aurocs.append(float(np.mean([roc_auc_score(t, s, sample_weight=row) for t, s in pairs])))
        averages.append(float(np.mean([average_precision_score(t, s, sample_weight=row) for t, s in pairs])))
    return aurocs, averages


def _double_sum(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    kernels = [(each[truth][:, None] > each[~truth]) + 0.5 * (each[truth][:, None] == each[~truth]) for each in scores]
    above, under = np.array([k.mean(axis=1) for k in kernels]), np.array([k.mean(axis=0) for k in kernels])
    return np.cov(above) / above.shape[1] + np.cov(under) / under.shape[1]


def _invent(images: int, classes: int, per_patient: int) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    patients = np.arange(images) // per_patient
    labels = patients % classes
    logits = generator.normal(size=(images, classes)) + np.eye(classes)[labels]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    known = {"image": [f"{n:06}.png" for n in range(images)], "patient": patients, "part": "test", "label": labels}
    return pd.DataFrame(known | {f"score_{n}": each for n, each in enumerate(scores.T)})


def _seconds(rounds: int, call: Callable[[], object]) -> list[float]:
    call()  # to warm up
    spent = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        spent.append(time.perf_counter() - began)
    return spent


def _told(spent: list[float]) -> str:
    return f"{statistics.median(spent):.3f} s ({min(spent):.3f}, {max(spent):.3f})"


def _processor() -> str:
    about = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next(
        (line.partition(":")[2].strip() for line in about if line.startswith("model name")), platform.processor()
    )


if __name__ == "__main__":
    main(sys.argv[1:])
