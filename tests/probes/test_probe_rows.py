"""Probes of recorded states, from what they need to their rows, in one process."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from states import CELLS, network, recorded_site

from sweeper import (
    L2,
    Agreement,
    Cca,
    Cka,
    Convergence,
    Cost,
    Embedding,
    Fid,
    Filters,
    GradCam,
    Knn,
    Procrustes,
    Reinit,
    Transferability,
    models,
)
from sweeper.data.loading import load, normalise
from sweeper.ledger import Finished
from sweeper.models import block_keys, blocks, count
from sweeper.pairing import Ask, asks
from sweeper.probe_types import Probe
from sweeper.probes import making, needs
from sweeper.probes.answers import answer
from sweeper.probes.asked import needed, sums_of, two_sides
from sweeper.probes.cka import cka_pairs
from sweeper.probes.cka_batches import batch_sums, merged, minibatch_cka
from sweeper.probes.drawn_cca import drawn_cca
from sweeper.probes.making import make, tasks
from sweeper.probes.reinit import put_back
from sweeper.probes.transferability import leep
from sweeper.site import Site

PROBES: tuple[Probe, ...] = (
    Cka(),
    Cka(layers="all", null=3, stimuli=40, at="layer"),
    Cka(estimator="minibatch", features="all", batch=8),
    Cka(across="source", estimator="batch_mean", batch=16),
    Cca(points=100, channels=4, draws=2, null=1),
    Cca(kind="svcca", directions=2),
    Cca(across="seed", other_state="start", points=50, channels=3),
    Procrustes(across=("source", "seed"), null=2),
    Knn(k=5),
    Knn(k=5, part="test", features="patches"),
    L2(),
    L2(kind="total"),
    L2(kind="relative"),
    L2(kind="cosine"),
    Reinit(part="val"),
    Reinit(kind="rerand"),
    Agreement(across="seed"),
    Fid(to="digits", to_fold=1, stimuli=50),
    Transferability(),
    Cost(memory_batch=8),
    Convergence(threshold=0.2),
    Embedding(part="val"),
    Embedding(method="tsne", features="patches", stimuli=50),
    GradCam(),
    GradCam(images=3, of="label", at_block=2, state="start"),
    Filters(count=9),
)
PLACE = dict(device=torch.device("cpu"))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, dict[str, Finished]]:
    return recorded_site(tmp_path_factory.mktemp("probed"))


@pytest.fixture(autouse=True)
def soon_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "SECONDS", 0.001)


def answered(ask: Ask, recorded: tuple[Site, dict[str, Finished]]) -> pd.DataFrame:
    site, runs = recorded
    for task in tasks(needed(ask, runs, site), site):
        make(task, site, **PLACE)
    return answer(ask, runs, site).rows


def values(ask: Ask, recorded: tuple[Site, dict[str, Finished]], metric: str) -> list[float]:
    found = answered(ask, recorded)
    return found[found["metric"] == metric]["value"].tolist()


@pytest.mark.parametrize("probe", PROBES, ids=str)
def test_every_probe_gives_rows_with_its_settings_and_no_number_twice(
    probe: Probe, recorded: tuple[Site, dict[str, Finished]]
) -> None:
    ask = next(each for each in asks(CELLS, [probe]))
    found = answered(ask, recorded)
    assert list(found.columns)[-5:] == ["block", "other", "other_block", "metric", "value"]
    assert not found.duplicated(["block", "other_block", "metric"]).any()
    assert (found["key"] == ask.cell.key).all()
    assert found["other"].isna().all() if ask.other is None else (found["other"] == ask.other.key).all()
    pd.testing.assert_frame_equal(found, answered(ask, recorded))


def outputs(ask: Ask, number: int, site: Site, *, part: str = "val") -> list[torch.Tensor]:
    """The blocks' maps of all images by a plain forward pass; the state is drawn from `number`."""
    images = getattr(load(ask.cell.images, site), part)
    flow = normalise(images.tensor(np.arange(len(images))), [0.5] * 3, [0.25] * 3)
    found = []
    with torch.inference_mode():
        for step in network(ask.cell, number).eval().backbone:
            flow = step(flow)
            found.append(flow)
    return found


def test_what_is_made_piece_by_piece_is_what_one_pass_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in (needs, making):
        monkeypatch.setattr(room, "CHUNK", 64)
    monkeypatch.setattr(making, "BATCH", 50)
    recorded = recorded_site(tmp_path, CELLS[:1])
    ask = Ask(probe=Cka(), cell=CELLS[0])
    sides = [[each.mean(dim=(2, 3)) for each in outputs(ask, number, recorded[0])] for number in (1, 0)]
    assert values(ask, recorded, "cka") == pytest.approx(np.diag(cka_pairs(*sides)), rel=1e-5)
    drawn = Cca(points=100, channels=4, draws=2)
    ask = Ask(probe=drawn, cell=CELLS[0])
    draws = two_sides(ask, drawn, recorded[1], recorded[0])[0].take.kind
    maps = zip(*(outputs(ask, number, recorded[0]) for number in (1, 0)), strict=True)
    wanted = [drawn_cca(*pair, seed=draws.seed, points=100, channels=4, draws=2).mean() for pair in maps]
    assert values(ask, recorded, "cca") == pytest.approx(wanted, rel=1e-4)


def test_whole_outputs_reduced_batch_by_batch_are_those_of_features_in_memory(
    recorded: tuple[Site, dict[str, Finished]],
) -> None:
    ask = Ask(probe=Cka(estimator="minibatch", features="all", batch=8), cell=CELLS[0])
    sides = [[each.flatten(1) for each in outputs(ask, number, recorded[0])] for number in (1, 0)]
    count = len(sides[0][0]) // 8 * 8
    cut = [slice(first, first + 8) for first in range(0, count, 8)]
    sums = merged(batch_sums([x[each] for x in sides[0]], [y[each] for y in sides[1]]) for each in cut)
    assert values(ask, recorded, "cka") == pytest.approx(np.diag(minibatch_cka(sums)), rel=1e-4)


def test_a_pair_is_shown_the_same_images_and_two_random_starts_alike_are_alike(
    recorded: tuple[Site, dict[str, Finished]],
) -> None:
    probe = Cka(across="seed", state="start")
    assert values(asks(CELLS, [probe])[0], recorded, "cka") == pytest.approx([1.0] * 4)


def test_a_start_that_cells_share_is_looked_at_once(recorded: tuple[Site, dict[str, Finished]]) -> None:
    site, runs = recorded
    probe = Procrustes(part="test")
    wanted = [need for ask in asks(CELLS, [probe]) for need in needed(ask, runs, site)]
    assert len(wanted) == 2 * len(CELLS)
    assert len(tasks(wanted, site)) == len(CELLS) + 1


def test_one_pass_serves_all_probes_that_ask_for_it(recorded: tuple[Site, dict[str, Finished]]) -> None:
    site, runs = recorded
    probes = [Cka(stimuli=60), Procrustes(stimuli=60, features="patches"), Cca(stimuli=60, points=60, channels=3)]
    wanted = [need for ask in asks(CELLS[:1], probes) for need in needed(ask, runs, site)]
    assert [len(task.needs) for task in tasks(wanted, site)] == [3, 3]


def test_a_state_that_was_located_is_the_same_state(recorded: tuple[Site, dict[str, Finished]]) -> None:
    site, runs = recorded
    probe = Cka(across="seed", estimator="minibatch", batch=8)
    of_no_state = needed(Ask(probe=Cost(), cell=CELLS[0]), runs, site)
    assert [needs.located(each, site) for each in of_no_state] == of_no_state
    for ask in (Ask(probe=Knn(), cell=CELLS[0]), asks(CELLS, [probe])[0], Ask(probe=Reinit(), cell=CELLS[0])):
        for need in needed(ask, runs, site):
            there = needs.located(need, site)
            assert there == need
            assert list(needs.pieces(there, site)) == list(needs.pieces(need, site))
            subjects = (there.first, there.second) if isinstance(there, needs.Sums) else (there.subject,)
            wanted = (need.first, need.second) if isinstance(need, needs.Sums) else (need.subject,)
            assert [each.path(site) for each in subjects] == [each.path(site) for each in wanted]
            assert all(each.folder and each.path(site).is_relative_to(each.folder) for each in subjects)


def test_after_a_kill_only_the_missing_pieces_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in (needs, making):
        monkeypatch.setattr(room, "CHUNK", 64)
    site, runs = recorded_site(tmp_path, CELLS[:1])
    ask = Ask(probe=Knn(k=5), cell=CELLS[0])
    todo = tasks(needed(ask, runs, site), site)
    for task in todo[:2]:
        make(task, site, **PLACE)
    assert tasks(needed(ask, runs, site), site) == todo[2:]


def test_a_block_put_back_is_its_own_tensors_and_no_others() -> None:
    model, other = network(CELLS[0], 0), network(CELLS[0], 1)
    keys = block_keys(model, blocks(model, "block")[1])
    state = put_back(model.state_dict(), other.state_dict(), keys)
    changed = {name for name, tensor in state.items() if not torch.equal(tensor, model.state_dict()[name])}
    assert changed
    assert changed <= set(keys)
    assert state.keys() == model.state_dict().keys()


def test_all_sums_of_a_part_leave_out_the_images_of_no_whole_batch(
    recorded: tuple[Site, dict[str, Finished]],
) -> None:
    probe = Cka(estimator="minibatch", batch=100_000)
    site, runs = recorded
    with pytest.raises(ValueError, match="batch=100000 is more than the val part has"):
        tasks([sums_of(Ask(probe=probe, cell=CELLS[0]), probe, runs)], site)


def test_a_cut_that_several_depths_have_is_measured_once(tmp_path: Path) -> None:
    cells = [CELLS[0].replace(depth=depth) for depth in (2, 4, 3)] + [CELLS[0].replace(lr=0.5)]
    site, runs = recorded_site(tmp_path, cells)
    wanted = [need for ask in asks(cells, [Cost()]) for need in needed(ask, runs, site)]
    todo = tasks(wanted, site)
    assert sorted(task.start for task in todo) == [1, 2, 3, 4]
    assert all(task.alone for task in todo)
    for task in todo:
        make(task, site, **PLACE)
    assert not tasks(wanted, site)
    found = [answer(ask, runs, site).rows for ask in asks(cells, [Cost()])]
    assert [each["block"].max() for each in found] == [2, 4, 3, 4]
    whole = found[1][found[1]["block"] <= 2].drop(columns="key").reset_index(drop=True)
    pd.testing.assert_frame_equal(found[0].drop(columns="key"), whole)
    counted = count(cells[2].network, classes=5, size=8)
    last = found[2][found[2]["block"] == 3].set_index("metric")["value"]
    assert (last["parameters"], last["macs"]) == (counted.parameters, counted.macs)
    assert (found[0]["device"] != "").all()


def test_a_time_on_a_gpu_is_refused_where_there_is_none(recorded: tuple[Site, dict[str, Finished]]) -> None:
    with pytest.raises(ValueError, match="on='cuda' needs a GPU, and the cells of this sweep have none"):
        answered(Ask(probe=Cost(on="cuda"), cell=CELLS[0]), recorded)


def test_convergence_is_of_the_epochs_that_were_recorded(recorded: tuple[Site, dict[str, Finished]]) -> None:
    ask = Ask(probe=Convergence(threshold=0.2), cell=CELLS[0])  # recorded are accuracies 1/7 and 2/7
    assert values(ask, recorded, "epochs_to") == [2]
    assert values(ask, recorded, "curve_area") == pytest.approx([3 / 14])
    assert values(Ask(probe=Convergence(threshold=0.9), cell=CELLS[0]), recorded, "steps_to") == [np.inf]


def test_leep_is_that_of_the_sources_own_model_on_the_training_images(tmp_path: Path) -> None:
    torch.manual_seed(5)
    source = models.build(CELLS[0].network, classes=7, size=8).eval()
    source.backbone.load_state_dict(network(CELLS[0], 0).backbone.state_dict())  # what the recorded cell starts with
    save_file(source.state_dict(), tmp_path / "source.safetensors", metadata={"cell": CELLS[0].to_json()})
    cell = CELLS[0].replace(source=f"file:{tmp_path / 'source.safetensors'}")
    recorded = recorded_site(tmp_path, [cell])
    train = load(cell.images, recorded[0]).train
    with torch.inference_mode():
        logits = source(normalise(train.tensor(np.arange(len(train))), [0.5] * 3, [0.25] * 3))
    wanted = leep(logits.double().softmax(dim=1), train.labels)
    ask = Ask(probe=Transferability(scores=("leep", "logme")), cell=cell)
    assert values(ask, recorded, "leep") == pytest.approx([wanted], rel=1e-6)
