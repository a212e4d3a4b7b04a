"""A cell's training in two phases, head first, and how it goes on after it was stopped in either."""

import copy
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import make_site
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from safetensors.torch import load_file

from sweeper.cell import Cell, make_cell
from sweeper.finetune import fit
from sweeper.finetune.training import Training
from sweeper.outcome import Devices, Outcome
from sweeper.site import Site

HEAD = make_cell(
    dataset="digits_0_4", model="cbr_mini", depth=2, fold=1, size=8, fraction=0.3, batch_size=32,
    epochs=2, head_epochs=2, head_lr=3e-2, dropout=0.2,
)  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = make_site(tmp_path_factory.mktemp("phases"))
    site.storage.mkdir()
    return site


def given(cell: Cell, site: Site, folder: Path) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return {"cell": cell, "site": site, "lr": 1e-2, "folder": folder, "tags": {}, "parts": 1}


def in_a_worker(work: Callable[[Training], None], config: dict[str, Any]) -> None:
    """Under Ray Train's local mode, which is this very process."""
    trainer = TorchTrainer(
        lambda config: work(Training(config)),
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=0, use_gpu=False),
        run_config=RunConfig(name="train", storage_path=str(config["folder"])),
    )
    trainer.fit()


def run(cell: Cell, site: Site, folder: Path) -> Outcome:
    folder.mkdir(parents=True, exist_ok=True)
    fit(cell, site, lr=1e-2, folder=folder, devices=Devices(), tags={})
    return Outcome.from_json((folder / "outcome.json").read_text())


def states(cell: Cell, site: Site, folder: Path) -> list[dict[str, torch.Tensor]]:
    """The start, and the state after each validation."""
    found: list[dict[str, torch.Tensor]] = []

    def work(training: Training) -> None:
        found.append(copy.deepcopy(training.ready.model.state_dict()))
        for _ in training.epochs():
            found.append(copy.deepcopy(training.ready.model.state_dict()))  # noqa: PERF401 (a list has no moment)

    in_a_worker(work, given(cell, site, folder))
    return found


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_numbers_go_on_from_the_heads_phase_and_the_best_is_of_the_full_one(prepared: Site, tmp_path: Path) -> None:
    outcome = run(HEAD.replace(monitor="loss"), prepared, tmp_path / "cell")
    assert [(each.number, each.phase) for each in outcome.epochs] == [
        (1, "head"),
        (2, "head"),
        (3, "full"),
        (4, "full"),
    ]
    assert [each.lr for each in outcome.epochs] == [3e-2, 3e-2, 1e-2, 1e-2]
    losses = [each.scores["loss"] for each in outcome.epochs]
    assert outcome.best == 3 + losses[2:].index(min(losses[2:]))


def test_the_heads_phase_changes_the_head_alone_and_its_last_state_goes_on(prepared: Site, tmp_path: Path) -> None:
    start, first, second, third, _ = states(HEAD, prepared, tmp_path / "cell")
    assert changed(start, first) == changed(first, second) == {"head.weight", "head.bias"}
    assert changed(second, third) == start.keys()


def test_blocks_that_are_frozen_stay_so_after_the_heads_phase(prepared: Site, tmp_path: Path) -> None:
    start, *_, last = states(HEAD.replace(frozen=1), prepared, tmp_path / "cell")
    assert not any(name.startswith("backbone.block1") for name in changed(start, last))
    assert any(name.startswith("backbone.block2") for name in changed(start, last))


def test_the_heads_phase_ends_when_its_monitor_stands(prepared: Site, tmp_path: Path) -> None:
    cell = HEAD.replace(head_epochs=60, head_patience=2, head_monitor="accuracy", epochs=1)
    outcome = run(cell, prepared, tmp_path / "cell")
    found = [each.scores["accuracy"] for each in outcome.epochs if each.phase == "head"]
    assert len(found) == found.index(max(found)) + 1 + 2 < 60
    assert outcome.epochs[-1].phase == "full"


def test_without_a_rate_of_its_own_the_head_takes_the_recipes_at_a_constant(prepared: Site, tmp_path: Path) -> None:
    cell = HEAD.replace(head_lr=None, schedule="cosine", warmup=1.0)
    assert [each.lr for each in run(cell, prepared, tmp_path / "cell").epochs][:2] == [1e-2, 1e-2]


def test_the_full_phase_is_that_of_a_training_without_the_other(prepared: Site, tmp_path: Path) -> None:
    """With a head that is as good as not trained."""
    two = run(HEAD.replace(head_lr=1e-30, head_epochs=1, optimizer="sgd"), prepared, tmp_path / "two")
    one = run(HEAD.replace(head_lr=None, head_epochs=0, optimizer="sgd"), prepared, tmp_path / "one")
    assert [each.train_loss for each in two.epochs[1:]] == [each.train_loss for each in one.epochs]


def test_a_monitor_that_falls_chooses_the_lowest(prepared: Site, tmp_path: Path) -> None:
    outcome = run(HEAD.replace(head_epochs=0, head_lr=None, epochs=6, monitor="nll"), prepared, tmp_path / "cell")
    values = [each.scores["nll"] for each in outcome.epochs]
    assert outcome.best == values.index(min(values)) + 1


def test_patience_counts_validations(prepared: Site, tmp_path: Path) -> None:
    cell = HEAD.replace(head_epochs=0, head_lr=None, epochs=40, validations=3, patience=2)
    outcome = run(cell, prepared, tmp_path / "cell")
    assert len(outcome.epochs) == outcome.best + 2 < 120


def test_a_linear_probe_is_scored_from_the_features_that_it_was_trained_on(prepared: Site, tmp_path: Path) -> None:
    cell = HEAD.replace(head_epochs=0, head_lr=None, frozen=2, seed=11)
    folder = tmp_path / "cell"
    before = set((prepared.cache / "features").glob("*.f32"))
    outcome = run(cell, prepared, folder)
    assert len(set((prepared.cache / "features").glob("*.f32")) - before) == 3
    table = pd.read_parquet(folder / "predictions.parquet")
    scores = table[table.part == "val"].filter(like="score_").to_numpy()
    accuracy = float((scores.argmax(axis=1) == table[table.part == "val"]["label"]).mean())
    assert accuracy == outcome.best_epoch.scores["accuracy"]


STOPPED = {
    "two phases": HEAD.replace(augment="flip_shift"),
    "with features": HEAD,
    "validations": HEAD.replace(validations=2, schedule="plateau", plateau=0, monitor="loss", augment="flip"),
    "patience": HEAD.replace(head_patience=1, head_epochs=4, validations=2, monitor="double_softmax_loss"),
    "learnt norms": HEAD.replace(frozen=1, frozen_norms="learn", backbone_decay=10, optimizer="sgd", clip=1.0),
}


@pytest.mark.parametrize("name", STOPPED)
def test_a_cell_stopped_after_any_validation_goes_on_to_the_same_bits(
    prepared: Site, tmp_path: Path, name: str
) -> None:
    cell = STOPPED[name]
    expected = run(cell, prepared, tmp_path / "whole")
    best = load_file(tmp_path / "whole" / "best.safetensors")
    for number in range(1, len(expected.epochs)):
        folder = tmp_path / f"stopped-{number}"

        def work(training: Training, last: int = number) -> None:
            for epoch in training.epochs():
                if epoch.number > last:  # the one before is kept by now
                    return

        in_a_worker(work, given(cell, prepared, folder))
        assert len(torch.load(folder / "progress.pt", weights_only=True)["done"]) == number
        found = run(cell, prepared, folder)
        assert [timeless(each) for each in found.epochs] == [timeless(each) for each in expected.epochs]
        assert (found.best, found.test_scores) == (expected.best, expected.test_scores)
        again = load_file(folder / "best.safetensors")
        assert not changed(best, again)


def timeless(epoch: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(epoch).items() if "second" not in name}
