"""Tables as LaTeX: rules, escaped names, means with their sd, missing values, units."""

import re

import numpy as np
import pandas as pd

from analysis.latex import as_latex

TABLE = pd.DataFrame(
    {
        "dataset": ["bus_i & 5%", "knee"],
        "point": pd.array([12, None], dtype="Int64"),
        "auroc_mean": [0.86112, np.nan],
        "auroc_sd": [0.0131, np.nan],
        "lr_found": [3.16e-4, 0.001],
        "parameters": [6_311_362.0, 23_512_130.0],
        "macs": [2.87e9, 4.12e9],
        "reason": ["", None],
        "n": [3, 1],
    }
)
END = r" \\"


def lines_of(table: pd.DataFrame) -> list[list[str]]:
    """The cells of each row, its end taken off."""
    return [line.removesuffix(END).split(" & ") for line in as_latex(table).splitlines() if line.endswith(END)]


def test_a_table_has_booktabs_rules_and_a_column_for_each_title() -> None:
    text = as_latex(TABLE)
    assert re.findall(r"\\(\w+rule)", text) == ["toprule", "midrule", "bottomrule"]
    assert text.startswith(r"\begin{tabular}{lrrrrrlr}")
    assert text.rstrip().endswith(r"\end{tabular}")
    titles = ["point", "auroc", "lr found", "parameters", "macs", "reason", "n"]
    assert lines_of(TABLE.drop(columns="dataset"))[0] == titles


def test_a_mean_stands_with_its_sd_and_what_is_missing_is_a_dash() -> None:
    first, second = lines_of(TABLE.drop(columns="dataset"))[1:]
    assert first == ["12", r"0.861 $\pm$ 0.013", r"$3.2 \times 10^{-4}$", "6.31 M", "2.87 G", "", "3"]
    assert second == ["--", r"-- $\pm$ --", "0.001", "23.51 M", "4.12 G", "--", "1"]


def test_what_latex_reads_as_a_command_is_escaped() -> None:
    assert r"bus\_i \& 5\% & 12 &" in as_latex(TABLE)


def test_a_text_that_says_mean_and_sd_takes_their_place() -> None:
    table = pd.DataFrame({"target": ["knee"], "mean": [91.5], "sd": [1.08], "n": [5], "text": ["91.5 ± 1.08"]})
    assert lines_of(table) == [["target", "n", "text"], ["knee", "5", r"91.5 $\pm$ 1.08"]]
    assert lines_of(table.drop(columns="text"))[1] == ["knee", r"91.500 $\pm$ 1.080", "5"]
