"""Images a second of what probes have made of a stored state, against a plain loop of the same model and batch.

It prints and judges no time; it does insist that both ways come to the same values. Run it as a script, which needs no
Ray, or with `pytest -m benchmark -n0 -s tests/benchmarks/bench_probes.py`:

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_probes.py [--model resnet10t] [--size 64] [--images 1024]

"Loop" is the least that anyone would write: batches of 256 through the model, pooled outputs of its blocks kept in
lists. "Tapped" is what an actor does with each batch; "both grains" keeps the outputs of blocks and of layers, pooled
and by patches, in the same pass. Actors of a pool are as many such processes. The repeats alternate: all meet the same
machine.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]
else:
    import pytest

    pytestmark = pytest.mark.benchmark

from bench_loop import surroundings

from sweeper import models
from sweeper.cell import Network
from sweeper.data.loading import Part, normalise
from sweeper.probes.tapped import Tapped

_BATCH = 256


def test_pieces_against_a_plain_loop() -> None:
    main(["--images", "64", "--size", "32", "--repeats", "1"])


def main(arguments: list[str]) -> None:
    """Prints the images a second of each way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="resnet10t")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(f"\n{surroundings(torch.device('cpu'))}; 1 thread; {chosen.repeats} repeats")
    part = _part(chosen.images, chosen.size)
    with tempfile.TemporaryDirectory() as folder:
        tapped = _tapped(Path(folder) / "best.safetensors", chosen.model, chosen.size)
    both = {"block": [tapped.pooled, tapped.patches], "layer": [tapped.pooled, tapped.patches]}
    ways: Mapping[str, Callable[[], list[np.ndarray]]] = {
        "loop": lambda: _loop(tapped, part),
        "tapped": lambda: _pieces(tapped, part, {"block": [tapped.pooled]}),
        "both grains": lambda: _pieces(tapped, part, both),
    }
    found = {name: way() for name, way in ways.items()}  # warm, and the same values
    for name in ("tapped", "both grains"):
        for one, other in zip(found["loop"], found[name], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(chosen.repeats):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    print(f"{chosen.model}, {chosen.images} images of {chosen.size} px, median (min to max) images a second")
    for name, each in seconds.items():
        rate = [chosen.images / value for value in each]
        ratio = statistics.median(seconds["loop"]) / statistics.median(each)
        print(
            f"  {name:12} {statistics.median(rate):8.1f} ({min(rate):.1f} to {max(rate):.1f}), {ratio:.2f} of the loop"
        )


def _part(images: int, size: int) -> Part:
    pixels = np.random.default_rng(0).integers(0, 256, (images, size, size, 3), dtype=np.uint8)
    names = [str(number) for number in range(images)]
    return Part(  # type: ignore[arg-type]
        pixels=pixels, rows=np.arange(images), labels=np.zeros(images, np.int64), names=names, patients=names
    )


def _tapped(path: Path, model: str, size: int) -> Tapped:
    torch.manual_seed(0)
    network = Network(model=model)
    state = models.build(network, classes=2, size=size).state_dict()
    save_file(state, path, metadata={"mean": json.dumps([0.5] * 3), "std": json.dumps([0.5] * 3)})
    return Tapped(path, network, size=size, device=torch.device("cpu"))


def _loop(tapped: Tapped, part: Part) -> list[np.ndarray]:
    """The pooled outputs of the blocks, kept by plain hooks."""
    kept: list[list[np.ndarray]] = []
    model, hooks = tapped.model, []
    for block in models.blocks(model, "block"):
        kept.append([])
        keep = kept[-1].append
        hooks.append(
            model.get_submodule(block.tap).register_forward_hook(
                lambda module, inputs, output, keep=keep: keep(models.pool(model, output).numpy())
            )
        )
    with torch.inference_mode():
        for first in range(0, len(part), _BATCH):
            images = part.tensor(np.arange(first, min(first + _BATCH, len(part))))
            model(normalise(images, [0.5] * 3, [0.5] * 3))
    for hook in hooks:
        hook.remove()
    return [np.concatenate(block) for block in kept]


def _pieces(tapped: Tapped, part: Part, keeps: Mapping) -> list[np.ndarray]:
    """What an actor keeps, batch by batch: the pooled outputs of the blocks come first."""
    kept: list[list[np.ndarray]] = []
    for first in range(0, len(part), _BATCH):
        blocks = tapped.see(part.tensor(np.arange(first, min(first + _BATCH, len(part)))), keeps)
        kept.append([values[0].cpu().numpy() for values in blocks["block"]])
    return [np.concatenate(block) for block in zip(*kept, strict=True)]


if __name__ == "__main__":
    main(sys.argv[1:])
