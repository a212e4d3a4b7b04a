"""The figures of small forms of the published studies, from a real store: which are made, and what they show."""

from pathlib import Path

import pandas as pd
import pytest
import recorded_studies as known
from conftest import make_site

from analysis import feature_reuse, hidden_representations, transfusion, truncated_transfer, truncation_tables
from analysis.axes import axes_frame
from analysis.explain import explain
from analysis.plates import Lack, Plate
from analysis.probe_figures import pair_maps, panel_names
from analysis.study_record import Maker, Record, apart, make, start_names
from sweeper import store
from sweeper.cell import Cell, Gabor, make_cell

MODULES = {
    (known.HIDDEN,): (hidden_representations, set()),
    (known.REUSE,): (feature_reuse, {"l2"}),
    (known.FUSION,): (transfusion, {"layer_maps", "epochs_to_threshold"}),
    (known.CUT, known.LAYERS): (truncated_transfer, set()),
}
"""Studies -> the module that draws them, and the figures that it lacks rows for."""


@pytest.mark.slow
@pytest.mark.parametrize("studies", MODULES, ids=lambda names: names[0])
def test_every_figure_is_made_and_traced_or_left_out_in_a_line(
    studies: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    site = known.recorded(tmp_path / "site", *studies)
    monkeypatch.setenv("SWEEPER_STORAGE", str(site.storage))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    module, lacks = MODULES[studies]
    assert module.main([*studies, str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split(": ")[1] for line in lines if line.startswith("left out: ")} == lacks
    assert len(lines) == len(module.FIGURES)
    for path in (tmp_path / "out").glob("*.json"):
        assert explain(path)["studies"]
        assert explain(path.with_suffix(".csv"))["cells"]


@pytest.mark.parametrize("module", [feature_reuse, transfusion, truncated_transfer, hidden_representations])
def test_an_unknown_study_is_one_sentence_and_exit_code_1(
    module: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = make_site(tmp_path)
    store.initialise(site, "empty")
    monkeypatch.setenv("SWEEPER_STORAGE", str(site.storage))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name, said in (("emtpy", "there is no study 'emtpy'"), ("empty", "no cell of study 'empty' is finished")):
        assert module.main([name, str(tmp_path / "out")]) == 1  # type: ignore[attr-defined]
        error = capsys.readouterr().err
        assert error.startswith(said)
        assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        (dict(source="random"), "random"),
        (dict(source="imagenet"), "imagenet"),
        (dict(source="imagenet", blocks=0, rest="stats"), "imagenet statistics"),
        (dict(source="imagenet", blocks=3, rest="stats"), "imagenet to 3, rest statistics"),
        (dict(source="imagenet", blocks=3, rest="stats", norms="reset"), "imagenet to 3 without norm, rest statistics"),
        (dict(source="imagenet", blocks=2), "imagenet to 2, rest random"),
        (dict(source="imagenet", slim=2), "imagenet, slim from 2"),
        (dict(source="random", gabor=Gabor()), "Gabor filters"),
    ],
)
def test_a_start_is_called_by_what_it_is(weights: dict, name: str) -> None:
    frame = axes_frame([make_cell(dataset="busi", model="resnet50", **weights)])
    assert start_names(frame).tolist() == [name]


def test_cells_of_different_settings_are_kept_apart_and_seeds_are_not() -> None:
    cells = [make_cell(dataset="busi", model="resnet50", fraction=f, seed=s) for f in (0.1, 1.0) for s in (0, 1)]
    frame: pd.DataFrame = axes_frame(cells)
    assert apart(frame, ["dataset"])["also"].tolist() == [", fraction 0.1"] * 2 + [", fraction 1.0"] * 2
    assert set(apart(frame, ["dataset", "fraction"])["also"]) == {""}


def test_the_published_kind_of_figure_keeps_settings_apart_too() -> None:
    axes = {"dataset": "busi", "model": "resnet50", "source": "random"}
    cells = [make_cell(**axes, fraction=f, seed=s) for f in (0.1, 1.0) for s in (0, 1)]
    runs = axes_frame(cells).assign(key=[cell.key for cell in cells], test_auroc=[0.6, 0.7, 0.8, 0.9])
    record = Record(studies=("study",), runs=runs, site=None)
    plate = hidden_representations.auc_mean(record)
    assert isinstance(plate, Plate)
    assert plate.data.set_index("source")["mean"].to_dict() == pytest.approx(
        {"random, fraction 0.1": 65, "random, fraction 1.0": 85}
    )


def cut_record(probes: list[dict] | None = None) -> Record:
    """The small form of the truncation study as rows, with rows of probes; TTL's best points are 14 and then 12."""
    best = {14: 0.9, 12: 0.95}
    studies = [(study, cell) for study in (known.CUT, known.LAYERS) for cell in known.STUDIES[study]]
    cells = [cell for _, cell in studies]
    runs = axes_frame(cells).assign(
        study=[study for study, _ in studies],
        key=[cell.key for cell in cells],
        best_val_auprc=[best.get(cell.network.depth or 0, 0.5) for cell in cells],
        test_auroc=[known.score_of(cell) for cell in cells],
        test_auprc=[known.score_of(cell, "auprc") for cell in cells],
        total_seconds=8.0,
        epochs_run=4,
        run_id="r",
        commit="c",
        fingerprint="f",
    )
    record = Record(runs=runs.assign(start=start_names(runs), metric="test_auroc", value=runs["test_auroc"]))
    if probes is not None:
        empty = dict.fromkeys(("other", "other_block", "block"))
        record.__dict__["probes"] = pd.DataFrame([empty | row for row in probes])
    return record


def costs_of(cell: Cell, key: str = "first") -> list[dict]:
    kept = cell.network.depth or 17
    values = {"parameters": 1e6 * kept, "macs": 1e8 * kept, "latency_ms": 0.5 * kept, "forward_bytes": 7.0}
    known = {"key": cell.key, "probe": "cost", "probe_key": key}
    return [known | {"metric": metric, "value": value} for metric, value in values.items()]


def test_the_table_of_methods_has_the_cost_of_each_point_as_it_was_recorded() -> None:
    cells = [*known.CUT_CELLS, *known.LAYER_CELLS]
    rows = [row for cell in cells for row in costs_of(cell)]
    other = [row | {"value": 1.0} for cell in cells for row in costs_of(cell, "second")]
    plate = truncation_tables.methods(cut_record([*rows, *other]))
    assert isinstance(plate, Plate)
    table = plate.data[(plate.data["model"] == "resnet50") & (plate.data["source"] == "imagenet")].set_index("name")
    assert table.loc[["TTL-1", "TTL-2"], "point"].tolist() == [14, 12]
    costs = ["parameters", "macs", "latency_ms"]
    assert table.loc["TTL-2", costs].tolist() == [12e6, 12e8, 6.0]
    assert table.loc["FTL", costs].tolist() == [17e6, 17e8, 8.5]
    layer_wise = table.loc["LWFT-1"]
    assert layer_wise["also"].tolist() == [", backbone_decay 1.0", ", backbone_decay 10.0"]  # never one mean of both
    assert layer_wise[costs].to_numpy().tolist() == [[17e6, 17e8, 8.5]] * 2
    assert plate.without == ""


def test_a_cost_of_every_block_is_that_of_the_block_at_which_the_cell_is_cut() -> None:
    cell = next(cell for cell in known.CUT_CELLS if cell.network.depth == 8)
    rows = [row | {"block": block, "value": block} for block in range(1, 18) for row in costs_of(cell)]
    record = cut_record(rows)
    found = truncation_tables.with_costs(record.runs, record).set_index("key")["parameters"]
    assert found[cell.key] == 8
    assert found.drop(cell.key).isna().all()


def test_what_a_table_has_no_columns_for_is_said_in_its_line(tmp_path: Path) -> None:
    makers: list[Maker] = [truncation_tables.methods]
    (line,) = make(makers, cut_record(), tmp_path, "again")
    assert line.startswith("methods: csv, tex, json in ")
    assert line.endswith("; left out of it: parameters, macs, latency_ms: no rows of the probe cost; declare it among "
                         "the sweep's probes")  # fmt: skip
    assert (tmp_path / "methods.tex").read_text().startswith("% again\n\\begin{tabular}")


def test_a_block_compared_with_itself_alone_makes_no_map() -> None:
    cell = known.CUT_CELLS[0]
    own = [
        {"key": cell.key, "probe": "cka", "probe_key": "k", "metric": "cka", "value": 1.0, "block": b, "other_block": b}
        for b in (1, 2)
    ]
    assert isinstance(pair_maps(cut_record(own), name="maps"), Lack)
    crossed = [row | {"probe_key": "all", "other_block": 3 - row["block"]} for row in own]
    named = [row | {"source": "imagenet", "start": "imagenet", "dataset": "bimcv", "model": "m"} for row in crossed]
    plate = pair_maps(cut_record(named), name="maps")
    assert isinstance(plate, Plate)
    assert plate.data[["block", "other_block"]].to_numpy().tolist() == [[1, 2], [2, 1]]


def test_a_panel_is_named_by_what_varies_and_not_by_what_is_missing() -> None:
    rows = pd.DataFrame({"dataset": "busi", "model": ["cbr_mini", "resnet50"], "width": pd.array([8, None], "Int64")})
    assert panel_names(rows, ("dataset", "model", "width")).tolist() == ["cbr_mini, width 8", "resnet50"]
    assert panel_names(rows.head(1)).tolist() == ["busi"]
