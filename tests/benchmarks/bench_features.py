"""Seconds of a rate search over a frozen backbone: features once for all rates and epochs, against the ordinary way.

It prints and judges no time; it does insist that both ways come to the same losses. Run it as a script, which needs
neither pytest nor Ray, or with `pytest -m benchmark -n0 -s tests/benchmarks/bench_features.py`:

    python tests/benchmarks/bench_features.py [--model resnet18] [--size 64] [--images 512] [--rates 8] [--epochs 10]

The ordinary way runs the backbone forwards over every batch of every epoch; its weights are frozen and in evaluation
mode as well. Both include validation, a quarter as many images, after every epoch.
"""

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]
else:
    import pytest

    pytestmark = pytest.mark.benchmark

from bench_loop import surroundings

from sweeper import models
from sweeper.cell import Network, Recipe
from sweeper.data.loading import Loaded, Part
from sweeper.finetune.features import Shelf
from sweeper.finetune.loop import epochs
from sweeper.finetune.optim import freeze_blocks
from sweeper.finetune.view import View

_CLASSES = 8


class Opaque(nn.Module):
    """A classifier of which nobody knows that it has a backbone."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, images: Tensor) -> Tensor:
        return self.inside(images)


def test_features_against_the_ordinary_way() -> None:
    main(["--images", "128", "--rates", "3", "--epochs", "4"])


def main(arguments: list[str]) -> None:
    """Prints the seconds of both ways."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rates", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(f"\n{surroundings(torch.device(chosen.device))}; 1 thread; {chosen.rates} rates x {chosen.epochs} epochs")
    data = _invent(chosen.images, chosen.size)
    _search(chosen, data, None, opaque=True, rates=1, number=1)  # to warm up
    with tempfile.TemporaryDirectory() as folder:
        shelf = Shelf(folder=Path(folder), fingerprint="invented")
        slow, losses = _search(chosen, data, None, opaque=True, rates=chosen.rates, number=chosen.epochs)
        fast, same = _search(chosen, data, shelf, opaque=False, rates=chosen.rates, number=chosen.epochs)
    if not all(math.isclose(one, other, rel_tol=1e-4) for one, other in zip(losses, same, strict=True)):
        raise RuntimeError(f"the losses are {losses} and {same}")
    print(
        f"{chosen.model} {chosen.size} px, {chosen.images} images: {slow:.2f} s and {fast:.2f} s, {slow / fast:.1f} x"
    )


def _search(
    chosen: argparse.Namespace, data: Loaded, shelf: Shelf | None, *, opaque: bool, rates: int, number: int
) -> tuple[float, list[float]]:
    """Seconds of all rates, models being built left out, and the last loss of each."""
    device, spent, losses = torch.device(chosen.device), 0.0, []
    view = View(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), device=device)
    for lr in np.geomspace(1e-4, 1e-2, rates):
        torch.manual_seed(0)
        network = Network(model=chosen.model)
        model = models.build(network, classes=_CLASSES, channels=3, size=chosen.size).to(device)
        frozen = freeze_blocks(model, network, 99)
        began = time.perf_counter()
        done = list(
            epochs(
                Opaque(model) if opaque else model,
                data,
                Recipe(epochs=number),
                lr=float(lr),
                augment="none",
                seed=0,
                view=view,
                frozen=frozen,
                shelf=shelf,
            )
        )
        spent += time.perf_counter() - began
        losses.append(done[-1].train_loss)
    return spent, losses


def _invent(images: int, size: int) -> Loaded:
    """Noise with a class's brightness, in memory."""
    draws = np.random.default_rng(0)

    def part(number: int) -> Part:
        labels = np.arange(number) % _CLASSES
        noise = draws.integers(128, size=(number, size, size, 3), dtype=np.uint8)
        pixels = noise + (16 * labels).astype(np.uint8)[:, None, None, None]
        names = [str(index) for index in range(number)]
        return Part(pixels=pixels, rows=np.arange(number), labels=labels, names=names, patients=names)

    train, val = part(images), part(images // 4)
    classes = tuple(f"class {index}" for index in range(_CLASSES))
    return Loaded(
        train=train, val=val, test=val, classes=classes, task="multiclass", metric="accuracy", fingerprint="invented"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
