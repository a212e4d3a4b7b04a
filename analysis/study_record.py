"""What the figures of a study are made of, and the command that all of the studies' modules share.

The rows are those of `frames`, each cell once, with two columns more: `start`, which names how a cell begins, and the
data set's own test score. Which figures there are is each study's business.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from analysis import frames, look
from analysis.names import drop_keys, name_sources
from analysis.plates import Lack, Plate, origin, save
from analysis.table import table
from sweeper.site import Site

_PAIR = ("other", "other_block")
"""Columns of probe rows that older records lack: what a cell was compared with, where that is no start."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """The finished cells of one or several studies, and tables of others."""

    runs: pd.DataFrame
    """Rows of `frames.runs`, each cell once, with `start`, and `metric` and `value`: its data set's test score."""
    studies: tuple[str, ...] = ()
    site: Site | None = None
    """Where epochs and probes are read, once they are asked for; None: there are none."""
    published: Path | None = None
    """A folder with tables of others."""
    settings: dict[str, float] = field(default_factory=dict)
    """Numbers that the command was given, as a threshold."""

    @cached_property
    def probes(self) -> pd.DataFrame:
        """Rows of `frames.probes`, each once, with `start`, `other` and `other_block`."""
        if self.site is None:
            return pd.DataFrame(columns=["key", "probe", "block", "metric", "value", "start", *_PAIR])
        rows = frames.probes(list(self.studies), self.site)
        if "probe" not in rows:
            rows = rows.assign(probe="", probe_key="", block=None, metric="", value=float("nan")).head(0)
        rows = rows.assign(**{name: None for name in _PAIR if name not in rows})
        rows = rows.drop_duplicates(["key", "probe_key", "block", "metric", *_PAIR], ignore_index=True)
        return self._named(rows)

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """Rows of `frames.epochs`, each once, with `start`."""
        if self.site is None:
            return pd.DataFrame(columns=["key", "epoch", "start"])
        rows = frames.epochs(list(self.studies), self.site).drop_duplicates(["key", "epoch"], ignore_index=True)
        return self._named(rows)

    def of_probe(self, *names: str) -> pd.DataFrame:
        """The rows of the first of these probes that the study has; none where it has none of them."""
        found = next((name for name in names if (self.probes["probe"] == name).any()), names[0])
        return self.probes[self.probes["probe"] == found]

    def _named(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows with the names that sources and starts have among the runs."""
        known = self.runs.set_index("key")
        return rows.assign(**{name: rows["key"].map(known[name]) for name in ("source", "start")})


def apart(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The rows with `also`: the axes besides `seed` and `fold` that differ within groups, as `, fraction 0.1`.

    Grouped by `also` too, no mean is over cells of different settings, whatever else a study varies.
    """
    kept = [name for name in by if name in rows]
    told: list[str] = []
    for axis in frames.varying(rows):
        if axis in (*kept, "seed", "fold"):
            continue
        if len(rows) and rows.groupby([*kept, *told], dropna=False)[axis].nunique(dropna=False).max() > 1:
            told.append(axis)
    texts = [[f", {axis} {value}" for value in rows[axis].astype(object).fillna("all")] for axis in told]
    return rows.assign(also=pd.Series(["".join(each) for each in zip(*texts, strict=True)] or "", index=rows.index))


Maker = Callable[[Record], "Plate | Lack"]
"""Makes one figure or table of a study, or says what it lacks."""


def read(studies: Sequence[str], site: Site, *, published: Path | None = None, **settings: float) -> Record:
    """The record of one or several studies.

    Raises:
        LookupError: when there is no such study, or none of their cells is finished.
    """
    runs = frames.runs(list(studies), site)
    if runs.empty:
        raise LookupError(f"no cell of study '{studies[0]}' is finished at {site.tracking}: run its file first")
    once = drop_keys(name_sources(runs.drop_duplicates("key", ignore_index=True), site))
    scores = table(once, by=["key"])[["key", "metric", "mean"]].rename(columns={"mean": "value"})
    return Record(
        runs=once.merge(scores, on="key", validate="one_to_one").assign(start=start_names(once)),
        studies=tuple(studies),
        site=site,
        published=published,
        settings=settings,
    )


def start_names(frame: pd.DataFrame) -> pd.Series:
    """How each cell begins, in words.

    `random`; `SOURCE`, all of it; `SOURCE statistics` (ST, Mean Var); `SOURCE to N, rest statistics` (WT-ST-N) and
    `SOURCE to N, rest random` (weight transfusion); with `, slim from N` (its first N blocks keep their width), and
    `Gabor filters` where the first layer begins with a bank of them.
    """
    rows = frame.to_dict("records")
    return pd.Series([_start(row) for row in rows], index=frame.index, dtype="str")


def _start(row: dict) -> str:
    name, blocks = row["source"], row["blocks"]
    rest = "statistics" if row["rest"] == "stats" else row["rest"]
    if name != look.BASELINE and pd.notna(blocks):
        bare = " without norm" if row["norms"] == "reset" else ""
        name = f"{name} {rest}" if blocks == 0 else f"{name} to {blocks}{bare}, rest {rest}"
    if isinstance(row["gabor"], str):
        name = "Gabor filters" if name == look.BASELINE else f"{name}, Gabor filters"
    return f"{name}, slim from {row['slim']}" if pd.notna(row["slim"]) else name


def make(makers: Sequence[Maker], record: Record, out: Path, command: str) -> Iterator[str]:
    """Makes and saves each figure, and yields a line for each: its files, or why it is left out."""
    for maker in makers:
        made = maker(record)
        if isinstance(made, Lack):
            yield f"left out: {made.name}: {made.reason}"
            continue
        paths = save(made, out, origin(made, record.runs, command))
        left_out = f"; left out of it: {made.without}" if made.without else ""
        yield f"{made.name}: {', '.join(path.suffix[1:] for path in paths)} in {out}{left_out}"


def run(
    study: str, makers: Sequence[Maker], arguments: Sequence[str] | None = None, *, published: Sequence[Maker] = ()
) -> int:
    """Makes the figures of one of the published studies from a record, and returns the exit code.

    Args:
        study: the module's name.
        published: what is made of a folder with the study's own tables, where it may go in.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        prog=f"python -m analysis.{study}", description="Writes the figures and tables that the study's rows allow."
    )
    parser.add_argument("study", nargs="*" if published else "+", help="a study's name, as in Sweep(name=...)")
    parser.add_argument("out", type=Path, help="a folder")
    parser.add_argument("--threshold", type=float, default=0.91, help="that curves are to reach; 0.91 unless told")
    if published:
        parser.add_argument("--published", type=Path, help="a folder with the study's own tables, as AUC.csv")
    chosen = parser.parse_args(arguments)
    folder = getattr(chosen, "published", None)
    try:
        record = _recorded(chosen.study, folder, chosen.threshold)
        wanted = [*(makers if chosen.study else ()), *(published if folder else ())]
        for line in make(wanted, record, chosen.out, f"python -m analysis.{study} {shlex.join(arguments)}"):
            print(line)
    except (OSError, LookupError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _recorded(studies: Sequence[str], published: Path | None, threshold: float) -> Record:
    if published is not None and not published.is_dir():
        raise ValueError(f"there is no folder {published}; name the one that holds the study's own tables")
    if studies:
        return read(studies, Site.from_environment(), published=published, threshold=threshold)
    if published is None:
        raise ValueError("name a study, or a folder with the study's own tables by --published")
    runs = pd.DataFrame(columns=["study", "key", "run_id", "commit", "fingerprint", "start", "metric", "value"])
    return Record(runs=runs, published=published, settings={"threshold": threshold})
