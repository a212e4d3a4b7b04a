"""The names of the ways to cut an image set into train, val and test, and which folds each of them has.

Nothing is cut here: that is the business of `folds`, and of `split_files` where files say it. Only the standard library
is imported, so that a study can be judged at once.
"""

from types import MappingProxyType

from sweeper.rules import nearest

FILES = "files:"
"""What the name of a protocol that holds a path begins with."""
_EACH_FOLD = tuple(range(1, 6))
FOLDS_OF = MappingProxyType(
    {
        "sweeper": (0, *_EACH_FOLD),
        "official_images": (0,),
        "hidden_v2": _EACH_FOLD,
        "random_70_15_15": (0,),
        "random_70_15_15_images": (0,),
        "random_80_10_10": (0,),
        "random_80_10_10_images": (0,),
    }
)
"""Protocol -> its folds; one that has a single split has it as fold 0. Names that end in `_images` do not look at
patients, as the studies did not: what leaks then must be allowed by the sweep."""
_REFUSED = MappingProxyType(
    {
        "hidden_v1": "its validation and its test part are the same images, so that what selects would also be the "
        "score; use 'hidden_v2', or give other parts with 'files:PATH'",
    }
)


def protocol_problem(protocol: str, fold: int) -> str | None:
    """What is wrong with a protocol or with asking it for this fold; None when nothing is."""
    if protocol in _REFUSED:
        return f"protocol '{protocol}' is refused: {_REFUSED[protocol]}"
    if protocol == FILES:
        return "protocol 'files:' names nothing; write files:PATH, of a folder or a table below the data folder"
    if protocol.startswith(FILES):
        return None  # which folds there are is seen when the files are read
    if protocol not in FOLDS_OF:
        return f"protocol '{protocol}' is unknown; {nearest(protocol, [*FOLDS_OF, FILES + 'PATH'])}"
    if fold in FOLDS_OF[protocol]:
        return None
    return f"protocol '{protocol}' has no fold {fold}; it has {', '.join(map(str, FOLDS_OF[protocol]))}"
