"""What the README says of the code is so: files, environment variables, exit codes, probes, the study that it shows."""

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from sweeper import probe_types
from sweeper.grid import Sweep, check
from sweeper.problems import probe_problems_of, problems

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SOURCES = [path for name in ("sweeper", "analysis") for path in sorted((ROOT / name).rglob("*.py"))]
COMMANDS = [path for path in SOURCES if "sys.exit(main())" in path.read_text()]
OTHERS = {"LOGNAME", "USER", "RAY_AUTH_MODE"}
"""Read, but set by others: who this is, and how Ray was started, which `cluster.yaml` and `slurm.sh` say."""
PLACELESS = ("analysis.explain", "analysis.roc_versus_prc")
"""Commands that ask for no place."""
ARGUMENTS = {
    "sweeper.run": ["study.py"],
    "sweeper.check": ["study"],
    "sweeper.data": [],
    "sweeper.data.export_split": ["digits", "out.csv"],
    "sweeper.cluster": ["status"],
    "analysis.throughput": ["study"],
}
OF_SLURM = {"PATH", "PWD", "TMPDIR", "USER"}


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def tables(title: str) -> dict[str, list[str]]:
    """First cell of each row -> the others."""
    rows = [line.strip("|").split("|") for line in section(title).splitlines() if line.startswith("|")]
    return {first.strip(): [each.strip() for each in rest] for first, *rest in rows}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")


def main_of(path: Path) -> Callable[..., int]:
    elsewhere = re.search(r"^    from (\S+) import main$", path.read_text(), re.MULTILINE)
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return importlib.import_module(elsewhere[1] if elsewhere else name).main


def read_from_the_environment(path: Path) -> Iterator[str]:
    """Names that are asked of `os.environ`, there or by a function of the file that is given the name."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Subscript(value=ast.Attribute(attr="environ"), slice=ast.Constant(value=str(name))):
                yield name
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="environ"), attr="get"), args=[asked, *_]):
                if isinstance(asked, ast.Constant):
                    yield asked.value
            case ast.Compare(left=ast.Constant(value=str(name)), comparators=[ast.Attribute(attr="environ")]):
                yield name
            case ast.Constant(value=str(name)) if re.fullmatch(r"SWEEPER_[A-Z]+", name):
                yield name


def codes_of(function: Callable[..., int], seen: set[Callable[..., int]]) -> set[int]:
    """The numbers that a command's function returns, itself or by functions whose numbers it returns."""
    if function in seen:
        return set()
    seen.add(function)
    found: set[int] = set()
    tree = ast.parse(inspect.getsource(function))
    for node in (each.value for each in ast.walk(tree) if isinstance(each, ast.Return) and each.value is not None):
        for each in ast.walk(node):
            match each:
                case ast.Constant(value=int(code)) if type(code) is int:
                    found.add(code)
                case ast.Call(func=ast.Name(id=name)) if inspect.isfunction(other := function.__globals__.get(name)):
                    if other.__annotations__.get("return") is int:
                        found |= codes_of(other, seen)
    return found


def test_the_tree_names_every_file_of_both_packages_and_every_study() -> None:
    tree = section("The tree")
    listed = set(re.findall(r"[\w/]+\.py\b", tree))
    files = {path.name for name in ("sweeper", "analysis", "search_spaces") for path in (ROOT / name).glob("*.py")}
    assert listed == files - {"__init__.py"}
    rooms = {path.parent.name for name in ("sweeper", "analysis") for path in (ROOT / name).glob("*/__init__.py")}
    assert {f"{room}/" for room in rooms} <= set(re.findall(r"\w+/", tree))


def test_the_table_of_variables_has_those_that_the_code_reads() -> None:
    asked = {name for path in SOURCES for name in read_from_the_environment(path)} - OTHERS
    shell = set(re.findall(r"\$\{?([A-Z_]+)", (ROOT / "slurm.sh").read_text())) - OF_SLURM
    asked |= {name for name in shell if not name.startswith("SLURM_")}
    told = [name for first in tables("Where things lie") for name in re.findall(r"`([A-Z_]{4,})`", first)]
    assert sorted(told) == sorted(asked)


@pytest.mark.parametrize("path", COMMANDS, ids=module_of)
def test_the_table_of_exit_codes_has_those_that_the_command_returns(path: Path) -> None:
    rows, name = tables("Where things lie"), module_of(path)
    told = rows["those of `analysis`" if name.startswith("analysis.") else f"`{name}`"]
    said = {int(code) for code, meaning in zip(rows["exit code"], told, strict=True) if meaning}
    assert said == codes_of(main_of(path), set()) | {2}  # argparse's, of every command


def test_every_command_that_is_named_is_there() -> None:
    named = set(re.findall(r"python -m ((?:sweeper|analysis)[\w.]*)", README))
    assert named <= {module_of(path) for path in COMMANDS}


def test_every_probe_is_named() -> None:
    probes = {each.__name__ for each in get_args(probe_types.Probe)}
    assert set(re.findall(r"`([A-Z]\w+)\(", " ".join(tables("Probes")))) == probes


def test_the_study_that_it_shows_has_nothing_wrong() -> None:
    block = re.search(r"```python\n(from sweeper import .*?)```", README, re.DOTALL)
    assert block
    names: dict[str, Sweep] = {}
    exec(block[1], names)
    check([names["sweep"]], problems, probe_problems_of)
    assert len(names["sweep"].cells) == 2 * 5 * 3 * (2 + 5 + 17)


@pytest.mark.parametrize("path", [each for each in COMMANDS if module_of(each) not in PLACELESS], ids=module_of)
def test_a_place_that_cannot_be_is_said_in_a_sentence_by_every_command(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study.py").write_text("")
    monkeypatch.setenv("SWEEPER_STORAGE", "s3://bucket")
    given = ARGUMENTS.get(module_of(path), ["study", "out"])
    assert main_of(path)([str(tmp_path / each) if "." in each else each for each in given]) == 1
    assert "SWEEPER_STORAGE is s3://bucket, but files are read as those of a folder" in capsys.readouterr().err
