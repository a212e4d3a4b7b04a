"""A study file in a folder of its own, and the command on it."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from conftest import environment_of, make_site

from sweeper.site import Site

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder with a study file and a site of its own."""

    site: Site
    file: Path

    def start(self, *more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "sweeper.run", str(self.file), *more],
            cwd=ROOT,
            env=os.environ | environment_of(self.site),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *more: str) -> tuple[int, str, str]:
        process = self.start(*more)
        out, err = process.communicate(timeout=500)
        return process.returncode, out, err


def place(folder: Path, text: str, data: Path | None = None) -> Place:
    (folder / "study.py").write_text(text)
    return Place(site=make_site(folder, data), file=folder / "study.py")
