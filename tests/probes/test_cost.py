"""Costs of networks: counted memory against torch's own tracker and a closed form, latency against a known wait."""

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributed._tools.mem_tracker import MemTracker

from sweeper import models
from sweeper.cell import Network
from sweeper.probes.cost import MakeOptimizer, Memory, costs, count_memory, cut_at, latency

SMALL = Network(model="resnet18", depth=2)
IMAGES = torch.zeros(3, 3, 8, 8)


def _sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def _tracked(network: Network, size: int, optimizer: MakeOptimizer) -> Memory:
    """As torch's tracker for distributed training counts it, on shapes as well."""
    with torch.device("meta"):
        model = models.build(network, classes=2, size=size)
        images, labels = torch.empty(4, 3, size, size), torch.zeros(4, dtype=torch.long)
        forward, training = MemTracker(), MemTracker()
        forward.track_external(model, images)
        with torch.no_grad(), forward:
            model.eval()(images)
        updates = optimizer(list(model.train().parameters()))
        for second in (False, True):
            if second:
                training.track_external(model, updates, images, labels)
                training.__enter__()
            nn.functional.cross_entropy(model(images), labels).backward()
            updates.step()
            updates.zero_grad()
        training.__exit__(None, None, None)
    peaks = [sum(each["Total"] for each in one.get_tracker_snapshot("peak").values()) for one in (forward, training)]
    return Memory(forward_bytes=peaks[0], training_bytes=peaks[1])


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, _sgd])
@pytest.mark.parametrize("model", ["resnet18", "vit_tiny_patch16_224"])
def test_memory_is_what_torchs_own_tracker_counts(model: str, optimizer: MakeOptimizer) -> None:
    network = Network(model=model, depth=2)
    found = count_memory(network, classes=2, size=32, batch=4, optimizer=optimizer)
    assert found == _tracked(network, 32, optimizer)


def test_memory_that_does_not_grow_with_the_batch_is_that_of_weights() -> None:
    # Of a model without batch norm, whose statistics of channels are as many for any batch.
    network = Network(model="vit_tiny_patch16_224", depth=2)
    one, two, three = (count_memory(network, classes=3, size=32, batch=batch).forward_bytes for batch in (1, 2, 3))
    assert 2 * one - two == 4 * models.count(network, classes=3, size=32).parameters
    assert three - two == two - one


def test_an_optimizer_with_state_needs_two_more_numbers_for_each_weight() -> None:
    parameters = models.count(SMALL, classes=2, size=32).parameters
    with_state, without = (
        count_memory(SMALL, classes=2, size=32, batch=2, optimizer=each).training_bytes
        for each in (torch.optim.AdamW, _sgd)
    )
    assert with_state - without >= 2 * 4 * parameters


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_at_each_depth_the_counts_are_those_of_its_network(depth: int) -> None:
    cut = cut_at(Network(model="resnet18"), depth)
    found, counts = costs(cut, classes=2, size=32, batch=2, seconds=1e-3), models.count(cut, classes=2, size=32)
    assert (found["parameters"], found["macs"]) == (counts.parameters, counts.macs)
    assert (found["batch"], found["threads"], found["device"]) == (2, 1, "cpu")


class _Watched(nn.Module):
    """Waits, and keeps under what it was called."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds
        self.calls: list[tuple[bool, bool, int]] = []

    def forward(self, images: Tensor) -> Tensor:
        time.sleep(self.seconds)
        self.calls.append((self.training, torch.is_grad_enabled(), torch.get_num_threads()))
        return images


def test_latency_is_in_milliseconds_for_one_pass_of_the_batch() -> None:
    found = latency(_Watched(0.02), IMAGES, warm_up=1, seconds=0.1)
    assert 20 <= found.latency_ms_min <= found.latency_ms <= found.latency_ms_max
    assert (found.batch, found.device, found.threads) == (3, "cpu", 1)
    assert found.measurements >= 1


def test_latency_is_measured_in_evaluation_without_gradients_by_the_threads_asked_for() -> None:
    model, before = _Watched(), torch.get_num_threads()
    latency(model, IMAGES, threads=2, warm_up=5, seconds=1e-3)
    assert len(model.calls) > 5
    assert set(model.calls) == {(False, False, 2)}
    assert (model.training, torch.get_num_threads()) == (True, before)


@pytest.mark.parametrize("settings", [{"threads": 0}, {"warm_up": 0}, {"seconds": 0.0}, {"seconds": float("nan")}])
def test_settings_under_which_nothing_can_be_timed_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="latency needs at least 1 thread"):
        latency(_Watched(), IMAGES, **settings)


def test_a_model_on_another_device_than_its_images_is_refused() -> None:
    with pytest.raises(ValueError, match="images are on cpu and the model on meta"):
        latency(nn.Linear(2, 2, device="meta"), IMAGES)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Network(model="resnet18", depth=99), "depth 99 of 'resnet18' is impossible"),
        (Network(model="resnet81"), "resnet81"),
        (Network(model="cbr_tiny"), "size 32 is too small for 'cbr_tiny'"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_in_one_sentence(network: Network, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count_memory(network, classes=2, size=32)


@pytest.mark.gpu
def test_a_gpu_holds_at_least_what_is_counted() -> None:
    counted = count_memory(Network(model="resnet18"), classes=2, size=64, batch=8)
    model = models.build(Network(model="resnet18"), classes=2, size=64).cuda()
    images, labels = torch.zeros(8, 3, 64, 64).cuda(), torch.zeros(8, dtype=torch.long).cuda()
    updates = torch.optim.AdamW(model.parameters())

    def look() -> None:
        with torch.no_grad():
            model.eval()(images)

    def train() -> None:
        nn.functional.cross_entropy(model.train()(images), labels).backward()
        updates.step()
        updates.zero_grad()

    forward_bytes = _most_allocated(look)
    train()  # makes the optimizer's state
    training_bytes = _most_allocated(train)
    assert counted.forward_bytes <= forward_bytes < training_bytes
    assert counted.training_bytes <= training_bytes


def _most_allocated(work: Callable[[], None]) -> int:
    """The most bytes that torch's allocator held meanwhile, of all that lies on the GPU."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def test_a_network_cut_before_it_gets_slim_is_not_slimmed() -> None:
    slim = Network(model="resnet18", slim=2, slim_factor=4)
    assert cut_at(slim, 1) == Network(model="resnet18", depth=1)
    assert cut_at(slim, 3) == Network(model="resnet18", depth=3, slim=2, slim_factor=4)
    found = [models.count(cut_at(slim, depth), classes=2, size=32).parameters for depth in (1, 2, 3, 4)]
    assert found == sorted(found)


def test_memory_may_be_counted_of_another_batch_than_the_one_that_is_timed() -> None:
    found = costs(SMALL, classes=2, size=32, batch=1, memory_batch=4, seconds=0.001)
    assert found["batch"] == 1
    assert found["training_bytes"] == count_memory(SMALL, classes=2, size=32, batch=4).training_bytes
