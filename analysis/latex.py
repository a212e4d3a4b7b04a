"""A table as LaTeX for a paper: booktabs rules, means with their sd in one column, numbers as short as may be.

Nothing is computed; the CSV beside it has full precision. The paper needs `\\usepackage{booktabs}`.
"""

from numbers import Integral

import pandas as pd

_MISSING = "--"
_PLUS_MINUS = r"$\pm$"
_LARGE = ((1e9, "G"), (1e6, "M"))
"""Parameters and multiply-accumulates are told in these units."""


def as_latex(found: pd.DataFrame) -> str:
    """A `tabular` with a line per row, in the order of rows and columns.

    `NAME_mean` with `NAME_sd`, and `mean` with `sd`, become one column, unless a column `text` says the two already.
    Numbers have 3 digits behind the point, large ones M or G, small ones a power of ten; `--` is missing, also the sd
    of a single cell. Whole numbers stay whole, except large ones.
    """
    told = found.drop(columns=["mean", "sd"]) if {"text", "mean", "sd"} <= set(found) else found
    pairs = {name: _sd_of(name) for name in map(str, told) if _sd_of(name) in told}
    numbers = {str(name) for name in told if _is_number(told[name])}
    shown = pd.DataFrame(index=told.index)
    for name in map(str, told):
        if name in pairs:
            values = zip(told[name], told[pairs[name]], strict=True)
            shown[_title(name)] = [f"{_number(mean)} {_PLUS_MINUS} {_number(sd)}" for mean, sd in values]
        elif name not in pairs.values():
            shown[_title(name)] = [_number(value) for value in told[name]] if name in numbers else told[name]
    titles = {name: _title(name) for name in map(str, told)}
    texts = pd.Index([titles[name] for name in map(str, told) if name not in {*numbers, *pairs.values()}])
    style = shown.style.hide(axis="index").format(escape="latex", na_rep=_MISSING, subset=texts)
    columns = "".join("l" if name in texts else "r" for name in shown)
    lines = style.format_index(escape="latex", axis="columns").to_latex(hrules=True, column_format=columns)
    return lines.replace("±", _PLUS_MINUS)


def _sd_of(name: str) -> str:
    return "sd" if name == "mean" else f"{name.removesuffix('_mean')}_sd" if name.endswith("_mean") else ""


def _title(name: str) -> str:
    return name.removesuffix("_mean").replace("_", " ")


def _is_number(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _number(value: float) -> str:
    if pd.isna(value):
        return _MISSING
    for unit, letter in _LARGE:
        if abs(value) >= unit:
            return f"{value / unit:.2f} {letter}"
    if isinstance(value, Integral):
        return str(value)
    if value == 0 or abs(value) >= 1e-3:
        return f"{value:.3f}"
    digits, power = f"{value:.1e}".split("e")
    return rf"${digits} \times 10^{{{int(power)}}}$"
