"""Cells, their keys and their JSON."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from sweeper.cell import AXES, Cell, Cka, Gabor, Knn, LrSearch, make_cell, probe_key, seed_of

SEARCH = LrSearch(low=1e-5, high=1e-2, trials=12, share=("seed", "fold"))
FULL = dict(
    dataset="busi",
    fold=3,
    fraction=0.1,
    size=96,
    augment="flip",
    model="resnet50",
    depth=9,
    grain="layer",
    source="imagenet",
    blocks=4,
    rest="stats",
    lr=SEARCH,
    epochs=30,
    batch_size=32,
    optimizer="sgd",
    weight_decay=1e-4,
    schedule="cosine",
    warmup=1.5,
    frozen=2,
    patience=5,
    seed=7,
)
PINNED = {
    "MINIMAL": make_cell(dataset="digits", model="cbr_mini"),
    "SEED": make_cell(dataset="digits", model="cbr_mini", seed=1),
    "RATE": make_cell(dataset="digits", model="cbr_mini", lr=3e-4),
    "SEARCH": make_cell(dataset="digits", model="cbr_mini", lr=SEARCH),
    "SOURCE": make_cell(dataset="busi", model="resnet18", source="imagenet", blocks=0, rest="stats"),
    "FULL": make_cell(**FULL),
}

# Recorded keys: whoever changes one of these has orphaned every result in every store.
KEYS: dict[str, str] = {
    "MINIMAL": "a308f67c56bea978",
    "SEED": "1ab6017d30c51ca0",
    "RATE": "dbf2a22ab005331d",
    "SEARCH": "c77cdaa7f99ba847",
    "SOURCE": "dbf6e359f8b60bee",
    "FULL": "b62d8960555bdeed",
}


@pytest.mark.parametrize("name", PINNED)
def test_recorded_keys_never_change(name: str) -> None:
    assert PINNED[name].key == KEYS[name]


def test_the_key_is_that_of_a_cell_that_names_its_neutral_values() -> None:
    assert (
        make_cell(dataset="d", model="m", depth=None, fraction=1.0, seed=0).key == make_cell(dataset="d", model="m").key
    )


def test_every_axis_changes_the_key() -> None:
    base = make_cell(**FULL)
    other = dict(dataset="x", fold=1, fraction=0.2, size=97, augment="shift", model="resnet18", depth=8, grain="block")
    other |= dict(source="random", blocks=3, rest="random", lr=1e-3, epochs=31, batch_size=33, optimizer="adam")
    other |= dict(weight_decay=0.0, schedule="constant", warmup=0.5, frozen=1, patience=6, seed=8, amp="bf16")
    other |= dict(pixels="caffe", head="flatten", head_start="kaiming", dropout=0.5, width=32, slim=3, slim_factor=4)
    other |= dict(input="red", norms="reset", tables="draw", gabor=Gabor(), momentum=0.8, nesterov=False, scale_lr=True)
    other |= dict(warmup_steps=7, lr_end=1e-6, milestones=(3, 5), factor=0.5, plateau=5, lr_floor=1e-6, clip=1.0)
    other |= dict(loss="bce", class_weights=(1.0, 2.0), focal_gamma=1.0, frozen_norms="learn", backbone_decay=10.0)
    other |= dict(head_epochs=3, head_lr=1e-2, head_patience=2, head_monitor="loss", validations=2, monitor="loss")
    other |= dict(protocol="hidden_v2", shots=10)
    assert other.keys() == AXES.keys()
    keys = {base.replace(**{axis: value}).key for axis, value in other.items()}
    assert len(keys | {base.key}) == len(other) + 1


def test_numbers_have_one_key_however_they_are_written() -> None:
    plain = make_cell(dataset="d", model="m", fraction=1.0, seed=3, lr=1.0)
    assert make_cell(dataset="d", model="m", fraction=1, seed=np.int64(3), lr=np.float64(1)).key == plain.key


def test_json_reads_back_to_an_equal_cell() -> None:
    for cell in PINNED.values():
        assert Cell.from_json(cell.to_json()) == cell


def test_json_written_before_a_field_was_added_reads_as_neutral() -> None:
    parts = json.loads(PINNED["SEED"].to_json())
    del parts["recipe"]["patience"]
    assert Cell.from_json(json.dumps(parts)) == PINNED["SEED"]


def test_the_row_has_a_column_for_every_axis() -> None:
    row = PINNED["FULL"].row()
    assert AXES.keys() <= row.keys()
    assert (row["lr"], row["lr_low"], row["lr_trials"]) == (None, 1e-5, 12)


def test_cells_that_differ_in_shared_axes_have_one_setting() -> None:
    cell = PINNED["FULL"]
    assert cell.setting() == cell.replace(seed=1, fold=1).setting()
    assert cell.setting() != cell.replace(fraction=0.2).setting()


def test_a_fixed_rate_has_no_setting() -> None:
    with pytest.raises(TypeError, match="fixed rate"):
        PINNED["RATE"].setting()


def test_values_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PINNED["FULL"].seed = 2  # type: ignore[misc]


def test_probe_keys_tell_settings_apart() -> None:
    assert len({probe_key(Knn(k=5)), probe_key(Knn(k=6)), probe_key(Cka()), probe_key(Cka(part="train"))}) == 4


def test_seeds_differ_between_purposes_and_fit_torch() -> None:
    seeds = [seed_of(purpose, seed) for purpose in ("order", "augment") for seed in range(50)]
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_front_page_imports_only_the_standard_library() -> None:
    code = "import sys, sweeper; print(*sorted({m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)))"
    found = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, '.'); {code}"], capture_output=True, text=True
    )
    assert set(found.stdout.split()) <= {"sweeper", "__main__", "__mp_main__"}, found
