"""How a record names things: the tags of a run, and a cell's numbers. MLflow itself is not needed for that."""

import json

from sweeper.outcome import Epoch, Outcome

KEY, CELL, ERROR, FAULT, ATTEMPTS, LR_FOUND, FINGERPRINT, SECONDS, EPOCHS, PROBE = (
    f"sweeper.{name}"
    for name in ("key", "cell", "error", "fault", "attempts", "lr_found", "fingerprint", "seconds", "epochs", "probe")
)
DEVICE = "sweeper.device"
"""Tag: the name of the device that a cell was trained on; older records lack it."""
SPLIT_FILES = "sweeper.split_files"
"""Tag: JSON of `Outcome.split_files`; only where files say which images a part has."""
SETTING = "sweeper.setting"
"""Tag of a rate search's run, which has no key: it is no cell's."""
REPORT = "sweeper.report"
"""Tag of the run that holds a study's report, which is no cell's either."""
RATES = "rates.parquet"
PROBE_SUM = "sweeper.sha256"
PROBE_FILES = "sweeper.probe_files"
"""Begins the tags that hold, in JSON, the sha256 of each file that a probe left beside its rows, by name."""
PROBES = "probes"
"""The folder of a run's files that holds the rows of its probes."""


def epoch_numbers(epoch: Epoch) -> dict[str, float]:
    """One epoch as named numbers: the columns of the epochs frame and the curves in MLflow."""
    scores = {f"val_{name}": value for name, value in epoch.scores.items()}
    return {
        "train_loss": epoch.train_loss,
        **scores,
        "lr_now": epoch.lr,
        "seconds": epoch.seconds,
        "images_per_second": epoch.images_per_second,
    }


def cell_numbers(outcome: Outcome) -> dict[str, float]:
    """A trained cell as named numbers: the columns of the runs frame that are not axes."""
    best = {f"best_val_{name}": value for name, value in outcome.best_epoch.scores.items()}
    test = {f"test_{name}": value for name, value in outcome.test_scores.items()}
    count = {"best_epoch": outcome.best, "epochs_run": len(outcome.epochs), "total_seconds": outcome.seconds}
    return best | test | count


def outcome_tags(outcome: Outcome) -> dict[str, str]:
    """A trained cell's tags beside its key and its values."""
    known = {
        LR_FOUND: repr(outcome.lr),
        FINGERPRINT: outcome.fingerprint,
        SECONDS: repr(outcome.seconds),
        EPOCHS: str(len(outcome.epochs)),
    }
    files = {SPLIT_FILES: json.dumps(dict(outcome.split_files), sort_keys=True)} if outcome.split_files else {}
    return known | files | dict(outcome.tags)
