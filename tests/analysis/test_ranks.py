"""Ranks against scipy and the numbers of Demšar 2006; what a diagram shows is read back from matplotlib."""

from typing import cast

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text
from scipy import stats

from analysis import look
from analysis.statistics import draw_ranks, rank_groups


def scores_of(targets: int, settings: int, seed: int = 0, *, gain: float = 0.03) -> pd.DataFrame:
    noise = np.random.default_rng(seed).normal(size=(targets, settings)) * 0.02
    return pd.DataFrame(0.8 + noise - gain * np.arange(settings), columns=[f"setting {n}" for n in range(settings)])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tied", [False, True])
def test_chi_square_is_scipys(seed: int, tied: bool) -> None:
    scores = scores_of(9, 4, seed).round(2 if tied else 9)
    wanted = stats.friedmanchisquare(*scores.to_numpy().T)
    assert rank_groups(scores).chi_square == pytest.approx(wanted.statistic, rel=1e-9)


@pytest.mark.parametrize(
    ("settings", "level", "q"), [(4, 0.95, 2.569), (5, 0.95, 2.728), (10, 0.95, 3.164), (4, 0.9, 2.291)]
)
def test_the_critical_difference_is_demsars(settings: int, level: float, q: float) -> None:
    found = rank_groups(scores_of(14, settings), level=level)
    assert found.critical_difference == pytest.approx(q * np.sqrt(settings * (settings + 1) / (6 * 14)), abs=6e-4)


def test_the_p_is_that_of_demsars_f() -> None:
    found = rank_groups(scores_of(14, 4, gain=0.005))
    f = 13 * found.chi_square / (14 * 3 - found.chi_square)
    assert found.p == pytest.approx(stats.f.sf(f, 3, 39), rel=1e-9)


def test_the_best_setting_comes_first_whichever_way_is_better() -> None:
    scores = scores_of(12, 4, gain=0.2)
    assert rank_groups(scores).ranks == (1, 2, 3, 4)
    assert rank_groups(scores).names[0] == "setting 0"
    assert rank_groups(scores, higher=False).names[0] == "setting 3"
    assert rank_groups(scores).p == 0


def test_groups_are_the_largest_that_lie_within_the_critical_difference() -> None:
    found = rank_groups(scores_of(30, 6, gain=0.012))
    ranks = dict(zip(found.names, found.ranks, strict=True))
    together = [{a, b} for a in ranks for b in ranks if a < b and abs(ranks[a] - ranks[b]) < found.critical_difference]
    assert found.groups
    for pair in together:
        assert any(pair <= set(group) for group in found.groups)
    for group in found.groups:
        assert ranks[group[-1]] - ranks[group[0]] < found.critical_difference
        assert not any(set(group) < set(other) for other in found.groups)


def test_settings_that_all_differ_are_in_no_group_and_equal_ones_in_one() -> None:
    assert rank_groups(scores_of(60, 3, gain=1.0)).groups == ()
    equal = rank_groups(scores_of(5, 3) * 0)
    assert equal.groups == (("setting 0", "setting 1", "setting 2"),)
    assert (equal.chi_square, equal.p) == (0, 1)


def test_gaps_and_too_few_settings_are_refused() -> None:
    scores = scores_of(5, 3)
    scores.iloc[2, 1] = np.nan
    with pytest.raises(ValueError, match="target 2 has no score of 'setting 1'"):
        rank_groups(scores)
    with pytest.raises(ValueError, match="2 settings on 5 targets"):
        rank_groups(scores_of(5, 2))


@pytest.mark.parametrize("settings", [3, 6, 11])
def test_a_diagram_is_legible_at_column_width_and_grey(settings: int) -> None:
    figure = draw_ranks(rank_groups(scores_of(20, settings, gain=0.01)))
    figure.canvas.draw()
    texts = [each for each in cast(list[Text], figure.findobj(Text)) if each.get_text()]
    assert min(float(each.get_fontsize()) for each in texts) >= 7
    assert figure.get_figwidth() == pytest.approx(look.PANEL_WIDTH)
    (axes,) = figure.axes
    assert {to_hex(str(line.get_color())) for line in axes.lines} <= {look.INK, look.QUIET}
    inside = figure.bbox
    boxes = [each.get_window_extent() for each in texts]
    assert all(
        inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1 for box in boxes
    )
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])


def test_a_diagram_has_a_bar_for_each_group_from_its_first_to_its_last() -> None:
    found = rank_groups(scores_of(30, 6, gain=0.012))
    (axes,) = draw_ranks(found).axes
    bars = [line for line in axes.lines if line.get_gid() == "group"]
    assert len(bars) == len(found.groups)
    ranks = dict(zip(found.names, found.ranks, strict=True))
    for bar, group in zip(bars, found.groups, strict=True):
        lengths = np.ptp(np.asarray(bar.get_xdata(), dtype=float))
        assert lengths == pytest.approx((ranks[group[-1]] - ranks[group[0]]) * (0.66 - 0.34) / 5 + 0.016, rel=1e-6)
