"""Grids, study files and what is said about mistakes in them."""

from pathlib import Path

import numpy as np
import pytest

from sweeper import Cell, Gabor, LrSearch, Sweep, grid
from sweeper.grid import StudyError, check, load, source_key

CELL = grid(dataset="digits", model="cbr_mini")[0]


def checked(*cells: Cell, **more: object) -> str:
    with pytest.raises(StudyError) as error:
        check([Sweep(name="s", cells=cells, **more)], lambda cell: ())  # type: ignore[arg-type]
    return str(error.value)


def test_a_grid_is_the_product_of_its_axes() -> None:
    cells = grid(dataset=["a", "b"], model="m", depth=range(1, 4), seed=(0, 1), fraction=np.array([0.1, 1.0]))
    assert len({cell.key for cell in cells}) == 2 * 3 * 2 * 2
    assert {type(cell.images.fraction) for cell in cells} == {float}


def test_the_last_axis_turns_fastest() -> None:
    assert [cell.seed for cell in grid(dataset=["a", "b"], model="m", seed=[0, 1])] == [0, 1, 0, 1]


def test_every_misspelt_axis_is_named_with_the_nearest() -> None:
    with pytest.raises(StudyError) as error:
        grid(dataset="a", modle="m", sede=1)
    for part in ("axis 'modle' is unknown; did you mean model", "axis 'sede'", "seed", "axis 'model' is required"):
        assert part in str(error.value)


def test_an_empty_axis_is_a_mistake() -> None:
    with pytest.raises(StudyError, match="axis 'seed' has no values"):
        grid(dataset="a", model="m", seed=[])


def test_a_value_that_cannot_be_written_down_is_a_mistake() -> None:
    with pytest.raises(StudyError, match=r"axis 'depth' has the value \{3\}"):
        grid(dataset="a", model="m", depth={3})


def test_a_cell_as_source_is_named_by_its_key() -> None:
    cell = grid(dataset="a", model="m", source=[CELL, "random"])[0]
    assert cell.weights.source == f"cell:{CELL.key}"
    assert source_key(cell) == CELL.key


def test_a_sweep_holds_each_cell_once() -> None:
    assert Sweep(name="s", cells=grid(dataset="a", model="m") * 2).cells == (*grid(dataset="a", model="m"),)


def test_more_than_one_device_is_held_whole() -> None:
    cells = grid(dataset="a", model="m")
    assert "gpus_per_cell is 1.5; above 1 it must be a whole number" in checked(*cells, gpus_per_cell=1.5)
    for gpus in (0, 0.25, 1, 2, 3.0):
        check([Sweep(name="s", cells=cells, gpus_per_cell=gpus)], lambda cell: [])


def test_all_mistakes_come_in_one_message_with_their_counts() -> None:
    cells = grid(dataset="a", model="m", depth=0, fraction=1.5, seed=range(3), lr=LrSearch(low=1, high=0.1))
    said = checked(*cells, workers_per_cell=0)
    assert "depth is 0; it must be a whole number from 1, or None (3 cells)" in said
    assert "fraction is 1.5; it must be a share above 0 and up to 1 (3 cells)" in said
    assert "LrSearch goes from 1.0 to 0.1; it needs 0 < low < high (3 cells)" in said
    assert "workers_per_cell is 0" in said


@pytest.mark.parametrize(
    ("axis", "value"),
    [
        ("fold", 6),
        ("fold", True),
        ("size", 2.5),
        ("grain", "stage"),
        ("rest", "zeros"),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("epochs", 0),
        ("optimizer", "adm"),
        ("warmup", -1),
        ("patience", 0),
        ("amp", "fp8"),
        ("seed", -1),
        ("dataset", ""),
    ],
)
def test_a_value_out_of_range_is_named(axis: str, value: object) -> None:
    assert f"{axis} is {value!r}" in checked(CELL.replace(**{axis: value}))


def test_a_share_axis_that_does_not_exist_is_named() -> None:
    cell = CELL.replace(lr=LrSearch(low=1e-4, high=1e-2, share=("sead",)))
    assert "shares the axis 'sead', which is unknown; did you mean seed or head?" in checked(cell)


def test_a_warm_up_that_takes_the_whole_training_is_refused() -> None:
    assert "warmup=5 leaves nothing of epochs=5" in checked(CELL.replace(warmup=5, epochs=5))
    cell = CELL.replace(warmup=2, epochs=5, lr=LrSearch(low=1e-4, high=1e-2, epochs=2))
    assert "warmup=2 leaves nothing of the search's epochs=2" in checked(cell)


def test_what_the_rooms_object_to_is_counted_too() -> None:
    with pytest.raises(StudyError, match=r"not here \(2 cells\)"):
        check([Sweep(name="s", cells=(CELL, CELL.replace(seed=1)))], lambda cell: ["not here"])


def test_sound_sweeps_pass() -> None:
    check([Sweep(name="s", cells=(CELL,))], lambda cell: ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "must end in"),
        ("from sweeper import *\nsweep = 3", "must end in"),
        ("sweeps = []", "must end in"),
    ],
)
def test_a_file_that_declares_no_sweep_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "study.py").write_text(text)
    with pytest.raises(StudyError, match=said):
        load(tmp_path / "study.py")


def test_the_small_form_of_a_study_is_read_only_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text(
        "from sweeper import *\ncells = grid(dataset='a', model='m')\n"
        "sweep = Sweep(name='full', cells=cells)\nsmall = [Sweep(name='less', cells=cells)]\n"
    )
    names = [load(tmp_path / "study.py", small=small)[0].name for small in (False, True)]
    assert names == ["full", "less"]


def test_a_file_without_a_small_form_is_refused_when_one_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text(
        "from sweeper import *\nsweep = Sweep(name='s', cells=grid(dataset='a', model='m'))"
    )
    with pytest.raises(StudyError, match="has no small form"):
        load(tmp_path / "study.py", small=True)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(StudyError, match=r"no study file 'nowhere.py'"):
        load("nowhere.py")


def test_two_sweeps_of_one_name_are_refused() -> None:
    sweep = Sweep(name="s", cells=(CELL,))
    with pytest.raises(StudyError, match="two sweeps"):
        check([sweep, sweep], lambda cell: ())


def mistakes(*sweeps: Sweep) -> str:
    with pytest.raises(StudyError) as error:
        check(sweeps, lambda cell: ())
    return str(error.value)


def nothing(rows: object) -> list[Cell]:
    return []


def test_a_sweep_that_chooses_its_cells_needs_none() -> None:
    first = Sweep(name="first", cells=(CELL,))
    check([first, Sweep(name="second", after=first, choose=nothing)], lambda cell: ())


def test_a_sweep_has_cells_or_chooses_them() -> None:
    first = Sweep(name="first", cells=(CELL,))
    assert "it has cells and chooses cells" in mistakes(
        first, Sweep(name="s", cells=(CELL,), after=first, choose=nothing)
    )
    assert "it has no cells" in mistakes(Sweep(name="s"))


@pytest.mark.parametrize("which", ["after", "choose"])
def test_a_choice_needs_rows_and_rows_a_choice(which: str) -> None:
    first = Sweep(name="first", cells=(CELL,))
    given = {"after": first, "choose": nothing}[which]
    assert "choose and after go together" in mistakes(first, Sweep(name="s", cells=(CELL,), **{which: given}))


def test_the_sweep_to_choose_from_stands_earlier_in_the_file() -> None:
    first = Sweep(name="first", cells=(CELL,))
    second = Sweep(name="second", after=first, choose=nothing)
    assert "sweep 'second': it comes after 'first', which must stand before it" in mistakes(second, first)
    assert "sweep 'second': it comes after 'first', which must stand before it" in mistakes(second)


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        (dict(schedule="cosine", lr=1e-4, lr_end=1e-3), "lr_end=0.001 lies above 0.0001, the lowest peak"),
        (dict(schedule="onecycle", lr=LrSearch(low=1e-5, high=1), lr_end=1e-4), "lr_end=0.0001 lies above 1e-05"),
        (dict(schedule="cosine", lr=1e-2, lr_end=5e-3, batch_size=64, scale_lr=True), "lies above 0.0025"),
        (dict(lr=1e-6, lr_floor=1e-5), "lr_floor=1e-05 lies above 1e-06, the lowest peak: training would end at once"),
        (dict(warmup=1, warmup_steps=5), "are one warm-up: give one"),
        (dict(schedule="multistep"), "'multistep', and it alone, needs some"),
        (dict(milestones=(3,)), "'multistep', and it alone, needs some"),
        (dict(loss="focal", class_weights="balanced"), "loss 'focal' takes no class_weights"),
        (dict(class_weights=()), "class_weights is ()"),
        (dict(gabor=Gabor(wavelengths=(0.0,))), "Gabor has wavelengths=(0.0,)"),
        (dict(gabor=Gabor(colours=("green",))), "Gabor has colours=('green',)"),
    ],
)
def test_values_that_exclude_one_another_are_named(axes: dict, said: str) -> None:
    assert said in checked(CELL.replace(**axes))


def test_a_tuple_of_numbers_is_one_value_where_an_axis_takes_several() -> None:
    cells = grid(dataset="a", model="m", class_weights=[(1, 2), "balanced"], milestones=(3, 5), schedule="multistep")
    assert [cell.recipe.class_weights for cell in cells] == [(1.0, 2.0), "balanced"]
    assert {cell.recipe.milestones for cell in cells} == {(3, 5)}
