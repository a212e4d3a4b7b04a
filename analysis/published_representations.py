"""The figures of Juodelyte et al. 2023 from the tables that the authors published, which `foreign` reads.

A folder holds AUC.csv, CCA_TARGET.csv, similarity.csv, simVSaucImNet.csv and simVSaucRadNet.csv, or some of them.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from analysis import foreign
from analysis.plates import Lack, Plate, lacking
from analysis.representation_plates import auc_plate, gain_plate, layer_plate, mean_plate, mistake_plate
from analysis.study_record import Record

_NONE: frozenset[str] = frozenset()
_INDEPENDENT = {"observed": "observed", "independent": "independent (as published)"}


def published_auc(record: Record) -> Plate | Lack:
    """The box plot of AUC."""
    return _of_auc(record, "published_auc", auc_plate)


def published_auc_mean(record: Record) -> Plate | Lack:
    """The table of AUC."""
    return _of_auc(record, "published_auc_mean", mean_plate)


def published_finetuned(record: Record) -> Plate | Lack:
    """What fine-tuning left of each source, layer by layer."""
    rows, paths = _cca(record, "CCA_*.csv")
    name = "published_layers_finetuned"
    if rows.empty:
        return lacking(name, f"CCA_*.csv in {record.published}", "it is the study's own table")
    own = (rows["freeze"] == False) & (rows["against"].map(foreign.SOURCES) == rows["source"])  # noqa: E712
    pairs = rows[own.fillna(False)]
    return layer_plate(name, pairs.assign(pair=pairs["source"] + ": before and after"), keys=_NONE, published=paths)


def published_sources(record: Record) -> Plate | Lack:
    """How alike the two sources are, before and after fine-tuning, and two random networks."""
    rows, paths = _cca(record, "CCA_*.csv")
    name = "published_layers_sources"
    if rows.empty:
        return lacking(name, f"CCA_*.csv in {record.published}", "it is the study's own table")
    tuned = [f"{target}-ImageNet-freezeFalse" for target in rows["dataset"]]
    others = [f"{target}-RadImageNet-freezeFalse" for target in rows["dataset"]]
    told = pd.Series(pd.NA, index=rows.index, dtype="str")
    told[(rows["key"] == tuned) & (rows["against"] == others)] = "imagenet and radimagenet, fine-tuned"
    told[(rows["key"] == "ImageNet") & (rows["against"] == "RadImageNet")] = "imagenet and radimagenet"
    told[(rows["key"] == "random") & (rows["against"] == "random")] = "random"
    return layer_plate(name, rows.assign(pair=told).dropna(subset="pair"), keys=_NONE, published=paths)


def published_mistakes(record: Record) -> Plate | Lack:
    """Agreement of mistakes, with what the study wrote for independent networks."""
    path = _folder(record) / "similarity.csv"
    if not path.is_file():
        return lacking("published_mistakes", f"similarity.csv in {record.published}", "it is the study's own table")
    rows = foreign.similarity_rows(path)
    told = rows[~rows["freeze"]].assign(measure=lambda each: each["measure"].map(_INDEPENDENT))
    return mistake_plate("published_mistakes", told, keys=_NONE, published=[path])


def published_gain(record: Record) -> Plate | Lack:
    """Similarity against gain."""
    name, path = "published_similarity_gain", _folder(record) / "AUC.csv"
    rows, paths = _cca(record, "simVSauc*.csv")
    if rows.empty or not path.is_file():
        return lacking(name, f"AUC.csv and simVSauc*.csv in {record.published}", "they are the study's own tables")
    return gain_plate(name, foreign.gains(foreign.auc_runs(path), rows), keys=_NONE, published=[path, *paths])


def _of_auc(record: Record, name: str, plate: Callable[..., Plate]) -> Plate | Lack:
    path = _folder(record) / "AUC.csv"
    if not path.is_file():
        return lacking(name, f"AUC.csv in {record.published}", "it is the study's own table")
    runs = foreign.auc_runs(path)
    values = [column for column in ("best_val_auroc", "best_val_auroc_weighted") if column in runs]
    known = [column for column in runs if column not in values]
    rows = runs.melt(id_vars=known, value_vars=values, var_name="metric", value_name="auc").dropna(subset="auc")
    return plate(name, rows, keys=_NONE, published=[path])


def _cca(record: Record, pattern: str) -> tuple[pd.DataFrame, list[Path]]:
    """The rows of all tables of a pattern, layers in order, and the tables."""
    paths = sorted(_folder(record).glob(pattern))
    rows = pd.concat([foreign.cca_probes(path) for path in paths], ignore_index=True) if paths else pd.DataFrame()
    return (rows.sort_values("block", kind="stable") if len(rows) else rows), paths


def _folder(record: Record) -> Path:
    if record.published is None:
        raise ValueError("no folder with published tables was named")
    return record.published


PUBLISHED = (
    *(published_auc, published_auc_mean, published_finetuned, published_sources),
    *(published_mistakes, published_gain),
)
