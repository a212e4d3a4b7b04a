"""`python -m sweeper.data.export_split DATASET OUT [...]`: writes one split as a table that `files:OUT` reads back.

No image is decoded. A table says where it comes from in its first line, or in the metadata of parquet, with a
fingerprint of its rows, by which a changed one is refused.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sweeper.cell import Images
from sweeper.data import DATASETS
from sweeper.data.dataset import read_index
from sweeper.data.folds import split
from sweeper.data.split_files import COLUMNS, MARK, fingerprint
from sweeper.site import Site


def export(images: Images, root: Path, path: Path) -> str:
    """Writes the split that `images` names and returns the fingerprint of its rows.

    Args:
        root: the site's data folder.
        path: `.parquet`, or anything else as CSV; a file that is there is replaced.

    Raises:
        FileNotFoundError: when the set is not there.
        ValueError: when it cannot be cut so.
    """
    dataset = DATASETS[images.dataset]
    index, _ = read_index(dataset, root)
    parts = split(
        index, fold=images.fold, fraction=images.fraction, shots=images.shots, protocol=images.protocol, root=root,
        name=images.dataset, several=dataset.task == "multilabel",
    )  # fmt: skip
    table = index[["image", "label", "patient"]].assign(part=parts)[list(COLUMNS)]
    axes = ("dataset", "protocol", "fold", "fraction", "shots")
    about = {axis: getattr(images, axis) for axis in axes} | {"fingerprint": fingerprint(table)}
    (_write_parquet if path.suffix == ".parquet" else _write_text)(table, about, path)
    return about["fingerprint"]


def _write_text(table: pd.DataFrame, about: Mapping[str, Any], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# {MARK}{json.dumps(about)}\n")
        table.to_csv(file, index=False)


def _write_parquet(table: pd.DataFrame, about: Mapping[str, Any], path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = pyarrow.Table.from_pandas(table, preserve_index=False)
    known = {**(rows.schema.metadata or {}), MARK.strip().encode(): json.dumps(about).encode()}
    parquet.write_table(rows.replace_schema_metadata(known), path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exports one split and returns the exit code: 0 done, 1 error."""
    parser = argparse.ArgumentParser(prog="python -m sweeper.data.export_split", description="Writes a split.")
    parser.add_argument("dataset", help="a name in sweeper.data.DATASETS, folder:PATH or table:PATH")
    parser.add_argument("out", type=Path, help="the table to write, .parquet or .csv")
    parser.add_argument("--protocol", default="sweeper", help="as the axis of this name")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--fraction", type=float, default=1.0)
    parser.add_argument("--shots", type=int, default=None)
    options = vars(parser.parse_args(arguments))
    out = options.pop("out")
    try:
        known = export(Images(**options), Site.from_environment().data, out)
    except (OSError, ValueError, LookupError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(f"{out}: fingerprint {known}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
