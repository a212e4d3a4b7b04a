"""What a network costs to use, cut at each depth: time of a forward pass, and memory of a pass or a training step.

Parameters and multiply-accumulates are counted by `models.count`; what a whole training took is in the cells' records.
"""

import weakref
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sweeper import models
from sweeper.cell import NEUTRAL, Network

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Time of one forward pass of one batch, and under what it was measured."""

    latency_ms: float
    """The median over the measurements, in milliseconds for the whole batch."""
    latency_ms_min: float
    latency_ms_max: float
    measurements: int
    passes: int
    """Forward passes that one measurement is the mean of: several where one is too short to be timed alone."""
    batch: int
    threads: int
    """CPU threads within an operation."""
    device: str
    """As torch calls it: on a GPU its product name, on a CPU `cpu`."""


def latency(model: nn.Module, images: Tensor, *, threads: int = 1, warm_up: int = 10, seconds: float = 1.0) -> Latency:
    """How long the model takes for these images, in evaluation mode and without gradients.

    Timed by `torch.utils.benchmark`, which waits for the device before and after each measurement. The model is used in
    the precision and on the device that it and the images have; it is left in the mode that it was in.

    Args:
        images: (batch, channels, height, width), on the model's device.
        threads: CPU threads, >= 1.
        warm_up: passes before the first measurement, >= 1: the first allocate memory and choose algorithms.
        seconds: to measure for, > 0; at least one measurement is made, however long it takes.

    Raises:
        ValueError: settings out of range, or a model on another device than the images.
    """
    if min(threads, warm_up) < 1 or not seconds > 0:
        raise ValueError(
            f"latency needs at least 1 thread, 1 pass to warm up and more than 0 seconds, not {threads}, {warm_up} and "
            f"{seconds:g}"
        )
    from torch.utils.benchmark import Timer  # here, where a time is taken: it looks for a compiler of CUDA, and says so

    _check_device(model, images)
    was_training = model.training
    timer = Timer("model(images)", globals={"model": model.eval(), "images": images}, num_threads=threads)
    with torch.inference_mode():
        timer.timeit(warm_up)
        found = timer.blocked_autorange(min_run_time=seconds)
    model.train(was_training)
    return Latency(
        latency_ms=found.median * 1e3,
        latency_ms_min=min(found.times) * 1e3,
        latency_ms_max=max(found.times) * 1e3,
        measurements=len(found.times),
        passes=found.number_per_run,
        batch=len(images),
        threads=threads,
        device=torch.cuda.get_device_name(images.device) if images.device.type == "cuda" else images.device.type,
    )


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Most bytes of tensors that exist at one time: weights, buffers, the images and all that is computed."""

    forward_bytes: int
    """In a forward pass in evaluation mode, without gradients."""
    training_bytes: int
    """In a step of training once the optimizer has its state: forward, loss, backward, update."""


def count_memory(
    network: Network,
    *,
    classes: int,
    size: int = 224,
    batch: int = 32,
    optimizer: MakeOptimizer = torch.optim.AdamW,
) -> Memory:
    """The memory that a network's tensors need in single precision, found on shapes alone, whatever device runs it.

    Counted are the storages of the tensors that torch's operations return, while they live; not what an operation uses
    within itself (a convolution's workspace), nor what an allocator rounds up and holds back, so that a device shows
    more. Attention is counted in its plain form, with all its scores, which fused kernels do not keep: of a transformer
    a device may show less.

    Args:
        classes: of the head, >= 2.
        size: height and width of the images in pixels.
        batch: images at once.
        optimizer: makes what updates the weights; AdamW keeps two numbers for each, SGD none.

    Raises:
        ValueError: when the model is unknown, cannot be cut at this depth, or cannot take such images; and torch's own,
            when batch norm would have a single value for a channel: use a batch of at least 2.
    """
    if wrong := models.problem(network, size):
        raise ValueError(wrong)
    with torch.device("meta"):
        model = models.build(network, classes=classes, size=size)
        images, labels = torch.empty(batch, 3, size, size), torch.zeros(batch, dtype=torch.long)
        with torch.no_grad(), _Living(model, images) as living:
            model.eval()(images)
        updates = _updates(model, optimizer)
        _train(model, images, labels, updates)  # makes the optimizer's state
        with _Living(model, images, labels, *_state(updates)) as training:
            _train(model, images, labels, updates)
    return Memory(forward_bytes=living.most, training_bytes=training.most)


def cut_at(network: Network, depth: int) -> Network:
    """The network cut at a depth; one that is cut where nothing is slimmed yet is not slimmed."""
    if network.slim is None or depth >= network.slim:
        return replace(network, depth=depth)
    return replace(network, depth=depth, slim=None, slim_factor=NEUTRAL["slim_factor"])


def costs(
    network: Network,
    *,
    classes: int,
    size: int = 224,
    batch: int = 32,
    memory_batch: int | None = None,
    device: str | torch.device = "cpu",
    threads: int = 1,
    seconds: float = 1.0,
) -> dict[str, Any]:
    """What one network costs: `Cost`'s counts, `Memory`'s bytes, and `Latency`'s times and settings.

    Args:
        batch: images of the passes that are timed.
        memory_batch: images of the passes whose memory is counted; None is `batch`.
        device: where time is measured, as `cuda`.
        threads: as in `latency`, like `seconds`.

    Raises:
        ValueError: as `count_memory` and `latency`.
    """
    counts = models.count(network, classes=classes, size=size)
    memory = count_memory(network, classes=classes, size=size, batch=memory_batch or batch)
    model = models.build(network, classes=classes, size=size).to(device)
    images = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    time = latency(model, images, threads=threads, seconds=seconds)
    return {**asdict(counts), **asdict(memory), **asdict(time)}


class _Living(TorchDispatchMode):
    """Counts the bytes of the storages that it is given, and of those made within it from then until they die."""

    def __init__(self, model: nn.Module, *given: Tensor) -> None:
        super().__init__()
        self.now = 0
        self.most = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()
        for tensor in (*model.parameters(), *model.buffers(), *given):
            self._meet(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._meet(leaf)
        return made

    def _meet(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self._known:
            self._known.add(storage)
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._forget, storage.nbytes())

    def _forget(self, size: int) -> None:
        self.now -= size


def _updates(model: nn.Module, make: MakeOptimizer) -> torch.optim.Optimizer:
    return make([each for each in model.parameters() if each.requires_grad])


def _state(updates: torch.optim.Optimizer) -> list[Tensor]:
    return [each for state in updates.state.values() for each in state.values() if isinstance(each, Tensor)]


def _train(model: nn.Module, images: Tensor, labels: Tensor, updates: torch.optim.Optimizer) -> None:
    """One step, which leaves nothing behind but weights and the optimizer's state."""
    functional.cross_entropy(model.train()(images), labels).backward()
    updates.step()
    updates.zero_grad(set_to_none=True)


def _check_device(model: nn.Module, images: Tensor) -> None:
    places = {each.device for each in model.parameters()}
    if places and places != {images.device}:
        raise ValueError(f"the images are on {images.device} and the model on {', '.join(sorted(map(str, places)))}")
