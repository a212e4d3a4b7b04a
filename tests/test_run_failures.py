"""The command on studies whose cells fail, or whose second stage is chosen from what the first came to."""

import re
from pathlib import Path

import pytest
from placed import place

from analysis import frames

pytestmark = pytest.mark.ray
BROKEN = """
from sweeper import LrSearch, Sweep, grid
common = dict(dataset="digits_0_4", model="cbr_mini", depth=1, fold=1, size=8, fraction=0.2, epochs=2, optimizer="sgd")
good = grid(lr=1e-2, **common)
nan = grid(lr=1e30, **common)
search = grid(lr=LrSearch(low=1e29, high=1e30, trials=2), **common)
heir = grid(source=nan[0], lr=1e-2, **common)
sweep = Sweep(name="broken", cells=good + nan + search + heir)
"""
STAGES = """
from sweeper import Sweep, best_rows, grid
common = dict(dataset="digits_0_4", model="cbr_mini", fold=1, size=8, fraction=0.2, epochs=2)
blocks = Sweep(name="blocks", cells=grid(depth=[1, 2], seed=range(2), lr=3e-3, **common))
def fractions(rows):
    (best,) = best_rows(rows, by=["dataset"], score="best_val_accuracy")
    return grid(depth=best["depth"], lr=best["lr_found"] / 10, **common)
sweeps = [blocks, Sweep(name="after", after=blocks, choose=fractions)]
"""
FAILING = STAGES.replace("lr=3e-3", "lr=1e30, optimizer='sgd'")


def test_failed_cells_are_named_and_the_others_go_on(tmp_path: Path) -> None:
    here = place(tmp_path, BROKEN)
    code, out, err = here.run()
    assert code == 3, out + err
    assert len(frames.runs("broken", here.site)) == 1
    assert "3 cells failed" in err
    assert re.search(r"DivergedError: the training loss became .* in epoch 1 at rate 1e\+30", err)
    assert "every one of the 2 learning rates tried from 1e+29 to 1e+30 diverged" in err
    assert re.search(r"its source, cell [0-9a-f]{16}, failed", err)


def test_a_second_stage_runs_on_what_the_first_one_chose(tmp_path: Path) -> None:
    here = place(tmp_path, STAGES)
    code, out, err = here.run()
    assert code == 0, out + err
    first, second = frames.runs("blocks", here.site), frames.runs("after", here.site)
    best = first.groupby("depth")["best_val_accuracy"].mean().idxmax()
    assert second["depth"].tolist() == [best]
    assert second["lr_found"].tolist() == [3e-3 / 10]
    code, again, err = here.run()
    assert code == 0, err
    assert "Ray dashboard" not in again


def test_a_second_stage_does_not_start_after_a_first_one_that_failed(tmp_path: Path) -> None:
    here = place(tmp_path, FAILING)
    code, out, err = here.run()
    assert code == 3, out + err
    assert "after was not run: its cells are chosen when all of 'blocks' are finished: 4 of 4 are missing." in err
    code, out, err = here.run()
    assert code == 3, out + err
    assert "Ray dashboard" not in out
    assert "after was not run" in err
