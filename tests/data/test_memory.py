"""Memory that batches hand on."""

import threading

import numpy as np
import pytest
import torch

from sweeper.data import memory
from sweeper.data.loading import normalise
from sweeper.data.memory import empty_floats


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    memory._FREE.clear()


def test_what_is_asked_for_is_made() -> None:
    made = empty_floats((3, 5, 2))
    assert (made.shape, made.dtype, made.is_contiguous(), made.data_ptr() % 64) == ((3, 5, 2), torch.float32, True, 0)


def test_what_nobody_needs_any_more_is_handed_on() -> None:
    first = empty_floats((100,)).data_ptr()
    assert empty_floats((100,)).data_ptr() == first


def test_what_somebody_still_sees_is_never_handed_on() -> None:
    views = [empty_floats((100,)).fill_(number)[10:20].view(2, 5) for number in range(4)]
    arrays = [empty_floats((100,)).fill_(number).numpy()[::2] for number in range(4)]
    weight = torch.ones(100, requires_grad=True)
    products = [(weight * empty_floats((100,)).fill_(number)).sum() for number in range(4)]  # its gradient needs it
    empty_floats((100,)).fill_(-1)
    assert [each.unique().tolist() for each in views] == [[0], [1], [2], [3]]
    assert [np.unique(each).tolist() for each in arrays] == [[0], [1], [2], [3]]
    assert [torch.autograd.grad(each, weight)[0].unique().tolist() for each in products] == [[0], [1], [2], [3]]


def test_little_is_kept() -> None:
    several = [empty_floats((100,)) for _ in range(10)]
    del several
    assert len(memory._FREE) == 2


def test_what_has_another_size_is_given_back() -> None:
    empty_floats((100,))
    empty_floats((50,))
    assert [len(each) for each in memory._FREE] == [50 * 4 + 64]


def test_much_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_LARGEST", 1000)
    empty_floats((251,))
    assert not memory._FREE
    empty_floats((250,))
    assert len(memory._FREE) == 1


def test_threads_that_ask_at_once_share_nothing() -> None:
    found: list[bool] = []

    def ask(number: int) -> None:
        for _ in range(300):
            mine = empty_floats((1000,)).fill_(number)
            found.append(bool((mine == number).all()))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 1200
    assert all(found)


def test_normalised_batches_do_not_overwrite_each_other() -> None:
    batches = [torch.full((2, 3, 8, 8), number, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
               for number in range(5)]  # fmt: skip
    found = [normalise(each, (0, 0, 0), (1, 1, 1)) for each in batches]
    assert [(each * 255).round().unique().tolist() for each in found] == [[0], [1], [2], [3], [4]]
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in found)
