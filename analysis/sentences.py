"""An answer in words, as a person may act on it: what to use, how sure that is, and what has not been ruled out.

Every number comes from `answer`; nothing is computed here.
"""

from collections.abc import Iterator

import pandas as pd

from analysis.answer import Answer
from analysis.names import name_metric
from analysis.table import as_words
from sweeper.data import DATASETS

_OPEN = ("chosen", "cannot be told apart", "better on the test part", "not tested")
_NO_PATIENTS = "each image is its own patient"  # as a data set says that its files do not tell patients
_MEANING = {
    "source": "where the starting weights come from",
    "depth": "how many of the network's first blocks are kept (all: uncut)",
    "blocks": "how many of the first blocks receive the source's weights",
    "rest": "what the other blocks start from",
    "frozen": "how many of the first blocks are not trained",
    "slim": "how many of the first blocks keep their width",
    "lr": "the learning rate",
}
_FEW = 4  # settings or values that a sentence names


def headline(answer: Answer) -> str:
    """What to use, its test score with interval, and the comparison with the next best, in two or three sentences."""
    if not answer.is_chosen:
        return f"{_whom(answer)} the data cannot say what to use: {_why_not(answer)}."
    first = answer.settings.iloc[0]
    if not answer.family:
        score = f"test {name_metric(answer.metric)} {_score(first, answer)}"
        return f"{_whom(answer)} a single setting was run, so that there is nothing to compare it with: {score}."
    rank = f", the best of {len(answer.settings)} settings on the validation images"
    said = f"{_whom(answer)} use {first['label']}{rank}: test {name_metric(answer.metric)} {_score(first, answer)}."
    return f"{said} {_against_next(answer)}"


def certainty(answer: Answer) -> str:
    """`sure`, `tie` or `unknown`: whether the chosen setting is told apart from the next best."""
    if not answer.is_chosen or not answer.family:
        return "unknown"
    return {"worse": "sure", "not tested": "unknown"}.get(answer.settings["verdict"].iloc[1], "tie")


def details(answer: Answer) -> list[str]:
    """Further sentences: how all other settings compare, what is left of each axis, and what the interval lacks."""
    return [*_counts(answer), *_left_of_axes(answer), *_missed(answer), *_cautions(answer)]


def meanings(answer: Answer) -> str:
    """What the axes are that tell its settings apart, in a sentence; empty where none of them needs it."""
    said = [f"{axis} is {_MEANING[axis]}" for axis in answer.axes if axis in _MEANING]
    return f"{'; '.join(said)}.".capitalize() if said else ""


def p_value(value: float) -> str:
    """As `p = 0.012`, two digits."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _whom(answer: Answer) -> str:
    return f"For {answer.dataset}{f' ({answer.condition})' if answer.condition else ''}"


def _why_not(answer: Answer) -> str:
    first = answer.settings.iloc[0]
    if first["missing"] > 0:
        return "no setting has all of its cells yet, so that none can be chosen fairly; finish the grid"
    return f"no setting has a validation {name_metric(answer.metric)}, since a class is absent there"


def _score(row: pd.Series, answer: Answer) -> str:
    if pd.isna(row["test"]):
        return f"undefined, since {row['reason'] or 'a class is absent'}"
    seeds = f"{row['seeds']} seed{'s' if row['seeds'] > 1 else ''}"
    of = (
        f"{row['folds']} folds, {seeds}"
        if row["folds"] > 1
        else f"{seeds}, {answer.patients} test patient{'s' if answer.patients != 1 else ''}"
    )
    if pd.isna(row["low"]):
        return f"{row['test']:.3f} ({of}; no interval: {row['reason']})"
    return f"{row['test']:.3f} (95 % interval {row['low']:.3f} to {row['high']:.3f}; {of})"


def _against_next(answer: Answer) -> str:
    row = answer.settings.iloc[1]
    who = f"The next best on the validation images, {row['label']},"
    if row["verdict"] == "not tested":
        return f"{who} could not be compared with it: {row['reason']}."
    gap = "level with it" if row["behind"] == 0 else f"{abs(row['behind']):.3f} {_side(row)} it"
    interval = f"95 % interval of the lead {signed(row['behind_low'])} to {signed(row['behind_high'])}"
    judged = {
        "cannot be told apart": "the data cannot tell these two apart",
        "worse": "the data do tell them apart",
    }.get(row["verdict"], "on the test images the next best is the better one: do not rely on this choice")
    tests = f"{p_value(row['p_holm'])}, Holm's correction for {answer.family} comparisons"
    return f"{who} is {gap} on the test images ({interval}; {tests}): {judged}."


def _side(row: pd.Series) -> str:
    return "behind" if row["behind"] > 0 else "ahead of"


def _counts(answer: Answer) -> Iterator[str]:
    if not answer.is_chosen or answer.family < 2:
        return
    counts = answer.settings["verdict"].iloc[1:].value_counts()
    words = {
        "worse": "worse than the chosen one beyond chance",
        "cannot be told apart": "not told apart from it",
        "better on the test part": "better than it on the test images",
        "not tested": "not tested",
    }
    said = [f"{counts[verdict]} {text}" for verdict, text in words.items() if verdict in counts]
    yield f"Of the {answer.family} other settings: {'; '.join(said)}."


def _left_of_axes(answer: Answer) -> Iterator[str]:
    """What the tests have not ruled out of each axis."""
    rows = answer.settings
    open_rows = rows[rows["verdict"].isin(_OPEN)]
    if not answer.is_chosen or answer.family < 1:
        return
    for axis in answer.axes:
        words = dict.fromkeys(as_words(rows[axis].sort_values()))
        left = dict.fromkeys(as_words(open_rows[axis].sort_values()))
        gone = [word for word in words if word not in left]
        if not gone:
            yield f"{axis}: none of {_listed(list(words))} is ruled out."
        elif len(left) == 1:
            yield f"{axis}: {next(iter(left))}; every setting with {_listed(gone)} is worse beyond chance."
        else:
            yield f"{axis}: {_listed(list(left))} remain; every setting with {_listed(gone)} is worse beyond chance."


def _missed(answer: Answer) -> Iterator[str]:
    """What difference a study of this size would have found."""
    if certainty(answer) == "tie" and not pd.isna(least := answer.settings["detectable"].iloc[1]):
        yield (
            f"A true lead of {least:.3f} over the next best would be found in four of five such studies (80 % power, "
            "before Holm's correction); a smaller one is more often missed."
        )


def _cautions(answer: Answer) -> Iterator[str]:
    first = answer.settings.iloc[0]
    if first["seeds"] == 1:
        yield "One seed: how much another training run would change the score is not in the interval."
    if first["folds"] == 1:
        yield "One split: how much other training patients would change the score is not in the interval."
    if _NO_PATIENTS in DATASETS[answer.dataset].patients:
        yield "Patients are not known, each image counts as one: if some have several images, intervals are too narrow."
    incomplete = int((answer.settings["missing"] > 0).sum())
    if incomplete:
        yield f"{incomplete} of {len(answer.settings)} settings lack cells and cannot be chosen or tested yet."
    if undefined := int(answer.settings["undefined"].sum()):
        name = name_metric(answer.metric)
        yield f"{undefined} cells have no {name}: a class that it needs is absent from their part."


def _listed(words: list[str]) -> str:
    shown = words if len(words) <= _FEW else [*words[: _FEW - 1], f"{len(words) - _FEW + 1} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
