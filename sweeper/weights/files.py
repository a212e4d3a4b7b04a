"""Reads files of named tensors, safetensors or torch's, and what their metadata say.

Nothing is unpickled but tensors, and nothing is repaired; the names are as the file has them.
"""

import pickle
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

State = dict[str, Tensor]


def read_tensors(path: Path) -> State:
    """The tensors of a file by their names there.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it cannot be read, or holds anything but named tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of weights at {path}")
    return dict(_read_once(path, path.stat().st_mtime_ns))


def read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself; nothing for a torch file, which cannot."""
    if not _is_safe(path):
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read as a file of weights: {error}") from error


@lru_cache(maxsize=2)
def _read_once(path: Path, changed: int) -> State:
    """A file's tensors, read once for all the cells that this process trains one after another."""
    try:
        found = load_file(path) if _is_safe(path) else torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a file of weights: {_why(error, path)}") from error
    if not isinstance(found, Mapping) or not found:
        raise ValueError(f"{path} holds a {type(found).__name__}; it must hold a table of named tensors")
    other = [str(name) for name, value in found.items() if not isinstance(value, Tensor)]
    if other:
        raise ValueError(f"{path} must hold named tensors only, but '{other[0]}' is none: save the inner state alone")
    return dict(found)


def _why(error: Exception, path: Path) -> str:
    if isinstance(error, pickle.UnpicklingError) and zipfile.is_zipfile(path):  # torch's own format, whole
        return "it holds a pickled object, as a whole module; save its state_dict() instead"
    return str(error).partition("\n")[0] or type(error).__name__


def _is_safe(path: Path) -> bool:
    return path.suffix == ".safetensors"
