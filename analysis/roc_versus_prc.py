"""`python -m analysis.roc_versus_prc OUT`: two classifiers that a ROC curve hardly tells apart, and a PR curve does.

The worked example of Peng et al. 2021: 10 positives among 1000 images; classifier A ranks them within its top 12, B
within its top 30, where they are drawn without replacement. No study goes in; the draw is seeded.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from analysis.clouds import curves
from analysis.plates import Plate, save

POSITIVES, IMAGES = 10, 1000
TOPS = {"A": 12, "B": 30}
"""Classifier -> how many of its highest ranks hold all positives."""
CUT = 12
"""Ranks that the confusion table calls positive."""
SEED = 0


def ranked(top: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores of images in order of their rank, the positives drawn uniformly within the first `top`.

    Args:
        top: >= 10.
        seed: of the draw.

    Returns:
        (images,) 0 or 1, and (images,) scores that fall with the rank, without ties.
    """
    if not POSITIVES <= top <= IMAGES:
        raise ValueError(
            f"top {top} does not hold {POSITIVES} positives of {IMAGES} images; give {POSITIVES}..{IMAGES}"
        )
    labels = np.zeros(IMAGES, dtype=np.int64)
    labels[np.random.default_rng(seed).choice(top, POSITIVES, replace=False)] = 1
    return labels, 1 - np.arange(IMAGES) / IMAGES


def areas(seed: int = SEED) -> pd.DataFrame:
    """One row per classifier: `top`, `auroc`, `auprc` (average precision), and counts of the first 12 as positive."""
    rows = []
    for name, top in TOPS.items():
        labels, scores = ranked(top, seed=seed)
        hits = int(labels[:CUT].sum())
        counts = {"true_positive": hits, "false_positive": CUT - hits, "false_negative": POSITIVES - hits}
        counts["true_negative"] = IMAGES - CUT - counts["false_negative"]
        found = {"auroc": roc_auc_score(labels, scores), "auprc": average_precision_score(labels, scores)}
        rows.append({"classifier": name, "top": top, **found, **counts})
    return pd.DataFrame(rows)


def demonstration(seed: int = SEED) -> Plate:
    """Both curves of both classifiers."""
    table = areas(seed).set_index("classifier")
    pieces = []
    for name, top in TOPS.items():
        labels, scores = ranked(top, seed=seed)
        false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
        precision, recall, _ = precision_recall_curve(labels, scores)
        told = table.loc[name]
        hue = f"{name}: AUROC {told['auroc']:.3f}, AUPRC {told['auprc']:.3f}"
        pieces.append(pd.DataFrame({"panel": "ROC", "hue": hue, "x": false, "value": true}))
        pieces.append(pd.DataFrame({"panel": "precision and recall", "hue": hue, "x": recall, "value": precision}))
    rows = pd.concat(pieces, ignore_index=True)
    note = f"{POSITIVES} positives of {IMAGES}; A has them in its top {TOPS['A']}, B in its top {TOPS['B']}"
    labels_of = {"ROC": ("false positive rate", "true positive rate"), "precision and recall": ("recall", "precision")}
    return Plate(
        name="roc_versus_prc",
        shows=f"ROC and PR curves of two simulated classifiers; {note}; seed {seed}",
        data=rows,
        figure=curves(rows, labels=labels_of, note=note),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the curves, prints areas and confusion counts, and returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m analysis.roc_versus_prc", description="Shows what a ROC curve hides where positives are rare."
    )
    parser.add_argument("out", type=Path, help="a folder")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the draw of positives; {SEED} unless told")
    chosen = parser.parse_args(arguments)
    plate = demonstration(chosen.seed)
    told = {"version": 1, "figure": plate.name, "shows": plate.shows, "csv": f"{plate.name}.csv"}
    told |= {"command": f"python -m analysis.roc_versus_prc {shlex.join(arguments)}"}
    table = areas(chosen.seed)
    try:
        save(plate, chosen.out, told | {"studies": [], "commits": [], "cells": [], "published": []})
        table.to_csv(chosen.out / "roc_versus_prc_areas.csv", index=False)
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    print(table.to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
