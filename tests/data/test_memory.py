"""Memory that batches hand on."""

import threading

import numpy as np
import pytest
import torch

from sweeper.data import memory
from sweeper.data.loading import normalise
from sweeper.data.memory import empty


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    memory._FREE.clear()


ENOUGH = 2**18
"""Floats that take as much memory as is kept."""


def floats(number: int = ENOUGH) -> torch.Tensor:
    return empty((number,), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(0, 3), (3, 5, 2), (1030, 1021)])
def test_what_is_asked_for_is_made(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    made = empty(shape, dtype)
    assert (made.shape, made.dtype, made.is_contiguous(), made.data_ptr() % 64) == (shape, dtype, True, 0)


def test_what_nobody_needs_any_more_is_handed_on() -> None:
    first = floats().data_ptr()
    assert floats().data_ptr() == first


def test_what_somebody_still_sees_is_never_handed_on() -> None:
    views = [floats().fill_(number)[10:20].view(2, 5) for number in range(6)]
    arrays = [floats().fill_(number).numpy()[::2] for number in range(6)]
    weight = torch.ones(ENOUGH, requires_grad=True)
    products = [(weight * floats().fill_(number)).sum() for number in range(6)]  # its gradient needs it
    floats().fill_(-1)
    assert [each.unique().tolist() for each in views] == [[number] for number in range(6)]
    assert [np.unique(each).tolist() for each in arrays] == [[number] for number in range(6)]
    gradients = [torch.autograd.grad(each, weight)[0] for each in products]
    assert [each.unique().tolist() for each in gradients] == [[number] for number in range(6)]


def test_bytes_and_floats_of_a_batch_are_both_handed_on() -> None:
    places = set()
    for _ in range(5):
        pixels = empty((4 * ENOUGH + 64,), torch.uint8)
        seen = floats()
        places |= {pixels.data_ptr(), seen.data_ptr()}
    assert len(places) <= 4


def test_little_is_kept() -> None:
    several = [floats() for _ in range(10)]
    del several
    assert len(memory._FREE) == 4


def test_sizes_that_nobody_asks_for_any_more_are_pushed_out() -> None:
    former = [floats(ENOUGH + number) for number in range(4)]
    del former
    several = [floats(2 * ENOUGH) for _ in range(4)]
    del several
    assert {len(each) for each in memory._FREE} == {8 * ENOUGH + 64}


@pytest.mark.parametrize("number", [ENOUGH - 1, 2**26 + 1])
def test_little_and_much_is_not_kept(number: int) -> None:
    floats(number)
    assert not memory._FREE


def test_threads_that_ask_at_once_share_nothing() -> None:
    found: list[bool] = []

    def ask(number: int) -> None:
        for _ in range(50):
            mine = floats().fill_(number)
            found.append(bool((mine == number).all()))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 200
    assert all(found)


def test_normalised_batches_do_not_overwrite_each_other() -> None:
    batches = [
        torch.full((8, 3, 128, 128), number, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
        for number in range(6)
    ]
    found = [normalise(each, (0, 0, 0), (1, 1, 1)) for each in batches]
    assert [(each * 255).round().unique().tolist() for each in found] == [[number] for number in range(6)]
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in found)
