"""Results of the published studies' own code, as frames with the columns that our own cells have.

What a table does not say is left out, never filled in: no learning rates, no keys of cells. Read are the tables of
Juodelyte et al. 2023, first version (AUC.csv, CCA_*.csv, simVSauc*.csv, similarity.csv), and the metrics_results.json
of Matsoukas et al. 2022. A file in any other form is refused with what is wrong in it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

HIDDEN_REPRESENTATIONS, FEATURE_REUSE = "hidden_representations", "feature_reuse"
"""The studies' names, in the column `study`."""

SOURCES: Mapping[str, str] = {"ImageNet": "imagenet", "RadImageNet": "radimagenet", "random": "random"}
"""The study's names -> ours."""
LAYERS = ("conv1", "block1", "block2", "block3", "block4")
"""Of ResNet-50, where the study compared activations: blocks 1 to 5 here, the stem being the first."""
MULTICLASS = ("isic", "knee", "kimia")
"""Targets of more than two classes: their AUC is the mean over classes weighted by their positives."""
_MODEL = re.compile(r"(?P<dataset>.+)-(?P<source>ImageNet|RadImageNet|random)-freeze(?P<freeze>True|False)")
_AUC = ("target", "source", "freeze", "fold", "AUC")
_CCA = ("model1", "model2", "fold", "stimuli", *LAYERS)
_SIMILARITY = ("target", "model1", "model2", "freeze", "fold", "prob", "value")
_PROB = {"real": "observed", "rand": "independent"}

FEATURE_REUSE_METRICS: Mapping[str, str] = {
    "accuracy": "accuracy",
    "precision": "precision_macro",
    "recall": "recall_macro",
    "f1": "f1_macro",
    "cohen_kappa": "kappa",
    "quadratic_kappa": "quadratic_kappa",
    "mAP": "auprc",
    "loss": "loss",
}
"""The study's names -> our metric ids; its `roc_auc` is another id for each task (see `feature_reuse_runs`)."""
_ROC_AUC = {"binary": "auroc", "multiclass": "auroc_ovo", "multilabel": "auroc"}


def auc_runs(path: str | Path) -> pd.DataFrame:
    """One row per run of an AUC.csv, sorted: as `frames.runs`, of the axes that it tells.

    Columns: `study`, `key` (the study's own name of the run), `dataset` (its own name of the target), `fold`, `model`,
    `source`, `freeze` (whether the head was trained alone first) and `best_val_auroc`, in [0, 1]; of targets of
    several classes `best_val_auroc_weighted` instead, for the two are different metrics. Both are of the fold that
    also stopped the training, which had no test part.

    Raises:
        ValueError: when the table has another form, a value is out of range, or a run is there twice.
    """
    table = _table(path, _AUC, "target,source,freeze,fold,AUC with values in [0, 1]")
    _in_range(path, table, ["AUC"])
    rows = pd.DataFrame(
        {
            "study": _text(HIDDEN_REPRESENTATIONS, table),
            "key": table["target"] + "-" + table["source"] + "-" + table["freeze"] + "-" + table["fold"],
            "dataset": table["target"],
            "fold": _folds(path, table),
            "model": _text("resnet50", table),
            "source": _mapped(path, table, "source", SOURCES),
            "freeze": _mapped(path, table, "freeze", {"freezeTrue": True, "freezeFalse": False}).astype(bool),
        }
    )
    _once(path, rows, ["dataset", "source", "freeze", "fold"])
    several = rows["dataset"].isin(MULTICLASS)
    for name, mine in (("best_val_auroc", ~several), ("best_val_auroc_weighted", several)):
        if mine.any():
            rows[name] = table["AUC"].where(mine)
    return rows.sort_values(["dataset", "source", "freeze", "fold"], ignore_index=True)


def cca_probes(path: str | Path) -> pd.DataFrame:
    """One row per pair of models, fold and block of a CCA_*.csv or simVSauc*.csv: as `frames.probes`.

    Columns: `study`, `key` (the study's name of the first model), `dataset` (of the images shown), `fold`, `model`,
    `source` and `freeze` of the first model (missing where it is not trained on the target), `probe` (`cca`), `against`
    (the study's name of the second model), `layer`, `block` (from 1), `metric` (`cca`) and `value`: the mean of all 64
    canonical correlations of 64 channels, drawn 5 times, in [0, 1].

    Raises:
        ValueError: when the table has another form, a value is out of range, or a pair is there twice.
    """
    table = _table(path, _CCA, "model1,model2,fold,stimuli,conv1,block1,...,block4 with values in [0, 1]")
    _in_range(path, table, LAYERS)
    first = _models(path, table, "model1")
    _models(path, table, "model2")
    rows = pd.DataFrame(
        {
            "study": _text(HIDDEN_REPRESENTATIONS, table),
            "key": table["model1"],
            "dataset": table["stimuli"],
            "fold": _folds(path, table),
            "model": _text("resnet50", table),
            "source": first["source"],
            "freeze": first["freeze"],
            "probe": _text("cca", table),
            "against": table["model2"],
        }
    )
    _once(path, rows, ["key", "against", "dataset", "fold"])
    pieces = [
        rows.assign(layer=layer, block=block, metric="cca", value=table[layer]) for block, layer in enumerate(LAYERS, 1)
    ]
    long = pd.concat(pieces, ignore_index=True).astype({"layer": "str", "metric": "str"})
    return long.sort_values(["dataset", "key", "against", "fold", "block"], ignore_index=True)


def similarity_rows(path: str | Path) -> pd.DataFrame:
    """One row per target, setting, fold and kind of a similarity.csv: how often two models err on the same images.

    Columns: `study`, `dataset`, `fold`, `freeze`, `key` and `against` (the two sources), `measure` and `value` in
    [0, 1]. `observed` is the share of images that both models get right or both get wrong; `independent` is what the
    study wrote for models that err independently: a^2 + (1 - a)^2 of one model's accuracy a, which is not the
    chance agreement a b + (1 - a)(1 - b) of two models of accuracies a and b.

    Raises:
        ValueError: when the table has another form, a value is out of range, or a row is there twice.
    """
    table = _table(path, _SIMILARITY, "target,model1,model2,freeze,fold,prob,value with values in [0, 1]")
    _in_range(path, table, ["value"])
    rows = pd.DataFrame(
        {
            "study": _text(HIDDEN_REPRESENTATIONS, table),
            "dataset": table["target"],
            "fold": _folds(path, table),
            "freeze": _mapped(path, table, "freeze", {"freezeTrue": True, "freezeFalse": False}).astype(bool),
            "key": _mapped(path, table, "model1", SOURCES),
            "against": _mapped(path, table, "model2", SOURCES),
            "measure": _mapped(path, table, "prob", _PROB),
            "value": table["value"],
        }
    )
    order = ["dataset", "key", "against", "freeze", "fold", "measure"]
    _once(path, rows, order)
    return rows.sort_values(order, ignore_index=True)


def gains(auc: pd.DataFrame, cca: pd.DataFrame) -> pd.DataFrame:
    """The rows of `cca_probes` that compare a fine-tuned model with its source, with `gain`, where nothing was frozen.

    `gain` = (AUC fine-tuned - AUC from random) / AUC from random, of the same target and fold.

    Args:
        auc: rows of `auc_runs`.
        cca: rows of `cca_probes`.

    Raises:
        ValueError: when a run that a row needs is not in `auc`.
    """
    values = auc.get("best_val_auroc", pd.Series(dtype="float64")).reindex(auc.index)
    if "best_val_auroc_weighted" in auc:
        values = values.fillna(auc["best_val_auroc_weighted"])
    known = auc.assign(auc=values)[~auc["freeze"]].set_index(["dataset", "source", "fold"])["auc"]
    own = ~cca["freeze"].fillna(True) & (cca["against"].map(SOURCES) == cca["source"])
    rows = cca[own].reset_index(drop=True)
    tuned, random = (
        known.reindex(pd.MultiIndex.from_arrays([rows["dataset"], source, rows["fold"]])).to_numpy()
        for source in (rows["source"], ["random"] * len(rows))
    )
    gain = pd.Series(tuned / random - 1, index=rows.index)
    if gain.isna().any():
        lost = rows[gain.isna()].iloc[0]
        raise ValueError(
            f"the AUC of {lost['key']} or of random, fold {lost['fold']}, is not in the AUC rows: read the AUC.csv of "
            "the same targets and folds"
        )
    return rows.assign(gain=gain)


def feature_reuse_runs(results: str | Path, axes: Mapping[str, Mapping[str, Any]], task: str) -> pd.DataFrame:
    """One row per `NAME/metrics_results.json` below a folder: as `frames.runs`, sorted by name.

    NAME is `PREFIX[_tul_N][-run_K]`. Columns: `study`, `key` (the name), the axes given for its prefix, `seed` (K,
    missing where it is not named), `transfer_up_to_layer` (N: the study's own count) and `test_...` under our metric
    ids; `knn_val_...` of a k-NN test become `test_knn_...`, for they too are of the test part. All are rounded to 3
    decimals (the loss to 5). `roc_auc` becomes `test_auroc_ovo` where the task is multiclass, else `test_auroc`; where
    a class is missing from the test part the study writes 0.5 for it, which cannot be told here.

    Args:
        results: the study's `results` folder.
        axes: prefix of a name -> the axes that the study's file does not tell, as `{"dataset": ..., "model": ...}`.
        task: `binary`, `multiclass` or `multilabel`.

    Raises:
        LookupError: when there is no such file.
        ValueError: when a name, a metric or a value is another than the study writes.
    """
    if task not in _ROC_AUC:
        raise ValueError(f"task '{task}' is none of {', '.join(_ROC_AUC)}")
    paths = sorted(Path(results).glob("*/metrics_results.json"))
    if not paths:
        raise LookupError(f"{results} has no NAME/metrics_results.json: name the study's results folder")
    rows = [_named(path, axes) | _metrics_results(path, _ROC_AUC[task]) for path in paths]
    frame = pd.DataFrame([{"study": FEATURE_REUSE, **row} for row in rows])
    return frame.astype({"seed": "Int64", "transfer_up_to_layer": "Int64", "study": "str", "key": "str"})


def _named(path: Path, axes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    name = path.parent.name
    parts = re.fullmatch(r"(?P<prefix>.+?)(_tul_(?P<upto>-?\d+))?(-run_(?P<run>\d+))?", name)
    if parts is None or parts["prefix"] not in axes:
        known = ", ".join(sorted(axes)) or "none"
        raise ValueError(f"{path} is of '{name}', whose axes are not given: there are those of {known}")
    numbers = {"seed": parts["run"], "transfer_up_to_layer": parts["upto"]}
    return {"key": name, **axes[parts["prefix"]], **{k: None if v is None else int(v) for k, v in numbers.items()}}


def _metrics_results(path: Path, roc_auc: str) -> dict[str, float]:
    content = json.loads(path.read_text())
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} holds no metrics: a flat object of names and numbers is expected")
    ids = {**FEATURE_REUSE_METRICS, "roc_auc": roc_auc}
    starts = {"test_": "test_", "knn_val_": "test_knn_"}
    found = {}
    for name, value in content.items():
        start = next((start for start in starts if name.startswith(start)), "")
        metric = ids.get(name.removeprefix(start)) if start else None
        if metric is None or isinstance(value, bool) or not isinstance(value, int | float):
            known = ", ".join(f"test_{each}" for each in ids)
            raise ValueError(f"{path}: {name} = {value!r} is no metric of the study; expected are {known}, knn_val_...")
        found[starts[start] + metric] = float(value)
    return found


def _table(path: str | Path, columns: Sequence[str], form: str) -> pd.DataFrame:
    """A table with exactly these columns and no missing value."""
    table = pd.read_csv(path, float_precision="round_trip")
    if list(table.columns) != list(columns):
        raise ValueError(f"{path} has the columns {','.join(map(str, table.columns))}; expected is {form}")
    if table.empty:
        raise ValueError(f"{path} has no rows; expected is {form}")
    missing = table.isna().any(axis="columns")
    if missing.any():
        raise ValueError(f"{path}, line {int(missing.to_numpy().argmax()) + 2}: a value is missing; expected is {form}")
    return table


def _in_range(path: str | Path, table: pd.DataFrame, columns: Sequence[str]) -> None:
    for name in columns:
        numbers = pd.to_numeric(table[name], errors="coerce")
        wrong = ~numbers.between(0, 1 + 1e-9)  # a correlation of 1 may exceed it by a rounding
        if wrong.any():
            place = int(wrong.to_numpy().argmax())
            raise ValueError(f"{path}, line {place + 2}: {name} = {table[name].iloc[place]} is no number in [0, 1]")


def _folds(path: str | Path, table: pd.DataFrame) -> pd.Series:
    """`fold3` -> 3."""
    return _mapped(path, table, "fold", {f"fold{number}": number for number in range(1, 6)}).astype("int64")


def _mapped(path: str | Path, table: pd.DataFrame, name: str, known: Mapping[str, Any]) -> pd.Series:
    values = table[name].map(known)
    if values.isna().any():
        place = int(values.isna().to_numpy().argmax())
        raise ValueError(f"{path}, line {place + 2}: {name} '{table[name].iloc[place]}' is none of {', '.join(known)}")
    return values.astype("str") if isinstance(next(iter(known.values())), str) else values


def _models(path: str | Path, table: pd.DataFrame, name: str) -> pd.DataFrame:
    """`source` and `freeze` of each model: a source's name, or `TARGET-SOURCE-freezeTrue|False`."""
    found = table[name].str.extract(f"^{_MODEL.pattern}$")
    bare = table[name].isin(list(SOURCES))
    wrong = found["source"].isna() & ~bare
    if wrong.any():
        place = int(wrong.to_numpy().argmax())
        raise ValueError(
            f"{path}, line {place + 2}: {name} '{table[name].iloc[place]}' is neither {', '.join(SOURCES)} nor "
            "TARGET-SOURCE-freezeTrue or -freezeFalse"
        )
    source = found["source"].where(~bare, table[name]).map(SOURCES).astype("str")
    return pd.DataFrame(
        {"source": source, "freeze": found["freeze"].map({"True": True, "False": False}).astype("boolean")}
    )


def _once(path: str | Path, rows: pd.DataFrame, columns: Sequence[str]) -> None:
    twice = rows.duplicated(list(columns))
    if twice.any():
        place = int(twice.to_numpy().argmax())
        which = ", ".join(f"{name} {rows[name].iloc[place]}" for name in columns)
        raise ValueError(f"{path}, line {place + 2}: {which} is there twice; delete one of the lines")


def _text(value: str, like: pd.DataFrame) -> pd.Series:
    return pd.Series(value, index=like.index, dtype="str")
