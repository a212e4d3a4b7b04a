"""The report of a study as one page of HTML that opens offline: the answer first, then everything it rests on.

Texts are made in `sentences`, numbers in `answer` and `account`; this puts them into `page.html.j2`.
"""

import base64
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from analysis import account, frames, look, sentences
from analysis.answer import ERROR, Answer, answers
from analysis.names import drop_keys, name_metric, name_sources
from analysis.rates import trials
from analysis.table import as_words, setting_axes
from sweeper import last_start, store
from sweeper.data import DATASETS
from sweeper.last_start import Start
from sweeper.metric import METRICS
from sweeper.site import Site

_LOCAL = "http://127.0.0.1:5000"
"""Where `mlflow ui` serves a SQLite file."""
_MOST_RUNS = 2000
"""Rows of the table of runs: a browser bears no more; runs.parquet has them all."""
_TITLES = {
    "scores": "Test scores of all cells: mean and sd over seeds and folds",
    "probes": "What the trained models have in common with their start, block by block",
    "rates": "What each learning rate came to",
}


def write_page(study: str, out: Path, site: Site, files: Sequence[Path]) -> Path:
    """`report.html` in a folder, and in MLflow as the study's report, with the files beside it.

    Args:
        files: of `report.report`: tables, figures, and the numbers behind them.

    Raises:
        LookupError: when there is no such study, or none of its cells is finished.
        ValueError: when cells cannot be compared, as images have changed between them.
    """
    path = out / "report.html"
    path.write_text(page(study, site, files), encoding="utf-8")
    store.patiently(lambda: store.log_report(site, study, [path, *files]), site)
    return path


def page(study: str, site: Site, files: Sequence[Path]) -> str:
    """The page's text."""
    cells = frames.runs(study, site)
    if cells.empty:
        raise LookupError(f"no cell of study '{study}' is finished at {site.tracking}: run its file first")
    begun = last_start.read(site, study)
    named = drop_keys(name_sources(cells, site))
    found = answers(named, _test_predictions(study, site))
    tried = trials(study, site)
    models, devices = account.speed(site, study)
    leaks = account.leakage(site, study)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        study=study,
        question=begun.question.splitlines() if begun and begun.question else [],
        command=begun.command if begun else None,
        answers=[_shown(each, leaks) for each in found],
        progress=account.progress(cells, site, study, begun),
        error=ERROR,
        grid=account.grid_rows(named),
        fixed=account.fixed_axes(named),
        figures=_figures(files),
        searches=account.searches(tried if tried.empty else drop_keys(name_sources(tried, site))),
        failures=account.failures(site, study),
        leakage=leaks,
        cost=account.cost(cells, begun),
        models=models,
        devices=devices,
        protocol=account.protocol(cells),
        methods=methods(named, found, begun),
        metrics=[{"id": name, "info": METRICS[name]} for name in dict.fromkeys(each.metric for each in found)],
        versions=account.versions(cells, site),
        runs=_runs(named),
        hidden_runs=max(len(named) - _MOST_RUNS, 0),
        mlflow=_mlflow(site),
        link=f"{_mlflow(site)['address']}/#/experiments/{store.experiment_id(site, study)}/runs/",
        version=version("sweeper"),
    )


def methods(cells: pd.DataFrame, found: Sequence[Answer], begun: Start | None) -> str:
    """A paragraph that a paper could carry."""
    sets = "; ".join(f"{name} ({DATASETS[name].cite})" for name in cells["dataset"].unique())
    sizes = " or ".join(as_words(cells["size"].drop_duplicates().sort_values()))
    folds = sorted(cells["fold"].unique())
    parts = "the official parts" if folds == [0] else f"folds {', '.join(map(str, folds))}"
    metrics = " and ".join(dict.fromkeys(name_metric(each.metric) for each in found))
    how = "; ".join(dict.fromkeys(each.how for each in found))
    families = sorted({each.family for each in found})
    counted = f"{families[0]}" if len(families) == 1 else f"{families[0]} to {families[-1]}"
    declared = f" of {begun.declared} declared" if begun else ""
    return (
        f"We fine-tuned {', '.join(cells['model'].unique())} on {sets} at {sizes} pixels, on {parts} "
        f"(protocol {', '.join(cells['protocol'].unique())}), starting from "
        f"{', '.join(as_words(cells['source'].drop_duplicates()))}, with {cells['seed'].nunique()} "
        f"seed{'s' if cells['seed'].nunique() > 1 else ''}: {len(cells)}{declared} models. "
        f"{' '.join(account.protocol(cells))} We report {metrics} of the test part as means over folds of means "
        f"over seeds. Intervals are 95 %, from: {how}. Each setting was compared with the chosen one, two-sided; per "
        f"data set and condition the {counted} comparisons are one family, corrected by Holm's method (1979) at an "
        "error of "
        f"{ERROR:g}."
    )


def _test_predictions(study: str, site: Site) -> dict[str, pd.DataFrame]:
    rows = frames.predictions(study, site)
    return {str(key): own for key, own in rows[rows["part"] == "test"].groupby("key")}


def _shown(answer: Answer, leaks: Sequence[account.Row]) -> dict[str, Any]:
    """An answer as the template takes it."""
    rows = answer.settings
    low, high = _span(rows[["low", "test"]].min().min()), _span(rows[["high", "test"]].max().max())
    width = (high - low) or 1.0
    places = {name: 100 * (rows[name] - low) / width for name in ("low", "test", "high")}
    shown = rows.assign(**{f"at_{name}": place for name, place in places.items()}).to_dict("records")
    return {
        "dataset": answer.dataset,
        "condition": answer.condition,
        "headline": sentences.headline(answer),
        "certainty": sentences.certainty(answer),
        "details": [*sentences.details(answer), *leak_cautions(answer, leaks)],
        "meanings": sentences.meanings(answer),
        "metric": name_metric(answer.metric),
        "how": answer.how,
        "family": answer.family,
        "rows": shown,
        "scale": (low, high),
    }


def leak_cautions(answer: Answer, leaks: Sequence[account.Row]) -> list[str]:
    """What a reader of the first lines must know of the test part."""
    splits = [row["found"] for row in leaks if row["dataset"] == answer.dataset]
    of_test = [found for found in ([text for text in each if " of test " in text] for each in splits) if found]
    if not of_test:
        return []
    what = "; ".join(of_test[0])
    if len(splits) > 1:
        what = f"in {len(of_test)} of {len(splits)} splits images of test stand in another part as well, or nearly so"
    return [f"Leakage: {what}; scores may be too high."]


def _span(value: float) -> float:
    return 0.0 if pd.isna(value) else float(value)


def _figures(files: Sequence[Path]) -> list[dict[str, str]]:
    """Pictures with the numbers behind them, both as part of the page."""
    stems = [path.stem for path in files if path.suffix == ".png"]
    file_of = {path.name: path for path in files}
    return [
        {
            "stem": stem,
            "title": _TITLES.get(stem, stem),
            "width": str(round(_width(file_of[f"{stem}.png"]) * _POINTS / look.DOTS_PER_INCH)),
            "picture": _inline(file_of[f"{stem}.png"], "image/png"),
            "numbers": _inline(file_of[f"{stem}.csv"], "text/csv"),
        }
        for stem in stems
    ]


_POINTS = 96
"""CSS pixels of an inch."""


def _width(path: Path) -> int:
    """Of a PNG file, in its own pixels: bytes 16 to 20 (PNG specification, section 11.2.2)."""
    return int.from_bytes(path.read_bytes()[16:20], "big")


def _inline(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _runs(cells: pd.DataFrame) -> list[dict[str, Any]]:
    """One row per cell, with its run."""
    axes = list(dict.fromkeys(["dataset", *(axis for axis in setting_axes(cells)), "fold", "seed"]))
    words = {axis: as_words(cells[axis]) for axis in axes}
    rows = []
    for number, row in enumerate(cells.head(_MOST_RUNS).to_dict("records")):
        metric = DATASETS[str(row["dataset"])].metric
        known: Mapping[str, Any] = {axis: words[axis][number] for axis in axes}
        rows.append(
            {"axes": known, "run_id": row["run_id"], "key": row["key"], "lr": row["lr_found"]}
            | {"test": row.get(f"test_{metric}"), "val": row.get(f"best_val_{metric}"), "metric": metric}
        )
    return rows


def _mlflow(site: Site) -> dict[str, str]:
    if site.tracking.startswith("http"):
        return {"address": site.tracking.rstrip("/"), "command": ""}
    return {"address": _LOCAL, "command": f"mlflow ui --backend-store-uri {site.tracking}"}
