"""What tests of `python -m sweeper.data` share: a site of their own, and what the command said."""

import re
from pathlib import Path

import pytest

from sweeper.data.__main__ import main


def data_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder, made below `folder`, of the site that the command finds."""
    for variable, name in {"SWEEPER_DATA": "data", "SWEEPER_CACHE": "cache", "HOME": "home"}.items():
        monkeypatch.setenv(variable, str(folder / name))
    (folder / "data").mkdir()
    return folder / "data"


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
    """What the command prints when it ends with this code."""
    assert main(arguments) == code
    return "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines())


def remark(text: str, topic: str) -> str:
    """What was found on a topic, and the lines below it."""
    found = re.search(rf"^{topic} .*(?:\n +.*)*", text, re.MULTILINE)
    assert found
    return found[0]


def row_of(text: str, name: str) -> list[str]:
    """The cells of the line that begins with a name."""
    return next(re.split(r"\s{2,}", line) for line in text.splitlines() if line.split()[:1] == [name])
