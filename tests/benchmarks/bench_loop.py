"""Images a second of `epochs` against a plain loop that is written for speed alone, both in this very process.

It prints and judges no time; it does insist that both loops come to the same loss. Run it as a script, which needs
neither pytest nor Ray, or with `pytest -m benchmark -n0 -s tests/benchmarks/bench_loop.py`:

    python tests/benchmarks/bench_loop.py [--device cuda] [--threads 1] [--repeats 7] [--plain-optimizer fused]

The plain loop holds the normalised float32 images on the device, as channels_last, and does nothing but train: no
validation, no augmentation, no schedule, no check. The sweep's loop holds uint8 images and does all of its work;
its rate is `Epoch.images_per_second`, which leaves validation out. The repeats alternate: both meet the same machine.
"""

import argparse
import math
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch.nn import functional as F

_ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(_ROOT))
else:
    import pytest

    pytestmark = pytest.mark.benchmark

from sweeper import models  # noqa: E402
from sweeper.cell import Network, Recipe, seed_of  # noqa: E402
from sweeper.data.loading import Loaded, Part, normalise  # noqa: E402
from sweeper.finetune.loop import View, epochs  # noqa: E402

_CLASSES = 8
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_RATE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Case:
    """One network on images of one size."""

    model: str
    size: int
    images: int
    """Of an epoch on a CPU; a GPU gets 16 times as many."""
    batch: int
    amp: Literal["off", "bf16"]


CASES = [
    Case(model=model, size=size, images=images, batch=batch, amp=amp)
    for model, size, images, batch in (
        ("resnet18", 64, 256, 64),
        ("cbr_small", 128, 96, 32),
        ("cbr_mini", 28, 4096, 64),
        ("cbr_mini", 8, 16384, 64),
    )
    for amp in ("off", "bf16")
]


def test_the_loop_against_a_plain_one() -> None:
    main(["--repeats", "5"])


def main(arguments: list[str]) -> None:
    """Prints one line a case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--plain-optimizer", choices=["same", "fused"], default="same")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    device = torch.device(chosen.device)
    print(f"\n{surroundings(device)}; {chosen.threads} threads; {chosen.repeats} repeats")
    print(f"plain loop's optimizer: {chosen.plain_optimizer}")
    print("model       size batch amp    ours/s   plain/s   ratio: median    min    max")
    for case in CASES:
        pairs = compare(case, device, repeats=chosen.repeats, fused=chosen.plain_optimizer == "fused")
        ours, plain = (statistics.median(rates) for rates in zip(*pairs, strict=True))
        ratios = [one / other for one, other in pairs]
        print(
            f"{case.model:11s} {case.size:4d} {case.batch:5d} {case.amp:4s} {ours:9.1f} {plain:9.1f}"
            f"          {statistics.median(ratios):.3f}  {min(ratios):.3f}  {max(ratios):.3f}",
            flush=True,
        )


def compare(case: Case, device: torch.device, *, repeats: int, fused: bool) -> list[tuple[float, float]]:
    """Images a second of both loops, once for each repeat, after an epoch to warm up."""
    data = _invent(case, case.images * (16 if device.type == "cuda" else 1))
    ours, plain = _our_epoch(case, data, device, repeats + 1), _plain_epoch(case, data, device, fused)
    pairs = []
    for repeat in range(repeats + 1):
        first, second = (ours, plain) if repeat % 2 else (plain, ours)
        one, other = first(), second()
        (rate, loss), (plain_rate, plain_loss) = (one, other) if repeat % 2 else (other, one)
        if not math.isclose(loss, plain_loss, rel_tol=0.05):
            raise RuntimeError(f"{case}: after {repeat + 1} epochs the losses are {loss} and {plain_loss}")
        pairs.append((rate, plain_rate))
    return pairs[1:]


def _our_epoch(case: Case, data: Loaded, device: torch.device, number: int) -> Callable[[], tuple[float, float]]:
    view = View(mean=_MEAN, std=_STD, device=device, amp=case.amp)
    recipe = Recipe(epochs=number, batch_size=case.batch, amp=case.amp)
    running = epochs(_network(case, device), data, recipe, lr=_RATE, augment="none", seed=0, view=view)

    def run() -> tuple[float, float]:
        epoch = next(running)
        return epoch.images_per_second, epoch.train_loss

    return run


def _plain_epoch(case: Case, data: Loaded, device: torch.device, fused: bool) -> Callable[[], tuple[float, float]]:
    model = _network(case, device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE, fused=True if fused or device.type == "cuda" else None)
    number = len(data.train)
    images = normalise(data.train.tensor(np.arange(number)), _MEAN, _STD).movedim(1, -1).contiguous().to(device)
    labels = torch.tensor(data.train.labels, device=device)
    shuffle = torch.Generator().manual_seed(seed_of("order", 0))

    def run() -> tuple[float, float]:
        began = time.perf_counter()
        model.train()
        total = torch.zeros((), device=device)
        order = torch.randperm(number, generator=shuffle).to(device)
        for batch in order.tensor_split(math.ceil(number / case.batch)):
            some = images.index_select(0, batch).movedim(-1, 1)  # (batch, 3, size, size), channels_last
            if case.amp == "bf16":
                with torch.autocast(device.type, torch.bfloat16):
                    logits = model(some)
            else:
                logits = model(some)
            loss = F.cross_entropy(logits.float(), labels[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch)
        mean = total.item() / number
        return number / (time.perf_counter() - began), mean

    return run


def _network(case: Case, device: torch.device) -> torch.nn.Module:
    torch.manual_seed(0)
    return models.build(Network(model=case.model), classes=_CLASSES, channels=3).to(device)


def _invent(case: Case, number: int) -> Loaded:
    """Noise with a class's brightness, in memory."""
    draws = np.random.default_rng(0)

    def part(images: int) -> Part:
        labels = np.arange(images) % _CLASSES
        shape = (images, case.size, case.size, 3)
        pixels = draws.integers(128, size=shape, dtype=np.uint8) + (16 * labels).astype(np.uint8)[:, None, None, None]
        names = [str(index) for index in range(images)]
        return Part(pixels=pixels, rows=np.arange(images), labels=labels, names=names, patients=names)

    classes = tuple(f"class {index}" for index in range(_CLASSES))
    small = part(2 * _CLASSES)
    return Loaded(
        train=part(number), val=small, test=small, classes=classes, task="multiclass", metric="accuracy", fingerprint=""
    )


def surroundings(device: torch.device) -> str:
    told = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=_ROOT, capture_output=True, text=True)
    commit = told.stdout.strip() or "unknown"
    about = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in about if line.startswith("model name")]
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else (names or [platform.processor()])[0]
    return f"{hardware}; torch {torch.__version__}; commit {commit}"


if __name__ == "__main__":
    main(sys.argv[1:])
