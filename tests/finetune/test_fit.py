"""One cell under Ray Train: in this process, and in a group of two workers."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import ray
import torch
from conftest import make_site
from safetensors.torch import load_file
from torch import nn

from sweeper import store
from sweeper.cell import Cell, Recipe, make_cell
from sweeper.data.loading import load
from sweeper.finetune import Devices, fit, try_rate
from sweeper.finetune.loop import View, epochs
from sweeper.finetune.metrics import score
from sweeper.outcome import Outcome
from sweeper.site import Site

pytestmark = pytest.mark.ray

CELL = make_cell(dataset="digits_0_4", model="cbr_mini", depth=2, fold=1, size=8, fraction=0.3, epochs=3, batch_size=32)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = make_site(tmp_path_factory.mktemp("fit"))
    store.initialise(site, "study")
    paths = f"{Path(__file__).parent}:{Path(__file__).parents[1]}"  # workers import the functions below from here
    ray.init(
        num_cpus=3,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": paths}},
    )
    yield site
    ray.shutdown()


def run(cell: Cell, site: Site, workers: int = 1) -> Outcome:
    run_id = store.begin(site, "study", cell, {})
    return fit(cell, site, lr=1e-2, run_id=run_id, devices=Devices(workers=workers))


def test_an_outcome_holds_what_a_cell_leaves(prepared: Site) -> None:
    outcome = run(CELL, prepared)
    assert [epoch.number for epoch in outcome.epochs] == [1, 2, 3]
    table = pd.read_parquet(outcome.folder / "predictions.parquet")
    parts = {name: frame.reset_index(drop=True) for name, frame in table.groupby("part")}
    assert score(parts["test"], "multiclass") == outcome.test_scores
    assert score(parts["val"], "multiclass") == pytest.approx(outcome.best.scores)
    assert outcome.best.scores["accuracy"] == max(epoch.scores["accuracy"] for epoch in outcome.epochs)
    start, best = (load_file(outcome.folder / f"{name}.safetensors") for name in ("start", "best"))
    assert start.keys() == best.keys()
    assert not torch.equal(start["head.weight"], best["head.weight"])
    assert list(pd.read_parquet(outcome.folder / "epochs.parquet")["epoch"]) == [1, 2, 3]


def test_the_same_cell_gives_the_same_bits_twice(prepared: Site) -> None:
    one, two = (load_file(run(CELL, prepared).folder / "best.safetensors") for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_cell_starts_from_the_best_state_of_its_source(prepared: Site) -> None:
    source = CELL.replace(seed=5)
    run_id = store.begin(prepared, "study", source, {})
    outcome = fit(source, prepared, lr=1e-2, run_id=run_id, devices=Devices())
    store.finish(prepared, run_id, outcome, 1e-2)
    target = run(CELL.replace(source=f"cell:{source.key}"), prepared)
    best = load_file(store.state_path(source.key, "best", prepared))
    start = load_file(target.folder / "start.safetensors")
    backbone = [name for name in start if name.startswith("backbone.")]
    assert all(torch.equal(start[name], best[name]) for name in backbone)
    assert not torch.equal(start["head.weight"], best["head.weight"])


def test_patience_stops_a_training_that_does_not_get_better(prepared: Site) -> None:
    outcome = run(CELL.replace(epochs=50, patience=2), prepared)
    assert len(outcome.epochs) == outcome.best.number + 2 < 50


def test_a_rate_trial_stops_below_the_floor(prepared: Site) -> None:
    trial = try_rate(CELL, prepared, lr=1e-2, floor=(0.0, 2.0), devices=Devices())
    assert len(trial.scores) == 2
    assert trial.diverged is None


def test_a_rate_that_diverges_is_an_observation(prepared: Site) -> None:
    trial = try_rate(CELL.replace(optimizer="sgd"), prepared, lr=1e30, floor=(), devices=Devices())
    assert trial.scores == ()
    assert "epoch 1 at rate 1e+30" in (trial.diverged or "")


def test_two_workers_train_a_frozen_backbone_as_one_does(prepared: Site) -> None:
    cell = CELL.replace(frozen=2)
    one, two = run(cell, prepared), run(cell, prepared, workers=2)
    assert [e.train_loss for e in two.epochs] == pytest.approx([e.train_loss for e in one.epochs], abs=1e-5)
    assert two.test_scores == pytest.approx(one.test_scores, abs=1e-5)


def test_two_cpu_workers_refuse_batch_norm(prepared: Site) -> None:
    with pytest.raises(Exception, match="has batch norm, whose statistics CPU workers cannot share"):
        run(CELL, prepared, workers=2)


def _plain_net() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))
    return nn.Sequential(*layers)


def _train_plainly(config: dict) -> None:
    from ray import train
    from ray.train.torch import prepare_model

    torch.set_num_threads(1)
    data = load(CELL.images, config["site"])
    model = _plain_net()
    if train.get_context().get_world_size() > 1:
        model = prepare_model(model)
    view = View(mean=(0.5,) * 3, std=(0.5,) * 3, device=torch.device("cpu"))
    recipe = Recipe(epochs=3, batch_size=25)  # odd shares, and a rest
    done = epochs(model, data, recipe, lr=1e-2, augment="flip_shift", seed=0, view=view)
    found = [(epoch.train_loss, epoch.scores) for epoch in done]
    if train.get_context().get_world_rank() == 0:
        config["told"].write_text(json.dumps(found))


def test_two_workers_have_the_losses_of_one_with_the_whole_batch(prepared: Site, tmp_path: Path) -> None:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    found: list[list[tuple[float, dict[str, float]]]] = []
    for workers in (0, 2):
        trainer = TorchTrainer(
            _train_plainly,
            train_loop_config={"site": prepared, "told": tmp_path / "told.json"},
            scaling_config=ScalingConfig(num_workers=workers),
            run_config=RunConfig(storage_path=str(tmp_path), name=str(workers)),
        )
        trainer.fit()
        found.append(json.loads((tmp_path / "told.json").read_text()))
    for (loss_one, scores_one), (loss_two, scores_two) in zip(*found, strict=True):
        assert loss_two == pytest.approx(loss_one, abs=1e-5)
        assert scores_two == pytest.approx(scores_one, abs=1e-5)
    assert found[0][-1][0] < found[0][0][0]
    assert np.isfinite(found[1][-1][0])
