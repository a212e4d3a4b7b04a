"""The settings of somebody else's JSON file, taken one by one, so that what nobody understood is known in the end.

It knows no file's meaning; mistakes are gathered, not raised, so that a reader can name all of them at once.
"""

import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from sweeper.rules import is_int, is_number, nearest


class Settings:
    """The settings of a file by their path, as `optimizer.params.lr`, or `views[0].size` in a list of objects.

    What is taken is gone from `left`.
    """

    def __init__(self, path: Path) -> None:
        self.left = _leaves(json.loads(path.read_text()))
        self.wrong: list[str] = []

    def take(self, path: str, kind: type, *default: Any) -> Any:
        """A setting; where it is missing the default, or for want of one, and where it has another kind, a mistake."""
        if path not in self.left and default:
            return default[0]
        if path not in self.left:
            self.wrong.append(f"  {path} is missing")
            return kind()
        value = self.left.pop(path)
        fits = {int: is_int, float: is_number}.get(kind, lambda value: isinstance(value, kind))
        if not fits(value):
            self.refuse(path, value, f"it must be of type {kind.__name__}")
            return kind()
        return value

    def need(self, path: str, value: Any, why: str) -> None:
        """A setting that can be honoured only with one value, which it has when it is missing."""
        found = self.left.pop(path, value)
        if found != value:
            self.refuse(path, found, why)

    def choose(self, path: str, table: Mapping[str, Any], default: Any) -> Any:
        """What a table has for a name."""
        missing = path not in self.left
        name = self.take(path, str)
        if name not in table and not missing:
            self.refuse(path, name, nearest(name, table))
        return table.get(name, default)

    def refuse(self, path: str, value: Any, why: str) -> None:
        self.wrong.append(f"  {path} = {json.dumps(value)}: {why}")

    def drop(self, pattern: str) -> None:
        """Leaves out what a pattern matches."""
        self.left = {path: value for path, value in self.left.items() if not fnmatchcase(path, pattern)}

    def refuse_the_rest(self, harmless: Iterable[str]) -> None:
        """Counts as mistakes what was not taken and is not among the patterns of what changes nothing."""
        for pattern in harmless:
            self.drop(pattern)
        for path, value in self.left.items():
            self.refuse(path, value, "this setting is unknown here")


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        inner = {f"{path}.{key}" if path else str(key): each for key, each in value.items()}
    elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        inner = {f"{path}[{number}]": each for number, each in enumerate(value)}
    else:
        return {path: value}
    return {name: leaf for place, each in inner.items() for name, leaf in _leaves(each, place).items()}
