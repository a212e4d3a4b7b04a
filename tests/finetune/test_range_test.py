"""Range tests on real digits: they train as a training does, and the rate that is read from them is good."""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from conftest import make_site

from sweeper.cell import Cell, LrSearch, make_cell
from sweeper.finetune import close_lane, try_rate
from sweeper.finetune.loop import epochs
from sweeper.finetune.range_test import climb
from sweeper.finetune.training import Start, start
from sweeper.ladder import EXPLODED, rungs, steepest_fall
from sweeper.outcome import Devices, Epoch, RateTrial
from sweeper.site import Site

CELL = make_cell(dataset="digits_0_4", model="cbr_mini", depth=2, fold=1, size=8, epochs=1, batch_size=16)
RANGE = rungs(LrSearch(low=1e-6, high=10, trials=15))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Site:
    torch.set_num_threads(1)
    return make_site(tmp_path_factory.mktemp("range"))


def begin(cell: Cell, site: Site) -> Start:
    return start(cell, site, torch.device("cpu"))


def climbed(
    cell: Cell, site: Site, rates: Sequence[float], parts: int = 1
) -> tuple[list[Epoch], dict[str, torch.Tensor]]:
    """The stretches, and the model's state after them."""
    ready = begin(cell, site)
    return list(climb(ready.model, ready, cell, rates, parts=parts)), ready.model.state_dict()


def losses(done: Sequence[Epoch]) -> list[float]:
    return [each.train_loss for each in done]


@pytest.mark.parametrize(("passes", "stretches"), [(1, 7), (2, 6)])
def test_at_one_rate_it_is_the_training_itself(here: Site, passes: int, stretches: int) -> None:
    cell = CELL.replace(epochs=passes, augment="flip_shift", dropout=0.3, clip=1.0, validations=stretches // passes)
    found, state = climbed(cell, here, (3e-3,) * stretches)
    ready = begin(cell, here)
    known = {"augment": "flip_shift", "seed": cell.seed, "view": ready.view}
    done = list(epochs(ready.model, ready.data, cell.recipe, lr=3e-3, **known))
    assert losses(found) == losses(done)
    assert all(torch.equal(value, state[name]) for name, value in ready.model.state_dict().items())


def test_every_stretch_has_its_rate(here: Site) -> None:
    assert [each.lr for each in climbed(CELL, here, RANGE[:10])[0]] == list(RANGE[:10])


def test_a_rate_that_is_scaled_with_the_batch_is_scaled(here: Site) -> None:
    scaled, _ = climbed(CELL.replace(scale_lr=True), here, [256 / 16 * lr for lr in RANGE[:8]])
    assert losses(scaled) == losses(climbed(CELL, here, RANGE[:8])[0])


def test_the_same_test_has_the_same_losses(here: Site) -> None:
    assert losses(climbed(CELL, here, RANGE)[0]) == losses(climbed(CELL, here, RANGE)[0])


def test_schedule_and_warm_up_are_switched_off(here: Site) -> None:
    scheduled = CELL.replace(schedule="cosine", warmup=0.5)
    assert losses(climbed(scheduled, here, RANGE)[0]) == losses(climbed(CELL, here, RANGE)[0])


def test_it_ends_with_the_first_stretch_whose_loss_explodes(here: Site) -> None:
    found = losses(climbed(CELL, here, rungs(LrSearch(low=1e-4, high=1e4, trials=15)))[0])
    assert len(found) < 15
    assert found[-1] > EXPLODED * min(found[:-1])
    assert all(loss <= EXPLODED * min(found[:place]) for place, loss in enumerate(found[:-1]) if place)


def test_neither_validation_nor_test_part_is_scored(here: Site) -> None:
    assert {len(each.scores) for each in climbed(CELL, here, RANGE)[0]} == {0}


@pytest.mark.parametrize(("passes", "stretches"), [(1, 999), (2, 7)])
def test_stretches_that_do_not_fit_are_one_sentence(here: Site, passes: int, stretches: int) -> None:
    with pytest.raises(ValueError, match=f"a range test of {stretches} stretches does not fit into {passes} epochs of"):
        climbed(CELL.replace(epochs=passes), here, (1e-3,) * stretches)


def test_micro_batches_change_the_losses_by_rounding_alone(here: Site) -> None:
    cell = CELL.replace(frozen=2)
    whole, pieces = (losses(climbed(cell, here, RANGE[:9], parts=parts)[0]) for parts in (1, 2))
    assert pieces == pytest.approx(whole, rel=1e-4)


def test_the_rate_that_is_read_is_better_than_most_of_the_range(here: Site) -> None:
    """At the rates around it the best third of a grid lies."""
    curve = losses(climbed(CELL, here, RANGE)[0])
    place = steepest_fall(curve)
    assert place is not None
    assert score(RANGE[place], here) >= np.quantile([score(lr, here) for lr in RANGE[::2]], 2 / 3)


def score(lr: float, site: Site) -> float:
    ready = begin(CELL, site)
    (done,) = epochs(ready.model, ready.data, CELL.recipe, lr=lr, augment="none", seed=0, view=ready.view)
    return done.scores["accuracy"]


@pytest.fixture(scope="module")
def with_ray(here: Site) -> Iterator[Site]:
    here.storage.mkdir(parents=True)
    # without a dashboard Train asks the one of a Ray beside, and ends a group that this does not know
    ray.init("local", num_cpus=3, include_dashboard=True, log_to_driver=False)
    yield here
    close_lane()
    ray.shutdown()


def tried(cell: Cell, site: Site, rates: Sequence[float], workers: int = 1, lr: float = 1e-3) -> RateTrial:
    folder = Path(site.storage) / f"trial-{time.time_ns()}"
    folder.mkdir()
    devices = Devices(workers=workers)
    return try_rate(cell, site, lr=lr, floor=(), folder=folder, devices=devices, tags={}, rates=rates)


@pytest.mark.ray
def test_a_rate_trial_of_a_range_has_its_losses_and_no_scores(with_ray: Site) -> None:
    found = tried(CELL, with_ray, RANGE)
    assert found.losses == tuple(losses(climbed(CELL, with_ray, RANGE)[0]))
    assert (found.scores, found.diverged) == ((), None)


@pytest.mark.ray
def test_a_range_in_which_the_loss_is_no_longer_finite_ends_before_that(with_ray: Site) -> None:
    found = tried(CELL.replace(optimizer="sgd"), with_ray, (1e-3, 1e-3, 1e30, 1e30, 1e30))
    assert len(found.losses) >= 2
    assert all(map(math.isfinite, found.losses))
    assert found.diverged is None


@pytest.mark.slow  # two workers start
@pytest.mark.ray
def test_two_workers_climb_as_one_does(with_ray: Site) -> None:
    cell = CELL.replace(frozen=2)
    one, two = (tried(cell, with_ray, RANGE[:9], workers=workers) for workers in (1, 2))
    assert two.losses == pytest.approx(one.losses, abs=1e-5)


@pytest.mark.ray
@pytest.mark.parametrize(("monitor", "higher"), [("loss", False), ("metric", True), ("nll", False)])
def test_a_rate_trial_tells_its_monitor_so_that_more_is_better(with_ray: Site, monitor: str, higher: bool) -> None:
    found = tried(CELL.replace(monitor=monitor, epochs=2), with_ray, (), lr=1e-2)
    assert found.higher == higher
    assert len(found.scores) == 2
    assert found.scores[1] > found.scores[0]  # two epochs are better than one
    assert all((score > 0) == higher for score in found.scores)
