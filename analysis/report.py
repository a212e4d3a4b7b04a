"""`python -m analysis.report STUDY [OUT]`: a study's table, figures, and one page that says what it came to.

The same record gives the same files. It trains nothing.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis import frames
from analysis.figures import by_block, probe_chart, rate_chart, score_chart
from analysis.latex import as_latex
from analysis.names import name_sources
from analysis.page import write_page
from analysis.panels import save
from analysis.rates import trials
from analysis.table import as_text, as_words, table
from sweeper.axes import SHARED_AXES
from sweeper.metric import describe
from sweeper.site import Site


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a study came to."""

    text: str
    """The table, for a terminal."""
    files: tuple[Path, ...]
    """Table, cells, what their metrics are, and figures, with the numbers behind them."""


def report(study: str, out: Path, site: Site) -> Report:
    """The table of a study; it is written into `out` in full precision, beside the cells, metrics and figures.

    Raises:
        LookupError: when there is no such study, or none of its cells is finished.
    """
    cells = frames.runs(study, site)
    if cells.empty:
        raise LookupError(f"no cell of study '{study}' is finished at {site.tracking}: run its file first")
    out.mkdir(parents=True, exist_ok=True)
    cells.to_parquet(out / "runs.parquet")
    named = name_sources(cells, site)
    found = table(named)
    found.to_csv(out / "table.csv", index=False)
    (out / "table.tex").write_text(as_latex(found), encoding="utf-8")
    _metrics(cells).to_csv(out / "metrics.csv", index=False)
    files = [out / name for name in ("table.csv", "table.tex", "runs.parquet", "metrics.csv")]
    files += save(score_chart(named), out / "scores")
    probed = frames.probes(study, site)
    if not probed.empty and not by_block(probed).empty:
        files += save(probe_chart(name_sources(probed, site)), out / "probes")
    tried = trials(study, site)
    if not tried.empty:
        files += save(rate_chart(name_sources(tried, site)), out / "rates")
    return Report(text=f"{_caption(cells)}\n{as_text(found)}", files=tuple(files))


def _metrics(cells: pd.DataFrame) -> pd.DataFrame:
    """What each score of a cell is: `column`, `id`, `part`, `definition`, `averaging`, `higher` and `source`."""
    known = ((name, describe(name)) for name in map(str, cells))
    rows = [
        {"column": name, "id": each.id, "part": each.part, "definition": each.info.definition}
        | {"averaging": each.info.averaging, "higher": each.info.higher, "source": each.info.source}
        for name, each in known
        if each
    ]
    return pd.DataFrame(rows)


def _caption(cells: pd.DataFrame) -> str:
    """What the table's columns leave open."""
    fixed = [word for axis in ("dataset", "model") if cells[axis].nunique() == 1 for word in as_words(cells[axis][:1])]
    repeated = [axis for axis in SHARED_AXES if cells[axis].nunique() > 1]
    over = f" over {' and '.join(f'{axis}s' for axis in repeated)}" if repeated else ""
    return f"{''.join(f'{word}, ' for word in fixed)}mean ± sd (n){over}; lr_found is the geometric mean"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one study's table, makes its page and returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.report", description="Writes a study's table, figures and page."
    )
    parser.add_argument("study", help="the study's name, as in Sweep(name=...)")
    parser.add_argument("out", nargs="?", type=Path, help="a folder; else the study's own folder in the storage")
    options = parser.parse_args(arguments)
    try:
        site = Site.from_environment()
        out = options.out or site.study(options.study)
        found = report(options.study, out, site)
        page = write_page(options.study, out, site, found.files)
    except (OSError, LookupError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(found.text)
    for path in (page, *found.files):
        print(f"  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
