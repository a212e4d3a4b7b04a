"""One cell under Ray Train: in this process, and in a group of two workers."""

import json
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import ray
import torch
from conftest import make_site
from safetensors.torch import load_file
from torch import nn

from sweeper import store, work
from sweeper.cell import Cell, Recipe, make_cell
from sweeper.data.loading import load
from sweeper.finetune import Devices, RateTrial, close_lane, fit, try_rate
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
        "local",
        num_cpus=3,
        include_dashboard=True,  # else Train asks the one of a Ray beside, and ends a group that this does not know
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": paths}},
    )
    yield site
    close_lane()
    ray.shutdown()


@dataclass(frozen=True, kw_only=True)
class Left:
    """What a trained cell left."""

    outcome: Outcome
    folder: Path

    def state(self, which: str) -> dict[str, torch.Tensor]:
        return load_file(self.folder / f"{which}.safetensors")


def run(cell: Cell, site: Site, workers: int = 1, folder: str | None = None) -> Left:
    place = site.storage / (folder or f"{cell.key}-{time.time_ns()}")
    place.mkdir(parents=True, exist_ok=True)
    fit(cell, site, lr=1e-2, folder=place, devices=Devices(workers=workers), tags={"commit": "c"})
    return Left(outcome=Outcome.from_json((place / "outcome.json").read_text()), folder=place)


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_an_outcome_holds_what_a_cell_leaves(prepared: Site) -> None:
    left = run(CELL, prepared)
    outcome = left.outcome
    assert [epoch.number for epoch in outcome.epochs] == [1, 2, 3]
    table = pd.read_parquet(left.folder / "predictions.parquet")
    parts = {name: frame.reset_index(drop=True) for name, frame in table.groupby("part")}
    assert score(parts["test"], "multiclass", by_class=True) == outcome.test_scores
    found = score(parts["val"], "multiclass")
    assert found == pytest.approx({name: outcome.best_epoch.scores[name] for name in found})
    assert outcome.best_epoch.scores["accuracy"] == max(epoch.scores["accuracy"] for epoch in outcome.epochs)
    start, best = left.state("start"), left.state("best")
    assert start.keys() == best.keys()
    assert not torch.equal(start["head.weight"], best["head.weight"])
    assert list(pd.read_parquet(left.folder / "epochs.parquet")["epoch"]) == [1, 2, 3]


def test_the_folder_is_sealed_and_keeps_no_progress(prepared: Site) -> None:
    folder = run(CELL, prepared).folder
    names = {"best.safetensors", "epochs.parquet", "outcome.json", "predictions.parquet", "start.safetensors"}
    assert {path.name for path in folder.iterdir()} == names | {"manifest.json"}
    assert work.damage(folder, read=True) == []


def test_the_same_cell_gives_the_same_bits_twice(prepared: Site) -> None:
    assert equal(run(CELL, prepared).state("best"), run(CELL, prepared).state("best"))


LONG = CELL.replace(epochs=9, augment="flip_shift", schedule="cosine", warmup=1.0)
KILLED = """
import pickle, sys
from sweeper.finetune import Devices, fit
cell, site, folder = pickle.loads(bytes.fromhex(sys.argv[1]))
fit(cell, site, lr=1e-2, folder=folder, devices=Devices(), tags={"commit": "c"})
"""


def interrupt(cell: Cell, site: Site, folder: Path) -> int:
    """Kills a training in a process of its own once it has kept some epochs; how many those are."""
    folder.mkdir()
    given = pickle.dumps((cell, site, folder)).hex()
    process = subprocess.Popen([sys.executable, "-c", KILLED, given], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 120
    while not (folder / "progress.pt").exists() and process.poll() is None:
        assert time.monotonic() < deadline, "no epoch was kept"
    process.kill()
    process.wait()
    return len(torch.load(folder / "progress.pt", weights_only=True)["done"])


def test_a_killed_training_goes_on_to_the_same_bits(prepared: Site) -> None:
    whole = run(LONG, prepared)
    folder = prepared.storage / "killed"
    kept = interrupt(LONG, prepared, folder)
    assert 1 <= kept < 9
    before = torch.load(folder / "progress.pt", weights_only=True)["done"]
    again = run(LONG, prepared, folder="killed")
    assert [asdict(epoch) for epoch in again.outcome.epochs[:kept]] == before  # these were not trained twice
    assert equal(whole.state("best"), again.state("best"))
    assert equal(whole.state("start"), again.state("start"))
    timeless = ["epoch", "train_loss", "lr_now", "val_accuracy"]
    one, two = (pd.read_parquet(left.folder / "epochs.parquet")[timeless] for left in (whole, again))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_progress_under_other_code_is_not_gone_on_with(prepared: Site) -> None:
    folder = prepared.storage / "other"
    interrupt(LONG, prepared, folder)
    state = torch.load(folder / "progress.pt", weights_only=True)
    state["known"]["tags"] = {"commit": "another"}
    state["model"]["head.bias"] += 1
    torch.save(state, folder / "progress.pt")
    assert equal(run(LONG, prepared).state("best"), run(LONG, prepared, folder="other").state("best"))


def test_a_sealed_cell_is_not_trained_again(prepared: Site) -> None:
    left = run(CELL, prepared)
    trained = fit(CELL, prepared, lr=1e-2, folder=left.folder, devices=Devices(), tags={})
    assert trained.spent == 0
    assert trained.seconds == left.outcome.seconds
    assert trained.epochs == 3


def test_a_worker_whose_folder_was_taken_over_writes_nothing(prepared: Site) -> None:
    with pytest.raises(FileNotFoundError, match="its job was taken over by another driver or worker"):
        fit(CELL, prepared, lr=1e-2, folder=prepared.storage / "gone", devices=Devices(), tags={})
    assert not (prepared.storage / "gone").exists()


def test_a_cell_starts_from_the_best_state_of_its_source(prepared: Site) -> None:
    source = run(CELL.replace(seed=5), prepared)
    store.publish(prepared, "study", source.folder, lambda: None)
    key = source.outcome.cell.key
    start = run(CELL.replace(source=f"cell:{key}"), prepared).state("start")
    best = load_file(store.state_path(key, "best", prepared))
    backbone = [name for name in start if name.startswith("backbone.")]
    assert all(torch.equal(start[name], best[name]) for name in backbone)
    assert not torch.equal(start["head.weight"], best["head.weight"])


def test_patience_stops_a_training_that_does_not_get_better(prepared: Site) -> None:
    outcome = run(CELL.replace(epochs=50, patience=2), prepared).outcome
    assert len(outcome.epochs) == outcome.best + 2 < 50


def trial(cell: Cell, site: Site, lr: float, floor: tuple[float, ...]) -> RateTrial:
    folder = site.storage / f"trial-{time.time_ns()}"
    folder.mkdir()
    return try_rate(cell, site, lr=lr, floor=floor, folder=folder, devices=Devices(), tags={})


def test_a_rate_trial_stops_below_the_floor(prepared: Site) -> None:
    found = trial(CELL, prepared, 1e-2, (0.0, 2.0))
    assert len(found.scores) == 2
    assert found.diverged is None


def test_a_rate_that_diverges_is_an_observation(prepared: Site) -> None:
    found = trial(CELL.replace(optimizer="sgd"), prepared, 1e30, ())
    assert found.scores == ()
    assert "epoch 1 at rate 1e+30" in (found.diverged or "")


def test_two_workers_train_a_frozen_backbone_as_one_does(prepared: Site) -> None:
    cell = CELL.replace(frozen=2)
    one, two = run(cell, prepared).outcome, run(cell, prepared, workers=2).outcome
    assert [e.train_loss for e in two.epochs] == pytest.approx([e.train_loss for e in one.epochs], abs=1e-5)
    assert two.test_scores == pytest.approx(one.test_scores, abs=1e-5)


def test_two_workers_train_a_weighted_clipped_recipe_in_two_phases_as_one_does(prepared: Site) -> None:
    cell = CELL.replace(
        model="deit_tiny_patch16_224", depth=1, size=32, batch_size=25, epochs=1, head_epochs=1, validations=2,
        class_weights="balanced", clip=0.5, backbone_decay=10, optimizer="sgd", weight_decay=0.01,
    )  # fmt: skip
    one, two = run(cell, prepared).outcome, run(cell, prepared, workers=2).outcome
    for single, double in zip(one.epochs, two.epochs, strict=True):
        assert double.phase == single.phase
        assert double.train_loss == pytest.approx(single.train_loss, abs=1e-5)
        assert double.scores["loss"] == pytest.approx(single.scores["loss"], abs=1e-5)
    assert len(one.epochs) == 4
    assert two.test_scores["nll"] == pytest.approx(one.test_scores["nll"], abs=1e-5)


def test_a_lane_takes_one_cell_after_another_in_the_same_workers(prepared: Site) -> None:
    cells = [CELL.replace(frozen=2, seed=seed) for seed in (1, 2)]
    two = [run(cell, prepared, workers=2).outcome for cell in cells]
    one = [run(cell, prepared).outcome for cell in cells]
    for single, double in zip(one, two, strict=True):
        assert double.test_scores == pytest.approx(single.test_scores, abs=1e-5)
    assert len(list(prepared.storage.glob(".lane-*"))) == 1


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
