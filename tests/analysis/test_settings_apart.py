"""No number of a figure is a mean over what makes another setting of a probe: extractors, settings, other cells.

The records are rows in memory; what each number must be was reckoned by hand.
"""

import pytest
from rows_in_memory import of_blocks, record, row, table

from analysis import feature_reuse, hidden_representations, truncation_tables
from analysis.figures import probe_chart
from analysis.probe_figures import block_lines, pair_maps
from sweeper import L2, Agreement, Cka, Fid, Filters
from sweeper.cell import Cell
from sweeper.grid import grid

FLOWERS = dict(dataset="aptos2019", size=32, seed=[0, 1])
THREE = [
    cell
    for model in ("resnet18", "resnet50")
    for cell in [
        *grid(model=model, source="random", **FLOWERS),
        *grid(model=model, source=["imagenet", "radimagenet"], **FLOWERS),
        *grid(model=model, source=["imagenet", "radimagenet"], blocks=0, rest="stats", **FLOWERS),
    ]
]
SCORES = [0.5 if cell.weights.source == "random" else 0.6 if cell.weights.blocks == 0 else 0.8 for cell in THREE]


def far(cell: Cell, to: str = "imagenet", stimuli: int | None = None) -> float:
    """What one extractor sees; statistics and random starts see nothing that means anything."""
    if cell.weights.source == "random" or cell.weights.blocks == 0:
        return 1e6
    model, source = 100 * (cell.network.model == "resnet50"), 10 * (cell.weights.source == "radimagenet")
    return 20.0 + model + source + 0.5 * cell.seed + 3 * (to != "imagenet") + (stimuli or 0)


def distances(*probes: Fid) -> list[dict]:
    return [row(cell, probe, far(cell, probe.to, probe.stimuli), "fid") for cell in THREE for probe in probes]


def heights(*probes: Fid) -> dict[tuple[str, ...], float]:
    found = table(feature_reuse.gains, record(THREE, SCORES, distances(*probes)))
    return {(each.model, each.source, each.asked): each.fid for each in found.itertuples()}


def test_the_distance_of_a_dot_is_that_which_its_own_network_with_the_whole_source_sees() -> None:
    assert heights(Fid(to="imagenet", stimuli=None)) == {
        ("resnet18", "imagenet", ""): 20.25,
        ("resnet18", "radimagenet", ""): 30.25,
        ("resnet50", "imagenet", ""): 120.25,
        ("resnet50", "radimagenet", ""): 130.25,
    }


def test_the_distance_is_from_the_set_of_the_sources_name_where_that_was_asked() -> None:
    found = heights(Fid(to="imagenet", stimuli=None), Fid(to="radimagenet", stimuli=None))
    assert found["resnet18", "imagenet", ", to imagenet"] == 20.25
    assert found["resnet18", "radimagenet", ", to radimagenet"] == 33.25
    assert len(found) == 4


def test_distances_of_few_and_of_many_images_are_two_dots() -> None:
    found = heights(Fid(to="imagenet", stimuli=5), Fid(to="imagenet", stimuli=7))
    assert found["resnet18", "imagenet", ", stimuli 5"] == 25.25
    assert found["resnet18", "imagenet", ", stimuli 7"] == 27.25
    assert len(found) == 8


def test_without_distances_the_height_is_the_gain() -> None:
    found = table(feature_reuse.gains, record(THREE, SCORES))
    assert found["gain"].tolist() == pytest.approx([1.6] * 4)
    assert found["fid"].isna().all()


PAIR = grid(dataset="busi", model="resnet18", source="imagenet", size=32, seed=[0, 1])


def test_a_probe_of_all_images_and_one_of_some_are_two_panels() -> None:
    probes = [*of_blocks(PAIR, Cka(), 0.2, "cka"), *of_blocks(PAIR, Cka(stimuli=50), 0.8, "cka")]
    chart = probe_chart(record(PAIR, [0.5, 0.5], probes).probes)
    assert chart.data["mean"].tolist() == pytest.approx([0.205] * 2 + [0.805] * 2)
    assert sorted(chart.points["measure"].unique()) == [
        "CKA with the start, stimuli -",
        "CKA with the start, stimuli 50",
    ]


@pytest.mark.parametrize(
    ("kind", "metric", "label"),
    [
        ("study", "l2", "L2 from the start"),
        ("relative", "l2_relative", "relative L2 from the start"),
        ("cosine", "cosine", "cosine of the weights with the start"),
    ],
)
def test_each_distance_of_weights_is_called_what_it_is(kind: str, metric: str, label: str) -> None:
    probes = of_blocks(PAIR, L2(kind=kind), 0.9, metric)  # type: ignore[arg-type]
    chart = probe_chart(record(PAIR, [0.5, 0.5], probes).probes)
    assert set(chart.points["measure"]) == {label}
    assert bool(chart.log_rows) == (kind != "cosine")


def test_the_number_of_filters_in_a_picture_is_no_measure_of_a_block() -> None:
    pictures = [row(cell, Filters(), 16.0, "filters", block=1) for cell in PAIR]
    chart = probe_chart(record(PAIR, [0.5, 0.5], [*of_blocks(PAIR, Cka(), 0.2, "cka"), *pictures]).probes)
    assert set(chart.data["probe"]) == {"cka"}


def test_similarity_to_the_start_and_to_itself_are_two_panels() -> None:
    start, itself = Cka(layers="all"), Cka(layers="all", against="best")
    probes = [*of_blocks(PAIR, start, 0.2, "cka"), *of_blocks(PAIR, itself, 1.0, "cka")]
    of = record(PAIR, [0.5, 0.5], probes)
    found = table(lambda each: block_lines(each, name="cka", probes=["cka"], metric="own"), of)
    assert found.groupby("asked")["mean"].max().to_dict() == pytest.approx(
        {", against start": 0.205, ", against best": 1.005}
    )
    crossed = [each | {"other_block": 3 - each["block"]} for each in probes]
    maps = table(lambda each: pair_maps(each, name="maps"), record(PAIR, [0.5, 0.5], crossed))
    assert maps.groupby("against")["mean"].max().to_dict() == pytest.approx(
        {"its start": 0.205, "itself, trained": 1.005}
    )


def test_a_map_of_pairs_is_of_one_other_setting() -> None:
    shares = (0.1, 0.5, 1.0)
    cells = {share: PAIR[0].replace(fraction=share) for share in shares}
    probe = Cka(across="fraction", layers="all")
    pairs = {(0.1, 0.5): 0.1, (0.1, 1.0): 0.3, (0.5, 1.0): 0.7}
    probes = [
        row(cells[own], probe, value, "cka", block=1, other_block=2, other=cells[other].key)
        for (own, other), value in pairs.items()
    ]
    found = table(lambda each: pair_maps(each, name="maps"), record(list(cells.values()), [0.5] * 3, probes))
    told = {(each.also, each.against): each.mean for each in found.itertuples()}
    assert told == {
        (", fraction 0.1", "imagenet, fraction 0.5"): 0.1,
        (", fraction 0.1", "imagenet, fraction 1.0"): 0.3,
        (", fraction 0.5", "imagenet, fraction 1.0"): 0.7,
    }


def test_pairs_of_sources_with_and_without_the_head_first_are_lines_of_their_own() -> None:
    at_once, head_first = PAIR[0], PAIR[0].replace(source="radimagenet", head_epochs=3)
    both = PAIR[0].replace(source="radimagenet")
    probe = Cka(across=("source", "head_epochs"))
    probes = [
        *of_blocks([at_once], probe, 0.2, "cka", other=head_first.key),
        *of_blocks([at_once], probe, 0.6, "cka", other=both.key),
    ]
    found = table(hidden_representations.similarity_pairs, record([at_once, head_first, both], [0.5] * 3, probes))
    assert found[found["layer"] == 1].set_index("pair")["mean"].to_dict() == pytest.approx(
        {
            "imagenet and radimagenet, fine-tuned": 0.6,
            "imagenet and radimagenet, fine-tuned, head_epochs 3": 0.2,
        }
    )


def test_a_pair_that_two_probes_asked_for_is_not_counted_twice() -> None:
    cells = [PAIR[0], PAIR[0].replace(source="radimagenet"), PAIR[1].replace(source="radimagenet")]
    probes = [
        *of_blocks(cells[:1], Cka(across="source"), 0.2, "cka", other=cells[1].key),
        *of_blocks(cells[:1], Cka(across=("source", "seed")), 0.2, "cka", other=cells[1].key, across="source, seed"),
        *of_blocks(cells[:1], Cka(across=("source", "seed")), 0.5, "cka", other=cells[2].key, across="source, seed"),
    ]
    found = table(hidden_representations.similarity_pairs, record(cells, [0.5] * 3, probes))
    assert found[found["layer"] == 1].set_index("pair")[["mean", "n"]].to_dict("index") == {
        "imagenet and radimagenet, fine-tuned, across source": {"mean": 0.2, "n": 1},
        "imagenet and radimagenet, fine-tuned, across source, seed": {"mean": 0.35, "n": 2},
    }


def test_mistakes_of_three_sources_are_told_by_pair() -> None:
    cells = [PAIR[0].replace(source=source) for source in ("imagenet", "radimagenet", "random")]
    agree = {(0, 1): 0.9, (0, 2): 0.5, (1, 2): 0.4}
    probes = [
        row(cells[one], Agreement(across="source"), value, "mistake_observed", other=cells[two].key)
        for (one, two), value in agree.items()
    ]
    found = table(hidden_representations.mistakes, record(cells, [0.5] * 3, probes))
    assert found.set_index("measure")["value"].to_dict() == {
        "observed, imagenet and radimagenet": 0.9,
        "observed, imagenet and random": 0.5,
        "observed, radimagenet and random": 0.4,
    }
    alone = table(hidden_representations.mistakes, record(cells, [0.5] * 3, probes[:1]))
    assert alone["measure"].tolist() == ["observed"]


def test_two_lengths_of_the_head_phase_are_two_settings() -> None:
    cells = [cell.replace(head_epochs=head) for head in (0, 3, 9) for cell in PAIR]
    scores = [0.5, 0.5, 0.6, 0.6, 0.8, 0.8]
    found = table(hidden_representations.auc_mean, record(cells, scores))
    assert sorted(found["mean"]) == pytest.approx([50, 60, 80])


CUT = dict(dataset="bimcv", model="resnet18", source="imagenet", size=32, seed=[0, 1])
DEPTHS = grid(depth=[2, 4], **CUT)


def test_similarity_on_two_parts_is_two_panels_of_the_truncation_figure() -> None:
    probes = [*of_blocks(DEPTHS, Cka(), 0.2, "cka"), *of_blocks(DEPTHS, Cka(part="test"), 0.8, "cka")]
    found = table(truncation_tables.similarity_by_point, record(DEPTHS, [0.5] * 4, probes))
    assert found.groupby("asked")["cka"].mean().to_dict() == pytest.approx({", part val": 0.205, ", part test": 0.805})
    assert len(found) == 2 * 2 * 4
