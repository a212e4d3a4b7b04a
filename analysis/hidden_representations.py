"""`python -m analysis.hidden_representations STUDY OUT`: the figures of Juodelyte et al. 2023 from a study's rows.

With `--published FOLDER` the authors' own tables go in, alone or beside a study, and the same figures come out. AUC,
layer-wise similarity, similarity of mistakes, similarity against gain, first-layer filters. Nothing is tested here.
"""

import sys
from collections.abc import Sequence

import pandas as pd

from analysis import look
from analysis.plates import Lack, Plate, keys_of, lacking
from analysis.probe_figures import asked, filter_pictures, of_cells, of_pairs, others
from analysis.published_representations import PUBLISHED
from analysis.representation_plates import HEAD_FIRST, auc_plate, gain_plate, layer_plate, mean_plate, mistake_plate
from analysis.study_record import Record, apart, run


def auc_rows(record: Record) -> pd.DataFrame:
    """A row per cell: `key`, `dataset`, `fold`, `seed`, `source`, `also`, `freeze`, `metric` and `auc` in [0, 1].

    Weighted over classes by their positives, as in the study, where that is recorded; else the mean over classes. For
    two classes the two are equal.
    """
    runs = record.runs[record.runs["depth"].isna()] if len(record.runs) else record.runs
    metric = next((name for name in ("test_auroc_weighted", "test_auroc") if name in runs), None)
    if metric is None:
        return pd.DataFrame(columns=["key", "dataset", "fold", "seed", "source", "also", "freeze", "metric", "auc"])
    runs = apart(runs.assign(freeze=runs["head_epochs"] > 0), ["dataset", "source", "freeze"])
    known = runs[["key", "dataset", "fold", "seed", "source", "also", "freeze"]]
    return known.assign(metric=metric, auc=runs[metric])


def auc(record: Record) -> Plate | Lack:
    """The box plot of AUC."""
    rows = auc_rows(record)
    if rows.empty:
        return lacking("auc", "AUROC of a test part", "every cell of a target with two or more ranked classes has it")
    return auc_plate("auc", rows.assign(source=rows["source"] + rows["also"]), keys=keys_of(rows))


def auc_mean(record: Record) -> Plate | Lack:
    """The table of AUC."""
    rows = auc_rows(record)
    if rows.empty:
        return lacking("auc_mean", "AUROC of a test part", "see auc")
    return mean_plate("auc_mean", rows.assign(source=rows["source"] + rows["also"]), keys=keys_of(rows))


def similarity_finetuned(record: Record) -> Plate | Lack:
    """Layer by layer, what fine-tuning left of the source."""
    name = "layers_finetuned"
    rows = _similar(of_cells(record.of_probe("cca", "cka")))
    rows = rows[(rows["head_epochs"] == 0) & (rows["source"] != look.BASELINE)] if len(rows) else rows
    if rows.empty:
        return lacking(name, "rows of the probe cca or cka", "declare it among the sweep's probes")
    rows = rows.assign(pair=rows["source"] + ": before and after" + asked(rows))
    return layer_plate(name, _told_apart(rows, "pair", ["layer"]), keys=keys_of(rows))


def similarity_pairs(record: Record) -> Plate | Lack:
    """Layer by layer, how alike networks from different sources are."""
    name = "layers_sources"
    rows = _similar(of_pairs(record.of_probe("cca", "cka")))
    if rows.empty:
        return lacking(name, "rows that compare two cells", 'declare Cca(across="source") among the sweep\'s probes')
    source = record.runs.set_index("key")["source"]
    pairs = [_pair(*each) for each in zip(rows["source"], rows["other"].map(source), rows["tuned"], strict=True)]
    head = rows["head_epochs"].map(lambda number: HEAD_FIRST if number else "") + others(rows, record)
    rows = rows.assign(pair=pd.Series(pairs, index=rows.index) + head + asked(rows))
    return layer_plate(name, _told_apart(rows, "pair", ["layer", "source", "head_epochs"]), keys=keys_of(rows))


def mistakes(record: Record) -> Plate | Lack:
    """How often networks from two sources are right and wrong on the same images."""
    name = "mistakes"
    rows = record.of_probe("agreement")
    kinds = {"mistake_observed": "observed", "mistake_expected": "if independent"}
    rows = rows[rows["metric"].isin(list(kinds))]
    rows = rows[rows["head_epochs"] == 0] if len(rows) else rows
    if rows.empty:
        return lacking(name, "rows of the probe agreement", 'declare Agreement(across="source") among the probes')
    source = record.runs.set_index("key")["source"]
    pairs = [_pair(*each, False) for each in zip(rows["source"], rows["other"].map(source), strict=True)]
    pair = pd.Series([f", {each}" if len(set(pairs)) > 1 else "" for each in pairs], index=rows.index)
    rows = rows.assign(measure=rows["metric"].map(kinds) + pair + others(rows, record) + asked(rows))
    return mistake_plate(name, _told_apart(rows, "measure", ["source"]), keys=keys_of(rows))


def similarity_gain(record: Record) -> Plate | Lack:
    """Whether what is left of the source goes with what it brought: similarity against gain, layer by layer."""
    name = "similarity_gain"
    rows = _similar(of_cells(record.of_probe("cca", "cka")))
    scores = auc_rows(record)
    scores = scores[~scores["freeze"].astype(bool)]
    known = scores.set_index(["dataset", "fold", "seed", "source"])["auc"]
    rows = rows[(rows["source"] != look.BASELINE) & rows["key"].isin(scores["key"])] if len(rows) else rows
    rows = rows[asked(rows) == asked(rows).iloc[0]] if len(rows) else rows  # of the first settings that were declared
    if rows.empty or not known.index.is_unique:
        return lacking(name, "one cell a target, source, fold and seed with a similarity", "see layers_finetuned")
    places = [rows[axis] for axis in ("dataset", "fold", "seed")]
    tuned, random = (
        known.reindex(pd.MultiIndex.from_arrays([*places, source])).to_numpy()
        for source in (rows["source"], [look.BASELINE] * len(rows))
    )
    told = rows.assign(gain=tuned / random - 1)
    if told["gain"].isna().all():
        return lacking(name, "cell from random weights", "add source='random' on the same folds and seeds")
    return gain_plate(name, told, keys=keys_of(rows, scores[scores["source"] == look.BASELINE]))


def _similar(rows: pd.DataFrame) -> pd.DataFrame:
    """The similarity of each block with itself, by `layer`; neither what chance reads nor other pairs of blocks."""
    own = rows["other_block"].isna() | (rows["other_block"] == rows["block"])
    kept = rows[own & rows["block"].notna() & (rows["metric"] == rows["probe"])]
    return kept.assign(layer=kept["block"].astype("int64"))


def _told_apart(rows: pd.DataFrame, column: str, known: Sequence[str]) -> pd.DataFrame:
    """The rows with a column's names told apart where cells of a name differ in more than seed, fold and the known."""
    return rows.assign(**{column: rows[column] + apart(rows, ["dataset", "metric", column, *known])["also"]})


def _pair(first: str, second: str, tuned: bool) -> str:
    if first == second == look.BASELINE and not tuned:
        return look.BASELINE
    return " and ".join(sorted([first, second])) + (", fine-tuned" if tuned else "")


FIGURES = (auc, auc_mean, similarity_finetuned, similarity_pairs, mistakes, similarity_gain, filter_pictures)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the figures and returns the exit code."""
    return run("hidden_representations", FIGURES, arguments, published=PUBLISHED)


if __name__ == "__main__":
    sys.exit(main())
