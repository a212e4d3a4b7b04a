"""Figures: what is drawn is read back from matplotlib and compared with numpy on the recorded numbers."""

from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest
import recording
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.lines import Line2D
from matplotlib.text import Text
from recording import CELLS, MIXED, SOURCES, STUDY

from analysis import frames, look
from analysis.figures import fill_blocks, probe_chart, score_chart
from analysis.names import name_sources
from analysis.panels import draw, save
from sweeper.cell import Cka, Knn
from sweeper.site import Site


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return recording.recorded(tmp_path_factory.getbasetemp() / "recorded")


@pytest.fixture(scope="module")
def runs(recorded: Site) -> pd.DataFrame:
    return name_sources(frames.runs(STUDY, recorded), recorded)


@pytest.fixture(scope="module")
def probes(recorded: Site) -> pd.DataFrame:
    return name_sources(frames.probes(STUDY, recorded), recorded)


def lines_of(axes: Axes) -> list[ErrorbarContainer]:
    return [each for each in axes.containers if isinstance(each, ErrorbarContainer)]


def curve_of(line: ErrorbarContainer) -> Line2D:
    return cast(Line2D, line.lines[0])


def heights(line: ErrorbarContainer) -> list[float]:
    return np.asarray(curve_of(line).get_ydata()).tolist()


def bars(line: ErrorbarContainer) -> list[float]:
    return [float(np.ptp(segment[:, 1])) / 2 for segment in line.lines[2][0].get_segments()]


def scores(source: str, fraction: float, depth: int | None) -> list[float]:
    chosen = [c for c in CELLS if (c.weights.source == "random") == (source == "random")]
    chosen = [c for c in chosen if (c.images.fraction, c.network.depth) == (fraction, depth)]
    return [recording.score_of(cell, "auroc") for cell in chosen]


def test_every_mean_and_sd_is_drawn(runs: pd.DataFrame) -> None:
    (axes,) = draw(score_chart(runs)).axes
    order = [("flowers", 1.0), ("random", 1.0), ("flowers", 0.1), ("random", 0.1)]
    assert len(lines_of(axes)) == len(order)
    for line, (source, fraction) in zip(lines_of(axes), order, strict=True):
        groups = [scores(source, fraction, depth) for depth in (2, None)]
        assert heights(line) == pytest.approx([np.mean(group) for group in groups], rel=1e-12)
        assert bars(line) == pytest.approx([np.std(group, ddof=1) for group in groups], rel=1e-9)


def test_a_setting_whose_score_is_undefined_is_a_gap(runs: pd.DataFrame) -> None:
    lacks = (runs["source"] == "random") & (runs["fraction"] == 1.0) & runs["depth"].notna()
    frame = runs.assign(test_auroc=runs["test_auroc"].mask(lacks), test_classes_unranked=2.0 * lacks)
    figure = draw(score_chart(frame))
    figure.canvas.draw()
    gaps = [np.isnan(heights(line)).tolist() for line in lines_of(figure.axes[0])]
    assert gaps == [[False, False], [True, False], [False, False], [False, False]]


def test_a_whole_model_is_drawn_at_its_number_of_blocks(runs: pd.DataFrame) -> None:
    (axes,) = draw(score_chart(runs)).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "4"]
    assert list(axes.get_xticks()) == [2, 4]
    assert axes.get_xlabel() == "blocks kept"


def test_points_are_moved_by_less_than_half_a_step(runs: pd.DataFrame) -> None:
    (axes,) = draw(score_chart(runs)).axes
    for line in lines_of(axes):
        assert np.abs(np.asarray(curve_of(line).get_xdata()) - [2, 4]).max() < 0.5


def test_colour_and_marker_say_the_source_and_dashes_the_fraction(runs: pd.DataFrame) -> None:
    (axes,) = draw(score_chart(runs)).axes
    drawn = [curve_of(each) for each in lines_of(axes)]
    assert len({(line.get_color(), line.get_marker()) for line in drawn}) == 2
    assert len({line.get_linestyle() for line in drawn}) == 2


def test_the_legend_names_sources_and_fractions(runs: pd.DataFrame) -> None:
    (legend,) = draw(score_chart(runs)).legends
    assert [each.get_text() for each in legend.get_texts()] == ["flower_photos", "random", "fraction 1", "fraction 0.1"]
    assert legend.get_title().get_text() == "mean ± sd, n = 3"


def test_no_text_is_smaller_than_seven_points_at_column_width(runs: pd.DataFrame, probes: pd.DataFrame) -> None:
    for chart in (score_chart(runs), probe_chart(probes)):
        figure = draw(chart)
        figure.canvas.draw()
        texts = cast(list[Text], figure.findobj(Text))
        sizes = [float(text.get_fontsize()) for text in texts if text.get_text()]
        assert min(sizes) >= 7
        assert figure.get_figwidth() == pytest.approx(3.3)


def test_panels_are_data_sets_by_models(recorded: Site) -> None:
    runs = frames.runs(MIXED, recorded)
    both = pd.concat([runs, runs.assign(model="resnet10t", key=runs["key"] + "r")])
    figure = draw(score_chart(both))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        f"{dataset}, {model}" for dataset in ("breastmnist", "digits") for model in ("cbr_mini", "resnet10t")
    ]
    assert [axes.get_ylabel() for axes in figure.axes] == ["test AUROC"] * 2 + ["test accuracy"] * 2
    assert figure.get_figwidth() == pytest.approx(2 * 3.3)


def test_a_combination_that_was_not_run_is_an_empty_place(recorded: Site) -> None:
    runs = frames.runs(MIXED, recorded)
    one = runs[runs["dataset"] == "digits"].assign(model="resnet10t")
    figure = draw(score_chart(pd.concat([runs, one])))
    assert [axes.get_visible() for axes in figure.axes] == [True, False, True, True]


def test_fraction_takes_the_place_of_a_depth_that_does_not_vary(runs: pd.DataFrame) -> None:
    (axes,) = draw(score_chart(runs[runs["depth"] == 2])).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.1", "1"]
    assert np.diff(axes.get_xticks()) == pytest.approx([1.0])  # a decade
    assert len(lines_of(axes)) == 2


def test_sources_stand_side_by_side_where_no_number_varies(runs: pd.DataFrame) -> None:
    (axes,) = draw(score_chart(runs[(runs["depth"] == 2) & (runs["fraction"] == 1)])).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["flower_photos", "random"]
    assert [len(heights(line)) for line in lines_of(axes)] == [1, 1]


def test_a_study_of_one_cell_has_a_figure(recorded: Site) -> None:
    figure = draw(score_chart(frames.runs(SOURCES, recorded)))
    (line,) = lines_of(figure.axes[0])
    assert heights(line) == [recording.score_of(recording.SOURCE, "accuracy")]
    assert figure.legends[0].get_title().get_text() == "one cell a point"


def test_an_axis_with_more_values_than_styles_gets_panels(runs: pd.DataFrame) -> None:
    copies = [runs.assign(warmup=float(value), key=runs["key"] + str(value)) for value in range(5)]
    chart = score_chart(pd.concat(copies, ignore_index=True))
    assert chart.points["row"].nunique() == 5
    assert sorted(chart.points["style"].unique()) == ["fraction 0.1", "fraction 1"]
    assert not chart.points.duplicated(["row", "column", "source", "style", "x"]).any()


def test_missing_blocks_are_all_that_are_kept_and_none_of_a_random_start(runs: pd.DataFrame) -> None:
    whole = fill_blocks(runs[runs["depth"].isna()])
    assert set(whole["depth"]) == {4}
    assert whole[whole["source"] == "random"]["blocks"].unique().tolist() == [0]
    assert whole[whole["source"] != "random"]["blocks"].unique().tolist() == [4]


def test_probes_are_drawn_block_by_block_for_the_deepest_cells(probes: pd.DataFrame) -> None:
    axes = draw(probe_chart(probes)).axes
    assert [each.get_ylabel() for each in axes] == ["CKA with the start", "k-NN AUROC", "L2 from the start"]
    whole = [c for c in CELLS if c.network.depth is None and c.images.fraction == 1 and c.weights.source == "random"]
    for panel, probe, metric in ((axes[0], Cka(), "cka"), (axes[1], Knn(k=20), "auroc")):
        values = [[recording.probe_value(cell, probe, block, metric) for cell in whole] for block in range(1, 5)]
        line = lines_of(panel)[1]
        assert heights(line) == pytest.approx([np.mean(each) for each in values], rel=1e-12)
        assert bars(line) == pytest.approx([np.std(each, ddof=1) for each in values], rel=1e-9)


def test_a_probe_with_two_settings_has_two_rows_of_panels(probes: pd.DataFrame) -> None:
    again = probes[probes["probe"] == "knn"].assign(k=200, probe_key="other")
    chart = probe_chart(pd.concat([probes, again], ignore_index=True))
    assert list(chart.points["row"].unique())[1:3] == ["k-NN AUROC, k 20", "k-NN AUROC, k 200"]
    assert chart.data["n"].unique().tolist() == [3]


def test_distances_are_logarithmic_unless_a_block_has_not_moved(probes: pd.DataFrame) -> None:
    assert draw(probe_chart(probes)).axes[2].get_yscale() == "log"
    frozen = probes.assign(value=probes["value"].where(probes["block"] > 1, 0.0))
    assert draw(probe_chart(frozen)).axes[2].get_yscale() == "linear"


def test_equal_charts_give_equal_files(runs: pd.DataFrame, tmp_path: Path) -> None:
    first, second = (save(score_chart(runs), tmp_path / name) for name in ("a", "b"))
    assert [path.suffix for path in first] == [".png", ".pdf", ".csv"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_the_numbers_behind_a_figure_are_kept_to_the_last_bit(runs: pd.DataFrame, tmp_path: Path) -> None:
    chart = score_chart(runs)
    read = pd.read_csv(save(chart, tmp_path / "scores")[2], float_precision="round_trip")
    assert read["mean"].tolist() == chart.data["mean"].tolist()
    assert read["sd"].tolist() == chart.data["sd"].tolist()


def test_no_two_sources_look_alike() -> None:
    looks = {(look.COLOURS[n % len(look.COLOURS)], look.MARKERS[n % len(look.MARKERS)]) for n in range(42)}
    assert len(looks) == 42


def test_pairs_chance_and_whole_models_are_not_drawn_by_block(probes: pd.DataFrame) -> None:
    probes = probes[probes["probe"] == "cka"].assign(other=None, other_block=None)
    more = [
        probes.assign(other="0" * 16),
        probes.assign(other_block=probes["block"] + 1),
        probes.assign(metric="cka_gaussian"),
        probes.assign(block=None),
    ]
    chart = probe_chart(pd.concat([probes, *more], ignore_index=True))
    pd.testing.assert_frame_equal(chart.data, probe_chart(probes).data)


def test_probes_of_other_settings_are_drawn_apart(probes: pd.DataFrame) -> None:
    scored = probes[probes["probe"] == "knn"].assign(probe="reinit")
    both = pd.concat([scored.assign(kind=kind) for kind in ("reinit", "rerand")], ignore_index=True)
    assert len(probe_chart(both).data) == 2 * len(probe_chart(scored).data)
