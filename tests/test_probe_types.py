"""Probes as values: their keys, the pairs that they ask of, and what is refused before anything is trained."""

import dataclasses
from typing import Any, get_args

import pytest
import torch

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
from sweeper.cell import AXES, probe_key
from sweeper.grid import StudyError, Sweep, check, grid
from sweeper.pairing import asks
from sweeper.probe_types import At, Probe
from sweeper.probes.grad_cam import grad_cam
from sweeper.problems import probe_problems_of

CELLS = grid(dataset="digits_0_4", model="cbr_mini", source=["random", "imagenet"], fold=[1, 2], seed=[0, 1])
OLD = {
    "475ab23a08c44ab3": Cka(),
    "26a36728e96cbadf": Cka(part="train"),
    "367bf710f7c5844b": Knn(),
    "90fabb943f0930fd": Knn(k=20),
    "85b4a3fccd34af87": L2(),
}


@pytest.mark.parametrize(("key", "probe"), OLD.items())
def test_keys_that_were_recorded_stay_valid(key: str, probe: Probe) -> None:
    assert probe_key(probe) == key


def test_every_setting_of_a_probe_tells_in_its_key() -> None:
    keys = {probe_key(Cka(null=9)), probe_key(Cka(layers="all")), probe_key(Cka(across="seed")), probe_key(Cka())}
    assert len(keys) == 4


@pytest.mark.parametrize("kind", get_args(Probe))
def test_no_setting_has_the_name_of_an_axis_for_both_are_columns_of_one_frame(kind: type) -> None:
    assert not {each.name for each in dataclasses.fields(kind)} & set(AXES)


def test_a_pair_differs_in_the_axis_alone() -> None:
    found = asks(CELLS, [Cka(across="source")])
    assert len(found) == 4
    for ask in found:
        assert ask.other is not None
        assert ask.cell.replace(source=ask.other.weights.source) == ask.other


def test_of_several_axes_every_two_cells_are_a_pair() -> None:
    assert len(asks(CELLS, [Cka(across=("source", "seed"))])) == 2 * 6


def test_asks_have_keys_of_their_own_and_are_the_same_in_a_grown_study() -> None:
    probes = [Cka(), Cka(across="seed"), Cka(across="fold"), Agreement(across="seed")]
    few, many = (asks(cells, probes) for cells in (CELLS[:4], CELLS))
    assert len({(ask.cell.key, ask.key) for ask in many}) == len(many)
    assert {(ask.cell.key, ask.key) for ask in few} < {(ask.cell.key, ask.key) for ask in many}


@pytest.mark.parametrize(
    ("probe", "text"),
    [
        (Cka(across="sed"), "axis 'sed' to be compared across is unknown; did you mean seed"),
        (Cka(across="size"), "see the same pixels"),
        (Cka(across="epochs"), "no two cells differ in epochs alone"),
        (Cka(features="all"), "features='all' are too many"),
        (Cka(estimator="minibatch", null=9), "goes batch by batch"),
        (Cka(against="best"), "compares a cell's best state with itself"),
        (Cka(stimuli=3), "stimuli is 3; it must be a whole number from 4"),
        (Cka(other_state="start"), "give across"),
        (Cca(kind="mean", directions=3), "directions=3 is SVCCA's"),
        (Cca(kind="svcca", variance=0), "variance is 0; it must be a share"),
        (Procrustes(state="last"), "state is 'last'; it must be 'best' or 'start'"),  # type: ignore[arg-type]
        (Knn(k=0), "k is 0; it must be a whole number from 1"),
        (Knn(temperature=0.0), "temperature is 0.0"),
        (Knn(temperature=float("inf")), "temperature is inf; it must be a number above 0"),
        (Knn(k=True), "k is True; it must be a whole number from 1"),
        (Cka(estimator="minibatch", batch=64, stimuli=32), "batch=64 is more than the stimuli=32 that are shown"),
        (Cka(estimator="minibatch", batch=3), "batch is 3; it must be a whole number from 4"),
        (Cka(null=-1), "null is -1; it must be a whole number from 0"),
        (Cca(kind="svcca", directions=40, stimuli=39), "directions=40 are more than the stimuli=39"),
        (Cca(kind="svcca", variance=1.5), r"variance is 1.5; it must be a share above 0 and at most 1"),
        (Cca(kind="svcca", variance=float("nan")), "variance is nan; it must be a share"),
        (Cca(points=0), "points is 0; it must be a whole number from 1"),
        (Cca(draws=0), "draws is 0; it must be a whole number from 1"),
        (Cca(channels=2.5), "channels is 2.5; it must be a whole number from 1"),  # type: ignore[arg-type]
        (Procrustes(stimuli=3), "stimuli is 3; it must be a whole number from 4"),
        (Reinit(kind="zero"), "kind is 'zero'; it must be 'reinit' or 'rerand'"),  # type: ignore[arg-type]
        (Agreement(across="fold"), "are scored on different images"),
        (Fid(to=""), "it must be the name of a data set"),
        (Fid(to="digits", to_fold=6), "to_fold is 6; it must be a whole number from 0 to 5"),
        (Fid(to="digits", to_fold=-1), "to_fold is -1; it must be a whole number from 0"),
        (Fid(to="digitz"), "data set 'digitz' is unknown; did you mean digits"),
        (Knn(features="cls"), r"features='cls' of 'cbr_mini', which has no class token"),
        (Transferability(scores=("logmi",)), "the score 'logmi' is unknown; did you mean logme"),
        (Transferability(scores=("logme", "logme")), "it must be a tuple of names, each named once"),
        (Transferability(stimuli=4), "stimuli=4 cannot be of all 5 classes of 'digits_0_4'"),
        (Cost(threads=0), "threads is 0; it must be a whole number from 1"),
        (Cost(batch=0), "batch is 0; it must be a whole number from 1"),
        (Cost(memory_batch=1), "memory_batch is 1; it must be a whole number from 2"),
        (Cost(on="gpu"), "on is 'gpu'; it must be 'cpu' or 'cuda'"),  # type: ignore[arg-type]
        (Convergence(threshold=float("nan")), "threshold is nan; it must be the score"),
        (Convergence(threshold=0.9, score="aurok"), "the score 'aurok' is unknown; did you mean auroc"),
        (Convergence(threshold=2), "threshold is 2, which no accuracy has; it must be a number from 0 to 1"),
        (Convergence(threshold=-0.1, score="auroc"), "threshold is -0.1, which no auroc has; .* from 0 to 1"),
        (Convergence(threshold=-1.5, score="kappa"), "which no kappa has; it must be a number from -1 to 1"),
        (Convergence(threshold=40, score="nll"), "which no nll has; it must be a number from 0 to 36.0437"),
        (Convergence(threshold=-1, score="loss"), "which no loss has; it must be a number at least 0"),
        (Convergence(threshold=0.9, until=11), "until=11 is after the last of 10 epochs; give at most that"),
        (Convergence(threshold=0.9, until=1), "until=1 is not after the first validation, at epoch 1; give more"),
        (Convergence(threshold=0.9, until=0), "until is 0; it must be a number of epochs above 0"),
        (Embedding(method="lda"), "method is 'lda'; it must be 'pca' or 'tsne' or 'umap'"),  # type: ignore[arg-type]
        (Embedding(stimuli=11), "stimuli is 11; it must be a whole number from 12 to 10000"),
        (Embedding(method="tsne", neighbours=50, stimuli=50), "neighbours is 50; it must be fewer than the stimuli=50"),
        (Embedding(neighbours=1), "neighbours is 1; it must be a whole number from 2"),
        (Embedding(features="cls"), "features='cls' of 'cbr_mini', which has no class token"),
        (GradCam(images=65), "images is 65; it must be a whole number from 1 to 64"),
        (GradCam(named="0001"), "named is '0001'; it must be a tuple of names"),  # type: ignore[arg-type]
        (GradCam(named=("a", "a")), "each named once"),
        (GradCam(at_block=5), "at_block=5, and only 4 blocks of 'cbr_mini' are kept"),
        (Filters(count=0), "count is 0; it must be a whole number from 1"),
    ],
)
def test_an_impossible_probe_is_one_sentence(probe: Probe, text: str) -> None:
    with pytest.raises(StudyError, match=text) as refused:
        check([Sweep(name="study", cells=CELLS, probes=[probe])], lambda cell: (), probe_problems_of)
    assert str(refused.value).count("\n") == 0


@pytest.mark.parametrize(
    "probe",
    [
        Convergence(threshold=1),
        Convergence(threshold=0, score="loss"),
        Convergence(threshold=-1, score="quadratic_kappa"),
        Convergence(threshold=1e9, score="loss", until=10),
        Convergence(threshold=2, score="brier", until=1.5),
        Embedding(neighbours=50, stimuli=50),
        Cka(estimator="minibatch", batch=64, stimuli=64),
        Fid(to="digits", to_fold=5),
        Transferability(stimuli=5),
    ],
    ids=str,
)
def test_the_ends_of_what_is_possible_are_taken(probe: Probe) -> None:
    check([Sweep(name="study", cells=CELLS, probes=[probe])], lambda cell: (), probe_problems_of)


def test_the_head_phase_and_several_validations_count_in_where_a_curve_may_end() -> None:
    (cell,) = grid(dataset="digits_0_4", model="cbr_mini", epochs=2, head_epochs=3, validations=2)
    for until, sound in ((5, True), (5.5, False), (1, True)):
        assert (not list(probe_problems_of([Convergence(threshold=0.5, until=until)], cell))) == sound


def test_a_threshold_is_judged_by_the_score_of_each_data_set() -> None:
    aptos, digits = (grid(dataset=name, model="cbr_mini")[0] for name in ("aptos2019", "digits"))
    probe = Convergence(threshold=-0.5)
    assert not list(probe_problems_of([probe], aptos))  # a kappa
    (text,) = probe_problems_of([probe], digits)
    assert text.endswith(
        "which no accuracy has; it must be a number from 0 to 1, or of another score (the score of 'digits')"
    )


@pytest.mark.parametrize(
    ("probe", "text"),
    [
        (GradCam(of="label"), "have several labels; give of='predicted'"),
        (Convergence(threshold=0.5, score="kappa"), "the score 'kappa' is not defined for 'chestmnist', a multilabel"),
    ],
)
def test_what_needs_one_label_an_image_is_refused_of_images_with_several(probe: Probe, text: str) -> None:
    cells = grid(dataset="chestmnist", model="cbr_mini", loss="bce")
    with pytest.raises(StudyError, match=text):
        check([Sweep(name="study", cells=cells, probes=[probe])], lambda cell: (), probe_problems_of)


def test_blocks_before_the_cut_are_counted_at_the_probes_own_grain() -> None:
    cells = grid(dataset="digits_0_4", model="resnet18", depth=4, grain="layer", size=32)
    for at_block, at in ((4, "cell"), (4, "layer"), (2, "block")):
        right, wrong = GradCam(at_block=at_block, at=at), GradCam(at_block=at_block + 1, at=at)
        assert not list(probe_problems_of([right], cells[0]))
        (text,) = probe_problems_of([wrong], cells[0])
        assert f"only {at_block} " in text


@pytest.mark.parametrize(
    ("depth", "grain", "at", "last"),
    [
        (None, "block", "cell", 11),
        (None, "block", "layer", 23),
        (4, "block", "cell", 3),
        (4, "layer", "cell", 3),
        (5, "layer", "cell", 3),
        (3, "layer", "cell", 1),
    ],
)
def test_of_a_vit_no_map_is_asked_for_behind_the_last_attention(depth: int, grain: str, at: At, last: int) -> None:
    (cell,) = grid(dataset="digits_0_4", model="vit_tiny_patch16_224", size=32, depth=depth, grain=grain)
    for probe in (GradCam(at=at), GradCam(at_block=last, at=at)):
        assert not list(probe_problems_of([probe], cell))
    (text,) = probe_problems_of([GradCam(at_block=last + 1, at=at)], cell)
    assert f"behind {'layer' if at == 'layer' else grain} {last} the scores" in text
    found = grad_cam(
        models.build(cell.network, classes=3, size=32),
        torch.randn(1, 3, 32, 32),
        grain="layer" if at == "layer" else grain,
    )
    assert found.block == last


def test_a_vit_of_one_block_has_no_map_at_that_grain() -> None:
    (cell,) = grid(dataset="digits_0_4", model="vit_tiny_patch16_224", size=32, depth=1)
    (text,) = probe_problems_of([GradCam()], cell)
    assert text.endswith("has no block before its last attention; give at='layer'")
    assert not list(probe_problems_of([GradCam(at="layer")], cell))


@pytest.mark.parametrize("probe", [Knn(k=[1]), Cka(across=["source"]), Transferability(scores=["logme"])])  # type: ignore[arg-type]
def test_a_list_in_a_probe_is_answered_in_one_sentence(probe: Any) -> None:
    with pytest.raises(StudyError, match=rf"^probe {probe.name}: \w+ is \[.*\]; give one value, or a tuple"):
        Sweep(name="s", probes=[probe])
